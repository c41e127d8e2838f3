"""The simulated clock, the lower bound, and how near to it the scheduler comes."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings

from orchestrator.scheduling.estimates import cluster_of, costs
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.scheduling.simulation import in_the_better_order, lower_bound, simulate
from orchestrator.steps.step import Role, State
from tests.unit.orchestrator.planning.test_plan import model, plan
from tests.world import ONE, cluster, step, worlds


def run(steps, seconds, where, states=()):
    return simulate({one.id: one for one in steps}, seconds, where, dict(states))


def test_a_request_takes_its_opening_and_all_its_steps_and_the_next_one_no_opening():
    found = run(
        [step("x"), step("y"), step("z", group="h")], {"x": 3, "y": 4, "z": 5}, cluster([Node("n", 1)], {"a": ONE})
    )
    assert [(span.start, span.opened, span.end) for span in found.spans] == [(0, 10, 15), (15, 15, 22)]
    assert found.makespan == 22 == found.bound


def test_models_lie_side_by_side_and_the_bound_counts_the_devices():
    steps = [step("x", model="a"), step("y", model="b"), step("z", model="c")]
    where = cluster([Node("n", 2)], dict.fromkeys("abc", ONE))
    found = run(steps, {"x": 30, "y": 20, "z": 10}, where)
    assert found.makespan == 50 and found.bound == 45
    spans = [(span.actor_kind.model, span.start, span.end) for span in found.spans]
    assert spans == [("a", 0, 40), ("b", 0, 30), ("c", 30, 50)]
    assert found.device_seconds(where, "b") == 30


def test_another_checkpoint_takes_an_engine_over_for_less_than_it_would_take_to_open_one():
    steps = [step("x", model="a"), step("y", model="b")]
    found = run(steps, {"x": 5, "y": 5}, cluster([Node("n", 1)], dict.fromkeys("ab", ONE), {"a": "s", "b": "s"}))
    assert found.makespan == 10 + 5 + 2 + 5


def test_what_is_cached_takes_no_time_and_what_fits_nowhere_is_told():
    steps = [step("x"), step("y", inputs=["x"]), step("z", model="big", inputs=["x"])]
    where = cluster([Node("n", 1)], {"a": ONE, "big": Demand(1, 1)})
    found = run(steps, {"x": 100, "y": 5, "z": 5}, where, {"x": State.CACHED})
    assert found.makespan == 15 and found.lacking == {"big": "1 GPUs, 1 CPUs"}


def test_no_schedule_can_be_faster_than_the_bound():
    where = cluster([Node("n", 4)], {"a": ONE})
    chain = [step("x"), step("y", inputs=["x"])]
    assert lower_bound({one.id: one for one in chain}, {"x": 7, "y": 8}, where) == 10 + 15
    wide = [step(f"w{i}", group="") for i in range(40)]
    assert lower_bound({one.id: one for one in wide}, {one.id: 10 for one in wide}, where) == (400 + 10) / 4


def test_two_of_the_steps_that_do_not_fit_side_by_side_run_in_turn():
    where = cluster([Node("n", 4)], {"a": ONE})
    five = [step("first"), *(step(f"w{i}", inputs=["first"], group="") for i in range(5))]
    costs = {"first": 5, **{f"w{i}": 100 - i for i in range(5)}}
    assert lower_bound({one.id: one for one in five}, costs, where) == 10 + 5 + 97 + 96
    assert lower_bound({one.id: one for one in five[:5]}, costs, where) == 10 + 5 + 100, "four are the longest path"


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_no_order_of_the_scheduler_comes_below_the_bound(world):
    steps, costs, where = world
    found = run(steps, {one.id: costs[one.id] for one in steps if one.role is not Role.DRIVER}, where)
    assume(not found.lacking)
    assert found.bound <= found.makespan + 1e-6


def test_the_order_is_the_one_that_takes_less():
    """Two long steps come when the profile is done; meanwhile four short ones would take all four devices."""
    steps = [step("p", "profile"), step("x", inputs=["p"], group=""), step("y", inputs=["p"], group="")]
    steps += [step(f"s{model}", model=model) for model in "bcde"]
    by_id = {one.id: one for one in steps}
    seconds = {"p": 30.0, "x": 200.0, "y": 200.0} | {f"s{model}": 90.0 for model in "bcde"}
    where = cluster([Node("n", 4)], dict.fromkeys("abcde", ONE))
    chosen, found = in_the_better_order(by_id, seconds, where)
    assert chosen == replace(where, longest_first=True)
    assert found == simulate(by_id, seconds, chosen)
    assert found.makespan < simulate(by_id, seconds, where).makespan
    short = dict.fromkeys(by_id, 1.0)
    assert in_the_better_order(by_id, short, where)[0] == where


@pytest.mark.parametrize("num_gpus", [1, 2, 8])
def test_the_plan_of_a_study_comes_near_its_bound(num_gpus):
    """Eight models with steps of ten minutes; beyond one GPU a model, steps of this size cannot be divided evenly."""
    found = plan(models=[model(f"m{i}", digest=f"d{i}") for i in range(8)])
    nodes = [Node(f"n{i}", 64, min(8, num_gpus)) for i in range(max(1, num_gpus // 8))]
    where = cluster_of(found, nodes)
    seconds = {name: 600.0 for name in costs(found, where)}
    simulated = simulate(found.steps, seconds, where)
    assert simulated.bound <= simulated.makespan + 1e-6 <= 1.15 * simulated.bound
