"""What a recorded study says of itself, of records in memory: whole ones, early ones, odd ones."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas
import pytest

from orchestrator.record.client.failures import DamagedArtifact, RecordError
from orchestrator.record.keys import Committed, RecordedRun, Slot
from orchestrator.record.recorded_study import RecordedStudy
from orchestrator.review.layers import EFFECTS
from orchestrator.review.model_report import COMPARISONS
from orchestrator.review.sentences import flipped_table, texts_table
from orchestrator.steps import artifacts
from orchestrator.steps.step import BASELINE
from tests.hostile import HOSTILE

PAIRS = pandas.DataFrame({"uid": ["a", "a", "b"], "pair": [0, 1, 0], "correct": [1.0, 0.0, 0.5]})
TEXTS = pandas.DataFrame({"uid": ["b", "a", "a"], "pair": [0, 1, 0], "good": ["x", "y", "z"], "bad": ["p", "q", "r"]})
NEURONS = pandas.DataFrame({"layer": [0, 0], "neuron": [0, 1], "wasserstein_distance": [0.25, 0.5]})
BENCHMARK = {"name": "blimp", "label": "BLiMP", "measure": {"name": "accuracy", "digits": 3, "logarithmic": False}}


class Reader:
    """In place of the record's reader: runs, and {(run, path): what it recorded}."""

    uri, is_server = "sqlite:////x/mlflow.db", False

    def __init__(self, *runs: tuple[Slot, Mapping[str, str], Mapping[str, Mapping[str, Any]]]) -> None:
        self.contents: dict[tuple[str, str], Any] = {}
        self.runs = []
        for number, (slot, params, steps) in enumerate(runs):
            run_id, recorded = f"run{number}", {}
            for name, files in steps.items():
                metrics = files.get("metrics", {})
                paths = {path: "0" * 64 for path in files if path != "metrics"}
                recorded[name] = Committed(
                    step_id=f"{run_id}.{name}", step_name=name, experiment="s", run_id=run_id, artifacts=paths,
                    metrics=metrics,
                )  # fmt: skip
                self.contents |= {(run_id, path): files[path] for path in paths}
            self.runs.append(
                RecordedRun(slot, run_id, f"{slot.condition} · {slot.model}", "FINISHED", params, recorded)
            )

    def recorded_runs(self, study: str) -> list[RecordedRun]:
        return self.runs

    def frame(self, step: Committed, path: str) -> Any:
        content = self.contents[step.run_id, path]
        if content is None:
            raise DamagedArtifact(f"artifact {path} of run {step.run_id} is missing", step)
        return content

    document = content = frame

    def attachment(self, run_id: str, path: str) -> str:
        return self.contents.get((run_id, path), "")


def report(**more: Any) -> dict[str, Any]:
    part = {"label": "m", "rows": [], "benchmarks": [BENCHMARK], "doubling": [], "verdicts": []}
    return {"study": "s", "models": [{**part, **more}], "series": [], "unfinished": []}


def row(condition: str, **more: Any) -> dict[str, Any]:
    return {"condition": condition, "role": "top", "neurons": "", "spread": False, "remark": "", "cells": {}, **more}


def condition(name: str, model: str = "m", params: Mapping[str, str] | None = None, **steps: Any) -> Any:
    params = {"fraction": "", "seed": "", **(params or {})}
    return Slot("condition", model, name), params, {name.replace("__", "."): files for name, files in steps.items()}


def parent(recorded: dict[str, Any] | None = None, **steps: Any) -> Any:
    made = {} if recorded is None else {"report": {"report.json": recorded, **steps.pop("more", {})}}
    return Slot("study", "", ""), {"study": "s"}, {**made, **steps}


def study(*runs: Any) -> RecordedStudy:
    return RecordedStudy(Reader(*runs), "s")  # type: ignore[arg-type]


# ---- conditions


