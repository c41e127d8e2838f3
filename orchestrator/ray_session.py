"""A connection to Ray: to a running cluster, or to one of this machine's own that nobody else can reach.

Owns how Ray is started. Whoever reaches a port of Ray's can run code in it, and by itself even a local Ray listens on
every interface; here all its ports are the loopback's.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's variable, whose 0 takes 127.0.0.1 as the node's address and binds to it alone (ray_constants.py says what for);
`_node_ip_address="127.0.0.1"` does not: Ray puts the machine's own address in its place."""


@contextmanager
def ray_session(address: str | None, **options) -> Iterator[None]:
    """Connected to the cluster at the address; else at RAY_ADDRESS; else to a local one, which ends with the session.

    options: of `ray.init`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray._private import ray_constants

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options |= {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    local = address == "local"
    if local:
        options |= {"include_dashboard": False, "object_store_memory": 256 * 2**20}
    # Ray reads the variable when it is imported: the constant is for this process, the variable for those it starts
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(LOOPBACK_ONLY)
    if local:
        ray_constants.ENABLE_RAY_CLUSTER, os.environ[LOOPBACK_ONLY] = False, "0"
    try:
        ray.init(**options)
        yield
    finally:
        ray.shutdown()
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        os.environ.pop(LOOPBACK_ONLY, None)
        if before[1] is not None:
            os.environ[LOOPBACK_ONLY] = before[1]
