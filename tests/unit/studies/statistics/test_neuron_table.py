"""What a neuron table says by itself, against numbers made by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from studies.neurons.selection import EMPTY, NeuronSet
from studies.reporting.text import phenomenon_lines, structure_lines, structure_record
from studies.statistics.neuron_table import negative_share, overlaps, score_correlation, structure


def table(width: int = 200, layers: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    size = width * layers
    wd = rng.gamma(2, 0.05, size)
    top = np.concatenate([rankdata(-part) <= width / 100 for part in wd.reshape(layers, width)])
    share = np.where(top, 0.8, 0.5) + rng.normal(0, 0.02, size)
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers), width),
            "neuron": np.tile(np.arange(width), layers),
            "wasserstein_distance": wd,
            "wasserstein_distance_negative": wd * share,
            "mapping_difficulty": wd + rng.normal(0, 0.05, size),
        }
    )


def test_the_negative_share_of_the_top_one_percent_of_every_layer():
    found = negative_share(table())
    assert (found.num_top, found.num_rest) == (4, 396)
    assert found.top.estimate == pytest.approx(0.8, abs=0.03) and found.rest.estimate == pytest.approx(0.5, abs=0.01)
    assert found.rest.low < found.rest.estimate < found.rest.high
    assert found.difference.low > 0.2
    assert found.difference.estimate == pytest.approx(found.top.estimate - found.rest.estimate)


def test_constant_neurons_have_no_share():
    neurons = table()
    neurons.loc[neurons.index[5:15], ["wasserstein_distance", "wasserstein_distance_negative"]] = 0.0
    found = negative_share(neurons)
    assert found.num_top + found.num_rest == 390 and np.isfinite(found.rest.estimate)


def test_the_scores_are_correlated_by_rank_in_every_layer_and_overall():
    neurons = table()
    neurons.loc[3, "mapping_difficulty"] = np.nan
    found = score_correlation(neurons)
    assert found["layer"].tolist() == [-1, 0, 1] and found["num_neurons"].tolist() == [399, 199, 200]
    second = neurons[neurons["layer"] == 1]
    ranks = [rankdata(second[score]) for score in ("wasserstein_distance", "mapping_difficulty")]
    assert found["correlation"].iloc[2] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert score_correlation(neurons.drop(columns="mapping_difficulty")).empty


def test_overlaps_stand_beside_what_chance_would_give():
    sets = {"a": NeuronSet.of({0: range(10), 1: range(10)}), "b": NeuronSet.of({0: range(5, 25)})}
    (row,) = overlaps(sets, {0: 100, 1: 100}).to_dict("records")
    assert row == {
        "one": "a",
        "other": "b",
        "num_one": 20,
        "num_other": 20,
        "num_both": 5,
        "share": 0.25,
        "share_by_chance": pytest.approx(10 * 20 / 100 / 20),
    }


def test_the_report_says_it_in_lines():
    neurons = table()
    sets = {
        "top": NeuronSet.of({0: range(4)}),
        "md": NeuronSet.of({0: range(2, 6)}),
        "r/seed=0": NeuronSet.of({0: [9]}),
        "none": EMPTY,
    }
    record = structure_record(structure(neurons), overlaps(sets, {0: 200}))
    share, correlation, overlap = structure_lines({"structure": record})
    estimate = f"{record['negative_share']['top']['estimate']:.3f}"
    assert share.startswith(f"negative share of the Wasserstein distance: {estimate} [") and "the other 396" in share
    assert correlation.startswith("Spearman correlation") and "by layer (median" in correlation
    assert overlap == "top and md share 50.0% of their neurons (2.0% by chance)"
    assert structure_lines({"structure": {}}) == []


def test_phenomena_that_differ_have_a_line_and_the_others_one_together():
    same = {"against": "baseline", "benchmark": "blimp", "num_phenomena": 3}
    found = phenomenon_lines(
        {
            "comparisons": [
                {"condition": "top", "lower": ["npi", "island"], "higher": ["binding"], **same},
                {"condition": "mean", "lower": [], "higher": [], **same},
                {"condition": "flip", "lower": [], "higher": [], **same},
            ]
        }
    )
    assert found == [
        "top against baseline on blimp, 3 of 3 phenomena: lower on npi, island; higher on binding"
        " (McNemar, Holm, p < 0.05)",
        "no phenomenon differs for mean against baseline on blimp; flip against baseline on blimp",
    ]
    assert phenomenon_lines({}) == []
