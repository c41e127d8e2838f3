"""`ui`: MLflow's interface as a process of its own, of which nothing is left."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.interface import PORTS, free_port, serving
from orchestrator.record.client.failures import RecordError
from orchestrator.record.local_store import sqlite_uri
from orchestrator.record.record import Record
from studies.errors import StudyError
from tests.integration.made_up import Command


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """With a study that was run."""
    folder = tmp_path_factory.mktemp("shown") / ".halfwave"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    record = Record(sqlite_uri(folder / "mlflow.db"), outbox=folder / "spool")
    record.open_study("shown", definition="study: shown\n", resolved={}, environment={})
    record.close("FINISHED")
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=lambda ending: ending.name)
def test_it_shows_the_study_until_it_is_ended_and_leaves_no_process(
    workdir: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "shown", "--workdir", str(workdir), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().strip()
    try:
        host, _, page = address.partition("/#/")
        assert page.startswith("experiments/1/runs?") and host.startswith("http://127.0.0.1:5")
        with urllib.request.urlopen(f"{host}/health", timeout=60) as answer:
            assert answer.read() == b"OK"
        started = family(psutil.Process(process.pid))
        assert len(started) > 1
        listening = {c.laddr.ip for one in started[1:] for c in one.net_connections() if c.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
    finally:
        process.send_signal(ending)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "halfwave: Ctrl-C ends it\n")
    deadline = time.monotonic() + 30
    while (left := [one for one in started if one.is_running() and one.status() != "zombie"]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.2)
    assert not left
    assert sorted(file.name for file in workdir.iterdir()) == ["artifacts", "mlflow.db", "spool"]


def test_a_port_in_use_is_one_line_and_without_one_the_next_is_taken(
    workdir: Path, taken: int, in_process: Command
) -> None:
    refused = in_process("ui", "shown", "--workdir", str(workdir), "--port", str(taken))
    why = f"--port: {taken} cannot be used (Address already in use); name another one, or leave --port out"
    assert refused.code == 2 and refused.err.startswith(f"halfwave: {why}") and refused.err.count("\n") == 1
    first = free_port(None)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # whoever used it has just left
        listener.bind(("127.0.0.1", first))
        listener.listen()
        assert free_port(None) in PORTS[PORTS.index(first) + 1 :]


def test_of_a_tracking_server_the_address_is_printed_and_nothing_started(in_process: Command) -> None:
    answer = in_process("ui", "--tracking-uri", "http://ada:secret@127.0.0.1:1/path", "--no-browser")
    assert (answer.code, answer.out, answer.err) == (0, "http://127.0.0.1:1/path/\n", "")


def test_what_is_not_there_is_one_line_before_anything_starts(
    workdir: Path, in_process: Command, tmp_path: Path
) -> None:
    uri = sqlite_uri(workdir / "mlflow.db")
    with pytest.raises(RecordError, match="has no study 'shawn'; did you mean 'shown'"), serving(uri, "shawn"):
        pass
    absent = in_process("ui", "shown", "--workdir", str(tmp_path))
    assert absent.code == 2 and f"there is no MLflow store at {tmp_path}/mlflow.db; run the study" in absent.err


def test_an_interface_that_ends_at_once_says_its_last_words(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false") or os.devnull)
    words = "does not answer on port [0-9]+: it printed nothing"
    with pytest.raises(StudyError, match=words), serving(sqlite_uri(workdir / "mlflow.db"), ""):
        pass
