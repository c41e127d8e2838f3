"""Which items suffice for a test, and the first reason why they do not."""

import numpy as np
import pandas as pd
import pytest

from studies.claims.evidence import MIN_DECISIONS, MIN_WINDOWS, BenchmarkItems, sample


def windows(count: int = MIN_WINDOWS) -> pd.DataFrame:
    """Perplexity windows."""
    return pd.DataFrame({"window": range(count), "nll": np.linspace(3, 4, count), "num_tokens": 127})


def choices(count: int = MIN_DECISIONS) -> pd.DataFrame:
    """Choices, all right."""
    return pd.DataFrame({"id": range(count), "correct": 1.0})


def test_enough_items_are_no_problem() -> None:
    items = {"perplexity": windows(), "arc": choices()}
    drawn = sample({"baseline": items, "treated": items}, ("perplexity",))
    assert (drawn.num_items, drawn.problem) == (MIN_WINDOWS, None)
    assert list(drawn.conditions) == ["baseline", "treated"]
    assert sample({"baseline": items}, ("arc",)).problem is None


def test_the_fewest_decisions_may_be_spread_over_benchmarks() -> None:
    items = {"arc": choices(MIN_DECISIONS - 1), "piqa": choices(1)}
    assert sample({"baseline": items}, ("arc", "piqa")).problem is None


@pytest.mark.parametrize(
    ("treated", "benchmarks", "problem", "num_items"),
    [
        (None, ("arc",), "no treated control", MIN_DECISIONS),
        ({}, ("arc",), "no arc items of treated", MIN_DECISIONS),
        ({"arc": choices()}, (), "no benchmark", 0),
        (
            {"arc": choices().assign(correct=np.nan)},
            ("arc",),
            "100 of 100 arc items of treated not finite",
            MIN_DECISIONS,
        ),
        ({"few": choices()}, ("few",), "too few items, at least 100 needed", 99),
        ({"perplexity": windows()}, ("perplexity",), "too few windows, at least 6 needed", 5),
    ],
)
def test_the_first_problem_is_named_with_the_items_of_the_first_condition(
    treated: BenchmarkItems | None, benchmarks: tuple[str, ...], problem: str, num_items: int
) -> None:
    baseline = {"arc": choices(), "few": choices(MIN_DECISIONS - 1), "perplexity": windows(MIN_WINDOWS - 1)}
    drawn = sample({"baseline": baseline, "treated": treated}, benchmarks)
    assert (drawn.problem, drawn.num_items) == (problem, num_items)
    assert set(drawn.conditions) == ({"baseline"} if treated is None else {"baseline", "treated"})
