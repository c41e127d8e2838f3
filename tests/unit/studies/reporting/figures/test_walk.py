"""Every figure, drawn from ordinary and from odd data: ticks, labels, no text cut or over another, a clean SVG."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS, PERPLEXITY, SURPRISAL
from studies.neurons.selection import top
from studies.reporting.figures import claims, costs, curves, dissociation, examples, heat_maps, neurons, surprisal
from studies.reporting.figures import training as over_training
from studies.reporting.figures.files import svg
from studies.reporting.figures.sheet import Drawing, Layout, set_labels, sheet
from studies.reporting.figures.style import settings
from studies.reporting.records import doubling_record
from studies.statistics.intervals import Interval
from tests.hostile import HOSTILE
from tests.unit.studies.reporting.figures.made_up import (
    CONDITIONS,
    LABELS,
    MEASURES,
    PHENOMENA,
    cell,
    comparisons,
    doses,
    entangled,
    excess_table,
    layer_effects,
    model_part,
    neuron_table,
    training_effects,
    trajectories,
    verdict,
)
from tests.unit.studies.reporting.figures.walker import faults

LONG = "a name that is longer than any place in a figure, " * 4
ODD = " ".join(HOSTILE)
MANY = [
    (f"condition_{number}_with_a_long_name", "other" if number % 2 else "treated", None, "") for number in range(30)
]
CLAIMS = {
    "perplexity_cost": (0.15, "supported"),
    "matched_cost": (0.2, "supported"),
    "syntax_loss/blimp": (-0.06, "contradicted"),
    "knowledge_spared": (-0.01, "absent"),
    "double_dissociation": (-0.02, "undecided"),
    "scaffolding": (0.1, "undecided"),
}
STEPS = (0, 1, 64, 512, 4000, 143000)
GROUPS = over_training.Conditions(
    {"top": "treated", "random/seed=0": "random", "random/seed=1": "random", LONG: "matched", "baseline": "baseline"},
    {"random/seed=0": "random", "random/seed=1": "random"},
)
CLASSES = ("DET", "NOUN", "VERB", "ADJ", "PUNCT", "AUX", "X", LONG, "<b>$_")


def judged(scale: float = 1.0, half: float | None = 0.01, **names: Any) -> dict[str, Any]:
    """A model with a scorecard."""
    verdicts = [verdict(claim, scale * effect, status=status, half=half) for claim, (effect, status) in CLAIMS.items()]
    return model_part(**names) | {"verdicts": [*verdicts, verdict("syntax_spared/blimp", None)]}


def several(*names: str) -> list[dict[str, Any]]:
    """Models with scorecards and neuron tables."""
    share = {"top": cell(0.85, 0.02), "rest": cell(0.6, None), "num_top": 450, "num_rest": 40_000}
    return [
        judged(scale, label=name) | {"structure": {"negative_share": share}}
        for scale, name in enumerate(names, start=1)
    ]


def across(models: list[dict[str, Any]]) -> Drawing | None:
    """The claims of several models, one of them with a mean."""
    mean = cell(0.16, 0.03) | {"prediction_low": 0.05, "prediction_high": 0.3}
    judged = {"undecided": [model["label"] for model in models]}
    entries = [
        {"claim": claim, "summary": mean if claim == "perplexity_cost" else None, "by_status": judged}
        for claim in CLAIMS
    ]
    return claims.effects_across_models({"models": models, "across_models": entries})


def forgotten(model: dict[str, Any], scale: float = 0.1) -> Drawing | None:
    return heat_maps.forgotten(
        comparisons([row["condition"] for row in model["rows"][1:]], scale=scale), model, "blimp"
    )


def search(fractions: list[float], perplexities: list[float], chosen: float | None, title: str = "m") -> Drawing:
    table = pd.DataFrame({"fraction": fractions, "perplexity": perplexities})
    level = min(perplexities)
    return curves.matching_curve(
        table, baseline=0.98 * level, treated=1.02 * level, chosen=chosen, title=title, num_windows=16
    )


def dosed(scale: float, fractions: tuple[float, ...], name: str = "dose") -> Drawing:
    found = doubling_record(name, "perplexity", 0.1, Interval(0.05, 0.04, 0.06))
    parts = {name: "treated", "random": "random"}
    table = doses({name: 0, "random": 3}, fractions, scale=scale)
    return curves.dose_curves(table, [found], MEASURES, names=LABELS, parts=parts, title=name)


def unknown(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(low=np.nan, high=np.nan)


def excess(parts: dict[str, Any]) -> dict[str, Any]:
    """A model with an excess of every condition."""
    classes = [
        {"name": name, "num_items": 90 - 10 * place, "excess": 0.05 * place - 0.1, "low": None, "high": None}
        for place, name in enumerate(CLASSES)
    ]
    rows = parts["rows"][1:]
    entries = [{"condition": r["condition"], "benchmark": "blimp", "spread": False, "upos": classes} for r in rows]
    return parts | {"excess": entries}


def scored(width: int = 200, title: str = "m") -> Drawing | None:
    table = neuron_table(width=width)
    chosen = top(table, score="wasserstein_distance", fraction=0.05)
    return neurons.scores(table, chosen, condition=title, correlation=0.4, title=title)


def headlines(level: float) -> dict[str, dict[str, dict[int, float]]]:
    """Results over training, of two labels."""
    values = {name: {step: level * (1 + place + step) for step in STEPS} for place, name in enumerate(GROUPS.parts)}
    return {"BLiMP": values, LONG: values}


def headline_figure(level: float) -> Drawing:
    measures = {"BLiMP": MINIMAL_PAIRS, LONG: PERPLEXITY}
    return over_training.condition_figure(headlines(level), GROUPS, measures, counts={LONG: 9}, title=ODD)


def correlation(steps: tuple[int, ...], names: tuple[str, ...]) -> Drawing:
    points = {name: [(step, 0.1 + 1e-3 * np.log1p(step), 0.6) for step in steps] for name in names}
    return over_training.correlation_figure(points, names={name: name for name in names}, title=ODD, note=LONG)


PHENOMENA_ODD = ("a", LONG, ODD, "_x", "$y$")
ODD_LABELS = dict(zip(LABELS, (LONG, ODD, "_$x$"), strict=True))
DEPTHS = {"blimp": layer_effects(8), "perplexity": layer_effects(8, ())}

FIGURES: dict[str, Callable[[], Drawing | None]] = {
    "conditions": lambda: costs.conditions(model_part()),
    "conditions, of a large rise": lambda: costs.conditions(model_part(conditions=MANY, scale=30)),
    "conditions, one, tiny": lambda: costs.conditions(model_part(conditions=CONDITIONS[:1], scale=1e-7)),
    "conditions, no interval, odd": lambda: costs.conditions(
        model_part(ODD, [(LONG, "treated", None, ""), (ODD, "sign", None, "")], labels=ODD_LABELS, half=None)
    ),
    "claims": lambda: claims.claims(judged()),
    "claims, odd": lambda: claims.claims(judged(half=None, label=ODD)),
    "across models": lambda: across(several("a", LONG, ODD)),
    "dissociation": lambda: dissociation.double_dissociation(several("a", "b", "c")),
    "dissociation, one": lambda: dissociation.double_dissociation([model_part(ODD, scale=1e-4)]),
    "dissociation, many": lambda: dissociation.double_dissociation(several(*(f"{LONG}{n}" for n in range(5)))),
    "forgotten": lambda: forgotten(model_part()),
    "forgotten, many": lambda: forgotten(model_part(conditions=MANY), scale=1e-3),
    "layer map, odd": lambda: heat_maps.layer_heat_map(
        unknown(layer_effects(1, PHENOMENA_ODD, scale=1e-4)), benchmark=ODD, measure=SURPRISAL, title=LONG
    ),
    "layer map, many groups": lambda: heat_maps.layer_heat_map(
        layer_effects(32, PHENOMENA[:3]), benchmark="BLiMP", measure=MINIMAL_PAIRS, title="m"
    ),
    "search": lambda: search([0.01, 0.04, 0.16, 0.1], [20.5, 22.0, 30.0, 25.0], 0.1),
    "search, one try": lambda: search([0.5], [20.0], None, ODD),
    "search, over decades": lambda: search([0.0001, 0.01, 0.9], [20.0, 4e3, 7e5], 0.01),
    "depth": lambda: curves.depth_curves(DEPTHS, MEASURES, names=LABELS, title="m"),
    "depth, one group, odd": lambda: curves.depth_curves(
        {"blimp": unknown(layer_effects(1, ()))}, MEASURES, names=ODD_LABELS, title=ODD
    ),
    "depth by phenomenon": lambda: curves.depth_by_phenomenon(
        layer_effects(2, PHENOMENA_ODD, scale=1e-6), MINIMAL_PAIRS, benchmark=ODD, title=LONG
    ),
    "doses": lambda: dosed(1.0, (0.01, 0.02, 0.05, 0.1)),
    "doses, one": lambda: dosed(0.001, (0.02,), ODD),
    "doses, of a large rise": lambda: dosed(50.0, (0.001, 0.1, 0.5), LONG),
    "WD by layer": lambda: neurons.wasserstein_by_layer(neuron_table(), title="m"),
    "WD of one layer": lambda: neurons.wasserstein_by_layer(neuron_table(1), title=ODD),
    "negative share": lambda: neurons.negative_shares(several("a", LONG, ODD)),
    "scores": lambda: scored(50),
    "scores, few": lambda: scored(20, ODD),
    "entangled": lambda: examples.entangled_neurons(*entangled(2, LONG, " sat"), title="m"),
    "entangled, odd": lambda: examples.entangled_neurons(*entangled(1, ODD + "\u4f60" * 40, "x" * 90), title=ODD),
    "excess": lambda: surprisal.excess_by_class(excess_table(CLASSES), kind="upos", title="m"),
    "excess, unknown": lambda: surprisal.excess_by_class(
        excess_table(CLASSES[-2:], known=False, scale=1e-5), kind="relation", title=ODD
    ),
    "excess by condition": lambda: surprisal.excess_by_condition(excess(model_part()), "blimp"),
    "trajectories": lambda: over_training.trajectory_figure(
        trajectories([*GROUPS.parts, "all"], STEPS, ["wasserstein_distance", "mapping_difficulty", ODD], scale=0.1),
        GROUPS,
        title="m",
    ),
    "trajectories of weights": lambda: over_training.trajectory_figure(
        trajectories(["top", "all"], (512, 1000), ["down"], scale=1e-6), GROUPS, title=ODD, of_weights=True
    ),
    "headlines": lambda: headline_figure(10.0),
    "effects over training": lambda: over_training.effect_figure(
        training_effects(list(GROUPS.parts)[:4], STEPS), GROUPS, MEASURES, names=ODD_LABELS, counts={}, title="m"
    ),
    "effects of one checkpoint": lambda: over_training.effect_figure(
        unknown(training_effects(["top"], (0,))), GROUPS, MEASURES, names=LABELS, counts={"BLiMP": 4000}, title=ODD
    ),
    "correlation": lambda: correlation(STEPS, ("blimp",)),
    "correlation, two checkpoints": lambda: correlation(STEPS[:2], ("a", LONG, ODD)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_ticks_labels_and_no_text_that_is_cut_or_covered(name: str) -> None:
    drawing = FIGURES[name]()
    assert drawing is not None and faults(drawing) == []


ON_ONE_PAGE = ("conditions, no interval, odd", "dissociation", "forgotten", "layer map, odd", "scores", "scores, few")


def test_figures_are_clean_svg_and_may_stand_on_one_page() -> None:
    ids: list[str] = []
    for name in ON_ONE_PAGE:
        drawing = FIGURES[name]()
        assert drawing is not None
        root = ElementTree.fromstring(svg(drawing))
        own = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert len(own) == len(set(own)), name
        ids += own
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"script", "style", "foreignObject", "a", "metadata"}, name
        assert float(root.attrib["width"]) <= 700 and root.attrib["aria-label"] == drawing.title
        for element in root.iter():
            for key, value in element.attrib.items():
                if key.rpartition("}")[2] == "href":
                    assert value[1:] in own or value.startswith("data:image/png;base64,"), (name, value[:40])
                assert all(target in own for target in re.findall(r"url\(#([^)]*)\)", value)), (name, value)
                assert "http" not in value or key == "aria-label", (name, key)
    assert len(ids) == len(set(ids))


def broken(**change: Any) -> Drawing:
    """A figure with one thing wrong."""
    with settings():
        of = sheet(1, Layout(height=100))
        panel = of.axes[0]
        panel.plot([0, 1], [0, 1])
        set_labels(of, panel, x="x", y="y")
        drawing = of.finished("title", "Caption.")
        if "ticks" in change:
            panel.set_xticks(change["ticks"], change["ticks"])
        if "label" in change:
            panel.set_ylabel(change["label"])
        if "text" in change:
            of.figure.text(*change["text"])
        if "legend" in change:
            panel.legend(handles=panel.lines, labels=["x"])
        if "width" in change:
            of.figure.set_figwidth(change["width"])
        return replace(drawing, caption=change.get("caption", drawing.caption))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"ticks": [0, 1]}, "only the ticks"),
        ({"ticks": [0, 0.5, 0.51, 1]}, "lies over"),
        ({"label": ""}, "has no label"),
        ({"text": (-0.01, 0.5, "text")}, "clipped"),
        ({"legend": True}, "a legend"),
        ({"width": 8}, "wider"),
        ({"caption": ""}, "caption"),
    ],
)
def test_the_walk_finds_what_is_wrong(change: dict[str, Any], fault: str) -> None:
    found = faults(broken(**change))
    assert any(fault in line for line in found) if fault else found == []
