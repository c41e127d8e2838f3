"""Excess by part of speech as effects over documents, and the contrast beside words that are alike."""

import numpy as np
import pandas as pd
import pytest

from studies.statistics.excess_surprisal import CONTENT, Excess
from studies.statistics.scaffolding import (
    adjusted_contrast,
    class_contrast,
    class_mean,
    contrast_over_randoms,
    word_frequencies,
)
from tests.unit.studies.statistics.frames import BASE, scored, texts

EXCESS = {"DET": 0.3, "NOUN": 0.05, "AUX": 0.3, "ADV": 0.05, "PUNCT": 0.3}


def excess(noise: float = 0.1, by_upos: dict[str, float] = EXCESS, seed: int = 1) -> tuple[Excess, pd.DataFrame]:
    """(the excess over a baseline with these means by part of speech, the words)."""
    _, words = texts()
    raised = {upos: BASE[upos] + by_upos[upos] for upos in BASE}
    return Excess(scored(words, raised, noise, seed), scored(words, BASE, noise, 0), words, "token"), words


def test_the_contrast_and_the_mean_are_those_of_the_items() -> None:
    found, _ = excess()
    items = found.items
    content = items[items["upos"].isin(CONTENT)]["excess"].mean()
    scaffolding = items[items["upos"].isin(["DET", "AUX", "PUNCT"])]["excess"].mean()
    assert class_mean(items).value == pytest.approx(content)
    assert class_contrast(items).value == pytest.approx(scaffolding - content)
    assert class_contrast(items).value == pytest.approx(found.contrast().interval.estimate)


def test_over_documents_of_equal_make_up_it_is_a_t_test() -> None:
    items = excess()[0].items
    by_document = items.assign(high=items["upos"].isin(["DET", "AUX", "PUNCT"])).pivot_table(
        index="document", columns="high", values="excess"
    )
    differences = by_document[True] - by_document[False]
    effect = class_contrast(items).effect
    assert effect.value == pytest.approx(differences.mean())
    assert effect.variance == pytest.approx(differences.var() / len(differences)) and effect.df == 39
    assert effect.basis == "40 documents"


def test_documents_of_unequal_length_agree_with_the_bootstrap() -> None:
    found, _ = excess()
    found.items = found.items[(found.items["document"] % 2 == 0) | found.items["upos"].isin(["DET", "NOUN"])]
    effect = class_contrast(found.items).effect
    rng = np.random.default_rng(0)
    groups = [part for _, part in found.items.groupby("document")]
    values = []
    for _ in range(300):
        drawn = pd.concat([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        high = drawn["upos"].isin(["DET", "AUX", "PUNCT"])
        values.append(drawn["excess"][high].mean() - drawn["excess"][~high].mean())
    assert np.sqrt(effect.variance) == pytest.approx(np.std(values), rel=0.15)


def test_random_controls_are_averaged_with_their_spread() -> None:
    sets = {f"random/seed={seed}": excess(seed=seed)[0].items for seed in (2, 3, 4)}
    found = contrast_over_randoms(sets)
    values = [class_contrast(items).value for items in sets.values()]
    assert list(found.by_set.values()) == pytest.approx(values)
    assert found.effect.value == pytest.approx(np.mean(values))
    assert found.effect.components[-1].variance == pytest.approx(np.var(values, ddof=1) * 4 / 3)
    assert found.effect.basis == "40 documents and 3 random sets"


def test_a_class_that_is_not_there_has_no_mean() -> None:
    items = excess()[0].items
    assert np.isnan(class_mean(items, ("SYM",)).value)


def test_the_adjusted_contrast_takes_out_what_frequency_explains() -> None:
    """All of the excess follows from the word's frequency: nothing is left for its class."""
    documents = tuple("the dog is here ." if d % 2 else "yon cat is here ." for d in range(60))
    _, words = texts(60)
    counts = {"the": 1000, "yon": 1, "dog": 1000, "cat": 1, "is": 500, "here": 50, ".": 100}
    log_counts = np.log1p([counts[documents[d][s:e]] for d, s, e in words[["document", "start", "end"]].to_numpy()])
    baseline = scored(words, BASE, 0.2, seed=3)
    treated = baseline.table.assign(surprisal=baseline.table["surprisal"] + 0.1 * log_counts)
    rng = np.random.default_rng(4)
    treated["surprisal"] += 0.02 * rng.normal(size=len(treated))
    items = Excess(type(baseline)(treated, baseline.measure), baseline, words, "token").items
    raw = class_contrast(items).effect
    adjusted = adjusted_contrast(items, words, documents, counts)
    assert raw.value > 0.05 and raw.is_beyond(+1)
    assert adjusted is not None and abs(adjusted.interval.estimate) < 0.05
    assert adjusted.interval.low < adjusted.interval.estimate < adjusted.interval.high
    assert 0 <= adjusted.overlap < 1


def test_a_contrast_that_cannot_be_adjusted() -> None:
    found, words = excess()
    documents = texts()[0]
    alone = found.items[found.items["document"] == 0]
    assert adjusted_contrast(alone, words, documents, {}) is None
    one_class = found.items[found.items["upos"].isin(CONTENT)]
    assert adjusted_contrast(one_class, words, documents, {}) is None


def test_frequencies_are_of_words_and_marks_in_lower_case() -> None:
    assert word_frequencies("The dog, the end.") == {"the": 2, "dog": 1, ",": 1, "end": 1, ".": 1}
