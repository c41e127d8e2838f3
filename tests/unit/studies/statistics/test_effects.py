"""Effects against scipy's and statsmodels' own tests, exact bounds, and sources of variance that add up."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from studies.benchmarks.measures import MINIMAL_PAIRS, TASKS, TEMPLATES, Measure
from studies.claims.deciding import what_would_decide
from studies.statistics.effects import Component, Effect, contrast, effect, mean_difference, mean_effect, of_sample
from studies.statistics.items import Items
from studies.statistics.random_controls import RANKED_SETS, OverRandoms, over_randoms
from tests.unit.studies.statistics.frames import altered, choices, windows


def paradigms(means: dict[str, list[float]], per_unit: int = 4, measure: Measure = MINIMAL_PAIRS) -> Items:
    """{phenomenon: the value of all items of each of its paradigms}."""
    rows = [
        (phenomenon, f"{phenomenon}-{number}", item, value)
        for phenomenon, values in means.items()
        for number, value in enumerate(values)
        for item in range(per_unit)
    ]
    return Items(pd.DataFrame(rows, columns=["phenomenon", "uid", "pair", "correct"]), measure)


def zeros(items: Items) -> Items:
    """The same items with the value 0."""
    return altered(items, **{items.measure.value: 0.0})


def test_units_of_one_stratum_are_a_t_test() -> None:
    values = [0.1, 0.4, -0.2, 0.3, 0.25]
    found = effect(paradigms({"p": values}), zeros(paradigms({"p": values})))
    expected = scipy.stats.ttest_1samp(values, 0)
    assert found.interval()[1:] == pytest.approx(expected.confidence_interval())
    assert found.interval(0.9)[1:] == pytest.approx(expected.confidence_interval(0.9))
    assert found.p_value(+1) == pytest.approx(expected.pvalue) and found.df == pytest.approx(4)
    assert found.p_value(-1) == 1.0
    assert found.basis == "5 paradigms" and not found.notes


def test_two_strata_are_welchs_test() -> None:
    first, second = [0.1, 0.4, -0.2, 0.3, 0.25], [0.5, 0.6, 0.1]
    items = paradigms({"a": first, "b": second})
    found = effect(items, zeros(items))
    welch = CompareMeans(DescrStatsW(first), DescrStatsW([-value for value in second]))
    low, high = welch.tconfint_diff(usevar="unequal")
    assert found.interval() == pytest.approx(((np.mean(first) + np.mean(second)) / 2, low / 2, high / 2))
    assert found.df == pytest.approx(welch.dof_satt())


def test_phenomena_weigh_the_same_whatever_their_size() -> None:
    items = paradigms({"many": [0.0] * 9, "few": [1.0, 0.8]})
    assert effect(items, zeros(items)).value == pytest.approx(0.45)


def test_templates_are_the_units_of_their_cases() -> None:
    table = paradigms({"p": [0.2, 0.2, 0.6, 0.6]}, measure=TEMPLATES).table
    table["uid"] = table["uid"].map({"p-0": "a:1", "p-1": "a:2", "p-2": "b:1", "p-3": "b:2"})
    items = Items(table, TEMPLATES)
    found = effect(items, zeros(items))
    assert found.basis == "2 templates" and found.df == pytest.approx(1)
    assert found.variance == pytest.approx(np.var([0.2, 0.6], ddof=1) / 2)


def test_a_stratum_of_one_unit_falls_back_to_its_items_and_says_so() -> None:
    items = altered(paradigms({"one": [0.0], "two": [0.1, 0.3]}), lambda table: table)
    of_one = [0.0, 0.5, 0.5, 1.0]
    items = altered(items, correct=[*of_one, *items.table["correct"].iloc[4:]])
    found = effect(items, zeros(items))
    assert found.variance == pytest.approx((np.var(of_one, ddof=1) / 4 + np.var([0.1, 0.3], ddof=1) / 2) / 4)
    assert found.notes == ("over items in 1 of 2 phenomena, which have one unit each",)
    assert math.isfinite(found.interval().low)


def test_tasks_are_fixed_and_their_items_a_sample() -> None:
    table = pd.DataFrame({"uid": list("aaabbbbb"), "pair": range(8), "correct": [1, 0, 1, 0, 1, 1, 0, 0.5]})
    items = Items(table, TASKS)
    found = effect(items, zeros(items))
    parts = [table.loc[table["uid"] == task, "correct"] for task in "ab"]
    assert found.value == pytest.approx(np.mean([part.mean() for part in parts]))
    assert found.variance == pytest.approx(sum(part.var() / len(part) for part in parts) / 4)


@pytest.mark.parametrize("num", [100, 3350])
def test_nothing_changed_is_the_exact_bound_for_0_of_n(num: int) -> None:
    same = choices(np.ones(num))
    found = effect(same, same)
    exact = scipy.stats.binomtest(0, num).proportion_ci(0.95, method="exact").high
    assert found.interval() == pytest.approx((0.0, -exact, exact))
    assert found.notes == (f"exact bound: 0 of {num} items differ",) and found.df == math.inf
    assert found.p_value(+1) == 1.0


def test_a_constant_change_is_no_certainty() -> None:
    found = effect(choices(np.ones(100)), choices(np.zeros(100)))
    assert found.value == 1 and found.interval().low < 0.95
    shifted = effect(windows(np.full(9, 3.5)), windows(np.full(9, 3.0)))
    assert shifted.value == 0.5 and math.isnan(shifted.interval().low)
    assert not shifted.is_beyond(+1) and not shifted.is_within(9.0) and "no interval" in shifted.notes[0]


def test_rows_in_another_order_change_nothing() -> None:
    rng = np.random.default_rng(0)
    items = altered(paradigms({"a": [0.5] * 5, "b": [0.5] * 3}), correct=rng.random(32))
    treated = altered(items, correct=rng.random(32))
    shuffled = altered(treated, lambda table: table.sample(frac=1, random_state=1))
    assert effect(shuffled, items) == effect(treated, items)
    randoms = {"r/seed=0": items, "r/seed=1": altered(shuffled, lambda table: table.iloc[::-1])}
    assert over_randoms(treated, randoms).by_set["r/seed=1"] == pytest.approx(0)


def test_a_condition_over_its_random_controls() -> None:
    rng = np.random.default_rng(0)
    treated, *controls = (choices(rng.random(50)) for _ in range(4))
    found = over_randoms(treated, dict(zip("abc", controls, strict=True)))
    means = [control.values.mean() for control in controls]
    averaged = treated.values - np.mean([control.values for control in controls], axis=0)
    assert found.effect.value == pytest.approx(averaged.mean())
    assert found.effect.variance == pytest.approx(np.var(averaged, ddof=1) / 50 + np.var(means, ddof=1) * 4 / 3)
    assert 2 < found.effect.df < 51 and found.effect.basis == "50 items and 3 random sets"
    assert found.rank_p_value(+1) is None


def test_one_random_set_does_not_show_how_sets_vary() -> None:
    found = over_randoms(choices([1, 0, 1]), {"a": choices([0, 0, 1])}).effect
    assert math.isnan(found.interval().low) and not found.is_beyond(+1)
    assert found.notes[-1] == "one random set does not show how such sets vary"


@pytest.mark.parametrize(("beaten", "expected"), [(RANKED_SETS, 0.05), (RANKED_SETS - 1, 0.1), (0, 1.0)])
def test_the_rank_among_many_random_sets(beaten: int, expected: float) -> None:
    by_set = {str(number): 1.0 if number < beaten else -1.0 for number in range(RANKED_SETS)}
    ranked = OverRandoms(of_sample(np.arange(3.0), "sets"), by_set)
    assert ranked.rank_p_value(+1) == pytest.approx(expected)
    assert ranked.rank_p_value(-1) == pytest.approx(1.0 if beaten else 0.05)


def test_means_and_contrasts_add_variances() -> None:
    first, second = of_sample(np.array([0.1, 0.2, 0.4]), "items"), of_sample(np.array([1.0, 0.2]), "items")
    mean, difference = mean_effect([first, second]), contrast(first, second)
    assert mean.value == pytest.approx((first.value + second.value) / 2)
    assert mean.variance == pytest.approx((first.variance + second.variance) / 4)
    assert difference.value == pytest.approx(first.value - second.value)
    assert difference.variance == pytest.approx(4 * mean.variance) and difference.df == pytest.approx(mean.df)


def test_a_margin_is_two_one_sided_tests() -> None:
    values = np.random.default_rng(0).normal(0.004, 0.02, 40)
    found = of_sample(values, "items")
    sides = [
        scipy.stats.ttest_1samp(values, -0.02, alternative="greater").pvalue,
        scipy.stats.ttest_1samp(values, 0.02, alternative="less").pvalue,
    ]
    assert found.p_value_within(0.02) == pytest.approx(max(sides))
    assert found.is_within(0.02) == (max(sides) < 0.05)
    assert not found.is_within(found.value / 2)


@pytest.mark.parametrize("num", [12, 60])
def test_the_smallest_detectable_effect_has_its_power(num: int) -> None:
    values = np.random.default_rng(0).normal(size=num)
    found = of_sample(values, "windows")
    power = TTestPower().power(found.detectable() / values.std(ddof=1), num, 0.05)
    assert power == pytest.approx(0.8, abs=0.02)


def test_values_that_are_all_equal_have_no_known_variance() -> None:
    assert math.isnan(of_sample(np.ones(4), "neurons").variance)
    assert math.isnan(of_sample(np.array([]), "neurons").value)


def test_the_mean_difference_wants_the_columns_of_its_measure() -> None:
    items = paradigms({"p": [0.1, 0.2]})
    with pytest.raises(ValueError, match="no column 'phenomenon'"):
        mean_difference(np.zeros(8), altered(items, lambda table: table.drop(columns="phenomenon")))
    own = replace(items, measure=replace(MINIMAL_PAIRS, unit="verb"))
    with pytest.raises(ValueError, match="no column 'verb'"):
        mean_difference(np.zeros(8), own)


def test_effects_are_plain_data() -> None:
    assert Effect(1.0, (Component(4.0, 3.0, 1234, "tokens"),)).times(-0.5).basis == "1,234 tokens"


def test_the_noise_of_items_within_units_is_told_from_the_spread_of_units() -> None:
    """Units that do not differ in truth vary as their items do, and by nothing else."""
    rng = np.random.default_rng(0)
    units = {h: [0.5] * 30 for h in "ab"}
    items = paradigms(units, per_unit=20)
    noisy = altered(items, correct=rng.normal(0, 1, len(items)))
    found = effect(noisy, zeros(items))
    assert found.components[0].item_share == pytest.approx(1, abs=0.25)
    assert found.variance * found.components[0].item_share == pytest.approx(1 / 20 / 30 / 2, rel=0.1)
    uneven = altered(noisy, correct=noisy.values + 3 * rng.normal(size=60).repeat(20))
    assert effect(uneven, zeros(items)).components[0].item_share < 0.02
    assert "cannot be decided with these 60 paradigms" in what_would_decide(Effect(0.001, found.components))
    decided = what_would_decide(Effect(found.detectable() / 2, (found.components[0]._replace(item_share=1.0),)))
    assert decided.endswith(
        f"about 4 times as many items in these 60 paradigms would decide {found.detectable() / 2:.2g}"
    )


def test_few_random_sets_count_with_their_own_degrees_of_freedom() -> None:
    """Cochran's t lies between those of the two sources, and p value and interval say the same."""
    units, sets = Component(1e-4, 40, 41, "windows"), Component(9e-4, 2, 3, "random sets")
    both, alone = Effect(0.1, (units, sets)), Effect(0.1, (sets,))
    expected = (1e-4 * scipy.stats.t.isf(0.025, 40) + 9e-4 * scipy.stats.t.isf(0.025, 2)) / 1e-3
    assert both.quantile(0.025) == pytest.approx(expected)
    assert both.quantile(0.025) > scipy.stats.t.isf(0.025, both.df)
    assert both.degrees == "40 and 2" and alone.degrees == "2"
    at_bound = Effect(both.quantile(0.025) * both.variance**0.5, (units, sets))
    assert at_bound.p_value(+1) == pytest.approx(0.05) and at_bound.p_value(-1) == 1.0
    assert at_bound.p_value_within(2 * at_bound.value) == pytest.approx(0.025)
    assert Effect(0.0, (units, sets)).p_value(+1) == 1.0
    assert 0 < Effect(1e9, (units, sets)).p_value(+1) < 1e-10


