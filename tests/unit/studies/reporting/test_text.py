"""Reports as text: each kind of line, and the whole as Markdown, also of a report that an earlier version wrote."""

import json
import math
from typing import Any

import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS, PERPLEXITY, Measure
from studies.neurons.selection import NeuronSet
from studies.reporting import records, text
from studies.reporting.markdown import markdown
from studies.reporting.records import doubling_record, measure_record, noise_record, structure_record
from studies.statistics.comparisons import NoiseFloor, WithinNoise
from studies.statistics.intervals import Interval
from studies.statistics.neuron_table import overlaps, structure
from tests.unit.studies.statistics.frames import neuron_table

VERDICT = {
    "claim": "perplexity_cost",
    "statement": "It costs.",
    "status": "holds",
    "effect": {"estimate": 0.12, "low": 0.11, "high": 0.131},
    "detail": "numbers",
    "published": "It cost them.",
}


def model(label: str = "tiny", **more: Any) -> dict[str, Any]:
    """A model's part of a report with what the first version wrote."""
    rows = [
        {
            "condition": "baseline",
            "neurons": "none",
            "remark": "",
            "cells": {"perplexity": {"estimate": 40.204, "low": 38.1, "high": 42.5}},
        },
        {"condition": "top", "neurons": "top 1 %, negative", "remark": "not applicable (ReLU)", "cells": {}},
    ]
    return {
        "label": label,
        "display": f"org/{label}",
        "benchmarks": [{"name": "perplexity", "label": "Perplexity"}, {"name": "blimp", "label": "BLiMP"}],
        "rows": rows,
        "schedules": [],
        "doubling": [],
        "noise": "Noise floor.",
        "verdicts": [VERDICT],
        **more,
    }


def test_a_report_of_an_earlier_version_is_printed_without_what_it_lacks() -> None:
    report = {"study": "s", "models": [model()], "unfinished": ["evaluate tiny: failed"]}
    assert markdown(report).split("\n") == [
        "# s",
        "",
        "## org/tiny",
        "",
        "| condition | neurons | Perplexity | BLiMP |",
        "| --- | --- | --- | --- |",
        "| baseline | none | 40.20 [38.10, 42.50] | - |",
        "| top | top 1 %, negative | not applicable (ReLU) | not applicable (ReLU) |",
        "",
        "95 % bootstrap intervals over items. Noise floor.",
        "",
        "- **perplexity_cost: holds.** numbers",
        "  *It costs. Published: It cost them.*",
        "",
        "## Not finished",
        "",
        "- evaluate tiny: failed",
    ]


def test_verdicts_stand_in_a_table_with_what_they_rest_on() -> None:
    judged = VERDICT | {
        "status": "supported",
        "contrast": None,
        "margin": 0.02,
        "p_value": 0.0031,
        "survives_holm": True,
    }
    other = judged | {"claim": "matched_cost", "effect": None, "margin": None, "p_value": None, "survives_holm": None}
    assert text.verdict_table({"verdicts": [judged, other]}) == [
        ["claim", "verdict", "effect", "contrast", "margin", "p", "survives Holm"],
        ["perplexity_cost", "supported", "+0.120 [0.110, 0.131]", "-", "±0.02", "0.0031", "yes"],
        ["matched_cost", "supported", "-", "-", "-", "-", "-"],
    ]
    assert text.verdict_note(judged) == "p = 0.0031 (survives Holm over this scorecard); margin ±0.02"
    assert text.verdict_note(judged | {"survives_holm": False}).startswith("p = 0.0031 (does not survive Holm")
    assert text.verdict_note(other) == text.verdict_note(VERDICT) == ""
    lines = markdown({"study": "s", "models": [model(verdicts=[judged])], "unfinished": []}).split("\n")
    assert "| claim | verdict | effect | contrast | margin | p | survives Holm |" in lines


def test_margins_that_were_changed_are_said() -> None:
    first = {"accuracy": 0.02, "perplexity": 0.02, "surprisal": 0.02}
    assert text.margin_lines({"margins": [first]}) == text.margin_lines({}) == []
    report = {"study": "s", "models": [model()], "margins": [first, first | {"accuracy": 0.1}], "unfinished": []}
    line = (
        "the margins were changed after results existed: accuracy 0.02 perplexity 0.02 surprisal 0.02, then accuracy"
        " 0.1 perplexity 0.02 surprisal 0.02"
    )
    assert text.margin_lines(report) == [line]
    assert f"- {line}" in markdown(report)


def test_two_models_share_a_scorecard_and_a_training_has_a_section() -> None:
    series = {"label": "m", "correlations": {}, "growth": [], "verdicts": [VERDICT | {"claim": "wd_rises"}]}
    other = model("other", verdicts=[VERDICT | {"claim": "matched_cost", "status": "not decidable", "effect": None}])
    lines = markdown({"study": "s", "models": [model(), other], "series": [series], "unfinished": []}).split("\n")
    assert lines[lines.index("## Training of m") :][:3] == ["## Training of m", "", "- **wd_rises: holds.** numbers"]
    assert lines[lines.index("## Scorecard") :] == [
        "## Scorecard",
        "",
        "| claim | tiny | other |",
        "| --- | --- | --- |",
        "| perplexity_cost | holds, +0.120 [0.110, 0.131] | - |",
        "| matched_cost | - | not decidable |",
        "",
    ]
    assert text.scorecard_table([model()]) == [] and text.scorecard_table([model(verdicts=[])] * 2) == []


