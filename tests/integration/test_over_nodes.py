"""One engine over several nodes: its ranks under Ray's executor, in the placement group of their actor.

The nodes are of this machine and their GPUs are names: vLLM's CPU platform takes them for its devices (`ray_gpus`).
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors, list_placement_groups

from orchestrator.execution import pool
from orchestrator.steps.step import Role, State
from orchestrator.study import Study
from tests import oracles
from tests.conftest import ROOT
from tests.integration import made_up
from tests.integration.made_up import assert_same, hosts, numbers, run, write_study
from tests.integration.test_failures import NUM_STEPS, STUDY, after
from tests.startup.sitecustomize import CHANGES, STARTUP
from tests.watchers import On

pytestmark = [pytest.mark.usefixtures("no_process_outlives_its_driver"), pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a text, pairs, and a study with the model on one device and on two."""
    folder = tmp_path_factory.mktemp("nodes")
    oracles.make_model(folder / "llama", "llama")
    made_up.write_text_and_pairs(folder, made_up.phrases(), num_pairs=60)
    one = STUDY.replace("/llama}}", "/llama, dtype: float32}}")
    write_study(folder, "one.yaml", one)
    write_study(folder, "two.yaml", one.replace("float32}}", "float32, tensor_parallel: 2}}"))
    return folder


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a cluster whose two nodes have one GPU each."""
    monkeypatch.setenv("PYTHONPATH", f"{STARTUP}{os.pathsep}{ROOT}")
    monkeypatch.setenv(CHANGES, "ray_gpus")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": True})
    for _ in range(2):
        cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.wait_for_nodes()
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


def left(address: str) -> list[str]:
    """Actors that live and placement groups that hold something, after a while in which they may go."""
    deadline = time.monotonic() + 30
    while True:
        alive = [actor.class_name for actor in list_actors(address=address, filters=[("state", "=", "ALIVE")])]
        groups = [group.state for group in list_placement_groups(address=address) if group.state != "REMOVED"]
        if not alive + groups or time.monotonic() > deadline:
            return alive + groups
        time.sleep(1)


def test_an_engine_over_two_nodes_gives_the_numbers_of_one_device(root: Path, tmp_path: Path, address: str) -> None:
    # by itself: a local Ray in this process would set another mode of authentication than the cluster has
    alone = run(root / "one.yaml", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    result = Study.open(root / "two.yaml", workdir=tmp_path / "two").run(address=address)
    assert set(result.states.values()) == {State.DONE} and result.computed == NUM_STEPS, result.reasons
    assert_same(numbers(tmp_path / "two", "frail"), numbers(tmp_path / "one", "frail"), rtol=1e-4)
    assert left(address) == []


def test_a_killed_actor_leaves_no_rank_and_no_placement_group(
    root: Path, tmp_path: Path, address: str, no_process_outlives_its_driver: set[int]
) -> None:
    killed, nodes = [], []

    def kill_the_engine() -> None:
        ranks = list_actors(address=address, filters=[("state", "=", "ALIVE"), ("class_name", "=", "RayWorkerProc")])
        nodes.extend(rank.node_id for rank in ranks)
        killed.extend(hosts() - no_process_outlives_its_driver)
        for pid in killed:
            psutil.Process(pid).send_signal(signal.SIGKILL)

    study = Study.open(root / "two.yaml", workdir=tmp_path)
    result = study.run(On(after("evaluate.perplexity", kill_the_engine), address=address))
    assert killed and len(nodes) == len(set(nodes)) == 2, "a rank on each of two nodes"
    assert set(result.states.values()) == {State.DONE}
    assert any("actor lost" in reason for reason in result.reasons.values())
    assert left(address) == []


def test_an_error_on_one_rank_ends_the_engine(
    root: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for the other rank would never end: the test would run into its time limit."""
    monkeypatch.setitem(pool.ACTOR_CLASSES, Role.ABLATION, "tests.failing:IllRank")
    result = Study.open(root / "two.yaml", workdir=tmp_path).run(address=address)
    failed = {result.reasons[step] for step, state in result.states.items() if state is State.FAILED}
    assert failed == {"RuntimeError: rank 1: ValueError: rank one is ill"}
    assert left(address) == []
