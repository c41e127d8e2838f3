"""A made-up training that behaves as in the paper."""

from typing import Any

import numpy as np
import pandas as pd

from studies.benchmarks.measures import MINIMAL_PAIRS
from studies.claims.training import TrainingEvidence
from studies.neurons.selection import NeuronSet
from studies.statistics.items import Items
from tests.unit.studies.statistics import frames

STEPS = tuple(range(0, 11000, 500))
WIDTH, LAYERS = 100, 4
"""Neurons in each layer, and layers."""
COHORT = NeuronSet.of({layer: range(10) for layer in range(LAYERS)})
RANDOM = NeuronSet.of({layer: range(50, 60) for layer in range(LAYERS)})
_PLACES = np.linspace(0, 1, len(STEPS))
GROWN = dict(zip(STEPS, map(float, _PLACES + 0.02 * np.sin(20 * np.pi * _PLACES**2)), strict=True))
"""How far training is, from 0 to 1, not evenly."""


def neurons(grown: float, seed: int = 0, others: float = 0.0) -> pd.DataFrame:
    """WD 0.05 everywhere at first; the cohort's rises to 0.25, all other neurons' by `others` of that."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"layer": np.repeat(range(LAYERS), WIDTH), "neuron": np.tile(range(WIDTH), LAYERS)})
    share = np.where(table["neuron"] < 10, 1.0, others)
    wd = 0.05 + 0.002 * rng.normal(size=len(table)) + 0.2 * grown * share
    return table.assign(wasserstein_distance=wd, wasserstein_distance_negative=wd / 2)


def weights(moved: float, others: float = 1e-3, seed: int = 0) -> pd.DataFrame:
    """Cosine dissimilarities around `moved` in the cohort and around `others` elsewhere."""
    table = neurons(0)[["layer", "neuron"]]
    around = np.where(table["neuron"] < 10, moved, others)
    moved_by = around * np.random.default_rng(seed).uniform(0.8, 1.2, size=len(table))
    return table.assign(pre_activation=moved_by, down=moved_by / 2)


def pairs(accuracy: float, seed: int = 0, num: int = 400) -> Items:
    """Minimal pairs of which a share of `accuracy` is right."""
    right = np.random.default_rng(seed).permutation(num) < round(accuracy * num)
    frame = pd.DataFrame({"uid": [f"u{i % 8}" for i in range(num)], "phenomenon": "p", "pair": range(num)})
    return Items(frame.assign(correct=right.astype(float)), MINIMAL_PAIRS)


def windows(nll: float, num: int = 12) -> Items:
    """Perplexity windows around `nll`."""
    return frames.windows(nll * (1 + 0.01 * np.sin(np.arange(num))))


def clamped(kept: float) -> dict[int, dict[str, Items]]:
    """{training step: items}: this share of what training brings is kept, 1 in the baseline."""
    share = {step: kept * grown for step, grown in GROWN.items()}
    return {step: {"tse": pairs(0.5 + 0.3 * one), "perplexity": windows(8 - 3 * one)} for step, one in share.items()}


def evidence(**changes: Any) -> TrainingEvidence:
    """The paper's picture, with `changes` to its fields."""
    fields = {
        "series": "m",
        "relu": False,
        "neurons": {s: neurons(g, seed=s) for s, g in GROWN.items()},
        "weights": {s: weights(1e-2 * (1.05 - g), seed=s) for s, g in list(GROWN.items())[1:]},
        "before": dict(zip(STEPS[1:], STEPS, strict=False)),
        "cohort": COHORT,
        "selected_at": STEPS[-1],
        "baseline": clamped(1),
        "treated": clamped(1 / 3),
        "random_items": {f"random/seed={seed}": clamped(1 - 0.02 * seed) for seed in range(3)},
        "perplexity": "perplexity",
        "syntactic": ("tse",),
    }
    return TrainingEvidence(**fields | changes)
