"""Excess surprisal: on which words does a condition make text more surprising than the baseline?

Owns the way from tokens to words (a token belongs to the word that it overlaps most in characters), the unit of
analysis, and the statistics by part of speech, relation and feature. Excess is ablated minus baseline surprisal, nats.
Intervals are bootstrapped over documents, because the words of one are not independent. Pure numpy, pandas and scipy.
D documents, C classes, R resamples.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.statistics.intervals import Interval, same_items

NO_WORD = "X"
"""The part of speech of what no word covers."""

SCAFFOLDING, CONTENT = ("DET", "PUNCT", "AUX", "PART"), ("NOUN", "VERB", "ADJ", "ADV")
"""The paper's contrast: where excess surprisal sits, and where it is near zero."""
CLOSED = (*SCAFFOLDING, "ADP", "CCONJ", "NUM", "PRON", "SCONJ")
OPEN = (*CONTENT, "INTJ", "PROPN")
"""Secondary: universal dependencies' closed classes with punctuation against its open ones."""

RESAMPLES = 2000
MIN_DOCUMENTS = 10
"""Fewer documents than this decide nothing."""
MIN_WORDS = 5
"""A relation or feature with fewer is left out of the tables."""

ITEM_COLUMNS = ("document", "word", "upos", "relation", "features", "start", "end")


def words_of_tokens(tokens: pd.DataFrame, words: pd.DataFrame) -> np.ndarray:
    """[num_tokens] row of `words` that each token overlaps most, the first of equals; -1 where there is none.

    tokens: document, start, end; an empty token is the rest of the character before it, or white space. Both tables
    stand in the order of the text.
    """
    found = np.full(len(tokens), -1, dtype=np.int64)
    where = {document: rows.to_numpy() for document, rows in words.groupby("document").groups.items()}
    start_T, end_T = (tokens[column].to_numpy() for column in ("start", "end"))
    starts, ends = (words[column].to_numpy() for column in ("start", "end"))
    for document, mine in tokens.groupby("document").groups.items():
        rows, mine = where.get(document), mine.to_numpy()
        if rows is None:
            continue
        first_T = np.searchsorted(ends[rows], start_T[mine], side="right")
        stop_T = np.searchsorted(starts[rows], end_T[mine], side="left")
        for token, first, stop in zip(mine, first_T, stop_T, strict=True):
            if start_T[token] == end_T[token]:  # of bytes: the character before it is the word's last or inside it
                before = np.searchsorted(starts[rows], start_T[token], side="left") - 1
                if before >= 0 and start_T[token] <= ends[rows][before]:
                    found[token] = rows[before]
            elif stop == first + 1:
                found[token] = rows[first]
            elif stop > first:
                over = rows[first:stop]
                shared = np.minimum(ends[over], end_T[token]) - np.maximum(starts[over], start_T[token])
                found[token] = over[shared.argmax()]
    return found


def annotate(items: pd.DataFrame, words: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Items with the tags of their words: columns `ITEM_COLUMNS` and surprisal, a row a token or a row a word.

    items: as `SurprisalBenchmark.results`, or with several columns of surprisal. With the unit `word` a word's tokens
    are summed (tokens without a word stay as they are), so the sum over rows is the text's in either unit.
    """
    word = words_of_tokens(items, words)
    tagged = items.assign(word=word)
    if unit == "word":
        values = [column for column in items if column.startswith("surprisal")]
        key = np.where(word >= 0, word, len(words) + np.arange(len(items)))
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

    Raises ValueError where the two hold different tokens.
    """

    def __init__(self, treated: pd.DataFrame, control: pd.DataFrame, words: pd.DataFrame, unit: str, *, seed: int = 0):
        both = control.assign(surprisal_treated=same_items(treated, control)["surprisal"].to_numpy())
        self.items = annotate(both, words, unit)
        """`ITEM_COLUMNS`, surprisal (the control's), surprisal_treated and excess, in nats."""
        values = {column: self.items[column].astype(np.float64) for column in ("surprisal", "surprisal_treated")}
        self.items["excess"] = values["surprisal_treated"] - values["surprisal"]
        if not np.isfinite(self.items["excess"]).all():
            raise ValueError(f"{(~np.isfinite(self.items['excess'])).sum()} surprisals are not finite")
        self._document = pd.factorize(self.items["document"])[0]
        self._num_documents = int(self._document.max()) + 1
        rng, num = np.random.default_rng(seed), self._num_documents
        self._weights_RD = rng.multinomial(num, np.full(num, 1 / num), size=RESAMPLES).astype(np.float64)

    def table(self) -> pd.DataFrame:
        """kind (all, upos, relation, feature), name, num_items, share, surprisal, excess, low, high; most excess first.

        share: of all items; surprisal: the control's mean.
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
        sums_DC, counts_DC = (np.stack(one, axis=1) for one in zip(*map(self._by_document, sides), strict=True))
        whole = _ratio(sums_DC.sum(0), counts_DC.sum(0))
        resampled = _ratio(self._weights_RD @ sums_DC, self._weights_RD @ counts_DC)
        both = (counts_DC > 0).all(axis=1)
        of_document = _ratio(sums_DC[both], counts_DC[both])
        of_document = of_document[:, 0] - of_document[:, 1]
        enough = len(of_document) >= MIN_DOCUMENTS and of_document.any()
        p_value = float(scipy.stats.wilcoxon(of_document, alternative="greater").pvalue) if enough else float("nan")
        interval = _interval(whole[0] - whole[1], resampled[:, 0] - resampled[:, 1], self._num_documents)
        return Contrast(interval, p_value, len(of_document), int(sides[0].sum() + sides[1].sum()))

    def content_excess(self) -> Interval:
        """Mean excess on the parts of speech `CONTENT`, which the paper finds near zero."""
        sums_D, counts_D = self._by_document(self.items["upos"].isin(CONTENT).to_numpy())
        resampled_R = _ratio(self._weights_RD @ sums_D, self._weights_RD @ counts_D)
        return _interval(_ratio(sums_D.sum(), counts_D.sum()), resampled_R, self._num_documents)

    def _classes(self, kind: str, labels: pd.Series) -> pd.DataFrame:
        """One row a class; an item may stand in several (features)."""
        codes, names = pd.factorize(labels)
        at = labels.index.to_numpy()
        cell = self._document[at] * len(names) + codes
        shape = self._num_documents, len(names)
        excess, surprisal = (self.items[one].to_numpy(np.float64)[at] for one in ("excess", "surprisal"))
        sums_DC, counts_DC, base_DC = (
            np.bincount(cell, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
            for weights in (excess, None, surprisal)
        )
        counts_C = counts_DC.sum(0)
        means_C, base_C = _ratio(sums_DC.sum(0), counts_C), _ratio(base_DC.sum(0), counts_C)
        resampled_RC = _ratio(self._weights_RD @ sums_DC, self._weights_RD @ counts_DC)
        of_class = [_interval(means_C[c], resampled_RC[:, c], self._num_documents) for c in range(len(names))]
        rows = [
            (kind, name, int(counts_C[c]), counts_C[c] / len(self.items), base_C[c], *of_class[c])
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