@pytest.mark.parametrize(
    ("measure", "cell", "expected"),
    [
        (PERPLEXITY, {"estimate": 40.204, "low": 38.1, "high": 42.5}, "40.20 [38.10, 42.50]"),
        (MINIMAL_PAIRS, {"estimate": 0.8124, "low": 0.795, "high": 0.829}, "0.812 [0.795, 0.829]"),
        (MINIMAL_PAIRS, {"estimate": 0.5, "low": None, "high": None}, "0.500"),
        (MINIMAL_PAIRS, {"estimate": None, "low": None, "high": None}, "-"),
        (MINIMAL_PAIRS, None, "-"),
    ],
)
def test_cells(measure: Measure, cell: dict[str, float | None] | None, expected: str) -> None:
    benchmark = {"name": "b", "measure": measure_record(measure)}
    assert text.benchmark_cell(benchmark, {"cells": {"b": cell}}) == expected


def test_unknown_bounds_are_not_shown_as_beyond_the_doses() -> None:
    intervals = {
        "a": Interval(0.05, 0.04, 0.06),
        "b": Interval(0.4, 0.3, math.inf),
        "c": Interval(math.inf, 0.45, math.inf),
        "d": Interval(0.05, math.nan, math.nan),
    }
    doubling = [doubling_record(name, "perplexity", 0.5, interval) for name, interval in intervals.items()]
    json.dumps(doubling, allow_nan=False)
    assert text.doubling_lines({"doubling": doubling}) == [
        "a: perplexity doubles at a fraction of 0.05 [0.04, 0.06]",
        "b: perplexity doubles at a fraction of 0.4 [0.3, over 0.5]",
        "c: perplexity does not double up to a fraction of 0.5",
        "d: perplexity doubles at a fraction of 0.05",
    ]


def test_the_structure_of_a_neuron_table() -> None:
    sets = {"top": NeuronSet.of({0: range(4)}), "md": NeuronSet.of({0: range(2, 6)})}
    record = structure_record(structure(neuron_table()), overlaps(sets, {0: 200}))
    share, correlation, overlap = text.structure_lines({"structure": record})
    estimate = f"{record['negative_share']['top']['estimate']:.3f}"
    assert share.startswith(f"negative share of the Wasserstein distance: {estimate} [") and "the other 396" in share
    correlated, reliable = correlation.split("; ")
    assert correlated.startswith("Spearman correlation") and "by layer (median" in correlated
    assert reliable == "reliability of mapping difficulty 0.50 to 0.75 by layer (median 0.62)"
    del record["correlation"]["reliability"]  # as earlier versions recorded it
    assert text.structure_lines({"structure": record})[1] == correlated
    assert overlap == "top and md share 50.0% of their neurons (2.0% by chance)"
    assert text.structure_lines({"structure": {}}) == []


def test_phenomena_that_differ_have_a_line_and_the_others_one_together() -> None:
    same = {"against": "baseline", "benchmark": "blimp", "num_phenomena": 3}
    lines = text.phenomenon_lines(
        {
            "comparisons": [
                {"condition": "top", "lower": ["npi", "island"], "higher": ["binding"], **same},
                {"condition": "mean", "lower": [], "higher": [], **same},
                {"condition": "flip", "lower": [], "higher": [], **same},
            ]
        }
    )
    assert lines == [
        "top against baseline on blimp, 3 of 3 phenomena: lower on npi, island; higher on binding"
        " (McNemar, Holm, p < 0.05)",
        "no phenomenon differs for mean against baseline on blimp; flip against baseline on blimp",
    ]
    assert text.phenomenon_lines({}) == []


def test_the_seeds_of_a_random_control_share_a_line() -> None:
    summary = {"condition": "random", "seeds": 3, "lowest": 19.0, "highest": 21.0}
    seeds = [summary | {"metric": "perplexity", "mean": 20.12345}, summary | {"metric": "blimp", "mean": 20.0}]
    expected = "random, mean of 3 seeds: perplexity 20.12 (19 to 21), blimp 20 (19 to 21)"
    assert text.seed_lines({"seeds": seeds}) == [expected]


def test_excess_surprisal_names_the_classes_with_the_most_excess() -> None:
    excess = {
        "condition": "top",
        "seed": None,
        "benchmark": "surprisal",
        "spread": False,
        "unit": "token",
        "all": {"excess": 0.25},
        "upos": [{"name": "DET", "excess": 0.5}, {"name": "X", "excess": 0.4}, {"name": "NOUN", "excess": 0.1}],
        "contrast": {"estimate": 0.4, "low": 0.3, "high": 0.5, "p_value": 0.001},
    }
    others = [excess | {"spread": True}, excess | {"condition": "random/seed=0", "seed": 0}]
    assert text.excess_lines({"excess": [excess, *others]}) == [
        "top, excess on surprisal (nats a token): +0.250, most on DET +0.500, NOUN +0.100; determiners, punctuation,"
        " auxiliaries, particles over nouns, verbs, adjectives, adverbs 0.400 [0.300, 0.500], Wilcoxon p = 0.001"
    ]


