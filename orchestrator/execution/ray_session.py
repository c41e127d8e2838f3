"""A connection to Ray: to a running cluster, or to a local one that no other machine can reach.

Owns how Ray is started. Anyone who reaches one of Ray's ports can run code through it, and by default even a local Ray
listens on every interface; here all its ports are bound to the loopback interface.
"""

import logging
import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from orchestrator.address import check_cluster
from studies.errors import StudyError, one_line

log = logging.getLogger(__name__)

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With 0, Ray takes 127.0.0.1 as the node's address and binds to it alone (see ray_constants.py). The argument
`_node_ip_address="127.0.0.1"` does not do that: Ray replaces it by the machine's own address."""

SOCKET = "session_2026-01-31_12-30-59_123456_1234567/sockets/plasma_store"
"""The longest path of a socket in Ray's temporary folder."""
MAX_SOCKET_BYTES = 107
"""Bytes of the path of a socket (`sun_path` in unix(7), less the final zero)."""

START_ATTEMPTS = 3
TOO_SLOW = "timed out during startup"
"""In Ray's error where its processes took more than 30 seconds, as on a busy machine (ray/_private/node.py)."""
KILL_SECONDS = 5.0
"""Longest wait for processes that were killed."""

CAUSE_LENGTH = 4000
"""Characters of Ray's error: its cause stands at the end."""


@contextmanager
def ray_session(address: str | None, **options: Any) -> Iterator[None]:
    """A context connected to the cluster at `address`: HOST:PORT, or `auto` for the one that this machine belongs to.

    None starts a local cluster, which ends with the context. options: for `ray.init`. Raises StudyError, one line,
    where there is no such cluster or none can be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")  # on a busy machine Ray's 30 s are not enough
    import ray

    options |= {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        address = _local_address() if address == "auto" else address
        check_cluster(address)
        connected = _connected(address=address, **options)
    else:
        place = {"address": "local", "include_dashboard": False, "object_store_memory": 256 * 2**20}
        connected = _on_the_loopback(**place, **options)
    handler = signal.getsignal(signal.SIGTERM)
    with connected:
        try:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # in place of Ray's own, which only exits
            yield
        finally:
            ray.shutdown()


def _local_address() -> str:
    """The address that Ray has noted for this machine's cluster, which may be gone. StudyError if there is none."""
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment("auto", None))
    except ConnectionError as error:
        raise StudyError(f"--address auto: {one_line(error, CAUSE_LENGTH)}") from None


@contextmanager
def _connected(*, address: str, **options: Any) -> Iterator[None]:
    import ray

    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.AuthenticationError) as error:
        # no cluster there, another version of Ray, or a wrong token
        raise StudyError(f"--address {address}: {one_line(error, CAUSE_LENGTH)}") from None
    yield


@contextmanager
def _on_the_loopback(**options: Any) -> Iterator[None]:
    import ray
    from ray._private import ray_constants

    _check_temporary_folder()
    # Ray reads the variable when it is imported: the constant acts on this process, the variable on those it starts
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(LOOPBACK_ONLY)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[LOOPBACK_ONLY] = False, "0"
    try:
        for attempt in range(1, START_ATTEMPTS + 1):
            others = set(psutil.Process().children(recursive=True))
            try:
                ray.init(**options)
                break
            except Exception as error:  # Ray raises bare exceptions where one of its processes does not start
                _kill(set(psutil.Process().children(recursive=True)) - others)
                cause = one_line(error, CAUSE_LENGTH)
                if TOO_SLOW not in cause or attempt == START_ATTEMPTS:
                    raise StudyError(f"a local Ray did not start: {cause}") from error
                log.warning("a local Ray did not start within Ray's 30 seconds; trying again")
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        os.environ.pop(LOOPBACK_ONLY, None)
        if before[1] is not None:
            os.environ[LOOPBACK_ONLY] = before[1]


def _kill(processes: Collection[psutil.Process]) -> None:
    """Kill what a start that failed has left: it would take the next one's time."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=KILL_SECONDS)


def _check_temporary_folder() -> None:
    """Raise StudyError if the paths of Ray's sockets would be too long; Ray itself says so after half a minute."""
    from ray._common.utils import get_default_ray_temp_dir

    folder = get_default_ray_temp_dir()
    if (length := len(os.fsencode(os.path.join(folder, SOCKET)))) > MAX_SOCKET_BYTES:
        raise StudyError(
            f"a local Ray cannot start in {folder}: the paths of its sockets would have {length} bytes, and at most "
            f"{MAX_SOCKET_BYTES} are possible; set RAY_TMPDIR to a folder with a shorter path, such as /tmp"
        )
