"""What goes wrong on real processes: the numbers of the undisturbed run, or one clear line; nothing committed is lost.

Nodes, actors and drivers that go are in `test_cluster` and `test_study`.
"""

import errno
import os
import re
import signal
import subprocess
import time
from threading import Timer

import psutil
import pytest
from mlflow import MlflowClient

from orchestrator.execution import pool
from orchestrator.steps.step import Role, State
from orchestrator.study import Study
from tests import oracles
from tests.integration import made_up
from tests.integration.made_up import assert_same, hosts, numbers, run, write_study
from tests.mlflow_server import Server
from tests.startup.sitecustomize import CHANGES, NOTED, STARTUP
from tests.watchers import On

pytestmark = [pytest.mark.usefixtures("no_process_outlives_its_driver"), pytest.mark.long, pytest.mark.timeout(900)]

STUDY = """\
study: frail
models:
  - {{path: {root}/llama}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top:    {{select: top, fraction: 0.1, clamp: zero}}
  random: {{select: random, like: top, seeds: [0, 1], clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
noise_floor: false
"""
NUM_STEPS = 1 + 3 + 2 * 4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a tiny model, a text, pairs, and the study with and without tensor parallelism."""
    folder = tmp_path_factory.mktemp("frail")
    oracles.make_model(folder / "llama", "llama")
    made_up.write_text_and_pairs(folder, made_up.phrases(), num_pairs=60)
    write_study(folder, "frail.yaml", STUDY)
    write_study(folder, "frail_tp.yaml", STUDY.replace("/llama}}", "/llama, tensor_parallel: 2}}"))
    return folder


@pytest.fixture(scope="module")
def expected(root):
    """The numbers of the study run once, in peace."""
    done = Study.open(root / "frail.yaml", workdir=root / "undisturbed").run()
    assert done.computed == NUM_STEPS
    return numbers(root / "undisturbed", "frail")


def after(name: str, act):
    """A listener that calls `act()` once, when the first step of this name is done."""
    done = []

    def listener(step, state, remark):
        if step.name == name and state is State.DONE and not done:
            done.append(step)
            act()

    return listener


def as_they_begin(name: str, act):
    """A listener that calls `act()` once, when steps are sent to an actor after the first of this name was done."""
    armed = []
    first = after(name, lambda: armed.append(name))

    def listener(step, state, remark):
        first(step, state, remark)
        if armed and state is State.RUNNING and step.name.startswith("evaluate"):
            armed.clear()
            act()

    return listener


def ended(result) -> set[State]:
    return set(result.states.values())


def test_a_hanging_engine_is_given_up_and_replaced(root, tmp_path, expected, no_process_outlives_its_driver):
    stopped = []

    def hang():
        for pid in hosts() - no_process_outlives_its_driver:
            stopped.append(pid)
            os.kill(pid, signal.SIGSTOP)

    study = Study.open(root / "frail.yaml", workdir=tmp_path)
    result = study.run(On(as_they_begin("evaluate.perplexity", hang)), silence_seconds=120)
    assert stopped and ended(result) == {State.DONE}
    assert any("no sign of life for 120 s" in reason for reason in result.reasons.values())
    assert not [pid for pid in stopped if psutil.pid_exists(pid)], "what hangs is killed, too"
    assert_same(numbers(tmp_path, "frail"), expected)


def test_packs_that_do_not_fit_are_made_smaller_for_all_conditions(root, tmp_path, expected, monkeypatch, caplog):
    monkeypatch.setitem(pool.ACTOR_CLASSES, Role.ABLATION, "tests.failing:SmallDevice")
    result = Study.open(root / "frail.yaml", workdir=tmp_path).run()
    assert ended(result) == {State.DONE}
    assert "out of memory in a pack of" in caplog.text and "for all conditions" in caplog.text
    record = Study.open(root / "frail.yaml", workdir=tmp_path).record()
    sizes = {
        (step, tags[f"pack_nodes.{step}"])
        for (_, condition, step), committed in record.latest("frail").items()
        if step.startswith("evaluate.")
        for tags in [committed.tags]
    }
    assert len(sizes) == 2, "one size a benchmark"
    assert_same(numbers(tmp_path, "frail"), expected, rtol=1e-4)
    assert Study.open(root / "frail.yaml", workdir=tmp_path).run().computed == 0


def test_an_error_on_one_rank_is_told_and_ends_the_engine(root, tmp_path, monkeypatch):
    """Waiting for the other rank would never end: the test would run into its time limit."""
    monkeypatch.setitem(pool.ACTOR_CLASSES, Role.ABLATION, "tests.failing:IllRank")
    result = Study.open(root / "frail_tp.yaml", workdir=tmp_path).run()
    failed = {result.reasons[step] for step, state in result.states.items() if state is State.FAILED}
    assert failed == {"RuntimeError: rank 1: ValueError: rank one is ill"}
    assert [state for state in result.states.values() if state is State.DONE], "what was computed is kept"


@pytest.mark.parametrize("study_file", ["frail.yaml", "frail_tp.yaml"])
def test_a_gpu_that_is_full_at_first_is_tried_again(root, tmp_path, expected, monkeypatch, study_file):
    monkeypatch.setenv("PYTHONPATH", STARTUP)
    monkeypatch.setenv(CHANGES, "gpu_full_at_first")
    monkeypatch.setenv(NOTED, str(tmp_path / "full"))
    said = []
    study = Study.open(root / study_file, workdir=tmp_path)
    result = study.run(On(lambda step, state, remark: said.append(remark)))
    assert ended(result) == {State.DONE}
    assert any("no actor (llama: Free memory on device cuda:0 (1.0/80.0 GiB)" in remark for remark in said)
    assert_same(numbers(tmp_path, "frail"), expected, rtol=1e-4)


def test_a_killed_worker_process_is_replaced_with_its_engine(root, tmp_path, expected, no_process_outlives_its_driver):
    killed = []

    def kill_a_worker():
        for pid in hosts() - no_process_outlives_its_driver:
            if "VLLM" in " ".join(psutil.Process(pid).cmdline()) and not killed:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    study = Study.open(root / "frail_tp.yaml", workdir=tmp_path)
    result = study.run(On(after("evaluate.perplexity", kill_a_worker)))
    assert killed and ended(result) == {State.DONE}
    assert any("a worker process of the engine is gone" in reason for reason in result.reasons.values())
    assert_same(numbers(tmp_path, "frail"), expected, rtol=1e-4)


def test_a_corpus_in_shards_outlives_one_of_their_actors(root, tmp_path, expected, no_process_outlives_its_driver):
    study_file = write_study(root, "shards.yaml", STUDY.replace("/llama}}", "/llama, shards: 2}}"))
    killed = []

    def kill_the_second(step, progress):
        if step.name == "profile" and not killed:
            both = sorted(hosts() - no_process_outlives_its_driver)
            assert len(both) == 2
            killed.append(both[-1])
            os.kill(both[-1], signal.SIGKILL)

    result = Study.open(study_file, workdir=tmp_path).run(On(report=kill_the_second))
    assert killed and ended(result) == {State.DONE}
    assert [reason for reason in result.reasons.values() if "actor lost" in reason]
    assert_same(numbers(tmp_path, "frail"), expected)


def test_the_tracking_server_may_be_away_for_two_minutes(root, tmp_path, expected, caplog):
    server, back = Server(tmp_path), []
    server.start()

    def come_back():
        server.start()
        back.append(time.monotonic())

    def go_away():
        server.stop()
        Timer(120, come_back).start()

    try:
        study = Study.open(root / "frail.yaml", workdir=tmp_path / "work", tracking_uri=server.uri)
        result = study.run(On(after("profile", go_away)))
        assert back and "does not answer" in caplog.text and "waiting for it" in caplog.text
        assert ended(result) == {State.DONE} and result.computed == NUM_STEPS and not result.unsent
        assert_same(numbers(tmp_path, "frail"), expected)
    finally:
        server.stop()


def test_a_lost_head_is_one_line_and_the_runs_are_closed(root, tmp_path, expected):
    driver = subprocess.Popen(
        made_up.command(root / "frail.yaml", tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in driver.stdout:
        if line.startswith("DONE") and "profile" in line:
            kill_the_head(driver.pid)
    complaint = driver.stderr.read()
    assert driver.wait() == 2 and "Traceback" not in complaint, complaint
    assert re.fullmatch(
        r"halfwave: the head of the Ray cluster at 127\.0\.0\.1:\d+ does not answer any more; what was committed is "
        "kept, run again to resume",
        complaint.strip().splitlines()[-1],
    )
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert runs and not [run.info.run_id for run in runs if run.info.status == "RUNNING"]
    again = run(root / "frail.yaml", tmp_path)
    assert again.returncode == 0, again.stderr
    assert_same(numbers(tmp_path, "frail"), expected)


def kill_the_head(driver: int) -> None:
    for process in psutil.Process(driver).children(recursive=True):
        if process.name() == "gcs_server":
            process.kill()


def test_an_actor_outlives_a_driver_that_is_stopped_for_longer_than_it_may_be_silent(root, tmp_path, expected):
    called = made_up.command(root / "frail.yaml", tmp_path, "run", "--silence", "20")
    driver = subprocess.Popen(called, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in driver.stdout:
        lines.append(line)
        if line.startswith("DONE") and "profile" in line:
            os.kill(driver.pid, signal.SIGSTOP)
            time.sleep(40)
            os.kill(driver.pid, signal.SIGCONT)
    assert driver.wait() == 0, driver.stderr.read()
    assert not [line for line in lines if "no sign of life" in line]
    assert_same(numbers(tmp_path, "frail"), expected)


def test_a_closed_terminal_closes_the_runs(root, tmp_path):
    driver = subprocess.Popen(
        made_up.command(root / "frail.yaml", tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in driver.stdout:
        if line.startswith("DONE") and "profile" in line:
            os.kill(driver.pid, signal.SIGHUP)
    assert driver.wait() == 130, driver.stderr.read()
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert runs and {run.info.status for run in runs} <= {"KILLED", "FINISHED"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk to fill: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_one_line_and_nothing_committed_is_lost(root, small_disk, expected):
    workdir, ballast = small_disk / "work", small_disk / "ballast"
    driver = subprocess.Popen(
        made_up.command(root / "frail.yaml", workdir), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    committed = set()
    for line in driver.stdout:
        if line.startswith("DONE"):
            committed.add(line.split()[1])
            if "profile" in line:
                fill(ballast)
    complaint = driver.stderr.read()
    assert driver.wait() == 2 and "Traceback" not in complaint, complaint
    assert "No space left on device" in complaint.strip().splitlines()[-1], complaint
    ballast.unlink()
    again = run(root / "frail.yaml", workdir)
    assert again.returncode == 0, again.stderr
    assert committed <= {line.split()[1] for line in again.stdout.splitlines() if line.startswith("HIT")}
    assert_same(numbers(workdir, "frail"), expected)


def fill(ballast) -> None:
    """To the last byte."""
    with open(ballast, "wb", buffering=0) as file:
        for size in (2**16, 2**10, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


def test_a_damaged_artifact_is_noticed_and_computed_again(root, tmp_path, expected):
    assert Study.open(root / "frail.yaml", workdir=tmp_path).run().computed == NUM_STEPS
    (table,) = (tmp_path / "artifacts").rglob("neurons.parquet")
    table.write_bytes(table.read_bytes()[:-100])  # as a crash of the machine leaves it
    result = Study.open(root / "frail.yaml", workdir=tmp_path).run()
    again = [step for step, state in result.states.items() if state is State.DONE]
    assert [result.reasons[step] for step in again] == ["its recorded artifacts are damaged"]
    assert_same(numbers(tmp_path, "frail"), expected)


def test_an_actor_opened_ahead_may_die_like_any_other(root, tmp_path, expected, no_process_outlives_its_driver, caplog):
    """The baseline is known, so while the corpus is scored anew, there is nothing to do but to open the engine."""
    text = STUDY.replace("/llama}}", "/llama, cpus: 1}}")
    before = write_study(root, "ahead.yaml", text.replace("bins: 256", "bins: 128"))
    assert ended(Study.open(before, workdir=tmp_path).run()) == {State.DONE}
    killed = []

    def kill_both(step, progress):
        if step.name != "profile" or killed:
            return
        deadline = time.monotonic() + 60
        while len(killed) < 2 and time.monotonic() < deadline:
            killed[:] = sorted(hosts() - no_process_outlives_its_driver)
            time.sleep(0.5)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    result = Study.open(write_study(root, "ahead.yaml", text), workdir=tmp_path).run(On(report=kill_both))
    assert len(killed) == 2 and ended(result) <= {State.DONE, State.CACHED}
    assert "llama ablation 0 failed while it was opened ahead of its first step" in caplog.text
    assert_same(numbers(tmp_path, "frail"), expected)