def test_numbers_of_conditions_are_numbers_although_the_baseline_has_none() -> None:
    found = study(
        condition("random/seed=3", params={"fraction": "0.01", "seed": "3"}, evaluate__blimp={"metrics": {"x": 0.5}}),
        condition(BASELINE),
    ).conditions
    assert found.condition.tolist() == [BASELINE, "random/seed=3"], "the baseline first"
    assert found.fraction.dtype == float and found.fraction.fillna(-1).tolist() == [-1, 0.01]
    assert str(found.seed.dtype) == "Int64" and found.seed.isna().tolist() == [True, False] and found.seed[1] == 3
    assert found.num_neurons.isna().all() and found.x.fillna(-1).tolist() == [-1, 0.5]


def test_what_the_report_says_of_a_condition_wins_over_the_params_of_its_run() -> None:
    """The realised fraction of a matched control, which had none when its run was made; the order of the study."""
    delta = {"estimate": -0.25, "low": -0.5, "high": None, "num_items": 3, "basis": "items"}
    rows = [
        row(BASELINE, part="baseline", fraction=None, num_neurons=None, of=BASELINE, reference="", deltas={}),
        row("matched", part="matched", fraction=0.375, num_neurons=12, seed=None, of="matched", reference="top",
            deltas={"blimp": delta}),
        row("top", part="treated"),
    ]  # fmt: skip
    found = study(
        parent(report(rows=rows)),
        condition("top", params={"fraction": "0.01"}),
        condition("matched"),
        condition(BASELINE),
        condition("of an earlier definition", params={"fraction": "0.5"}),
    ).conditions
    assert found.condition.tolist() == [BASELINE, "matched", "top", "of an earlier definition"]
    assert found.fraction.fillna(-1).tolist() == [-1, 0.375, 0.01, 0.5]
    assert found.num_neurons.fillna(-1).tolist() == [-1, 12, -1, -1]
    matched = found.set_index("condition").loc["matched"]
    assert (matched.part, matched.reference, matched["delta/blimp"], matched["delta/blimp_low"]) == (
        "matched", "top", -0.25, -0.5,
    )  # fmt: skip
    assert pandas.isna(matched["delta/blimp_high"]) and found["delta/blimp"].dtype == float


def test_a_study_without_runs_has_empty_tables_with_their_columns() -> None:
    empty = study(parent())
    assert empty.conditions.empty and {"model", "condition", "fraction", "seed"} <= set(empty.conditions.columns)
    assert empty.verdicts.empty and {"claim", "status", "estimate"} <= set(empty.verdicts.columns)
    for table in (empty.benchmarks, empty.comparisons, empty.layers(), empty.doses(), empty.training_effects()):
        assert table.empty
    assert empty.trajectories().empty and list(empty.trajectories().columns) == ["series"]
    assert empty.models == [] and empty.figures == {} and empty.definition == "" and empty.resolved == {}
    assert not empty.has_report and "has no report yet" in empty._repr_html_()
    with pytest.raises(RecordError, match=r"^s has no report yet; run it first$"):
        _ = empty.report


# ---- claims and benchmarks


def test_verdicts_of_models_and_series_with_their_intervals_as_columns() -> None:
    effect = {"estimate": -0.1, "low": -0.2, "high": 0.0}
    whole = {"claim": "loss", "model": "m", "status": "supported", "effect": effect, "contrast": effect, "margin": 0.02}
    bare = {"claim": "rise", "model": "t", "status": "undecided", "effect": None, "contrast": None, "detail": "few"}
    recorded = {**report(verdicts=[whole]), "series": [{"label": "t", "verdicts": [bare]}]}
    found = study(parent(recorded)).verdicts
    assert found[["model", "claim", "status"]].values.tolist() == [
        ["m", "loss", "supported"], ["t", "rise", "undecided"],
    ]  # fmt: skip
    assert found.loc[0, ["estimate", "low", "high", "contrast", "contrast_low", "margin"]].tolist() == [
        -0.1, -0.2, 0.0, -0.1, -0.2, 0.02,
    ]  # fmt: skip
    assert found.loc[1, ["estimate", "contrast", "margin"]].isna().all() and found.detail[1] == "few"


