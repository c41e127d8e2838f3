"""Results as plain JSON: every key is persisted, so each record is compared with its golden form."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, PERPLEXITY, SURPRISAL, Measure
from studies.claims.scorecard import Margins, Status, Unit, Verdict
from studies.reporting import records
from studies.statistics.comparisons import COLUMNS, NoiseFloor
from studies.statistics.doses import DOSE_COLUMNS
from studies.statistics.excess_surprisal import Contrast
from studies.statistics.increases import EFFECT_COLUMNS, Trend
from studies.statistics.intervals import Interval
from studies.statistics.items import Items
from studies.statistics.neuron_table import CORRELATION_COLUMNS, OVERLAP_COLUMNS, NegativeShare, Structure
from studies.statistics.training import TRAJECTORY_COLUMNS

NAN = float("nan")
EFFECT = Interval(0.2, 0.1, 0.3)
EFFECT_JSON = {"estimate": 0.2, "low": 0.1, "high": 0.3}


def test_an_interval_has_none_for_nan() -> None:
    assert records.interval_record(EFFECT) == EFFECT_JSON
    assert records.interval_record(Interval(1.0, NAN, NAN)) == {"estimate": 1.0, "low": None, "high": None}


def test_a_verdict() -> None:
    verdict = Verdict(
        claim="perplexity_cost",
        statement="It costs.",
        model="tiny",
        status=Status.UNDECIDED,
        effect=EFFECT,
        contrast=None,
        num_items=20,
        detail="numbers",
        published="It cost them.",
        unit=Unit.LOG_PERPLEXITY,
        margin=0.02,
        p_value=0.3,
        survives_holm=False,
    )
    assert records.verdict_record(verdict) == {
        "claim": "perplexity_cost",
        "statement": "It costs.",
        "model": "tiny",
        "status": "undecided",
        "effect": EFFECT_JSON,
        "contrast": None,
        "num_items": 20,
        "detail": "numbers",
        "published": "It cost them.",
        "unit": "log_perplexity",
        "margin": 0.02,
        "p_value": 0.3,
        "survives_holm": False,
        "standard_error": None,
        "df": None,
    }
    assert [str(status) for status in Status] == [
        "supported",
        "contradicted",
        "absent",
        "undecided",
        "not applicable",
    ]


def test_margins_have_the_names_of_the_study_file() -> None:
    assert records.margins_record(Margins(log_perplexity=0.1)) == {
        "accuracy": 0.02,
        "perplexity": 0.1,
        "surprisal": 0.02,
    }


def test_a_noise_floor_a_trend_and_a_contrast() -> None:
    assert records.noise_record(NoiseFloor(3, 0.25, 1, None)) == {
        "num_items": 3,
        "max_logprob_difference": 0.25,
        "num_changed_decisions": 1,
        "relative_perplexity_difference": None,
    }
    assert records.trend_record(Trend(0.01, 12, 5)) == {"p_value": 0.01, "num_blocks": 12, "num_groups": 5}
    assert records.trend_record(Trend(NAN, 2, 5))["p_value"] is None
    assert records.contrast_record(Contrast(EFFECT, 0.001, 80, 5000)) == {
        **EFFECT_JSON,
        "p_value": 0.001,
        "documents": 80,
        "items": 5000,
    }
    assert records.contrast_record(Contrast(EFFECT, NAN, 3, 50))["p_value"] is None


def test_where_perplexity_doubles_tells_what_is_unknown_from_what_lies_beyond_the_doses() -> None:
    assert records.doubling_record("top", "perplexity", 0.5, Interval(0.4, NAN, math.inf)) == {
        "condition": "top",
        "benchmark": "perplexity",
        "highest_dose": 0.5,
        "estimate": 0.4,
        "low": None,
        "high": "inf",
    }


@pytest.mark.parametrize(
    ("measure", "items", "estimate"),
    [
        (PERPLEXITY, {"window": [0, 1], "num_tokens": 127, "nll": [0.0, 2.0]}, np.e),
        (SURPRISAL, {"document": [0, 1], "start": 0, "end": 1, "surprisal": [1.0, 3.0]}, 2.0),
        (MULTIPLE_CHOICE, {"id": [0, 1], "correct": [1.0, 0.0]}, 0.5),
    ],
)
def test_a_cell_is_the_headline_of_its_benchmark(measure: Measure, items: dict[str, object], estimate: float) -> None:
    cell = records.cell(Items(pd.DataFrame(items), measure))
    assert list(cell) == ["estimate", "low", "high"] and cell["estimate"] == pytest.approx(estimate)


def test_a_measure_has_a_name_and_how_it_is_displayed() -> None:
    assert records.measure_record(PERPLEXITY) == {"name": "perplexity", "digits": 2, "logarithmic": True}
    assert records.measure_record(MINIMAL_PAIRS) == {"name": "accuracy", "digits": 3, "logarithmic": False}
    assert records.measure_record(SURPRISAL) == {"name": "surprisal", "digits": 3, "logarithmic": False}


def test_an_earlier_report_is_completed_from_its_names_and_one_of_today_stays_as_it_is() -> None:
    names = ("perplexity", "surprisal-ewt", "perplexity_of_pairs", "blimp")
    conditions = ("top", "random/layers=0-3/seed=12")
    old = {
        "label": "m",
        "benchmarks": [{"name": name, "label": name} for name in names],
        "rows": [
            {"condition": "baseline", "role": "baseline", "neurons": "none"},
            {"condition": "top", "role": "top", "neurons": "top 1 %, negative"},
            {"condition": "random/layers=0-3/seed=12", "role": "random", "neurons": "random 1 %, negative"},
            {"condition": "matched", "role": "bottom", "neurons": "bottom 20 % (matched), negative"},
            {"condition": "low", "role": "bottom", "neurons": "bottom 20 %, negative"},
        ],
        "doubling": [{"condition": "top", "highest_dose": 0.5}],
        "excess": [{"condition": condition} for condition in conditions],
    }
    (model,) = records.completed({"study": "s", "models": [old]})["models"]
    assert [benchmark["measure"]["name"] for benchmark in model["benchmarks"]] == [
        "perplexity", "surprisal", "accuracy", "accuracy",
    ]  # fmt: skip
    assert model["doubling"] == [{"benchmark": "perplexity", "condition": "top", "highest_dose": 0.5}]
    assert [(entry["condition"], entry["seed"]) for entry in model["excess"]] == list(
        zip(conditions, (None, 12), strict=True)
    )
    assert [benchmark["higher_is_better"] for benchmark in model["benchmarks"]] == [False, False, True, True]
    assert [(row["part"], row["of"], row["seed"]) for row in model["rows"]] == [
        ("baseline", "baseline", None), ("treated", "top", None), ("random", "random/layers=0-3", 12),
        ("matched", "matched", None), ("other", "low", None),
    ]  # fmt: skip
    assert all(row["deltas"] == {} and row["fraction"] is row["num_neurons"] is None for row in model["rows"])
    benchmark = {"name": "surprisal-x", "label": "x", "measure": {"name": "y", "digits": 1}}
    row = {"condition": "top/seed=1", "part": "sign", "of": "top/seed=1", "seed": None, "reference": "", "deltas": {}}
    today = {
        "label": "m",
        "benchmarks": [
            {**benchmark, "is_syntactic": True, "items": "words", "higher_is_better": True, "digest": "d"},
        ],
        "roles": {"conditions": {"treated": "top"}, "randoms": {}},
        "rows": [{**row, "fraction": 0.1, "num_neurons": 3}],
        "doubling": [{"condition": "top", "benchmark": "code"}],
        "excess": [{"condition": "top/seed=1", "seed": None}],
    }
    report = {"study": "s", "models": [today], "unfinished": []}
    assert records.completed(report) == report and records.completed({"models": [model]})["models"] == [model]


def test_changed_phenomena_leave_whole_benchmarks_out() -> None:
    rows = [
        {"condition": "top", "phenomenon": "all", "difference": -0.1, "p_holm": NAN},
        {"condition": "top", "phenomenon": "npi", "difference": -0.2, "p_holm": 0.01},
        {"condition": "top", "phenomenon": "island", "difference": 0.2, "p_holm": 0.02},
        {"condition": "top", "phenomenon": "binding", "difference": -0.2, "p_holm": 0.2},
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(against="baseline", benchmark="blimp")
    assert records.changed_phenomena(table) == [
        {
            "condition": "top",
            "against": "baseline",
            "benchmark": "blimp",
            "num_phenomena": 3,
            "lower": ["npi"],
            "higher": ["island"],
        }
    ]


def test_the_structure_of_a_neuron_table() -> None:
    share = NegativeShare(EFFECT, EFFECT, EFFECT, 4, 396)
    correlation = pd.DataFrame(
        [(-1, 400, 0.5, 0.7), (0, 200, 0.4, 0.6), (1, 200, 0.8, 0.8)], columns=list(CORRELATION_COLUMNS)
    )
    overlaps = pd.DataFrame([("top", "md", 4, 4, 2, 0.5, 0.02)], columns=list(OVERLAP_COLUMNS))
    record = records.structure_record(Structure(share, correlation), overlaps)
    sides = {"top": EFFECT_JSON, "rest": EFFECT_JSON, "difference": EFFECT_JSON}
    assert record == {
        "negative_share": {**sides, "num_top": 4, "num_rest": 396},
        "correlation": {
            "overall": 0.5,
            "lowest": 0.4,
            "median": pytest.approx(0.6),
            "highest": 0.8,
            "reliability": {"lowest": 0.6, "median": pytest.approx(0.7), "highest": 0.8},
        },
        "overlaps": [{"one": "top", "other": "md", "share": 0.5, "share_by_chance": 0.02}],
    }
    json.dumps(record, allow_nan=False)
    without = records.structure_record(Structure(share, correlation.assign(reliability=np.nan)), overlaps)
    assert without["correlation"]["reliability"] is None
    assert records.structure_record(Structure(share, correlation.iloc[:0]), overlaps)["correlation"] is None


@pytest.mark.parametrize(
    ("columns", "persisted"),
    [
        (
            COLUMNS,
            "condition against benchmark phenomenon num_items difference low high low_clustered high_clustered num_lost"
            " num_gained num_dropped_ties p_value p_holm effect_size",
        ),
        (EFFECT_COLUMNS, "group layers depth phenomenon estimate low high num_items"),
        (DOSE_COLUMNS, "fraction estimate low high num_items"),
        (TRAJECTORY_COLUMNS, "step group quantity median low high mean num_neurons"),
        (OVERLAP_COLUMNS, "one other num_one num_other num_both share share_by_chance"),
        (CORRELATION_COLUMNS, "layer num_neurons correlation reliability"),
    ],
)
def test_the_columns_of_stored_tables(columns: tuple[str, ...], persisted: str) -> None:
    assert list(columns) == persisted.split()


def test_the_words_of_units_are_persisted() -> None:
    assert [str(unit) for unit in Unit] == [
        "accuracy", "log_perplexity", "surprisal", "fraction", "of_benchmark", "number",
    ]  # fmt: skip
