"""The search for the matched control on known curves."""

import math
import re
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
    assert result.fraction is None and len(result.curve) == len(measured)
    assert result.reason == "perplexity 25 ± 0.25 is wanted; even 95 % of the neurons give 20.95"


def test_evaluations_are_bounded() -> None:
    result, measured = drive(lambda f: 20.0 if f < 0.5 else 90.0, **BOUNDS, limits=SearchLimits(max_evaluations=7))
    assert result.fraction is None and len(measured) <= 7


NARROW = {"baseline": 19.0, "treated": 23.99, "start": 0.005, "cap": 0.95}
"""Of Gemma: 23.99 is to be matched within 0.10."""


def wavy(fraction: float) -> float:
    """A rise over the baseline that slows down where the target is."""
    return 19.0 + 4.99 * (fraction / 0.1377) ** (3.0 if fraction < 0.1377 else 0.6)


def test_a_search_that_converges_goes_on_after_its_tries() -> None:
    limits = SearchLimits(within_rise=0.002, max_evaluations=5)
    result, measured = drive(wavy, **NARROW, limits=limits)
    assert result.fraction is not None and 5 < len(measured) <= 15
    assert abs(wavy(result.fraction) - 23.99) <= 0.002 * 4.99


def test_a_search_without_a_match_says_how_near_it_came_and_why_it_stopped() -> None:
    """No neuron lies between 13.5 % and 14 % of the neurons."""

    def steps(fraction: float) -> float:
        return wavy(fraction) if not 0.13 < fraction < 0.15 else 23.85 if fraction < 0.1377 else 24.11

    result, measured = drive(steps, **NARROW, limits=SearchLimits(within=0.004, resolution=0.005))
    assert result.fraction is None and len(measured) <= 12
    ends = r"1\d\.\d+ % gives 23\.\d+, 1\d\.\d+ % gives 2\d\.\d+; no neuron lies between them"
    nearest = rf"the nearest of {len(measured)} fractions tried is 1\d\.\d+ % with 2\d\.\d+"
    assert re.fullmatch(f"perplexity 23.99 ± 0.096 is wanted; {nearest}; {ends}", result.reason), result.reason


def test_a_search_that_does_not_converge_ends_after_its_tries() -> None:
    result, measured = drive(lambda f: 20.0 if f < 0.5 else 90.0, **BOUNDS, limits=SearchLimits(max_evaluations=7))
    assert len(measured) == 7 and result.reason.endswith("3 more tries hardly brought them closer")
    assert "with 20; " in result.reason and "gives 20, " in result.reason and "gives 90; " in result.reason


def test_a_search_that_converges_too_slowly_ends_at_three_times_its_tries() -> None:
    curve = iter(20.0 + 60.0 * 0.6**i if i % 2 else 25.0 - 5.0 * 0.6**i for i in range(100))
    result, measured = drive(lambda f: next(curve), **BOUNDS, limits=SearchLimits(within=1e-9, max_evaluations=4))
    assert result.fraction is None and len(measured) <= 12


def test_a_search_that_begins_far_below_ends_at_the_same_limit() -> None:
    limits = SearchLimits(max_evaluations=2)
    result, measured = drive(lambda f: 20.0 + f, **{**BOUNDS, "start": 1e-7}, limits=limits)
    assert result.fraction is None and len(measured) == 6 and result.reason.endswith("; 6 tries are the limit")


def test_no_rise_means_nothing_to_match() -> None:
    result, measured = drive(lambda f: 20.0, **{**BOUNDS, "treated": 19.0})
    assert result.fraction is None and not measured and "not above" in result.reason


def test_a_first_fraction_that_is_too_many_is_lowered() -> None:
    result, _ = drive(lambda f: 20.0 * math.exp(200 * f), **BOUNDS)
    assert result.fraction is not None and result.fraction < 0.01


def test_a_dip_below_baseline_does_not_break_the_search() -> None:
    result, _ = drive(lambda f: 20.0 * math.exp(1.5 * f**2 - 0.02), **BOUNDS)
    assert abs(20.0 * math.exp(1.5 * result.fraction**2 - 0.02) - 25.0) <= 0.25
