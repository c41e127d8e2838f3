"""From tokens to words to excess surprisal: the assignment against its definition, sums, contrasts, tables."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.benchmarks.annotation import WORD_COLUMNS
from studies.statistics.excess_surprisal import Excess, words_of_tokens
from studies.statistics.items import Items
from tests.unit.studies.statistics.frames import BASE, altered, scored, texts


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=12), st.data())
def test_a_token_goes_to_the_word_that_it_overlaps_most(lengths: list[tuple[int, int]], data: st.DataObject) -> None:
    """Against the definition, for random words and random cuts into tokens."""
    at, rows = 0, []
    for length, gap in lengths:
        rows.append((0, 0, at, at + length, "NOUN", "_", "_"))
        at += length + gap
    words = pd.DataFrame(rows, columns=list(WORD_COLUMNS))
    cuts = sorted(data.draw(st.sets(st.integers(1, at), max_size=8)) | {0, at})
    pairs = [(a, b) for a, b in pairwise(cuts) if a < b]
    tokens = pd.DataFrame([(0, a, b) for a, b in pairs], columns=["document", "start", "end"])
    for (a, b), word in zip(pairs, words_of_tokens(tokens, words), strict=True):
        shared = (np.minimum(words["end"], b) - np.maximum(words["start"], a)).clip(lower=0)
        assert word == (shared.argmax() if shared.max() else -1)


def test_the_rest_of_a_character_stays_with_its_word() -> None:
    words = pd.DataFrame([(0, 0, 0, 1, "NOUN", "_", "_"), (0, 0, 3, 5, "VERB", "_", "_")], columns=list(WORD_COLUMNS))
    tokens = pd.DataFrame({"document": 0, "start": [0, 1, 3, 3, 4, 5], "end": [1, 1, 3, 4, 4, 5]})
    assert words_of_tokens(tokens, words).tolist() == [0, 0, -1, 1, 1, 1]


def test_the_contrast_finds_the_shift_and_nothing_else() -> None:
    _, words = texts()
    baseline = scored(words, BASE, noise=0.3)
    shifted = scored(words, BASE | {"DET": 1.6, "AUX": 2.1, "PUNCT": 1.1}, noise=0.3, seed=1)
    contrast = Excess(shifted, baseline, words, "token").contrast()
    assert contrast.interval.low < 0.6 < contrast.interval.high and contrast.interval.low > 0.4
    assert contrast.p_value < 1e-6 and contrast.num_documents == 40 and contrast.num_items == 200
    null = Excess(scored(words, BASE, noise=0.3, seed=2), baseline, words, "token").contrast()
    assert null.interval.low < 0 < null.interval.high and null.p_value > 0.05
    same = Excess(baseline, baseline, words, "token").contrast()
    assert same.interval == (0.0, 0.0, 0.0) and np.isnan(same.p_value)


def test_the_table_has_means_counts_and_intervals_by_class() -> None:
    _, words = texts()
    baseline, treated = scored(words, BASE), scored(words, BASE | {"DET": 1.5}, noise=0.1)
    table = Excess(treated, baseline, words, "token").table().set_index(["kind", "name"])
    assert table.loc[("all", "all"), "num_items"] == 200
    row = table.loc[("upos", "DET")]
    assert (row["num_items"], row["share"], row["surprisal"]) == (40, 0.2, 1.0)
    assert row["low"] < row["excess"] < row["high"] and abs(row["excess"] - 0.5) < 0.05
    assert table.loc["feature"].index.tolist() == ["Number=Sing"]
    whole = treated.values.mean() - baseline.values.mean()
    assert table.loc[("all", "all"), "excess"] == pytest.approx(whole, rel=1e-6)


def test_one_document_has_no_interval() -> None:
    _, words = texts(1)
    contrast = Excess(scored(words, BASE | {"DET": 2.0}), scored(words, BASE), words, "token").contrast()
    assert contrast.interval.estimate == pytest.approx(1 / 3)
    assert np.isnan(contrast.interval.low) and np.isnan(contrast.p_value)


REFUSED = {
    "other tokens": (
        lambda baseline: altered(baseline, lambda table: table.iloc[1:]),
        "the conditions hold different tokens: 14 in the first, 15 in the second",
    ),
    "not finite": (
        lambda baseline: altered(baseline, surprisal=np.where(baseline.values > 3.5, np.nan, 1.0)),
        "3 of 15 differences of surprisals are not finite",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_refused(change: Callable[[Items], Items], message: str) -> None:
    _, words = texts(3)
    baseline = scored(words, BASE)
    with pytest.raises(ValueError) as error:
        Excess(change(baseline), baseline, words, "token")
    assert str(error.value) == message


def test_annotation_without_features_is_enough() -> None:
    _, words = texts(3)
    words = words.assign(features="_", relation="_")
    table = Excess(scored(words, BASE | {"DET": 1.5}), scored(words, BASE), words, "token").table()
    assert set(table["kind"]) == {"all", "upos", "relation"} and table["num_items"].dtype == int
