"""The search for a neighbour beyond the target, on known curves."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from studies.neurons.neighbour import NEAR, TRIES, Levels, Neighbour, local_power, seek_neighbour

LEVELS = Levels(20.0, 25.0)
WIDTH = 1000


def seek(
    curve: Callable[[float], float], accepted: float, levels: Levels = LEVELS, **options: Any
) -> tuple[Neighbour, list[float]]:
    """The outcome, and the fractions that were measured on the evidence."""
    values = {"power": 1.0, "width": WIDTH, "cap": 0.9, "beyond": 0.02}
    search = seek_neighbour(levels, (accepted, curve(accepted)), **{**values, **options})
    measured: list[float] = []
    try:
        fraction = next(search)
        while True:
            measured.append(fraction)
            fraction = search.send(curve(fraction))
    except StopIteration as stop:
        return stop.value, measured


def power_law(power: float, target: float = 0.3) -> Callable[[float], float]:
    """Reaches the treated perplexity at the target."""
    return lambda f: 20.0 * math.exp(LEVELS.rise * (f / target) ** power)


@pytest.mark.parametrize("accepted", [0.2, 0.28, 0.32, 0.45])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("guess", [0.5, 1.0, 2.0, None])
def test_a_neighbour_lies_just_beyond_the_target(accepted: float, power: float, guess: float | None) -> None:
    curve = power_law(power)
    (fraction, why), measured = seek(curve, accepted, power=guess)
    assert fraction in measured and not why and len(measured) <= TRIES
    gaps = [math.log(curve(f) / LEVELS.treated) for f in (accepted, fraction)]
    assert gaps[0] * gaps[1] < 0, "they lie on both sides"
    allowed = max(abs(gaps[0]), NEAR * LEVELS.rise)
    assert abs(gaps[1]) <= 1.01 * allowed or len(measured) == TRIES


def test_a_power_that_is_right_needs_one_try() -> None:
    for accepted in (0.25, 0.35):
        assert len(seek(power_law(1.5), accepted, power=1.5)[1]) == 1


def test_within_two_percent_of_the_rise_none_is_needed() -> None:
    assert seek(power_law(1.0), 0.3 * 1.019) == ((None, "not needed: within 2 % of the rise"), [])
    assert seek(power_law(1.0), 0.3 * 0.981)[1] == [] and seek(power_law(1.0), 0.3 * 1.021)[1]


def test_a_neighbour_differs_by_a_neuron_a_layer() -> None:
    """The guess itself would be the accepted point again."""
    assert seek(power_law(1.0, target=0.308), 0.3, width=10, power=4.0) == ((0.4, ""), [0.4])
    assert seek(power_law(1.0, target=0.292), 0.3, width=10, power=4.0) == ((0.2, ""), [0.2])


def test_a_curve_that_never_passes_the_target_has_none() -> None:
    (fraction, why), measured = seek(lambda f: 24.0, 0.2)
    assert fraction is None and len(measured) == TRIES
    assert why.startswith("none found: perplexity above 25 is wanted; ") and why.count(" gives 24") == TRIES
    (fraction, why), measured = seek(lambda f: 26.0, 0.002)
    assert measured == [0.001] and why == "none found: perplexity below 25 is wanted; 0.1 % gives 26"
    for accepted, level in ((0.001, 26.0), (0.9, 24.0)):
        (fraction, why), measured = seek(lambda f, level=level: level, accepted)
        assert fraction is None and not measured and why.endswith("no neuron is left to add or take away")


def test_steps_never_leave_the_ranking() -> None:
    (_, why), measured = seek(lambda f: 24.0, 0.8)
    assert measured[-1] == 0.9 and max(measured) <= 0.9 and "90 % gives 24" in why


def test_a_treated_condition_without_a_rise_on_the_evidence_has_no_neighbour() -> None:
    found, measured = seek(lambda f: 21.0, 0.2, Levels(20.0, 19.0))
    assert not measured and found.fraction is None
    wrong = "the treated perplexity 19 is not above the baseline's 20"
    assert found.why == f"none found: on the windows of the evidence {wrong}"


def test_an_accepted_point_below_the_baseline_is_left_by_blind_steps() -> None:
    (fraction, _), measured = seek(lambda f: 19.5 if f < 0.4 else 26.0, 0.3)
    assert fraction is not None and len(measured) <= TRIES and measured[0] == 0.375


CURVE = ((0.1, 20 * math.exp(0.1)), (0.4, 20 * math.exp(0.2)), (0.2, 20 * math.exp(0.4)))


@pytest.mark.parametrize(
    ("curve", "fraction", "power"),
    [
        (CURVE[:2], 0.4, 0.5),
        (CURVE, 0.1, 2.0),
        (CURVE, 0.4, None),  # it falls there
        (CURVE[:1], 0.1, None),
        ((*CURVE[:1], (0.2, 19.0)), 0.1, None),
        ((*CURVE[:1], (0.2, 20 * math.exp(50))), 0.1, 4.0),
        ((*CURVE[:1], *CURVE[:1]), 0.1, None),
    ],
)
def test_the_local_power(curve: Sequence[tuple[float, float]], fraction: float, power: float | None) -> None:
    assert local_power(curve, 20.0, fraction) == (None if power is None else pytest.approx(power))
