"""A real `mlflow server` that can go away and come back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 180.0
"""It takes 5 seconds, and on a busy machine a minute."""


@contextmanager
def running(folder: Path, database: Path, *, artifact_root: str | None = None) -> Iterator["Server"]:
    """A server in an existing folder, over a copy of an empty store, which spares it creating the tables."""
    shutil.copy(database, folder)
    server = Server(folder, artifact_root=artifact_root)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Server:
    """A server on a free port of this machine, over a SQLite store and a folder of artifacts in `folder`."""

    def __init__(self, folder: Path, *, artifact_root: str | None = None) -> None:
        """artifact_root: where clients put the artifacts themselves; default: the server does it for them."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._folder, self._artifact_root = folder, artifact_root
        self._process: subprocess.Popen[bytes] | None = None
        self.uri, self.store = f"http://127.0.0.1:{self._port}", f"sqlite:///{folder}/mlflow.db"

    def start(self) -> None:
        """Start and wait for an answer. Raises TimeoutError, with the end of the server's log, if there is none."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", self.store]
        if self._artifact_root is None:
            command += ["--artifacts-destination", str(self._folder / "blobs")]
        else:
            command += ["--no-serve-artifacts", "--default-artifact-root", self._artifact_root]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, start_new_session=True, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        self.stop()
        raise TimeoutError((self._folder / "server.log").read_text()[-500:])

    def stop(self) -> None:
        """Kill the server at once, with its workers: it has a session of its own."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