def test_a_study_shows_its_claims_over_models_in_the_units_of_the_page() -> None:
    effect = {"estimate": -0.1, "low": -0.2, "high": 0.0}
    loss = {"claim": "loss/blimp", "statement": "It drops.", "model": "m", "status": "supported", "effect": effect}
    parts = [
        report(verdicts=[{**loss, "unit": "of_benchmark"}])["models"][0],
        report(label="n", verdicts=[{**loss, "status": "absent", "effect": None}])["models"][0],
    ]
    html = study(parent({**report(), "models": parts, "unfinished": ["a step"]}))._repr_html_()
    words = [word for word in re.split(r"<[^>]*>", html) if word]
    assert words == [
        "s", "claim", "m", "n", "loss/blimp", "It drops.", "supported", "−10.0 pp [−20.0, 0.0]", "absent", "–",
        "Steps not finished: 1",
    ]  # fmt: skip


def test_a_report_of_the_first_version_is_read_with_what_it_has() -> None:
    """Without measures, margins, p values, parts, series."""
    early = {"claim": "c", "statement": "S.", "model": "m", "status": "holds", "effect": None, "contrast": None,
             "num_items": 8, "detail": "d", "published": "p"}  # fmt: skip
    recorded = report(verdicts=[early], rows=[row("top")], benchmarks=[{"name": "perplexity", "label": "perplexity"}])
    del recorded["series"]
    found = study(parent(recorded), condition("top", params={"fraction": "0.01"}, evaluate__blimp={}))
    assert found.verdicts.status.tolist() == ["holds"] and found.verdicts.p_value.isna().all()
    assert found.benchmarks[["name", "measure"]].fillna("").values.tolist() == [
        ["perplexity", "perplexity"], ["blimp", ""],
    ]  # fmt: skip
    assert found.benchmarks.is_syntactic.isna().all() and found.conditions.fraction.tolist() == [0.01]
    assert "holds" in found._repr_html_()


@pytest.mark.parametrize("odd", [{}, [], {"models": [{}]}, {"models": [{"benchmarks": [{}]}]}, "text"])
def test_a_report_of_another_shape_is_one_line(odd: Any) -> None:
    with pytest.raises(RecordError, match=r"^the recorded report cannot be shown \(.*\); run the study again$"):
        _ = study(parent(odd)).report


def test_comparisons_begin_with_what_they_are_of() -> None:
    """The report records them with the model in their last column."""
    table = pandas.DataFrame({"condition": ["top"], "against": [BASELINE], "difference": [-0.5], "model": ["m"]})
    found = study(parent(report(), more={COMPARISONS: table})).comparisons
    assert list(found.columns) == ["model", "condition", "against", "difference"] and found.difference.tolist() == [
        -0.5
    ]


# ---- items


def test_items_of_all_conditions_with_the_texts_that_the_model_was_shown() -> None:
    found = study(
        parent(t={texts_table("blimp"): TEXTS}),
        condition("top", evaluate__blimp={"items/blimp.parquet": PAIRS}),
        condition(BASELINE, model="n", evaluate__blimp={"items/blimp.parquet": PAIRS}),
    )
    items = found.items("blimp", texts=True)
    assert list(items.columns) == ["model", "condition", "uid", "pair", "correct", "good", "bad"] and len(items) == 6
    assert items.good.tolist() == ["z", "y", "x"] * 2 and items.correct.tolist() == [1.0, 0.0, 0.5] * 2
    assert items[["model", "condition"]].drop_duplicates().values.tolist() == [["m", "top"], ["n", BASELINE]]
    assert found.texts("blimp").equals(TEXTS) and list(found.items("blimp").columns)[-1] == "correct"


def test_texts_of_documents_stand_beside_every_token_and_gold_stays_that_of_the_items() -> None:
    tokens = pandas.DataFrame({"document": [0, 0, 1], "start": [0, 2, 0], "end": [2, 3, 1], "surprisal": [1.0, 2, 3]})
    documents = pandas.DataFrame({"document": [1, 0], "text": ["one", "zero"]})
    answers = pandas.DataFrame({"id": ["q"], "gold": [2], "correct": [1.0]})
    questions = pandas.DataFrame({"id": ["q"], "context": ["?"], "choices": [["a", "b"]], "gold": [1]})
    found = study(
        parent(one={"texts/surprisal.parquet": documents}, two={"texts/arc.parquet": questions}),
        condition("top", a={"items/surprisal.parquet": tokens}, b={"items/arc.parquet": answers}),
    )
    assert found.items("surprisal", texts=True).text.tolist() == ["zero", "zero", "one"]
    (answer,) = found.items("arc", texts=True).to_dict("records")
    assert (answer["gold"], answer["context"], list(answer["choices"])) == (2, "?", ["a", "b"])


