"""The results of a sweep: assembled pack by pack, resumed from parts, and one failed step apart from the others."""

import numpy as np
import pytest

from actors.ablation.sweep_results import SweepResults
from actors.ablation.token_tree import PackPlan, plan_packs
from actors.messages.ablation import Part

STEPS = ["a", "b"]


def make_plan(max_nodes: int = 4) -> PackPlan:
    sequences = [np.random.default_rng(i).integers(0, 3, 6) for i in range(8)]
    return plan_packs(sequences, np.ones(8), max_nodes)


def numbers(plan: PackPlan, pack: int, row: int, margins: bool = False) -> np.ndarray:
    """Distinct numbers for every edge of a pack."""
    shape = ((2,) if margins else ()) + (len(plan.packs[pack].rows),)
    return (1000 * pack + 100 * row + np.arange(np.prod(shape)).reshape(shape)).astype(np.float32)


def add(results: SweepResults, plan: PackPlan, packs: range, margins: bool = False) -> None:
    for pack in packs:
        results.add({row: numbers(plan, pack, row, margins).tobytes() for row in range(len(STEPS))})


@pytest.mark.parametrize("margins", [False, True])
def test_packs_are_joined_in_the_order_of_the_edges(margins: bool) -> None:
    plan = make_plan()
    results = SweepResults(plan, STEPS, margins=margins)
    add(results, plan, range(len(plan.packs)), margins)
    assert results.num_done == len(plan.packs) > 3
    for row in range(len(STEPS)):
        expected = np.concatenate([numbers(plan, i, row, margins) for i in range(len(plan.packs))], axis=-1)
        np.testing.assert_array_equal(results.edges[row], expected)


def test_parts_hold_what_was_added_since_the_last_call() -> None:
    plan = make_plan()
    results = SweepResults(plan, STEPS)
    add(results, plan, range(2))
    first = list(results.parts())
    add(results, plan, range(2, 3))
    second = list(results.parts())
    assert [(part.step, part.first_pack, part.end_pack) for part in first + second] == [
        *(("a", 0, 2), ("b", 0, 2)),
        *(("a", 2, 3), ("b", 2, 3)),
    ]
    np.testing.assert_array_equal(second[1].edges, numbers(plan, 2, 1))


def test_a_sweep_resumes_after_the_packs_that_all_steps_have() -> None:
    plan = make_plan()
    earlier = SweepResults(plan, STEPS)
    add(earlier, plan, range(3))
    parts = {part.step: part for part in earlier.parts()}
    shorter = SweepResults(plan, STEPS)
    add(shorter, plan, range(2))
    parts["b"] = next(part for part in shorter.parts() if part.step == "b")
    results = SweepResults(plan, STEPS)
    results.resume(parts)
    assert results.num_done == 2
    add(results, plan, range(2, len(plan.packs)))
    assert next(results.parts()).first_pack == 2, "resumed packs are not sent again"
    whole = SweepResults(plan, STEPS)
    add(whole, plan, range(len(plan.packs)))
    np.testing.assert_array_equal(results.edges, whole.edges)


def part_of(plan: PackPlan, step: str, first_pack: int = 0) -> Part:
    edges = np.zeros(plan.num_edges, dtype=np.float32)
    return Part(step=step, pack_plan=plan.digest, first_pack=first_pack, end_pack=2, edges=edges)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"a": part_of(make_plan(), "a")},
        {"a": part_of(make_plan(), "a"), "b": part_of(make_plan(20), "b")},
        {"a": part_of(make_plan(), "a"), "b": part_of(make_plan(), "b", first_pack=1)},
    ],
    ids=["none", "one step's", "another plan's", "not from the start"],
)
def test_parts_that_do_not_fit_are_ignored(parts: dict[str, Part]) -> None:
    results = SweepResults(make_plan(), STEPS)
    results.resume(parts)
    assert results.num_done == 0


def test_a_failed_step_keeps_its_first_reason_and_sends_no_parts() -> None:
    plan = make_plan()
    results = SweepResults(plan, STEPS)
    for pack, reason in ((0, "2 of 9 are not finite"), (1, "another")):
        results.add({0: numbers(plan, pack, 0).tobytes(), 1: reason})
    assert results.failed == {"b": "2 of 9 are not finite"}
    assert np.isnan(results.edges[1, : len(plan.packs[0].rows)]).all()
    assert [part.step for part in results.parts()] == ["a"]
