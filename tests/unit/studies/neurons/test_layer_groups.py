"""Layer schedules and what they cost: groups by hand, effects against paired means, trends present and absent."""

import numpy as np
import pandas as pd
import pytest

from studies.errors import StudyError
from studies.neurons.layer_groups import ALL, EFFECT_COLUMNS, effects, layer_groups, layer_ranges, trend
from studies.reporting import figures


@pytest.mark.parametrize(
    ("groups", "schedule", "depth", "expected"),
    [
        (8, "single", 32, ["0-3", "4-7", "8-11", "12-15", "16-19", "20-23", "24-27", "28-31"]),
        (4, "single", 6, ["0-1", "2-3", "4", "5"]),
        (3, "cumulative", 6, ["0-1", "0-3", "0-5"]),
        (1, "cumulative", 5, ["0-4"]),
        (5, "single", 5, ["0", "1", "2", "3", "4"]),
        ([[4, 0], [2]], "single", 5, ["0,4", "2"]),
        ([[4], [0, 1]], "cumulative", 5, ["4", "0-1,4"]),
    ],
)
def test_groups(groups, schedule, depth, expected):
    found = layer_groups(groups, schedule, depth)
    assert [group.name for group in found] == expected
    assert [group.number for group in found] == list(range(1, len(expected) + 1))
    assert all(group.depth == max(group.layers) + 1 for group in found)


@pytest.mark.parametrize("depth", [1, 2, 7, 30, 32])
@pytest.mark.parametrize("groups", [1, 2, 5, 8])
def test_groups_cover_every_layer_once_in_even_parts(groups, depth):
    if groups > depth:
        with pytest.raises(StudyError, match=f"{groups} groups of {depth} layers"):
            layer_groups(groups, "single", depth)
        return
    found = layer_groups(groups, "single", depth)
    assert [layer for group in found for layer in group.layers] == list(range(depth))
    sizes = [len(group.layers) for group in found]
    assert max(sizes) - min(sizes) <= 1
    assert layer_groups(groups, "cumulative", depth)[-1].layers == tuple(range(depth))


@pytest.mark.parametrize("groups", [8, [[24, 25], [8], [0, 1]], [[4], [0, 1]]], ids=str)
@pytest.mark.parametrize("schedule", ["single", "cumulative"])
def test_no_two_groups_of_a_schedule_stand_at_the_same_step(groups, schedule):
    found = layer_groups(groups, schedule, 32)
    assert len({group.step for group in found}) == len(found)
    if groups == 8:
        assert [group.step for group in found] == [group.depth for group in found]


def test_a_layer_that_is_not_there():
    with pytest.raises(StudyError, match="there is no layer 6; layers are 0 to 5"):
        layer_groups([[0], [6]], "single", 6)


def test_ranges_in_any_order():
    assert layer_ranges([8, 1, 0, 2, 5, 6]) == "0-2,5-6,8"


def pairs(wrong: dict[str, int], size: int = 40) -> pd.DataFrame:
    """`size` pairs of each phenomenon in two uids, the first `wrong` of them wrong."""
    rows = [
        (f"{phenomenon}{i % 2}", phenomenon, str(i), float(i >= count))
        for phenomenon, count in wrong.items()
        for i in range(size)
    ]
    return pd.DataFrame(rows, columns=["uid", "phenomenon", "pair", "correct"])


def windows(shift: float) -> pd.DataFrame:
    nll = np.linspace(2, 3, 12) + shift
    return pd.DataFrame({"window": range(12), "nll": nll, "num_tokens": 100})


def test_effects_are_increases_of_the_error_by_phenomenon():
    groups = layer_groups(2, "single", 4)
    baseline = pairs({"agreement": 4, "npi": 10})
    table = effects(
        baseline, {groups[0]: pairs({"agreement": 12, "npi": 10}), groups[1]: pairs({"agreement": 4, "npi": 6})}
    )
    assert tuple(table.columns) == EFFECT_COLUMNS
    found = table.set_index(["layers", "phenomenon"])
    assert found.loc[("0-1", "agreement"), "estimate"] == pytest.approx(8 / 40)
    assert found.loc[("0-1", "npi"), "estimate"] == 0
    assert found.loc[("0-1", ALL), "estimate"] == pytest.approx(8 / 80)
    assert found.loc[("2-3", "npi"), "estimate"] == pytest.approx(-4 / 40)
    assert found.loc[("2-3", ALL), "num_items"] == 80
    assert (table["low"] <= table["estimate"]).all() and (table["estimate"] <= table["high"]).all()
    assert found.loc[("0-1", "agreement"), "low"] > 0 > found.loc[("2-3", "npi"), "low"]


def test_effects_on_perplexity_are_nats():
    (group,) = layer_groups(1, "single", 4)
    table = effects(windows(0), {group: windows(0.25)})
    assert table["phenomenon"].tolist() == [ALL] and table["estimate"][0] == pytest.approx(0.25)


def test_a_rising_cost_is_a_trend_and_a_falling_or_flat_one_is_not():
    groups = layer_groups(5, "cumulative", 10)
    rising = trend({group: windows(0.1 * i) for i, group in enumerate(groups)})
    assert rising.p_value < 1e-4 and rising[1:] == (12, 5)
    assert trend({group: windows(-0.1 * i) for i, group in enumerate(groups)}).p_value > 0.99
    noise = np.random.default_rng(0)
    flat = {group: windows(0).assign(nll=noise.normal(size=12)) for group in groups}
    assert 0.01 < trend(flat).p_value < 0.99


def test_blocks_of_pairs_are_their_uids_and_few_of_them_decide_nothing():
    groups = layer_groups(4, "cumulative", 4)
    by_group = {group: pairs({"a": 2 * i, "b": 3 * i, "c": 4 * i}) for i, group in enumerate(groups, 1)}
    found = trend(by_group)
    assert found.num_blocks == 6 and found.p_value < 0.01
    few = {group: items[items["phenomenon"] == "a"] for group, items in by_group.items()}
    assert np.isnan(trend(few).p_value) and trend(few).num_blocks == 2


def test_groups_scored_on_different_items_are_refused():
    groups = layer_groups(3, "cumulative", 3)
    by_group = dict.fromkeys(groups, windows(0)) | {groups[2]: windows(0).iloc[:5]}
    with pytest.raises(ValueError, match="different items"):
        trend(by_group)


def test_figures_are_drawn():
    groups = layer_groups(3, "cumulative", 6)
    baseline = pairs({"agreement": 4, "npi": 10})
    table = effects(baseline, {group: pairs({"agreement": 4 + 3 * i, "npi": 10}) for i, group in enumerate(groups)})
    perplexity = effects(windows(0), {group: windows(0.1 * i) for i, group in enumerate(groups)})
    for png in (
        figures.layer_heat_map(table, benchmark="blimp", title="t"),
        figures.depth_curves({"blimp": table, "perplexity": perplexity}, title="t"),
    ):
        assert png.startswith(b"\x89PNG")
