"""profile: score every MLP neuron of a model on the scoring text."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from actors.messages import Profiled, ProfileRequest
from orchestrator.planning.plan import PAIR_BLOCK_WINDOWS
from orchestrator.steps.artifacts import NEURONS
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Step
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.texts import Windows

BATCH_TOKENS = 2048
"""Tokens that a score actor forwards at once."""


def profile_request(step: Step, corpus: Corpus) -> ProfileRequest:
    """What a profile step asks of a score actor."""
    params = step.payload["params"]
    texts = _windows(params, corpus)
    num_windows = 1 + max(0, params["tokens"] - texts.window) // texts.stride
    return ProfileRequest(
        step=step.id,
        texts=texts,
        skip_first=params["skip_first"],
        num_bins=params["bins"],
        calibration_windows=params["calibration_windows"],
        pairs_per_block=params["pairs"],
        block_windows=PAIR_BLOCK_WINDOWS if params["pair_scope"] == "block" else num_windows,
        seed=params["seed"],
        batch_windows=_batch_windows(texts),
    )


def _windows(params: Mapping[str, Any], corpus: Corpus) -> Windows:
    """The scoring text as a step's parameters cut it; at least one window."""
    window = params["window"]
    num_tokens = max(params["tokens"], window)
    return Windows(text=corpus.text, window=window, stride=params["stride"], num_tokens=num_tokens)


def _batch_windows(texts: Windows) -> int:
    return max(1, BATCH_TOKENS // texts.window)


def of_profile(result: Profiled, corpus: str) -> StepResult:
    """corpus: its label."""
    frame = pd.DataFrame(result.columns)
    if not result.num_pairs:
        frame = frame.drop(columns="mapping_difficulty")
    wd = frame["wasserstein_distance"]
    negative = frame["wasserstein_distance_negative"]
    metrics = {
        "wasserstein_distance/median": float(wd.median()),
        "wasserstein_distance/p99": float(wd.quantile(0.99)),
        "wasserstein_distance/max": float(wd.max()),
        "negative_share/mean": float((negative / wd.where(wd > 0)).mean()),
        "scored_tokens": float(result.num_tokens),
        "seconds": result.seconds,
    }
    facts = {
        "corpus": corpus,
        "windows": result.num_windows,
        "tokens": result.num_tokens,
        "pairs": result.num_pairs,
        "pairs_dropped": result.num_pairs_dropped,
    }
    return StepResult(metrics, {NEURONS: frame}, {"profile.json": facts})
