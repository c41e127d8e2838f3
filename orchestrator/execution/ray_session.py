"""A connection to Ray: to a running cluster, or to one of this machine's own that nobody else can reach.

Owns how Ray is started. Whoever reaches a port of Ray's can run code in it, and by itself even a local Ray listens on
every interface; here all its ports are the loopback's.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.address import check_cluster
from studies.errors import StudyError

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's variable, whose 0 takes 127.0.0.1 as the node's address and binds to it alone (ray_constants.py says what for);
`_node_ip_address="127.0.0.1"` does not: Ray puts the machine's own address in its place."""


@contextmanager
def ray_session(address: str | None, **options) -> Iterator[None]:
    """Connected to the cluster at the address: HOST:PORT, or `auto`, this machine's; None = to a local one, which ends
    with the session.

    options: of `ray.init`. Raises StudyError, one line, where there is no such cluster or none can be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")  # a busy machine takes more than Ray's 30 s
    import ray

    options |= {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        address = _of_this_machine() if address == "auto" else address
        check_cluster(address)
        connected = _connected(address=address, **options)
    else:
        place = {"address": "local", "include_dashboard": False, "object_store_memory": 256 * 2**20}
        connected = _on_the_loopback(**place, **options)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with connected:
        try:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put one of its own there, which only exits
            yield
        finally:
            ray.shutdown()


def _of_this_machine() -> str:
    """Where Ray finds this machine's cluster, which may be gone: its file says where one was. StudyError if nowhere."""
    from ray._private.services import get_ray_address_from_environment

    try:
        return get_ray_address_from_environment("auto", None)
    except ConnectionError as error:
        raise StudyError(f"--address auto: {error}") from None


@contextmanager
def _connected(*, address: str, **options) -> Iterator[None]:
    import ray

    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.AuthenticationError) as error:
        # there is no cluster, it is of another version, or it does not know us
        raise StudyError(f"--address {address}: {' '.join(str(error).split())}") from None
    yield


@contextmanager
def _on_the_loopback(**options) -> Iterator[None]:
    import ray
    from ray._private import ray_constants

    # Ray reads the variable when it is imported: the constant is for this process, the variable for those it starts
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(LOOPBACK_ONLY)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[LOOPBACK_ONLY] = False, "0"
    try:
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises bare exceptions where a part of it does not start
            raise StudyError(f"a local Ray did not start: {' '.join(str(error).split())}") from error
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        os.environ.pop(LOOPBACK_ONLY, None)
        if before[1] is not None:
            os.environ[LOOPBACK_ONLY] = before[1]
