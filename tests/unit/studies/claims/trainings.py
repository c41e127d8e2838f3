"""A made-up training that behaves as in the paper."""

from typing import Any

import numpy as np
import pandas as pd

from studies.benchmarks.measures import MINIMAL_PAIRS
from studies.claims.training import TrainingEvidence
from studies.neurons.selection import NeuronSet
from studies.statistics.items import Items
from tests.unit.studies.statistics import frames

STEPS = (0, 10, 100, 1000, 5000, 10000)
WIDTH = 200
"""Neurons in each of the two layers."""
COHORT = NeuronSet.of({0: list(range(10)), 1: list(range(10))})
RANDOM = NeuronSet.of({0: list(range(50, 60)), 1: list(range(50, 60))})
GROWN = {step: i / (len(STEPS) - 1) for i, step in enumerate(STEPS)}
"""How far training is, from 0 to 1."""


def neurons(grown: float, seed: int = 0) -> pd.DataFrame:
    """WD 0.05 everywhere at first; the cohort's rises to 0.25."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"layer": np.repeat([0, 1], WIDTH), "neuron": np.tile(np.arange(WIDTH), 2)})
    wd = 0.05 + 0.002 * rng.normal(size=len(table)) + 0.2 * grown * (table["neuron"] < 10)
    return table.assign(wasserstein_distance=wd, wasserstein_distance_negative=wd / 2)


def weights(per_step: float, gap: int, seed: int = 0) -> pd.DataFrame:
    """Weights that moved `per_step` in each of `gap` steps."""
    rng = np.random.default_rng(seed)
    table = neurons(0)[["layer", "neuron"]]
    moved = per_step * gap * rng.uniform(0.8, 1.2, size=len(table))
    return table.assign(pre_activation=moved, down=moved / 2)


def pairs(accuracy: float, seed: int = 0, num: int = 400) -> Items:
    """Minimal pairs of which a share of `accuracy` is right."""
    right = np.random.default_rng(seed).permutation(num) < round(accuracy * num)
    frame = pd.DataFrame({"uid": [f"u{i % 8}" for i in range(num)], "phenomenon": "p", "pair": range(num)})
    return Items(frame.assign(correct=right.astype(float)), MINIMAL_PAIRS)


def windows(nll: float, num: int = 12) -> Items:
    """Perplexity windows around `nll`."""
    return frames.windows(nll + 0.1 * np.sin(np.arange(num)))


def evidence(**changes: Any) -> TrainingEvidence:
    """The paper's picture, with `changes` to its fields."""
    base = {s: {"tse": pairs(0.5 + 0.3 * g), "perplexity": windows(8 - 3 * g)} for s, g in GROWN.items()}
    treated = {s: {"tse": pairs(0.5 + 0.1 * g), "perplexity": windows(8 - 2.5 * g)} for s, g in GROWN.items()}
    gaps = zip(STEPS[1:], np.diff(STEPS), strict=True)
    fields = {
        "series": "m",
        "relu": False,
        "neurons": {s: neurons(g, seed=s) for s, g in GROWN.items()},
        "weights": {s: weights(1e-3 / (1 + s), int(gap), seed=s) for s, gap in gaps},
        "before": dict(zip(STEPS[1:], STEPS, strict=False)),
        "cohort": COHORT,
        "randoms": {"random/seed=0": RANDOM},
        "baseline": base,
        "treated": treated,
        "random_items": {"random/seed=0": base},
        "perplexity": "perplexity",
        "syntactic": ("tse",),
    }
    return TrainingEvidence(**fields | changes)
