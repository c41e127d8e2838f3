"""A study on several nodes (`ray.cluster_utils.Cluster`), with nodes, actors and drivers that go: the same numbers."""

import json
import os
import signal
import subprocess
from dataclasses import replace

import pytest
import ray
from ray.cluster_utils import Cluster

from orchestrator.execution import session
from orchestrator.steps.step import State
from orchestrator.study import Study
from tests import oracles
from tests.integration import made_up
from tests.integration.made_up import assert_same, command, hosts, numbers, run, write_study
from tests.watchers import On

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

FAMILIES = ("llama", "gpt_neox", "qwen3", "gpt2")

SMALL = """\
study: small
models:
  - {{path: {root}/llama, cpus: 1}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
"""

WIDE = """\
study: wide
models:
  - {{path: {root}/llama, cpus: 1}}
  - {{path: {root}/gpt_neox, cpus: 1}}
  - {{path: {root}/qwen3, cpus: 1}}
  - {{path: {root}/gpt2, cpus: 1}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top:    {{select: top, fraction: [0.05, 0.1, 0.15, 0.2], clamp: zero}}
  random: {{select: random, like: top, seeds: [0, 1, 2], clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 1280}}
  - pairs: {root}/pairs.jsonl
noise_floor: false
"""
"""204 steps: for each of four models a profile, 16 neuron sets, and 17 conditions on two benchmarks."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with tiny models of four families, a text and pairs."""
    folder = tmp_path_factory.mktemp("cluster")
    for family in FAMILIES:
        oracles.make_model(folder / family, family)
    made_up.write_text_and_pairs(folder, made_up.phrases(), num_pairs=60)
    return folder


@pytest.fixture
def three_nodes():
    """A head that holds no actor, and two nodes of two CPUs each; more can be added."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.workers = [cluster.add_node(num_cpus=2) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.long
def test_a_second_driver_is_refused_while_the_first_runs_and_ctrl_c_drains(root, tmp_path):
    study_file = write_study(root, "small.yaml", SMALL)
    first = subprocess.Popen(command(study_file, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in first.stdout:
        if line.startswith("RUN") and "profile" in line:
            break
    second = run(study_file, tmp_path)
    assert second.returncode == 2 and "Traceback" not in second.stderr
    assert f"study 'small' is being run by process {first.pid} on " in second.stderr.strip().splitlines()[-1]
    first.send_signal(signal.SIGINT)
    told, _ = first.communicate(timeout=200)
    assert first.returncode == 130 and "Traceback" not in told, told
    _, found, afterwards = told.partition("finishing what runs, starting nothing more")
    assert found and "\nDONE" in afterwards, "what ran was finished"
    assert "\nRUN" not in afterwards, "nothing was started"
    plan = subprocess.run(command(study_file, tmp_path, "plan", "--json"), capture_output=True, text=True, check=True)
    assert any(step["cached"] and "profile" in step["step"] for step in json.loads(plan.stdout)["steps"])


@pytest.mark.long
@pytest.mark.timeout(900)
def test_both_orders_of_the_scheduler_give_the_same_numbers(root, tmp_path, monkeypatch):
    llama = "  - {{path: {root}/llama, cpus: 1}}\n"
    two = SMALL.replace("study: small", "study: two").replace(llama, llama + llama.replace("llama", "gpt_neox"))
    study_file, found = write_study(root, "two.yaml", two), []
    for longest_first in (False, True):

        def order(steps, costs, cluster, states, longest_first=longest_first):
            return replace(cluster, longest_first=longest_first), None

        monkeypatch.setattr(session, "simulate_best_order", order)
        result = Study.open(study_file, workdir=tmp_path / str(longest_first)).run()
        assert set(result.states.values()) == {State.DONE}
        found.append(numbers(tmp_path / str(longest_first), "two"))
    assert_same(*found)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_study_survives_a_node_an_actor_and_its_driver(root, tmp_path, three_nodes, no_process_outlives_its_driver):
    study_file = write_study(root, "wide.yaml", WIDE)
    calm = run(study_file, tmp_path / "calm", "--address", three_nodes.address, timeout=1500)
    assert calm.returncode == 0, calm.stderr
    ended = [line for line in calm.stdout.splitlines() if line.startswith("DONE")]
    assert len(ended) == 4 * (1 + 16 + 17 * 2) == 204

    killed, done = [], []
    driver = subprocess.Popen(
        command(study_file, tmp_path / "stormy", "run", "--address", three_nodes.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in driver.stdout:
        done += [line.split()[1]] if line.startswith("DONE") else []
        if line.startswith("DONE") and "evaluate" in line and not killed:
            killed.append("node")
            three_nodes.remove_node(three_nodes.workers[0], allow_graceful=False)
            three_nodes.workers[0] = three_nodes.add_node(num_cpus=2)
        elif line.startswith("DONE") and "evaluate" in line and killed == ["node"] and len(done) > 90:
            killed.append("driver")
            break
    assert killed == ["node", "driver"]
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()

    victims = []

    def kill_one_actor(step, state, remark):
        if state is State.DONE and "evaluate" in step.name and not victims:
            victims.append(sorted(hosts() - no_process_outlives_its_driver)[0])
            os.kill(victims[0], signal.SIGKILL)

    result = Study.open(study_file, workdir=tmp_path / "stormy").run(On(kill_one_actor), address=three_nodes.address)
    assert victims and set(result.states.values()) <= {State.DONE, State.CACHED}
    again = {step[:8] for step, state in result.states.items() if state is State.DONE}
    assert not again & set(done), "a committed step was computed again"
    assert_same(numbers(tmp_path / "stormy", "wide"), numbers(tmp_path / "calm", "wide"))