def test_texts_that_share_a_key_are_taken_in_order() -> None:
    items, texts = pandas.DataFrame({"uid": "a", "pair": [0, 0]}), TEXTS.assign(uid="a", pair=0).head(2)
    found = study(parent(t={"texts/blimp.parquet": texts}), *(
        condition(name, e={"items/blimp.parquet": items}) for name in ("top", BASELINE)
    ))  # fmt: skip
    assert found.items("blimp", texts=True).good.tolist() == ["x", "y"] * 2


def test_flipped_items_of_every_condition_that_has_them() -> None:
    table = {"columns": ["uid", "change"], "data": [["a", "lost"]]}
    runs = [condition(name, f={flipped_table("blimp"): table}) for name in ("top", "matched")]
    found = study(*runs, condition(BASELINE)).flipped("blimp")
    assert found.values.tolist() == [["m", "top", "a", "lost"], ["m", "matched", "a", "lost"]]


# ---- neurons, schedules, series


def test_neurons_and_the_sets_of_conditions_and_of_a_controls_neighbour() -> None:
    profile = (Slot("profile", "m", ""), {}, {"profile": {artifacts.NEURONS: NEURONS}})
    other = (Slot("profile", "n", ""), {}, {"profile": {artifacts.NEURONS: NEURONS.assign(neuron=7)}})
    chosen, beyond = NEURONS[["layer", "neuron"]].head(1), NEURONS[["layer", "neuron"]].tail(1)
    found = study(
        profile,
        other,
        condition("matched", match={artifacts.NEURON_SET: chosen, artifacts.NEIGHBOUR_SET: beyond}),
        condition("matched/neighbour"),
    )
    assert found.neurons("n").neuron.tolist() == [7, 7] and found.neurons("m").columns[0] == "model"
    assert found.neuron_set("m", "matched").equals(chosen) and found.neuron_set("m", "matched/neighbour").equals(beyond)


def test_schedules_and_series_say_what_they_are_of() -> None:
    curve = pandas.DataFrame({"estimate": [0.5], "condition": ["dose"]})
    depth = pandas.DataFrame({"group": ["0-3"], "estimate": [1.0]})
    scores, weights = (pandas.DataFrame({"step": [1], "quantity": [name], "median": [0.5]}) for name in ("wd", "up"))
    found = study(
        (Slot("schedule", "m", "dose-response"), {}, {"doses": {"dose_response.parquet": curve}}),
        (Slot("schedule", "m", "top"), {}, {"layers": {EFFECTS: depth}}),
        (Slot("schedule", "pythia", "training"), {}, {"dynamics": {
            "trajectories.parquet": scores, "weight_trajectories.parquet": weights, "effects.parquet": curve,
        }}),
    )  # fmt: skip
    assert found.doses().values.tolist() == [["m", "dose", 0.5]]
    assert found.layers().values.tolist() == [["m", "top", "0-3", 1.0]]
    assert found.trajectories()[["series", "quantity"]].values.tolist() == [
        ["pythia", "wd"], ["pythia", "cosine_dissimilarity/up"],
    ]  # fmt: skip
    assert list(found.training_effects().columns) == ["series", "estimate", "condition"]


# ---- figures and documents


def test_figures_with_what_is_recorded_of_them() -> None:
    captions = {"both": {"title": "Both", "caption": "n = 3"}, "bad": "no caption"}
    files = {"figures/both.png": b"png", "figures/both.svg": b"<svg/>", "figures/bad.png": b"bad",
             "figures/captions.json": captions, "other/none.png": b""}  # fmt: skip
    found = study(
        parent(report(), more=files),
        (Slot("schedule", "m", "top"), {}, {"layers": {"figures/depth.png": b"deep"}}),
    ).figures
    assert list(found) == ["bad", "both", "m/top/depth"]
    both = found["both"]
    assert (both.svg, both.png, both.title, both.caption) == (b"<svg/>", b"png", "Both", "n = 3")
    assert (found["bad"].svg, found["bad"].caption, found["m/top/depth"].png) == (None, "", b"deep")
    assert "data:image/svg+xml" in both._repr_html_() and "n = 3" in both._repr_html_()
    assert "data:image/png" in found["m/top/depth"]._repr_html_()


