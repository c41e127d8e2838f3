"""Descriptions of a neuron table against numbers made by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from studies.neurons.selection import EMPTY, NeuronSet
from studies.statistics.neuron_table import negative_share, overlaps, score_correlation, structure
from tests.unit.studies.statistics.frames import neuron_table


def test_the_negative_share_of_the_top_one_percent_of_every_layer() -> None:
    share = negative_share(neuron_table())
    assert (share.num_top, share.num_rest) == (4, 396)
    assert share.top.estimate == pytest.approx(0.8, abs=0.03) and share.rest.estimate == pytest.approx(0.5, abs=0.01)
    assert share.rest.low < share.rest.estimate < share.rest.high
    assert share.difference.low > 0.2
    assert share.difference.estimate == pytest.approx(share.top.estimate - share.rest.estimate)


def test_constant_neurons_have_no_share() -> None:
    neurons = neuron_table()
    neurons.loc[neurons.index[5:15], ["wasserstein_distance", "wasserstein_distance_negative"]] = 0.0
    share = negative_share(neurons)
    assert share.num_top + share.num_rest == 390 and np.isfinite(share.rest.estimate)


def test_the_scores_are_correlated_by_rank_in_every_layer_and_overall() -> None:
    neurons = neuron_table()
    neurons.loc[3, "mapping_difficulty"] = np.nan
    correlations = score_correlation(neurons)
    assert correlations["layer"].tolist() == [-1, 0, 1] and correlations["num_neurons"].tolist() == [399, 199, 200]
    second = neurons[neurons["layer"] == 1]
    ranks = [rankdata(second[score]) for score in ("wasserstein_distance", "mapping_difficulty")]
    assert correlations["correlation"].iloc[2] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert correlations["reliability"].tolist() == pytest.approx([(199 * 0.5 + 200 * 0.75) / 399, 0.5, 0.75])
    assert score_correlation(neurons.drop(columns="mapping_difficulty")).empty


def test_scores_that_cannot_be_correlated_have_no_correlation() -> None:
    table = pd.DataFrame({"layer": [0, 0], "neuron": [0, 1], "wasserstein_distance": [0.1, 0.2]})
    table = table.assign(wasserstein_distance_negative=0.05, mapping_difficulty=np.nan)
    assert structure(table).overall_correlation is None


def test_the_reliability_of_mapping_difficulty_is_the_median_over_layers() -> None:
    neurons = neuron_table()
    assert structure(neurons).difficulty_reliability == 0.625
    old = structure(neurons.drop(columns="mapping_difficulty_reliability"))
    assert old.difficulty_reliability is None and old.overall_correlation is not None
    assert structure(neurons.drop(columns="mapping_difficulty")).difficulty_reliability is None


def test_overlaps_stand_beside_what_chance_would_give() -> None:
    sets = {"a": NeuronSet.of({0: range(10), 1: range(10)}), "b": NeuronSet.of({0: range(5, 25)})}
    (row,) = overlaps(sets | {"none": EMPTY}, {0: 100, 1: 100}).to_dict("records")
    assert row == {
        "one": "a",
        "other": "b",
        "num_one": 20,
        "num_other": 20,
        "num_both": 5,
        "share": 0.25,
        "share_by_chance": pytest.approx(10 * 20 / 100 / 20),
    }