def test_trends_with_depth() -> None:
    trends = {
        "blimp": {"p_value": 0.01, "num_groups": 8, "num_blocks": 67},
        "tse": {"p_value": None, "num_groups": 8, "num_blocks": 2},
    }
    assert text.trend_lines({"schedules": [{"condition": "top", "trends": trends}]}) == [
        "top, rise of the cost on blimp with depth: p = 0.01 (Page's test, 8 depths, 67 blocks)",
        "top, rise of the cost on tse with depth: too few depths or blocks to test (8 depths, 2 blocks)",
    ]


def test_a_training_has_its_correlations_and_its_growth() -> None:
    correlation = {"estimate": 0.9, "low": 0.5, "high": 0.99, "checkpoints": 6}
    growth = {"estimate": 0.1, "low": 0.05, "high": 0.2, "first": 0, "last": 10, "trend": {"p_value": 0.01}}
    lines = text.series_lines(
        {
            "cohort": "m@step10",
            "correlations": {"tse": {"top": correlation, "none": correlation | {"estimate": None}}},
            "growth": [{"condition": "top", "benchmark": "tse"} | growth],
        }
    )
    assert lines[0].endswith("over 6 checkpoints, cohort of m@step10: top 0.900")
    assert lines[1] == "top, cost on tse: 0.100 [0.050, 0.200] more at step 10 than at step 0, Page's trend p = 0.01"


def test_the_noise_floor_is_one_sentence() -> None:
    floors = {
        "perplexity": noise_record(NoiseFloor(12, None, None, 1e-6)),
        "blimp": noise_record(NoiseFloor(400, 2e-5, 1, None)),
        "surprisal": noise_record(NoiseFloor(900, 3e-5, None, None)),
    }
    assert text.noise_sentence(floors) == (
        "Noise floor (the baseline on another pack plan moves): perplexity by 1.0e-06 (relative); "
        "blimp log-probabilities by at most 2.0e-05 nats, 1 of 400 decisions; "
        "surprisal log-probabilities by at most 3.0e-05 nats."
    )
    assert text.noise_sentence({}) == ""


def test_effects_within_the_noise_floor_are_a_line_of_each_benchmark() -> None:
    found = [
        records.within_noise_record(condition, benchmark, WithinNoise(effect, floor))
        for condition, benchmark, effect, floor in (
            ("top", "perplexity", -0.0012, 0.003),
            ("top", "blimp", 0.0005, 0.001),
            ("matched", "perplexity", 0.002, 0.003),
        )
    ]
    assert text.within_noise_lines({"within_noise": found}) == [
        "effects on perplexity that another pack plan alone could make: top -0.0012 (at most 0.003), "
        "matched +0.002 (at most 0.003)",
        "effects on blimp that another pack plan alone could make: top +0.0005 (at most 0.001)",
    ]
    assert text.within_noise_lines({}) == [], "a report of an earlier version"


def added(kind: str, first: str = "", later: str = "", last: str = "", missing_bos: str = "") -> dict[str, Any]:
    """The record of a kind of text's special tokens, one at most in each place."""
    places = {"first": first, "later": later, "last": last}
    return {"kind": kind, "missing_bos": missing_bos, **{place: [t] if t else [] for place, t in places.items()}}


@pytest.mark.parametrize(
    ("record", "phrase"),
    [
        (added("sentences"), "none"),
        (added("sentences", "<s>", last="</s>"), "<s> in front and </s> behind, which is scored"),
        (added("sentences", last="</s>"), "</s> behind, which is scored"),
        (added("choices", "<s>"), "<s> in front of every context"),
        (added("windows", "<s>", "<s>"), "<s> at the start of every window"),
        (added("windows", "<s>"), "<s> at the very start of the text"),
        (added("documents", "<s>"), "<s> at the start of every document"),
        (added("documents", "<s>", "<s>"), "<s> at the start of every document, <s> of every later window"),
        (
            added("windows", missing_bos="<bos>"),
            "none, but models of this family are trained with <bos> in front of every text",
        ),
    ],
)
def test_where_the_special_tokens_stand(record: dict[str, Any], phrase: str) -> None:
    assert text.special_tokens_phrase(record) == phrase


def test_texts_with_the_same_special_tokens_share_a_line() -> None:
    windows = added("windows", "<s>", "<s>")
    model = {"profile": windows, "blimp": added("sentences"), "perplexity": windows}
    assert text.special_token_lines(model) == [
        "special tokens of windows (profile, perplexity): <s> at the start of every window",
        "special tokens of sentences (blimp): none",
    ]
