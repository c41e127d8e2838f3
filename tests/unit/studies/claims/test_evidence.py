"""Which items suffice for a test, and the first reason why they do not."""

from dataclasses import replace

import numpy as np
import pytest

from studies.benchmarks.measures import MIN_ITEMS, MIN_WINDOWS
from studies.claims.evidence import sample
from studies.statistics.items import BenchmarkItems, Items
from tests.unit.studies.statistics import frames


def windows(count: int = MIN_WINDOWS) -> Items:
    """Perplexity windows."""
    return frames.windows(np.linspace(3, 4, count))


def choices(count: int = MIN_ITEMS) -> Items:
    """Choices, all right."""
    return frames.choices(np.ones(count))


def test_enough_items_are_no_problem() -> None:
    items = {"perplexity": windows(), "arc": choices()}
    drawn = sample({"baseline": items, "treated": items}, ("perplexity",))
    assert (drawn.num_items, drawn.problem) == (MIN_WINDOWS, None)
    assert list(drawn.conditions) == ["baseline", "treated"]
    assert sample({"baseline": items}, ("arc",)).problem is None


def test_the_fewest_decisions_may_be_spread_over_benchmarks() -> None:
    items = {"arc": choices(MIN_ITEMS - 1), "piqa": choices(1)}
    assert sample({"baseline": items}, ("arc", "piqa")).problem is None


@pytest.mark.parametrize("benchmarks", [("arc", "own"), ("own", "arc")])
def test_the_strictest_measure_decides_whether_items_suffice(benchmarks: tuple[str, ...]) -> None:
    own = replace(choices(1), measure=replace(choices(1).measure, noun="questions", fewest=MIN_ITEMS + 2))
    drawn = sample({"baseline": {"arc": choices(), "own": own}}, benchmarks)
    assert drawn.problem == f"too few questions, at least {MIN_ITEMS + 2} needed"


@pytest.mark.parametrize(
    ("treated", "benchmarks", "problem", "num_items"),
    [
        (None, ("arc",), "no treated control", MIN_ITEMS),
        ({}, ("arc",), "no arc items of treated", MIN_ITEMS),
        ({"arc": choices()}, (), "no benchmark", 0),
        (
            {"arc": frames.altered(choices(), correct=np.nan)},
            ("arc",),
            "100 of 100 arc items of treated not finite",
            MIN_ITEMS,
        ),
        ({"few": choices()}, ("few",), "too few items, at least 100 needed", 99),
        ({"perplexity": windows()}, ("perplexity",), "too few windows, at least 6 needed", 5),
    ],
)
def test_the_first_problem_is_named_with_the_items_of_the_first_condition(
    treated: BenchmarkItems | None, benchmarks: tuple[str, ...], problem: str, num_items: int
) -> None:
    baseline = {"arc": choices(), "few": choices(MIN_ITEMS - 1), "perplexity": windows(MIN_WINDOWS - 1)}
    drawn = sample({"baseline": baseline, "treated": treated}, benchmarks)
    assert (drawn.problem, drawn.num_items) == (problem, num_items)
    assert set(drawn.conditions) == ({"baseline"} if treated is None else {"baseline", "treated"})
