"""Planned variances against those that `effects` estimates from simulated items, and power against simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, PERPLEXITY, SURPRISAL, TEMPLATES
from studies.statistics.effects import Component, Effect, mean_difference
from studies.statistics.items import Items
from studies.statistics.power import (
    Layout,
    Spread,
    default_spread,
    default_words,
    joint,
    layout_of,
    over_sets,
    planned_effect,
    power_to_show,
    power_to_spare,
    smallest_factor,
    spread_of,
)

SIZES = ((20, 30, 25), (10, 10, 10, 10), (40,))
"""Items of the units of three phenomena, of which one has a single unit."""


def table(sizes: tuple[tuple[int, ...], ...]) -> pd.DataFrame:
    rows = [
        (f"phenomenon {h}", f"unit {h}.{u}", i)
        for h, of_stratum in enumerate(sizes)
        for u, number in enumerate(of_stratum)
        for i in range(number)
    ]
    return pd.DataFrame(rows, columns=["phenomenon", "uid", "pair"])


def differences(frame: pd.DataFrame, spread: Spread, rng: np.random.Generator) -> np.ndarray:
    """Normal differences of items with normal means of units."""
    codes, uids = pd.factorize(frame["uid"])
    return rng.normal(0, spread.units, len(uids))[codes] + rng.normal(0, spread.items, len(frame))


def effect(value: float, variance: float, df: float) -> Effect:
    return Effect(value, (Component(variance, df, 10, "units"),))


def test_the_layout_of_items() -> None:
    found = layout_of(table(SIZES), MINIMAL_PAIRS)
    assert found == Layout(SIZES, MINIMAL_PAIRS)
    assert (found.num_items, found.num_units, str(found)) == (155, 8, "8 paradigms of 19 items")
    assert found.more_items(2).strata[1] == (20, 20, 20, 20) and found.more_units(3).strata[2] == (40, 40, 40)
    questions = layout_of(pd.DataFrame({"id": range(288)}), MULTIPLE_CHOICE)
    assert questions == Layout(((288,),), MULTIPLE_CHOICE) and questions.num_units == 288
    cases = pd.DataFrame({"phenomenon": "agreement", "uid": ["a:x", "a:y", "b:x"], "pair": 0})
    assert layout_of(cases, TEMPLATES).strata == ((2, 1),), "the cases of a template are one unit"


def test_a_planned_variance_is_the_mean_of_the_estimated_ones() -> None:
    rng, spread, frame = np.random.default_rng(1), Spread(0.3, 0.1), table(SIZES)
    estimates = [mean_difference(differences(frame, spread, rng), Items(frame, MINIMAL_PAIRS)) for _ in range(400)]
    planned = planned_effect(0.0, Layout(SIZES, MINIMAL_PAIRS), spread)
    assert planned.variance == pytest.approx(np.mean([one.variance for one in estimates]), rel=0.1)
    of_mean = np.var([one.value for one in estimates])
    assert of_mean > planned.variance, "the phenomenon of one unit hides the variance of its units, as it does later"
    assert planned.df == pytest.approx(np.median([one.df for one in estimates]), rel=0.35)


def test_planned_degrees_of_freedom_by_hand() -> None:
    planned = planned_effect(0.0, Layout(((10, 10, 10), (50,)), MINIMAL_PAIRS), Spread(0.2, 0.05))
    of_units, of_items = (0.05**2 + 0.04 / 10) / 3 / 4, 0.04 / 50 / 4
    assert planned.variance == pytest.approx(of_units + of_items)
    assert planned.df == pytest.approx((of_units + of_items) ** 2 / (of_units**2 / 2 + of_items**2 / 49))


def test_of_graded_items_as_many_differ_as_the_effect_is_large() -> None:
    layout = Layout(((100,),), MULTIPLE_CHOICE)
    assert planned_effect(0.04, layout, Spread(0.01)).variance == pytest.approx(0.04 * 0.96 / 100)
    assert planned_effect(0.04, layout, Spread(0.06**0.5)).variance == pytest.approx(0.06 / 100)
    assert planned_effect(0.04, Layout(((100,),), PERPLEXITY), Spread(0.01)).variance == pytest.approx(1e-6)


def test_spreads_are_estimated_without_the_noise_of_items() -> None:
    rng, frame = np.random.default_rng(2), table(((12,) * 30, (40,) * 30))
    found = [spread_of(differences(frame, Spread(0.3, 0.1), rng), Items(frame, MINIMAL_PAIRS)) for _ in range(60)]
    assert np.mean([one.items**2 for one in found if one]) == pytest.approx(0.09, rel=0.03)
    assert np.mean([one.units**2 for one in found if one]) == pytest.approx(0.01, rel=0.15)
    alike = spread_of(np.tile([0.0, 1.0], len(frame) // 2), Items(frame, MINIMAL_PAIRS))
    assert alike is not None and alike.units == 0.0, "units that differ by less than their items' noise"
    windows = Items(pd.DataFrame({"window": range(4)}), PERPLEXITY)
    assert spread_of(np.array([1.0, 2.0, 3.0, 4.0]), windows) == Spread(np.std([1, 2, 3, 4], ddof=1))
    assert (
        spread_of(np.zeros(4), windows) is None and spread_of(np.ones(len(frame)), Items(frame, MINIMAL_PAIRS)) is None
    )
    assert spread_of(np.array([1.0]), Items(pd.DataFrame({"window": [0]}), PERPLEXITY)) is None


def test_the_stated_defaults() -> None:
    assert default_spread(MULTIPLE_CHOICE) == Spread(0.06**0.5)
    assert default_spread(MINIMAL_PAIRS) == Spread(0.06**0.5, 0.02)
    assert default_spread(TEMPLATES) == Spread(0.06**0.5, 0.05)
    assert default_spread(PERPLEXITY) is None and default_spread(SURPRISAL) is None
    assert default_words(TEMPLATES) == ("discordance 0.06", "SD over templates 0.05")


@pytest.mark.parametrize(("distance", "num"), [(0.2, 10), (0.5, 25), (0.9, 12), (0.3, 200)])
def test_the_power_to_show_an_effect_is_that_of_the_t_test(distance: float, num: int) -> None:
    found = power_to_show(effect(-distance, 1 / num, num - 1))
    assert found == pytest.approx(TTestPower().power(distance, num, 0.025, alternative="larger"), abs=1e-6)


def test_the_power_to_show_an_absence_is_a_close_lower_bound() -> None:
    rng, num, margin = np.random.default_rng(3), 20, 0.8
    samples = rng.normal(size=(20_000, num))
    means, errors = samples.mean(axis=1), samples.std(axis=1, ddof=1) / num**0.5
    half = stats.t.isf(0.05, num - 1) * errors
    simulated = np.mean((means - half > -margin) & (means + half < margin))
    found = power_to_spare(effect(0.0, 1 / num, num - 1), margin)
    assert found == pytest.approx(simulated, abs=0.02) and 0.5 < found < 0.95
    assert power_to_spare(effect(0.0, 1.0, 5), 0.5) == 0.0


def test_extremes_of_power() -> None:
    unknown = effect(1.0, math.nan, 1)
    assert power_to_show(unknown) == 0.0 == power_to_spare(unknown, 1.0)
    assert power_to_show(effect(1.0, 0.0, math.inf)) == 1.0 and power_to_show(effect(0.0, 0.0, math.inf)) == 0.0
    assert power_to_show(effect(1.0, 1e-6, 66.3)) == 1.0, "so far out that scipy has nan"
    assert power_to_show(effect(2.8, 1.0, math.inf)) == pytest.approx(stats.norm.sf(1.96 - 2.8), abs=1e-4)


def test_one_random_set_has_no_power() -> None:
    layout, spread = Layout(((20,),), PERPLEXITY), Spread(0.02)
    planned = planned_effect(0.04, layout, spread)
    assert power_to_show(over_sets(planned, 0.005, 1)) == 0.0
    three = over_sets(planned, 0.005, 3)
    assert three.variance == pytest.approx(0.02**2 / 20 + 0.005**2 * 4 / 3) and 2 < three.df < 19
    assert power_to_show(over_sets(planned, 0.005, 3)) < power_to_show(over_sets(planned, 0.005, 10))


def test_an_item_alone_has_no_power() -> None:
    assert power_to_show(planned_effect(0.5, Layout(((1,), (5, 5)), MINIMAL_PAIRS), Spread(0.1))) == 0.0


def test_the_smallest_factor() -> None:
    assert smallest_factor(lambda n: n / 10) == 8
    assert smallest_factor(lambda n: 1.0) == 2
    assert smallest_factor(lambda n: 0.5) is None
    assert joint([0.5, 0.5]) == 0.25
