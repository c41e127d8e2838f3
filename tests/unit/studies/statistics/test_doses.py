"""Dose-response curves: where perplexity doubles, with its interval, and what every dose costs."""

import math

import numpy as np
import pytest

from studies.statistics.doses import dose_response, doubling_fraction
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
