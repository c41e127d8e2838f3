"""What an ablation costs by layer group: effects against paired means, trends present and absent."""

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS
from studies.neurons.layer_groups import layer_groups
from studies.statistics.increases import ALL, EFFECT_COLUMNS, layer_effects, trend
from studies.statistics.items import Items
from tests.unit.studies.statistics import frames


def pairs(wrong: dict[str, int], size: int = 40) -> Items:
    """`size` pairs of each phenomenon in two uids, the first `wrong` of them wrong."""
    rows = [
        (f"{phenomenon}{i % 2}", phenomenon, str(i), float(i >= count))
        for phenomenon, count in wrong.items()
        for i in range(size)
    ]
    return Items(pd.DataFrame(rows, columns=["uid", "phenomenon", "pair", "correct"]), MINIMAL_PAIRS)


def windows(shift: float) -> Items:
    """Perplexity windows whose losses lie `shift` above the baseline's."""
    return frames.windows(np.linspace(2, 3, 12) + shift)


def test_effects_are_increases_of_the_error_by_phenomenon() -> None:
    groups = layer_groups(2, "single", 4)
    baseline = pairs({"agreement": 4, "npi": 10})
    table = layer_effects(
        baseline, {groups[0]: pairs({"agreement": 12, "npi": 10}), groups[1]: pairs({"agreement": 4, "npi": 6})}
    )
    assert tuple(table.columns) == EFFECT_COLUMNS
    rows = table.set_index(["layers", "phenomenon"])
    assert rows.loc[("0-1", "agreement"), "estimate"] == pytest.approx(8 / 40)
    assert rows.loc[("0-1", "npi"), "estimate"] == 0
    assert rows.loc[("0-1", ALL), "estimate"] == pytest.approx(8 / 80)
    assert rows.loc[("2-3", "npi"), "estimate"] == pytest.approx(-4 / 40)
    assert rows.loc[("2-3", ALL), "num_items"] == 80
    assert (table["low"] <= table["estimate"]).all() and (table["estimate"] <= table["high"]).all()
    assert rows.loc[("0-1", "agreement"), "low"] > 0 > rows.loc[("2-3", "npi"), "low"]


def test_effects_on_perplexity_are_nats() -> None:
    (group,) = layer_groups(1, "single", 4)
    table = layer_effects(windows(0), {group: windows(0.25)})
    assert table["phenomenon"].tolist() == [ALL] and table["estimate"][0] == pytest.approx(0.25)


def test_a_rising_cost_is_a_trend_and_a_falling_or_flat_one_is_not() -> None:
    groups = layer_groups(5, "cumulative", 10)
    rising = trend({group: windows(0.1 * i) for i, group in enumerate(groups)})
    assert rising.p_value < 1e-4 and rising[1:] == (12, 5)
    assert trend({group: windows(-0.1 * i) for i, group in enumerate(groups)}).p_value > 0.99
    noise = np.random.default_rng(0)
    flat = {group: frames.windows(noise.normal(size=12)) for group in groups}
    assert 0.01 < trend(flat).p_value < 0.99


def test_blocks_of_pairs_are_their_uids_and_few_of_them_decide_nothing() -> None:
    groups = layer_groups(4, "cumulative", 4)
    by_group = {group: pairs({"a": 2 * i, "b": 3 * i, "c": 4 * i}) for i, group in enumerate(groups, 1)}
    rising = trend(by_group)
    assert rising.num_blocks == 6 and rising.p_value < 0.01
    few = {group: items.of_phenomenon("a") for group, items in by_group.items()}
    assert np.isnan(trend(few).p_value) and trend(few).num_blocks == 2


def test_groups_scored_on_different_items_are_refused() -> None:
    groups = layer_groups(3, "cumulative", 3)
    by_group = dict.fromkeys(groups, windows(0)) | {groups[2]: frames.windows(np.linspace(2, 3, 5))}
    with pytest.raises(ValueError) as error:
        trend(by_group)
    assert str(error.value) == "the conditions were scored on different items; evaluate all of them on the same items"
