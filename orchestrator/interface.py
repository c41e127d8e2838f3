"""MLflow's interface on a store, for as long as somebody looks at it: the work behind `ui`.

Owns the process of the interface: one session of its own, which listens on the loopback alone, and of which nothing is
left when `serving` ends, however it ends. The tracking URI goes to it through the environment, where other users of the
machine do not see its password.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from orchestrator.record.client.failures import Unreachable
from orchestrator.record.local_store import locate
from orchestrator.record.mlflow_store import Store
from orchestrator.record.pages import links
from studies.errors import StudyError, one_line

START_SECONDS = 180.0
"""It takes 5 seconds, and on a busy machine a minute."""
END_SECONDS = 10.0
"""How long it may take to end before it is killed."""
PORTS = range(links.PORT, links.PORT + 20)
"""Tried in turn where no port is named."""
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end the interface as Ctrl-C does."""


class Interface(NamedTuple):
    """What to open."""

    address: str
    """Of the study's runs, or of the whole store."""
    process: subprocess.Popen[bytes] | None
    """None where a tracking server shows itself."""
    output: IO[bytes] | None
    """What the process prints."""

    def wait(self) -> None:
        """Wait until the interface ends, which is an error: nobody has asked for it."""
        if self.process is not None:
            self.process.wait()
            raise StudyError(f"MLflow's interface has ended by itself: {self.last_words}")

    @property
    def last_words(self) -> str:
        """The last line that the process has printed."""
        if self.output is None:
            return ""
        self.output.seek(0)
        lines = self.output.read().decode(errors="replace").strip().splitlines()
        return one_line(lines[-1]) if lines else "it printed nothing"


@contextlib.contextmanager
def serving(uri: str, study: str, *, port: int | None = None) -> Iterator[Interface]:
    """MLflow's interface on the store of a tracking URI, at a study, or with an empty name at all of it.

    port: None = the first free one of `PORTS`. A signal of `ENDING` raises KeyboardInterrupt meanwhile. StudyError for
    a port that is in use, a study that there is not, and an interface that does not answer.
    """
    store = Store(uri)
    page = _page(store, study)
    if store.is_server:
        yield Interface(links.printed(store.server_uri, page), None, None)
        return
    with contextlib.suppress(Unreachable):  # a store that cannot be written is shown as it is
        store.relocate()
    port = free_port(port)
    with _interrupted_by(ENDING), tempfile.TemporaryFile() as output, _running(uri, port, output) as process:
        interface = Interface(links.printed(f"http://{links.LOOPBACK}:{port}", page), process, output)
        _wait_for_answer(interface, port)
        yield interface


def _page(store: Store, study: str) -> str:
    """The hash address of a study's runs."""
    if not study:
        return ""
    experiment = store.experiment(study)
    if experiment is None:
        raise store.unknown_study(study)
    return links.view_address(experiment.experiment_id)


def free_port(port: int | None) -> int:
    """The port, or the first free one of `PORTS`; StudyError if it is in use, or if they all are."""
    for candidate in PORTS if port is None else (port,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: no waiting for old peers
            try:
                probe.bind((links.LOOPBACK, candidate))
            except OSError as error:
                why = error.strerror
            else:
                return candidate
    if port is None:
        raise StudyError(f"no port from {PORTS[0]} to {PORTS[-1]} is free ({why}); name another one with --port")
    raise StudyError(f"--port: {port} cannot be used ({why}); name another one, or leave --port out for the next free")


@contextlib.contextmanager
def _running(uri: str, port: int, output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process of the interface, in the folder of the store; it and all that it has started end with the context."""
    location = locate(uri)
    words = ["--host", links.LOOPBACK, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", *words],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=location.database.parent if location.database else Path.cwd(),
        start_new_session=True,
        env=os.environ
        | {
            "MLFLOW_BACKEND_STORE_URI": location.uri,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # processes that this interface has no use for
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its session: first asked to, then killed."""
    with _ignored((signal.SIGINT, *ENDING)):
        for asked in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + END_SECONDS
            while time.monotonic() < deadline:
                try:
                    os.killpg(process.pid, asked)
                except ProcessLookupError:
                    break
                process.poll()
                time.sleep(0.1)
        process.wait()


def _wait_for_answer(interface: Interface, port: int) -> None:
    """Wait until the interface answers. StudyError, with what it said last, if it ends before, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    process = interface.process
    while process is not None and process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(links.LOOPBACK, port, timeout=2)  # no proxy stands in between
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
        finally:
            connection.close()
    raise StudyError(f"MLflow's interface does not answer on port {port}: {interface.last_words}")


@contextlib.contextmanager
def _interrupted_by(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Within, these signals raise KeyboardInterrupt, unless they are ignored (nohup)."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {one: signal.getsignal(one) for one in signals}
    try:
        for one, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(one, interrupt)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextlib.contextmanager
def _ignored(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Within, these signals do nothing: a second Ctrl-C leaves no process behind."""
    before = {one: signal.signal(one, signal.SIG_IGN) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
