"""Jobs on a real cluster of one node that demands a token.

The cluster's `halfwave` is a shell script: it prints what it was given, then runs the uploaded project's file `act`,
which starts the real `halfwave` where a test wants that.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.study import Study
from studies.errors import StudyError
from tests import oracles
from tests.integration import made_up

HALFWAVE = """\
#!/bin/sh
echo "given: $*"
echo "files: $(find . -type f | sort | tr '\\n' ' ')"
echo "variables: $HF_HUB_OFFLINE, ${ASKED-unset}, ${UNASKED-unset}, $MLFLOW_TRACKING_URI"
. ./act
"""
WAIT = """\
trap 'echo drained > {witness}; exit 130' INT
trap 'echo closed > {witness}; exit 130' TERM
echo waiting
while :; do sleep 0.1; done
"""
REAL = f'exec {sys.executable} -m orchestrator.cli "$@"\n'
STUDY = """\
study: tiny
models:
  - {{path: {root}/llama}}
profile: {{corpus: text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  treated: {{select: top, fraction: 0.1, clamp: negative}}
evaluate:
  - perplexity: {{corpus: text.txt, window: 64, tokens: 1280}}
  - pairs: pairs.jsonl
noise_floor: false
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment of a user of the cluster; RAY_ADDRESS is Ray's own port, DASHBOARD the job server's URL."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # a short path: Ray puts its sockets there
    script = folder / "bin" / "halfwave"
    script.parent.mkdir()
    script.write_text(HALFWAVE)
    script.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    user = {
        **inherited,
        **{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"},
    }
    nodes = {
        **user,
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "RAY_raylet_start_wait_time_s": "120",  # busy machines
        "RAY_agent_register_timeout_ms": "120000",
    }
    port, dashboard, client = free_ports(3)
    start = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
        *(f"--temp-dir={folder}", f"--port={port}", f"--dashboard-port={dashboard}", "--dashboard-agent-listen-port=0"),
        *(f"--ray-client-server-port={client}", f"--object-store-memory={80 * 2**20}"),
    ]
    log = folder / "start.log"
    with log.open("w") as out:
        head = subprocess.Popen(start, env=nodes, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "Ray runtime started" in log.read_text() or head.poll() is not None, "started head", 150)
        assert head.poll() is None, log.read_text()
        yield {**user, "RAY_ADDRESS": f"127.0.0.1:{port}", "DASHBOARD": f"http://127.0.0.1:{dashboard}"}
    finally:
        started = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
        head.terminate()  # it ends the processes that it has started
        head.wait(60)
        for survivor in psutil.wait_procs(started, timeout=20)[1]:
            survivor.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a study, and with folders that are never uploaded."""
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=30)
    for name in ("pyproject.toml", ".halfwave/mlflow.db", ".models/m/config.json", ".venv/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    made_up.write_study(tmp_path, "study.yaml", STUDY)
    return tmp_path


def free_ports(count: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def wait_for(done: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.2)


def command(project: Path, cluster: dict[str, str], *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "orchestrator.cli", "submit", str(project / "study.yaml")),
        *("--address", cluster["DASHBOARD"], *options),
    ]


def submit(
    project: Path, cluster: dict[str, str], act: str, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `halfwave submit`; `act`: what the job does."""
    (project / "act").write_text(act)
    return subprocess.run(
        command(project, cluster, *options),
        env={**cluster, **variables}, cwd=project, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def test_the_job_gets_the_project_and_the_named_variables_and_its_exit_code_is_ours(
    project: Path, cluster: dict[str, str]
) -> None:
    done = submit(
        project, cluster, "exit 1", "--env", "ASKED", "--model-root", "/mnt/models", "--data-root", ".",
        HF_HUB_OFFLINE="1", ASKED="yes", UNASKED="no", MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:5000",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "given: run study.yaml --address auto --data-root . --model-root /mnt/models" in lines
    assert "files: ./act ./pairs.jsonl ./pyproject.toml ./study.yaml ./text.txt " in lines
    assert "variables: 1, yes, unset, http://user:secret@127.0.0.1:5000" in lines
    (entrypoint,) = (line for line in lines if "Running entrypoint" in line)
    assert "secret" not in entrypoint


def test_a_mistake_that_only_the_cluster_sees_is_one_line_and_exit_code_2(
    project: Path, cluster: dict[str, str]
) -> None:
    done = submit(project, cluster, REAL, "--workdir", str(project / "work"))
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("halfwave: "))
    assert "study.yaml:3: models.0" in line and "no model folder" in line
    assert "Traceback" not in done.stdout + done.stderr


def test_no_wait_prints_the_id_alone_and_ctrl_c_stops_a_followed_job_in_order(
    project: Path, cluster: dict[str, str]
) -> None:
    witness = project / "witness"
    (project / "act").write_text(WAIT.format(witness=witness))
    sent = submit(project, cluster, "exit 0", "--no-wait", "--workdir", "/w")
    assert sent.returncode == 0 and sent.stdout.startswith("raysubmit_") and len(sent.stdout.split()) == 1
    (project / "act").write_text(WAIT.format(witness=witness))
    following = subprocess.Popen(
        command(project, cluster, "--workdir", "/w"),
        env=cluster, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert any(line == "waiting\n" for line in following.stdout)
    following.send_signal(signal.SIGINT)
    _, complaint = following.communicate(timeout=300)
    assert following.returncode == 130
    assert "asked to stop" in complaint and "submit again to resume" in complaint and "Traceback" not in complaint
    assert witness.read_text() == "closed\n"


def test_a_cluster_that_does_not_accept_our_token_is_one_line_and_exit_code_2(
    project: Path, cluster: dict[str, str]
) -> None:
    done = submit(project, {**cluster, "RAY_AUTH_TOKEN": "wrong"}, "exit 0", "--workdir", "/w")
    assert done.returncode == 2 and done.stdout == ""
    assert "the cluster does not accept our token; set RAY_AUTH_MODE=token" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_at_an_address_where_nobody_answers_fails_at_once(project: Path, tmp_path: Path) -> None:
    oracles.make_model(tmp_path / "llama", "llama")
    study = Study.open(project / "study.yaml", workdir=tmp_path / "work")
    with pytest.raises(StudyError) as error:
        study.run(address="127.0.0.1:1")
    assert str(error.value) == (
        "--address 127.0.0.1:1: nothing answers there (Connection refused); is the cluster up, and its port forwarded?"
    )


@pytest.mark.long
@pytest.mark.usefixtures("no_process_outlives_its_driver")
def test_a_whole_study_runs_as_a_job_and_a_second_job_finds_it_done(
    project: Path, cluster: dict[str, str], tmp_path: Path
) -> None:
    oracles.make_model(tmp_path / "llama", "llama")
    options = (REAL, "--workdir", str(tmp_path / "kept"))
    first = submit(project, cluster, *options)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "steps computed, 0 cached" in first.stdout
    second = submit(project, cluster, *options)
    assert second.returncode == 0 and "\n0 steps computed" in second.stdout