def test_a_damaged_figure_costs_that_figure_alone() -> None:
    found = study(parent(report(), more={"figures/a.png": None, "figures/b.png": b"b"})).figures
    assert found["b"].png == b"b"
    with pytest.raises(DamagedArtifact, match=r"^artifact figures/a\.png of run run0 is missing$"):
        _ = found["a"].png


def test_documents_by_the_place_of_their_run() -> None:
    found = study(
        parent(report(), more={"report.md": "# s"}),
        (Slot("profile", "m", ""), {}, {"profile": {"profile.json": {"num_tokens": 9}}}),
        condition("top", evaluate__blimp={artifacts.receipt("evaluate.blimp"): {"route": "tree"}}),
    )
    assert found.document("m", "top", "receipts/evaluate.blimp.json") == {"route": "tree"}
    assert found.document("m", "", "profile.json") == {"num_tokens": 9}
    assert found.document("", "", "report.md") == "# s"
    assert found.documents("m", "top") == ["receipts/evaluate.blimp.json"] and found.documents("m", "none") == []


REFUSED: Mapping[str, tuple[Callable[[RecordedStudy], object], str]] = {
    "items": (lambda found: found.items("blmp"),
              "no run of this study recorded items/blmp.parquet; did you mean 'blimp'?"),
    "items of nothing alike": (lambda found: found.items("capitals"),
                               "no run of this study recorded items/capitals.parquet; allowed: blimp"),
    "texts": (lambda found: found.items("blimp", texts=True), "no run of this study recorded texts/blimp.parquet"),
    "flipped": (lambda found: found.flipped("blimp"), "no run of this study recorded flipped/blimp.json"),
    "excess": (lambda found: found.excess("blimp"), "no run of this study recorded excess/blimp.parquet"),
    "neurons": (lambda found: found.neurons("n"), "no profile of model 'n'; allowed: m"),
    "set of the baseline": (lambda found: found.neuron_set("m", BASELINE),
                            "the condition 'baseline' of model 'm' recorded no neuron_set.parquet"),
    "condition": (lambda found: found.neuron_set("m", "tops"),
                  "no condition 'tops' of model 'm' is recorded; did you mean 'top'?"),
    "model": (lambda found: found.document("n", "top", "x"), "no condition 'top' of model 'n' is recorded; allowed: m"),
}  # fmt: skip


@pytest.mark.parametrize(("read", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_recorded_is_one_line_that_says_what_there_is(
    read: Callable[[RecordedStudy], object], message: str
) -> None:
    found = study(
        parent(),
        (Slot("profile", "m", ""), {}, {"profile": {artifacts.NEURONS: NEURONS}}),
        condition(BASELINE),
        condition("top", evaluate__blimp={artifacts.items_table("blimp"): PAIRS}),
    )
    with pytest.raises(RecordError, match="^" + re.escape(message)) as refused:
        read(found)
    assert "\n" not in str(refused.value)


def test_names_are_text_in_html() -> None:
    for name in (*HOSTILE, '" onload="x', "' onload='x"):
        verdict = {"claim": name, "statement": name, "model": name, "status": name, "effect": None, "contrast": None}
        recorded = report(label=name, verdicts=[verdict])
        files = {"figures/f.png": b"png", "figures/captions.json": {"f": {"title": name, "caption": name}}}
        found = RecordedStudy(Reader(parent(recorded, more=files)), name)  # type: ignore[arg-type]
        shown = found._repr_html_() + found.figures["f"]._repr_html_()
        tags = set(re.findall(r"</?([a-z0-9]+)", shown))
        assert tags <= {"h3", "table", "tr", "th", "td", "b", "br", "small", "span", "figure", "img", "figcaption"}, (
            shown
        )
        assert shown.count("<img ") == 1 and 'onload="' not in shown and "onload='" not in shown
        assert "\n" not in repr(found)
