"""The simulated clock, the lower bound, and how near to it the scheduler comes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings

from orchestrator.scheduling.cluster import Cluster
from orchestrator.scheduling.estimates import cluster_of, costs
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.scheduling.simulation import Simulation, lower_bound, simulate, simulate_best_order
from orchestrator.steps.step import Role, State, Step
from tests.plans import model, plan
from tests.world import LARGE_NODE, ONE_CPU, Drawn, by_id, make_cluster, make_step, worlds


def run(
    steps: Sequence[Step], seconds: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> Simulation:
    return simulate(by_id(steps), seconds, cluster, states)


def test_a_request_takes_its_opening_and_all_its_steps_and_the_next_one_no_opening() -> None:
    steps = [make_step("x"), make_step("y"), make_step("z", group="h")]
    simulation = run(steps, {"x": 3, "y": 4, "z": 5}, make_cluster([Node("n", 1)], {"a": ONE_CPU}))
    assert [(span.start, span.opened, span.end) for span in simulation.spans] == [(0, 10, 15), (15, 15, 22)]
    assert simulation.makespan == 22 == simulation.bound


def test_models_run_side_by_side_and_the_bound_counts_the_devices() -> None:
    steps = [make_step("x", model="a"), make_step("y", model="b"), make_step("z", model="c")]
    cluster = make_cluster([Node("n", 2)], dict.fromkeys("abc", ONE_CPU))
    simulation = run(steps, {"x": 30, "y": 20, "z": 10}, cluster)
    assert simulation.makespan == 50 and simulation.bound == 45
    spans = [(span.actor_kind.model, span.start, span.end) for span in simulation.spans]
    assert spans == [("a", 0, 40), ("b", 0, 30), ("c", 30, 50)]
    assert simulation.device_seconds(cluster, "b") == 30


def test_a_reload_takes_less_than_opening_an_actor() -> None:
    steps = [make_step("x", model="a"), make_step("y", model="b")]
    cluster = make_cluster([Node("n", 1)], dict.fromkeys("ab", ONE_CPU), {"a": "s", "b": "s"})
    assert run(steps, {"x": 5, "y": 5}, cluster).makespan == 10 + 5 + 2 + 5


def test_cached_steps_take_no_time_and_models_without_room_are_listed() -> None:
    steps = [make_step("x"), make_step("y", inputs=["x"]), make_step("z", model="big", inputs=["x"])]
    cluster = make_cluster([Node("n", 1)], {"a": ONE_CPU, "big": Demand(1, 1)})
    simulation = run(steps, {"x": 100, "y": 5, "z": 5}, cluster, {"x": State.CACHED})
    assert simulation.makespan == 15 and simulation.lacking == {"big": "1 GPUs, 1 CPUs"}


def test_the_bound_is_the_longest_path_or_all_work_spread_evenly() -> None:
    cluster = make_cluster([Node("n", 4)], {"a": ONE_CPU})
    chain = [make_step("x"), make_step("y", inputs=["x"])]
    assert lower_bound(by_id(chain), {"x": 7, "y": 8}, cluster) == 10 + 15
    wide = [make_step(f"w{i}", group="") for i in range(40)]
    assert lower_bound(by_id(wide), {step.id: 10 for step in wide}, cluster) == (400 + 10) / 4


def test_the_bound_knows_that_two_steps_of_too_many_run_in_turn() -> None:
    cluster = make_cluster([Node("n", 4)], {"a": ONE_CPU})
    five = [make_step("first"), *(make_step(f"w{i}", inputs=["first"], group="") for i in range(5))]
    seconds = {"first": 5, **{f"w{i}": 100 - i for i in range(5)}}
    assert lower_bound(by_id(five), seconds, cluster) == 10 + 5 + 97 + 96
    assert lower_bound(by_id(five[:5]), seconds, cluster) == 10 + 5 + 100, "four have room, so the path decides"


def on_actors(steps: Sequence[Step], seconds: Mapping[str, float]) -> dict[str, float]:
    return {step.id: seconds[step.id] for step in steps if step.role is not Role.DRIVER}


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_no_simulated_schedule_is_faster_than_the_bound_beside_a_large_node(drawn: Drawn) -> None:
    steps, seconds, cluster = drawn
    cluster = replace(cluster, nodes=[*cluster.nodes, LARGE_NODE])
    simulation = run(steps, on_actors(steps, seconds), cluster)
    assert not simulation.lacking and simulation.bound <= simulation.makespan + 1e-6


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(worlds())
def test_no_simulated_schedule_is_faster_than_the_bound(drawn: Drawn) -> None:
    steps, seconds, cluster = drawn
    simulation = run(steps, on_actors(steps, seconds), cluster)
    assume(not simulation.lacking)
    assert simulation.bound <= simulation.makespan + 1e-6


def test_the_faster_order_is_chosen() -> None:
    """Two long steps are ready when the profile is done; meanwhile four short ones would take all four devices."""
    profiled = [make_step("x", inputs=["p"], group=""), make_step("y", inputs=["p"], group="")]
    steps = by_id([make_step("p", "profile"), *profiled, *(make_step(f"s{model}", model=model) for model in "bcde")])
    seconds = {"p": 30.0, "x": 200.0, "y": 200.0} | {f"s{model}": 90.0 for model in "bcde"}
    cluster = make_cluster([Node("n", 4)], dict.fromkeys("abcde", ONE_CPU))
    chosen, simulation = simulate_best_order(steps, seconds, cluster)
    assert chosen == replace(cluster, longest_first=True)
    assert simulation == simulate(steps, seconds, chosen)
    assert simulation.makespan < simulate(steps, seconds, cluster).makespan
    short = dict.fromkeys(steps, 1.0)
    assert simulate_best_order(steps, short, cluster)[0] == cluster


@pytest.mark.parametrize("num_gpus", [1, 2, 8])
def test_the_plan_of_a_study_comes_near_its_bound(num_gpus: int) -> None:
    """Eight models with steps of ten minutes; with more than a GPU a model, such steps cannot be divided evenly."""
    study_plan = plan(models=[model(f"m{i}", digest=f"d{i}") for i in range(8)])
    nodes = [Node(f"n{i}", 64, min(8, num_gpus)) for i in range(max(1, num_gpus // 8))]
    cluster = cluster_of(study_plan, nodes)
    seconds = {name: 600.0 for name in costs(study_plan, cluster)}
    simulation = simulate(study_plan.steps, seconds, cluster)
    assert simulation.bound <= simulation.makespan + 1e-6 <= 1.15 * simulation.bound
