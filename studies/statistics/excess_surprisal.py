"""Excess surprisal: on which words does a condition make text more surprising than the baseline?

Owns the assignment of tokens to words (a token belongs to the word that it overlaps most in characters), the unit of
analysis, and the statistics by part of speech, relation and feature. Excess is ablated minus baseline surprisal, nats.
Intervals are bootstrapped over documents, because the words of one are not independent. Pure numpy, pandas and scipy.
Shape suffixes: T tokens, D documents, C classes, R resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.statistics.intervals import Interval
from studies.statistics.items import Items, same_items

NO_WORD = "X"
"""The part of speech of a token that overlaps no word."""

SCAFFOLDING, CONTENT = ("DET", "PUNCT", "AUX", "PART"), ("NOUN", "VERB", "ADJ", "ADV")
"""The paper's contrast: where excess surprisal sits, and where it is near zero."""
CLOSED = (*SCAFFOLDING, "ADP", "CCONJ", "NUM", "PRON", "SCONJ")
OPEN = (*CONTENT, "INTJ", "PROPN")
"""Secondary: universal dependencies' closed classes with punctuation against its open ones."""

RESAMPLES = 2000
MIN_DOCUMENTS = 10
"""A contrast over fewer documents is not tested, and decides no claim."""
MIN_WORDS = 5
"""A relation or feature with fewer is left out of the tables."""


def words_of_tokens(tokens: pd.DataFrame, words: pd.DataFrame) -> np.ndarray:
    """[T] row of `words` that each token overlaps most, the first of equals; -1 where it overlaps none.

    tokens: document, start, end; an empty token is the rest of the character before it, or white space. Both tables
    are in the order of the text.
    """
    word_T = np.full(len(tokens), -1, dtype=np.int64)
    rows_of_words = {document: rows.to_numpy() for document, rows in words.groupby("document").groups.items()}
    start_T, end_T = (tokens[column].to_numpy() for column in ("start", "end"))
    starts, ends = (words[column].to_numpy() for column in ("start", "end"))
    for document, token_index in tokens.groupby("document").groups.items():
        rows, token_rows = rows_of_words.get(document), token_index.to_numpy()
        if rows is None:
            continue
        first_T = np.searchsorted(ends[rows], start_T[token_rows], side="right")
        stop_T = np.searchsorted(starts[rows], end_T[token_rows], side="left")
        for token, first, stop in zip(token_rows, first_T, stop_T, strict=True):
            if start_T[token] == end_T[token]:  # the rest of a character: of a word that ends here or spans it
                before = np.searchsorted(starts[rows], start_T[token], side="left") - 1
                if before >= 0 and start_T[token] <= ends[rows][before]:
                    word_T[token] = rows[before]
            elif stop == first + 1:
                word_T[token] = rows[first]
            elif stop > first:
                candidates = rows[first:stop]
                shared = np.minimum(ends[candidates], end_T[token]) - np.maximum(starts[candidates], start_T[token])
                word_T[token] = candidates[shared.argmax()]
    return word_T


def annotate(tokens: pd.DataFrame, words: pd.DataFrame, unit: str, values: Sequence[str]) -> pd.DataFrame:
    """Tokens with the tags of their words, one row per token or per word.

    Columns document, word (row of `words`, or -1), upos, relation, features, start, end, and `values`.
    tokens: columns document, start, end (characters) and `values`, which hold surprisals. unit: `token` or `word`; with
    `word` the surprisal of a word's tokens is summed (tokens without a word stay as they are), so the sum over rows is
    the text's in either unit.
    """
    word = words_of_tokens(tokens, words)
    tagged = tokens.assign(word=word)
    if unit == "word":
        key = np.where(word >= 0, word, len(words) + np.arange(len(tokens)))
        grouped = tagged.astype(dict.fromkeys(values, np.float64)).groupby(key, sort=False)
        spans = {"document": "first", "word": "first", "start": "min", "end": "max"}
        tagged = grouped.agg(spans | dict.fromkeys(values, "sum")).sort_values(
            ["document", "start", "end"], kind="stable"
        )
        tagged = tagged.reset_index(drop=True)
        word = tagged["word"].to_numpy()
    tags = {"upos": NO_WORD, "relation": "_", "features": "_"}
    for column, missing in tags.items():
        tagged[column] = np.where(word >= 0, words[column].to_numpy()[word], missing)
    return tagged


class Contrast(NamedTuple):
    """Mean excess on one set of classes minus that on another."""

    interval: Interval
    """95 % bootstrap over documents."""
    p_value: float
    """One-sided Wilcoxon signed-rank test over the documents that have both; nan with fewer than `MIN_DOCUMENTS`."""
    num_documents: int
    num_items: int