def test_units_that_agree_are_no_certainty_about_their_items() -> None:
    """Every item changed, half of them each way: the means of both paradigms are 0, and their items stand for them."""
    items = paradigms({"p": [0.5, 0.5]}, per_unit=200)
    changed = altered(items, correct=items.values + np.tile([0.5, -0.5], 200))
    found = effect(changed, items)
    assert found.value == 0 and found.notes == ("over items, because all paradigms of a phenomenon agree",)
    assert found.variance == pytest.approx(np.var([0.5, -0.5] * 200, ddof=1) / 400)
    uneven = altered(items, correct=items.values + np.tile([0.1, 0.3, -0.1], 134)[:400])
    assert effect(uneven, items).interval().low < effect(uneven, items).value


@pytest.mark.parametrize("values", [[0.1, 0.1, 0.1], [1e3 + 0.1 - 1e3, 0.1, 0.1], [1 / 3, 1 - 2 / 3, 1 / 3]])
def test_rounding_is_no_spread(values: list[float]) -> None:
    assert math.isnan(of_sample(np.array(values), "layers").variance)
    losses = np.linspace(3, 4, 3)
    found = effect(windows(losses + np.array(values)), windows(losses))
    assert math.isnan(found.variance) and not found.is_beyond(+1)


def test_random_sets_that_all_do_the_same_show_no_spread() -> None:
    control = choices([0, 0, 1, 1] * 10)
    found = over_randoms(choices([1, 0, 1, 0] * 10), {"a": control, "b": control}).effect
    assert math.isnan(found.variance)
    assert found.notes[-1] == "random sets that all do the same do not show how such sets vary"


def test_one_of_something_is_singular() -> None:
    assert (
        str(Component(1.0, 1, 1, "windows")) == "1 window"
        and str(Component(1.0, 1, 1, "random sets")) == "1 random set"
    )


def test_benchmarks_of_one_size_are_counted() -> None:
    """More questions in all of them would decide, not in one of them."""
    task = Effect(0.01, (Component(1e-3, 49, 50, "items"),))
    mean = mean_effect([task] * 4)
    assert mean.basis == "4 times 50 items"
    assert what_would_decide(mean).endswith(
        f"about {200 * (mean.detectable() / 0.01) ** 2:,.0f} items would decide 0.01"
    )
