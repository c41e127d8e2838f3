"""Dose-response curves: where perplexity doubles, with its interval, and what every dose costs."""

import math

import numpy as np
import pytest

from studies.statistics.doses import dose_response, doubling_fraction, doubling_order
from tests.unit.studies.statistics.frames import windows

BASE = windows(np.full(40, 3.0))


def test_the_crossing_is_interpolated_between_the_doses_from_nothing_on() -> None:
    doubled = math.log(2)
    curve = {0.1: windows(np.full(40, 3.0 + 0.5 * doubled)), 0.2: windows(np.full(40, 3.0 + 1.5 * doubled))}
    assert doubling_fraction(BASE, curve) == pytest.approx((0.15, 0.15, 0.15))
    alone = doubling_fraction(BASE, {0.2: curve[0.2]})
    assert alone.estimate == pytest.approx(0.2 / 1.5), "the curve begins at the baseline"
    assert doubling_fraction(BASE, {0.1: curve[0.1]}) == (math.inf,) * 3


def test_the_first_crossing_counts() -> None:
    curve = {0.1: windows(np.full(40, 4.0)), 0.2: windows(np.full(40, 3.1)), 0.3: windows(np.full(40, 9.0))}
    assert doubling_fraction(BASE, curve).estimate == pytest.approx(0.1 * math.log(2))


def test_the_interval_covers_the_true_fraction_and_may_be_open() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(60):
        base = rng.normal(3, 0.5, 50)
        rise = {dose: base + dose / 0.25 * math.log(2) + rng.normal(0, 0.3, 50) for dose in (0.1, 0.2, 0.4)}
        interval = doubling_fraction(windows(base), {dose: windows(nll) for dose, nll in rise.items()})
        covered += interval.low <= 0.25 <= interval.high
    assert 52 <= covered <= 60
    near = windows(3.0 + math.log(2) + np.random.default_rng(1).normal(0, 0.5, 40))
    open_ended = doubling_fraction(BASE, {0.5: near})
    assert open_ended.low < 0.5 and open_ended.high == math.inf


def test_one_window_has_no_interval_and_other_windows_are_refused() -> None:
    alone = doubling_fraction(windows([3.0]), {0.1: windows([4.0])})
    assert alone.estimate < 0.1 and math.isnan(alone.low)
    with pytest.raises(ValueError) as error:
        doubling_fraction(BASE, {0.1: windows(np.full(39, 3.0))})
    assert str(error.value) == (
        "the item sets differ: 1 of 40 items only in the second condition, such as window 39, num_tokens 2047; "
        "evaluate both conditions on the same items"
    )


def test_responses_are_increases_in_the_order_of_the_doses() -> None:
    table = dose_response(BASE, {0.2: windows(np.full(40, 3.5)), 0.1: windows(np.full(40, 3.25))})
    assert table["fraction"].tolist() == [0.1, 0.2] and table["num_items"].tolist() == [40, 40]
    assert table["estimate"].tolist() == pytest.approx([0.25, 0.5])


def risen(slope: float, fractions: tuple[float, ...] = (0.1, 0.2, 0.4), noise: float = 0.0, seed: int = 0) -> dict:
    """Windows whose loss rises with the dose."""
    rng = np.random.default_rng(seed)
    return {fraction: windows(3.0 + slope * fraction + rng.normal(0, noise, 40)) for fraction in fractions}


def test_the_first_of_two_curves_to_double_is_told_where_it_doubles() -> None:
    order = doubling_order(BASE, risen(5), {"a": risen(2), "b": risen(1)})
    assert order is not None
    assert order.treated == pytest.approx(math.log(2) / 5) and order.randoms == math.inf
    assert order.by_random == {"a": pytest.approx(math.log(2) / 2), "b": math.inf}
    assert order.gap.effect.value == pytest.approx(math.log(2) * (1 - 1.5 / 5))
    assert order.gap.by_set == pytest.approx({"a": math.log(2) * (1 - 2 / 5), "b": math.log(2) * (1 - 1 / 5)})
    reverse = doubling_order(BASE, risen(2), {"a": risen(5)})
    assert reverse is not None and reverse.gap.effect.value == pytest.approx(-math.log(2) * (1 - 2 / 5))
    assert doubling_order(BASE, risen(1), {"a": risen(1)}) is None


@pytest.mark.parametrize(
    ("of_treated", "of_random"),
    [(5.0, 3.0), *(pytest.param(*slopes, marks=pytest.mark.long) for slopes in ((5.0, 0.5), (3.0, 5.0)))],
)
def test_the_variance_of_the_order_is_that_of_repeated_samples(of_treated: float, of_random: float) -> None:
    """With the uncertainty of the fraction at which the curves are compared; windows are shared by both curves."""
    gaps, variances = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shared, own = rng.normal(0, 0.3, 40), rng.normal(0, 0.1, (2, 40))
        curves = [
            {fraction: windows(3.0 + fraction * slope * (1 + shared + one)) for fraction in (0.1, 0.2, 0.4)}
            for slope, one in zip((of_treated, of_random), own, strict=True)
        ]
        order = doubling_order(BASE, curves[0], {"a": curves[1], "same": curves[1]})
        assert order is not None
        gaps.append(order.gap.effect.value)
        variances.append(order.gap.effect.components[0].variance)
    assert np.mean(variances) == pytest.approx(np.var(gaps, ddof=1), rel=0.25)


def test_variation_of_random_sets_counts_where_they_double_first_too() -> None:
    """Their spread moves the fraction of the comparison, so it counts in units of the treated slope."""
    order = doubling_order(BASE, risen(2), {"a": risen(4), "b": risen(6)})
    assert order is not None
    assert order.gap.effect.components[-1].variance == pytest.approx((2 / 5 * 2 * math.log(2) / 5) ** 2 / 2 * 1.5)