class Excess:
    """Treated against a control on the same tokens, annotated; the resamples of documents are drawn once.

    Raises ValueError if the two hold different tokens or a surprisal is not finite.
    """

    def __init__(self, treated: Items, control: Items, words: pd.DataFrame, unit: str):
        value, values = control.measure.value, ("surprisal", "surprisal_treated")
        tokens = control.table.rename(columns={value: "surprisal"})
        tokens = tokens.assign(surprisal_treated=same_items(treated, control).table[value].to_numpy())
        self.items = annotate(tokens, words, unit, values)
        """As `annotate`, with surprisal (the control's), surprisal_treated and excess, in nats."""
        before, after = (self.items[column].astype(np.float64) for column in values)
        self.items["excess"] = after - before
        if not np.isfinite(self.items["excess"]).all():
            broken = (~np.isfinite(self.items["excess"])).sum()
            raise ValueError(f"{broken} of {len(self.items)} differences of surprisals are not finite")
        self._document = pd.factorize(self.items["document"])[0]
        self._num_documents = num = int(self._document.max()) + 1
        rng = np.random.default_rng(0)
        self._weights_RD = rng.multinomial(num, np.full(num, 1 / num), size=RESAMPLES).astype(np.float64)

    def table(self) -> pd.DataFrame:
        """Columns kind (all, upos, relation, feature), name, num_items, share, surprisal, excess, low, high.

        One row per class, by kind, most excess first. share: of all items; surprisal: the control's mean.
        """
        features = self.items["features"].str.split("|").explode()
        parts = [
            self._classes("all", pd.Series("all", index=self.items.index)),
            self._classes("upos", self.items["upos"]),
            self._classes("relation", self.items["relation"]),
            self._classes("feature", features[features != "_"]),
        ]
        return pd.concat([part for part in parts if len(part)], ignore_index=True)

    def contrast(self, high: tuple[str, ...] = SCAFFOLDING, low: tuple[str, ...] = CONTENT) -> Contrast:
        """Mean excess on the parts of speech `high` minus that on `low`."""
        sides = [self.items["upos"].isin(names).to_numpy() for names in (high, low)]
        (high_sums_D, high_counts_D), (low_sums_D, low_counts_D) = map(self._by_document, sides)
        sums_DC, counts_DC = (
            np.stack([high_sums_D, low_sums_D], axis=1),
            np.stack([high_counts_D, low_counts_D], axis=1),
        )
        mean_C = _ratio(sums_DC.sum(0), counts_DC.sum(0))
        resampled_RC = _ratio(self._weights_RD @ sums_DC, self._weights_RD @ counts_DC)
        has_both_D = (counts_DC > 0).all(axis=1)
        document_means = _ratio(sums_DC[has_both_D], counts_DC[has_both_D])
        differences = document_means[:, 0] - document_means[:, 1]
        is_tested = len(differences) >= MIN_DOCUMENTS and differences.any()
        p_value = float(scipy.stats.wilcoxon(differences, alternative="greater").pvalue) if is_tested else float("nan")
        interval = _interval(mean_C[0] - mean_C[1], resampled_RC[:, 0] - resampled_RC[:, 1], self._num_documents)
        return Contrast(interval, p_value, len(differences), int(sides[0].sum() + sides[1].sum()))

    def _classes(self, kind: str, labels: pd.Series) -> pd.DataFrame:
        """One row per class. labels: indexed by row of `items`; an item may have several (features)."""
        codes, names = pd.factorize(labels)
        row = labels.index.to_numpy()
        cell = self._document[row] * len(names) + codes
        shape = self._num_documents, len(names)
        excess, surprisal = (self.items[column].to_numpy(np.float64)[row] for column in ("excess", "surprisal"))
        sums_DC, counts_DC, control_DC = (
            np.bincount(cell, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
            for weights in (excess, None, surprisal)
        )
        counts_C = counts_DC.sum(0)
        means_C, control_C = _ratio(sums_DC.sum(0), counts_C), _ratio(control_DC.sum(0), counts_C)
        resampled_RC = _ratio(self._weights_RD @ sums_DC, self._weights_RD @ counts_DC)
        intervals = [_interval(means_C[c], resampled_RC[:, c], self._num_documents) for c in range(len(names))]
        rows = [
            (kind, name, int(counts_C[c]), counts_C[c] / len(self.items), control_C[c], *intervals[c])
            for c, name in enumerate(names)
            if kind in ("all", "upos") or counts_C[c] >= MIN_WORDS
        ]
        columns = ["kind", "name", "num_items", "share", "surprisal", "excess", "low", "high"]
        return pd.DataFrame(rows, columns=columns).sort_values("excess", ascending=False, kind="stable")

    def _by_document(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([D] sums of excess, [D] counts) over the chosen items."""
        document, excess = self._document[chosen], self.items["excess"].to_numpy()[chosen]
        sums_D = np.bincount(document, weights=excess, minlength=self._num_documents)
        return sums_D, np.bincount(document, minlength=self._num_documents)


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means; nan where nothing was drawn."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / counts


def _interval(estimate: float, resampled_R: np.ndarray, num_documents: int) -> Interval:
    """Percentiles over the resamples in which the class occurs; nan bounds with a single document."""
    drawn = resampled_R[np.isfinite(resampled_R)]
    if num_documents < 2 or not len(drawn):
        return Interval(float(estimate), float("nan"), float("nan"))
    return Interval(float(estimate), *map(float, np.quantile(drawn, [0.025, 0.975])))
