"""What the figures show is what stands in the record."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from studies.benchmarks.measures import MINIMAL_PAIRS
from studies.reporting.figures.claims import claims, effects_across_models
from studies.reporting.figures.costs import conditions
from studies.reporting.figures.curves import depth_curves, dose_curves, matching_curve
from studies.reporting.figures.dissociation import double_dissociation
from studies.reporting.figures.heat_maps import forgotten, layer_heat_map
from studies.reporting.figures.sheet import Drawing
from studies.reporting.figures.style import LOOKS
from studies.reporting.figures.surprisal import excess_by_condition
from studies.reporting.figures.training import Conditions, correlation_figure, effect_figure
from studies.reporting.records import doubling_record, measure_record
from studies.reporting.units import increased, measured, of_verdict
from studies.statistics.intervals import Interval
from tests.unit.studies.reporting.figures.made_up import (
    CONDITIONS,
    LABELS,
    MEASURES,
    cell,
    comparisons,
    doses,
    layer_effects,
    model_part,
    training_effects,
    verdict,
)


def points(panel: Any, part: str) -> list[tuple[float, float]]:
    """The markers of a role."""
    look = LOOKS[part]
    lines = [line for line in panel.lines if line.get_marker() == look.marker and line.get_color() == look.colour]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines if len(line.get_xdata()) == 1]


def panels(drawing: Drawing | None) -> list[Any]:
    assert drawing is not None
    return [axes for axes in drawing.figure.axes if axes.get_label() not in ("key", "colours")]


def names(panel: Any) -> list[str]:
    return [label.get_text() for label in panel.get_yticklabels()]


def test_costs_are_the_paired_differences_in_percent_and_points() -> None:
    model = model_part(labels=LABELS)
    treated = next(row for row in model["rows"] if row["part"] == "treated")
    perplexity, blimp, _ = panels(conditions(model))
    assert names(perplexity) == ["wasserstein", "matched", "random (3 seeds)", "signflip"]
    deltas = treated["deltas"]
    assert points(perplexity, "treated") == [(pytest.approx(100 * np.expm1(deltas["perplexity"]["estimate"])), 0)]
    assert points(blimp, "treated") == [(pytest.approx(100 * deltas["blimp"]["estimate"]), 0)]
    interval = next(line for line in blimp.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0)
    assert list(interval.get_xdata()) == pytest.approx([100 * deltas["blimp"][side] for side in ("low", "high")])


def test_seeds_are_their_mean_in_the_band_of_all() -> None:
    model = model_part()
    estimates = [100 * r["deltas"]["blimp"]["estimate"] for r in model["rows"] if r["part"] == "random"]
    _, blimp, _ = panels(conditions(model))
    assert points(blimp, "random") == [(pytest.approx(np.mean(estimates)), 2)]
    band = next(line for line in blimp.lines if line.get_linewidth() == 8)
    assert list(band.get_xdata()) == pytest.approx([min(estimates), max(estimates)])


def test_members_of_schedules_and_what_was_not_computed_have_no_line() -> None:
    model = model_part()
    rows = model["rows"]
    rows[1]["spread"], rows[2]["remark"], rows[-1]["deltas"] = True, "cannot be matched", {}
    assert names(panels(conditions(model))[0]) == ["random (3 seeds)"]
    assert conditions(model | {"rows": rows[:3]}) is None


def test_an_unknown_interval_is_a_hollow_marker() -> None:
    look = LOOKS["treated"]
    for half, inside in ((0.3, look.colour), (None, "white")):
        panel = panels(conditions(model_part(conditions=CONDITIONS[:1], half=half)))[1]
        (marker,) = (line for line in panel.lines if line.get_marker() == look.marker)
        assert marker.get_markerfacecolor() == inside


def test_the_double_dissociation_is_in_percent_of_the_baselines_errors() -> None:
    model = model_part()
    by_part = {row["part"]: row["deltas"] for row in model["rows"]}
    (panel,) = panels(double_dissociation([model]))
    for part in ("treated", "matched"):
        syntactic, other = by_part[part]["blimp"]["estimate"], by_part[part]["arc_easy"]["estimate"]
        ((x, y),) = points(panel, part)
        assert (x, y) == (pytest.approx(-100 * syntactic / 0.2), pytest.approx(-100 * other / 0.45))
    assert {float(line.get_ydata()[0]) for line in panel.lines} >= {4.0, 11.0}, "the paper's errors"


@pytest.mark.parametrize("missing", ["matched", "treated", "blimp", "arc_easy", "a role"])
def test_no_double_dissociation_without_both_conditions_and_both_kinds(missing: str) -> None:
    model = model_part()
    model["rows"] = [row for row in model["rows"] if row["part"] != missing]
    model["benchmarks"] = [b for b in model["benchmarks"] if b["name"] != missing]
    if missing == "a role":
        del model["roles"]["conditions"]["matched"]
    assert double_dissociation([model]) is None


def test_claims_have_the_unit_of_their_effect_and_those_without_one_are_left_out() -> None:
    verdicts = [verdict("perplexity_cost", 0.1), verdict("syntax_loss/blimp", -0.05), verdict("negative_mass", None)]
    perplexity, accuracy = panels(claims(model_part() | {"verdicts": verdicts}))
    assert (names(perplexity), names(accuracy)) == (["perplexity cost"], ["syntax loss: BLiMP"])
    markers = [line for line in accuracy.lines if line.get_marker() == "D"]
    assert [float(line.get_xdata()[0]) for line in markers] == [pytest.approx(-5.0)]
    assert claims(model_part() | {"verdicts": verdicts[2:]}) is None


def test_claims_of_one_unit_share_an_axis_over_models() -> None:
    effects = {"a": (0.1, -0.05), "b": (0.2, -0.3)}
    models = [
        model_part(name) | {"verdicts": [verdict("perplexity_cost", p), verdict("x/blimp", s), verdict("y/blimp", -s)]}
        for name, (p, s) in effects.items()
    ]
    judged = {"summary": None, "by_status": {"supported": ["a"], "undecided": ["b"]}}
    across = [{"claim": claim, **judged} for claim in ("perplexity_cost", "x/blimp", "y/blimp")]
    first, second, third = panels(effects_across_models({"models": models, "across_models": across}))
    assert second.get_xlim() == third.get_xlim() != first.get_xlim()
    assert effects_across_models({"models": models[:1], "across_models": across}) is None
    judged["by_status"].pop("undecided")
    assert effects_across_models({"models": models, "across_models": across}) is None, "a checkpoint that is no model"


def colours(drawing: Drawing | None) -> dict[tuple[int, int], str]:
    """{(row, column): colour} of a heat map."""
    mesh = panels(drawing)[0].collections[0]
    shape = np.asarray(mesh.get_array()).shape[:2]
    return {place: to_hex(np.asarray(mesh.get_array())[place]) for place in np.ndindex(*shape)}


def texts(drawing: Drawing | None) -> dict[tuple[int, int], str]:
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in panels(drawing)[0].texts}


def part_of_mean(estimate: float, num_items: int = 1000) -> dict[str, Any]:
    """A model whose treated condition has this mean over the phenomena of BLiMP."""
    part = model_part()
    delta = {"estimate": estimate, "low": None, "high": None, "num_items": num_items, "basis": ""}
    next(row for row in part["rows"] if row["condition"] == "wasserstein")["deltas"]["blimp"] = delta
    return part


def test_few_items_are_painted_paler_than_many() -> None:
    table = comparisons(["wasserstein"], ("few", "many")).assign(difference=-0.1)
    table["num_items"] = [1010, 10, 1000]
    painted = colours(forgotten(table, part_of_mean(-0.1), "blimp"))
    assert painted[0, 0] == painted[2, 0] != painted[1, 0]
    assert sum(int(painted[1, 0][i : i + 2], 16) for i in (1, 3, 5)) > 600, "next to white"


def test_the_first_row_is_the_mean_over_phenomena_that_the_claims_estimate() -> None:
    table = comparisons(["wasserstein"], ("a", "b")).assign(difference=-0.3, p_holm=0.001)
    written = texts(forgotten(table, part_of_mean(0.05), "blimp"))
    assert (written[0, 0], written[1, 0]) == ("+5", "−30*"), "not the items of all phenomena together"


def test_phenomena_are_marked_by_corrected_p_and_means_over_seeds_are_not() -> None:
    table = comparisons(["wasserstein", "random/seed=0", "random/seed=1"], ("a", "b"))
    table["difference"] = np.where(table["condition"] == "random/seed=1", -0.3, -0.1)
    table["p_holm"] = np.where(table["phenomenon"] == "a", 0.01, 0.2)
    written = texts(forgotten(table, model_part(), "blimp"))
    assert written[1, 0] == "−10*" and written[2, 0] == "−10" and written[1, 1] == "−20"


@pytest.mark.parametrize("phenomena", [(), ("only",)])
def test_a_benchmark_of_one_phenomenon_has_no_map(phenomena: Sequence[str]) -> None:
    assert forgotten(comparisons(["wasserstein"], phenomena), model_part(), "blimp") is None


def test_harm_is_red_whichever_way_a_benchmark_counts() -> None:
    table = layer_effects(1, ("a",)).assign(estimate=0.3)
    harmed = colours(layer_heat_map(table, benchmark="b", measure=MINIMAL_PAIRS, title="m"))[0, 0]
    lost = colours(forgotten(comparisons(["wasserstein"], ("a", "b")).assign(difference=-0.3, num_items=900),
                             part_of_mean(-0.3), "blimp"))[0, 0]  # fmt: skip
    assert harmed == lost and int(lost[1:3], 16) > int(lost[5:7], 16)


def test_layers_are_whole_numbers() -> None:
    table = layer_effects(3, ()).assign(depth=[1, 2, 3])
    for panel in panels(depth_curves({"blimp": table}, MEASURES, names=LABELS, title="m")):
        assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "2", "3"]


@pytest.mark.parametrize("chosen", [0.1, None])
def test_the_chosen_point_of_a_search_is_marked(chosen: float | None) -> None:
    curve = pd.DataFrame({"fraction": [0.16, 0.1, 0.04], "perplexity": [30.0, 25.0, 22.0]})
    drawing = matching_curve(curve, baseline=20.0, treated=25.0, chosen=chosen, title="m", num_windows=None)
    marks = [line for line in panels(drawing)[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [float(line.get_xdata()[0]) for line in marks] == ([] if chosen is None else [pytest.approx(10.0)])
    assert ("10 %" in drawing.caption) == (chosen is not None)


@pytest.mark.parametrize(("scale", "is_shown"), [(1.0, True), (0.1, False)])
def test_the_line_of_doubling_never_squashes_the_curves(scale: float, is_shown: bool) -> None:
    table = doses({"dose": 0, "random": 3}, (0.02, 0.1), scale=scale)
    found = doubling_record("dose", "perplexity", 0.1, Interval(0.07, 0.06, 0.08))
    drawing = dose_curves(table, [found], MEASURES, names=LABELS, parts={"dose": "treated"}, title="m")
    panel = panels(drawing)[0]
    assert (100.0 in {float(line.get_ydata()[0]) for line in panel.lines}) == is_shown
    assert ("lies far above" in drawing.caption) == (not is_shown)
    curves = [line for line in panel.lines if len(line.get_xdata()) == 2 and line.get_marker() not in ("", "None")]
    assert len(curves) == 2, "seeds are one line"


def test_points_of_a_correlation_are_not_joined() -> None:
    drawing = correlation_figure({"b": [(0, 0.1, 0.5), (9, 0.2, 0.6)]}, names={"b": "B"}, title="m", note="n")
    assert [len(line.get_xdata()) for line in panels(drawing)[0].lines] == [1, 1]


def test_excess_of_all_conditions_has_one_axis_and_misses_nobody() -> None:
    model = model_part()
    classes = [{"name": n, "num_items": 9, "excess": e, "low": None, "high": None} for n, e in (("DET", 1), ("X", 0))]
    rows = [row["condition"] for row in model["rows"][1:]]
    model["excess"] = [{"condition": r, "benchmark": "blimp", "spread": False, "upos": classes} for r in rows]
    (panel,) = panels(excess_by_condition(model, "blimp"))
    assert names(panel) == ["DET (n = 9)", "X (n = 9)"]
    assert [x for part in ("treated", "matched", "random", "sign") for x, _ in points(panel, part)] == [1, 0] * 4
    assert excess_by_condition(model | {"excess": []}, "blimp") is None


def test_costs_over_training_have_the_bands_of_the_table_and_seeds_are_one() -> None:
    effects = training_effects(["top", "random/seed=0", "random/seed=1"], (1, 10, 100))
    conditions = Conditions({"top": "treated"}, {f"random/seed={seed}": "random" for seed in (0, 1)})
    perplexity, _ = panels(effect_figure(effects, conditions, MEASURES, names=LABELS, counts={}, title="m"))
    assert len(perplexity.collections) == 2
    rows = effects[(effects["condition"] == "top") & (effects["benchmark"] == "perplexity")]
    top = perplexity.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(100 * np.expm1(rows["high"].max()))


def test_units_are_those_that_people_read() -> None:
    measures = {name: measure_record(measure) for name, measure in MEASURES.items()}
    assert measured(measures["blimp"]).read(-0.02) == -2 and measured(measures["perplexity"]).read(np.log(2)) == (
        pytest.approx(100)
    )
    assert np.isnan(measured(measures["blimp"]).read(None)) and np.isfinite(measured(measures["perplexity"]).read(1e9))
    assert increased(MINIMAL_PAIRS).label == "error, percentage points"
    costs = verdict("early_layers_matter_most/perplexity", 0.1) | {"unit": "of_benchmark"}
    assert of_verdict(costs, measures).label == "cost in perplexity, %"
    assert of_verdict(costs | {"unit": "number"}, measures).read(0.5) == 0.5
    assert of_verdict(costs, {}).read(0.5) == 0.5, "a benchmark that the report lacks"
    assert cell(1.0, None) == {"estimate": 1.0, "low": None, "high": None}
