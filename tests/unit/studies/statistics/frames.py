"""Made-up items and neuron tables whose effects are known."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from studies.benchmarks.annotation import WORD_COLUMNS
from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, PERPLEXITY, SURPRISAL
from studies.statistics.items import Items

BASE = {"DET": 1.0, "NOUN": 4.0, "AUX": 1.5, "ADV": 3.0, "PUNCT": 0.5}
"""Surprisal in nats by part of speech."""


def altered(items: Items, change: Callable[[pd.DataFrame], pd.DataFrame] | None = None, **columns: Any) -> Items:
    """Items whose table is changed, and has other columns."""
    table = items.table if change is None else change(items.table)
    return replace(items, table=table.assign(**columns))


def pairs(correct: ArrayLike, num_uids: int = 1) -> Items:
    """Pairs graded `correct`, dealt out to the uids in turn."""
    correct = np.asarray(correct, dtype=float)
    item = np.arange(len(correct))
    uid = np.char.add("paradigm_", (item % num_uids).astype(str))
    table = {
        "uid": uid,
        "phenomenon": "island_effects",
        "pair": item,
        "logprob_good": -10.0,
        "logprob_bad": -12.0,
        "correct": correct,
    }
    return Items(pd.DataFrame(table), MINIMAL_PAIRS)


def choices(correct: ArrayLike) -> Items:
    """Questions graded `correct`."""
    correct = np.asarray(correct, dtype=float)
    return Items(pd.DataFrame({"id": range(len(correct)), "correct": correct}), MULTIPLE_CHOICE)


def windows(nll: ArrayLike, num_tokens: int = 2047) -> Items:
    """Perplexity windows with these losses."""
    losses = np.asarray(nll, dtype=float)
    return Items(pd.DataFrame({"window": range(len(losses)), "nll": losses, "num_tokens": num_tokens}), PERPLEXITY)


def bernoulli(seed: int, probability: float, size: int) -> np.ndarray:
    """Ones with this probability, else zeros."""
    return (np.random.default_rng(seed).random(size) < probability).astype(float)


def texts(num_documents: int = 40) -> tuple[tuple[str, ...], pd.DataFrame]:
    """(documents of `the dog is here .`, their words)."""
    upos = ["DET", "NOUN", "AUX", "ADV", "PUNCT"]
    starts, ends = [0, 4, 8, 11, 16], [3, 7, 10, 15, 17]
    rows = [
        (d, d, s, e, u, u.lower(), "Number=Sing" if u == "NOUN" else "_")
        for d in range(num_documents)
        for s, e, u in zip(starts, ends, upos, strict=True)
    ]
    words = pd.DataFrame(rows, columns=list(WORD_COLUMNS))
    return ("the dog is here .",) * num_documents, words


def scored(words: pd.DataFrame, by_upos: Mapping[str, float], noise: float = 0.0, seed: int = 0) -> Items:
    """One token per word, with the surprisal of its part of speech and normal noise."""
    values = words["upos"].map(by_upos) + noise * np.random.default_rng(seed).normal(size=len(words))
    return Items(words[["document", "start", "end"]].assign(surprisal=values.astype(np.float32)), SURPRISAL)


def neuron_table(width: int = 200, layers: int = 2) -> pd.DataFrame:
    """A neuron table; the negative share is about 0.8 in the top 1 % of every layer by WD, 0.5 elsewhere."""
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
            "mapping_difficulty_reliability": np.repeat(0.5 + 0.25 * np.arange(layers), width),
        }
    )
