"""Measures: what each field does to every statistic, with a measure that no benchmark of the product has."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, PERPLEXITY, SURPRISAL, TASKS, Measure
from studies.claims.evidence import sample
from studies.neurons.layer_groups import layer_groups
from studies.reporting import records, text
from studies.reporting.figures import curves, heat_maps, training
from studies.reporting.markdown import markdown
from studies.statistics.comparisons import compare, noise_floor
from studies.statistics.doses import dose_response, doubling_fraction
from studies.statistics.increases import ALL, increase, layer_effects, trend
from studies.statistics.intervals import difference, estimate
from studies.statistics.items import Items
from studies.statistics.training import growth
from tests.unit.studies.reporting.figures.walker import faults

READY_MADE = (MINIMAL_PAIRS, MULTIPLE_CHOICE, TASKS, PERPLEXITY, SURPRISAL)
MARGIN = Measure(
    name="margin",
    value="margin",
    higher_is_better=True,
    key=("language", "sentence"),
    stratum="language",
    cluster="language",
    block="language",
    phenomenon="construction",
    log_probabilities=("first", "second"),
    decision="choice",
    noun="sentences",
    fewest=10,
    digits=1,
    increase_label="loss of margin (nats)",
)
BITS = Measure(
    name="bits",
    value="log_bits",
    higher_is_better=False,
    is_log=True,
    key=("page",),
    block="page",
    log_probabilities=("log_bits",),
    noun="pages",
    increase_label="rise of the logarithm",
)


def margins(loss: float, seed: int = 0) -> Items:
    """Six languages of 30 sentences each, whose margin is about 5 - loss nats, one construction losing nothing."""
    number = np.arange(180)
    construction = np.where(number // 6 % 2, "passive", "active")
    lost = loss * (construction == "active") * np.random.default_rng(1 + int(100 * loss)).uniform(0.8, 1.2, 180)
    margin = np.random.default_rng(seed).normal(5, 0.5, 180) - lost
    table = {"language": number % 6, "sentence": number // 6, "construction": construction, "margin": margin}
    table |= {"first": margin, "second": -margin, "choice": margin > 5}
    return Items(pd.DataFrame(table), MARGIN)


def pages(rise: float) -> Items:
    """Twelve pages."""
    return Items(pd.DataFrame({"page": range(12), "log_bits": np.linspace(1, 2, 12) + rise}), BITS)


def test_every_statistic_follows_a_measure_of_ones_own() -> None:
    baseline, treated = margins(0.0), margins(1.0)
    assert estimate(baseline).low < 5 < estimate(baseline).high
    assert difference(treated, baseline).high < -0.4 and increase(treated, baseline).low > 0.4
    table = compare({"m": treated}, {"m": baseline}, condition="top", against="baseline")
    assert table["phenomenon"].tolist() == [ALL, "active", "passive"]
    whole = table.iloc[0]
    assert whole["low"] < whole["difference"] < whole["high"] < 0 and whole["effect_size"] < -0.5
    assert whole["low_clustered"] < whole["difference"] < whole["high_clustered"]
    assert table["p_value"].isna().all(), "there is no McNemar test of what is not right or wrong"
    assert records.changed_phenomena(table) == []
    costs = {group: margins(0.25 * (i + 1)) for i, group in enumerate(layer_groups(4, "cumulative", 8))}
    effects = layer_effects(baseline, costs)
    assert set(effects["phenomenon"]) == {ALL, "active", "passive"} and (effects["estimate"] >= 0).all()
    assert trend(costs).p_value < 1e-3 and trend(costs).num_blocks == 6
    doses = dose_response(baseline, {0.2: treated, 0.1: margins(0.5)})
    assert doses["estimate"].is_monotonic_increasing and doses["num_items"].tolist() == [180, 180]
    floor = noise_floor(baseline, replace(baseline, table=baseline.table.assign(second=-baseline.values + 0.25)))
    assert floor == (180, pytest.approx(0.25), 0, None)
    grown = growth({0: baseline, 10: baseline, 20: baseline}, {0: margins(0.2), 10: margins(0.6), 20: treated})
    assert grown.difference.low > 0 and grown.trend.p_value < 0.01
    measures = {"m": MARGIN}
    doses = doses.assign(condition="top", base="top", benchmark="m")
    of_both = {"names": {"m": "margins"}, "title": "t"}
    checkpoints = {"step": [0, 1], "condition": "top", "benchmark": "m", "estimate": 1.0, "low": 0, "high": 2}
    conditions = training.Conditions({"top": "treated"}, {})
    drawn = [
        heat_maps.layer_heat_map(effects, benchmark="m", measure=MARGIN, title="t"),
        curves.depth_curves({"m": effects}, measures, **of_both),
        curves.dose_curves(doses, [], measures, parts={"top": "treated"}, **of_both),
        training.effect_figure(pd.DataFrame(checkpoints), conditions, measures, counts={"m": 180}, **of_both),
    ]
    assert [faults(drawing) for drawing in drawn] == [[]] * 4


def test_a_report_shows_a_measure_of_ones_own_as_it_says() -> None:
    benchmarks = {"m": margins(0.0), "b": pages(0.0)}
    cells = {name: records.cell(items) for name, items in benchmarks.items()}
    floors = {name: records.noise_record(noise_floor(items, items)) for name, items in benchmarks.items()}
    doubling = doubling_fraction(pages(0.0), {0.1: pages(0.5 * np.log(2)), 0.2: pages(1.5 * np.log(2))})
    report = {
        "label": "tiny",
        "display": "tiny",
        "benchmarks": [
            {"name": name, "label": name, "measure": records.measure_record(items.measure)}
            for name, items in benchmarks.items()
        ],
        "rows": [
            {"condition": "baseline", "neurons": "none", "role": "baseline", "spread": False, "remark": "",
             "cells": cells},
        ],
        "schedules": [],
        "doubling": [records.doubling_record("top", "b", 0.2, doubling)],
        "noise": text.noise_sentence(floors),
        "verdicts": [],
    }  # fmt: skip
    lines = markdown({"study": "s", "models": [report], "unfinished": []}).split("\n")
    assert f"| baseline | none | {cells['m']['estimate']:.1f} [" in lines[6]
    assert cells["b"]["estimate"] == pytest.approx(np.exp(1.5))
    assert "m log-probabilities by at most 0.0e+00 nats, 0 of 180 decisions; b by 0.0e+00 (relative)" in lines[8]
    assert "- top: b doubles at a fraction of 0.15 [0.15, 0.15]" in lines


def test_a_claim_says_what_is_too_few_in_the_words_of_the_measure() -> None:
    few = replace(margins(0.0), table=margins(0.0).table.iloc[:9])
    assert sample({"baseline": {"m": few}}, ("m",)).problem == "too few sentences, at least 10 needed"


def test_conditions_with_other_measures_are_not_compared() -> None:
    other = replace(margins(1.0), measure=replace(MARGIN, higher_is_better=False))
    with pytest.raises(ValueError) as error:
        increase(other, margins(0.0))
    assert str(error.value) == "the conditions hold different measures: margin and margin differ in higher_is_better"


@given(st.floats(-50, 50))
def test_a_summary_is_the_mean_or_its_exponential(mean: float) -> None:
    assert [measure.summary(mean) for measure in READY_MADE] == [
        float(np.exp(mean)) if measure is PERPLEXITY else mean for measure in READY_MADE
    ]


@pytest.mark.parametrize("measure", READY_MADE, ids=lambda measure: f"{measure.name} of {measure.noun}")
def test_a_measure_contradicts_itself_nowhere(measure: Measure) -> None:
    assert not measure.resamples_clusters or measure.cluster is not None
    assert not measure.is_graded or measure.higher_is_better
    assert measure.stratum is None or measure.stratum in measure.key
    assert not (measure.is_graded and measure.is_log) and measure.log_probabilities


def test_a_logarithm_is_a_loss() -> None:
    with pytest.raises(ValueError) as error:
        replace(PERPLEXITY, higher_is_better=True)
    assert str(error.value) == "perplexity: a logarithm is a loss, of which less is better"
