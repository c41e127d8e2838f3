"""The search for the matched control on known curves."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from studies.neurons.matching import SearchLimits, SearchOutcome, match_perplexity


def drive(curve: Callable[[float], float], **bounds: Any) -> tuple[SearchOutcome, list[float]]:
    """The outcome of a search that measures `curve`, and the fractions it asked for."""
    search = match_perplexity(**bounds)
    measured = []
    try:
        fraction = next(search)
        while True:
            measured.append(fraction)
            fraction = search.send(curve(fraction))
    except StopIteration as stop:
        return stop.value, measured


BOUNDS = {"baseline": 20.0, "treated": 25.0, "start": 0.01, "cap": 0.95}


@pytest.mark.parametrize("power", [0.5, 1.0, 1.7, 3.0])
def test_power_laws_are_matched_in_a_few_evaluations(power: float) -> None:
    result, measured = drive(lambda f: 20.0 * math.exp(2.0 * f**power), **BOUNDS)
    assert abs(20.0 * math.exp(2.0 * result.fraction**power) - 25.0) <= min(0.25, 0.25)
    assert len(measured) <= 8 and [f for f, _ in result.curve] == measured


def test_both_tolerances_count() -> None:
    result, _ = drive(lambda f: 1000 + 100 * f, baseline=1000.0, treated=1050.0, start=0.01, cap=0.95)
    assert abs(1000 + 100 * result.fraction - 1050.0) <= 0.05 * 50  # the rise, tighter than 1 % of 1050


def test_a_curve_that_never_gets_there_says_so_with_every_point() -> None:
    result, measured = drive(lambda f: 20.0 + f, **BOUNDS)
    assert result.fraction is None and "0.95" in result.reason and len(result.curve) == len(measured)


def test_evaluations_are_bounded() -> None:
    result, measured = drive(lambda f: 20.0 if f < 0.5 else 90.0, **BOUNDS, limits=SearchLimits(max_evaluations=7))
    assert result.fraction is None and len(measured) <= 7


def test_no_rise_means_nothing_to_match() -> None:
    result, measured = drive(lambda f: 20.0, **{**BOUNDS, "treated": 19.0})
    assert result.fraction is None and not measured and "not above" in result.reason


def test_a_first_fraction_that_is_too_many_is_lowered() -> None:
    result, _ = drive(lambda f: 20.0 * math.exp(200 * f), **BOUNDS)
    assert result.fraction is not None and result.fraction < 0.01


def test_a_dip_below_baseline_does_not_break_the_search() -> None:
    result, _ = drive(lambda f: 20.0 * math.exp(1.5 * f**2 - 0.02), **BOUNDS)
    assert abs(20.0 * math.exp(1.5 * result.fraction**2 - 0.02) - 25.0) <= 0.25
