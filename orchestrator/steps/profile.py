"""profile: scores every MLP neuron of a model on the scoring text.

Runs on a score actor. The result is the neuron table, from which neurons are selected and clamps take their values.
The actor has the model in Transformers, so it leaves the probe's log-probabilities as well.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from actors.messages.scoring import Profiled, ProfileRequest
from orchestrator.steps.artifacts import MEASURED_ON, NEURONS, REFERENCE
from orchestrator.steps.kind import ActorStepKind, Request, StepContext
from orchestrator.steps.result import StepResult, reference_document, special_tokens_document, warn_of_missing_bos
from orchestrator.steps.step import Role, Step
from orchestrator.study_file.spec import ProfileSpec
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.texts import Windows
from studies.errors import StudyError

log = logging.getLogger(__name__)

BATCH_TOKENS = 2048
"""Tokens in one forward pass of a score actor."""
ENOUGH_PAIRS = 0.9
"""Share of the pairs asked for below which a warning says how many were drawn; `profile.json` always does."""
PAIR_BLOCK_WINDOWS = 16
"""Windows in a block from which mapping-difficulty pairs are drawn. Part of the kind's version."""
SAMPLE_WINDOWS = 2**62
"""Windows in a block that holds the whole sample: more than any corpus has."""


def params(profile: ProfileSpec, *, corpus: str, dtype: str) -> dict[str, Any]:
    """The science parameters of a profile; `corpus` is the digest of the scoring text."""
    return {
        "corpus": corpus,
        "dtype": dtype,
        "tokens": profile.tokens,
        "window": profile.window,
        "stride": profile.stride or profile.window,
        "skip_first": profile.skip_first,
        "bos": profile.bos,
        "bins": profile.bins,
        "calibration_windows": profile.calibration_windows,
        "pairs": num_pairs(profile),
        "pair_scope": profile.pair_scope,
        "seed": profile.seed,
    }


def num_pairs(profile: ProfileSpec) -> int:
    """Pairs behind mapping difficulty in every block; 0 where it is not scored."""
    return profile.pairs if "mapping_difficulty" in profile.scores else 0


def windows(params: Mapping[str, Any], corpus: Corpus) -> Windows:
    """The scoring text in the windows that the parameters of a step ask for; at least one window."""
    window = params["window"]
    num_tokens = max(params["tokens"], window)
    return Windows(text=corpus.text, window=window, stride=params["stride"], num_tokens=num_tokens, bos=params["bos"])


def batch_windows(texts: Windows) -> int:
    """Windows in one forward pass."""
    return max(1, BATCH_TOKENS // texts.window)


class Profile(ActorStepKind[Profiled]):
    """The scores of every MLP neuron of a model."""

    name, version, role, is_divided = "profile", 3, Role.SCORE, True

    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        """The scoring text, and how it is read."""
        (step,) = steps
        params = step.params
        texts = windows(params, context.corpus)
        message = ProfileRequest(
            step=step.id,
            texts=texts,
            skip_first=params["skip_first"],
            num_bins=params["bins"],
            calibration_windows=params["calibration_windows"],
            pairs_per_block=params["pairs"],
            block_windows=PAIR_BLOCK_WINDOWS if params["pair_scope"] == "block" else SAMPLE_WINDOWS,
            seed=params["seed"],
            batch_windows=batch_windows(texts),
        )
        return Request("profile", message)

    def result(self, step: Step, answer: Profiled, context: StepContext) -> StepResult:
        """The neuron table, its summary, and the probe with which engines of the model are compared.

        Raises StudyError where no pre-activation varies, as with gates that are all zero. Warns where the blocks have
        too few tokens for the pairs that were asked for.
        """
        neurons = pd.DataFrame(answer.columns)
        num_drawn = answer.num_pairs + answer.num_pairs_dropped
        if num_drawn < ENOUGH_PAIRS * answer.num_pairs_asked:
            log.warning(
                "%s: mapping difficulty rests on %d of %d token pairs; 16 windows have too few tokens for more",
                *(step.model, num_drawn, answer.num_pairs_asked),
            )
        if not answer.num_pairs:
            neurons = neurons.drop(columns=["mapping_difficulty", "mapping_difficulty_reliability"])
        wd = neurons["wasserstein_distance"]
        if not (wd > 0).any():
            raise StudyError(
                "every pre-activation has one value on the whole scoring text, so there is nothing to score: are these "
                "the trained weights?"
            )
        negative = neurons["wasserstein_distance_negative"]
        metrics = {
            "wasserstein_distance/median": float(wd.median()),
            "wasserstein_distance/p99": float(wd.quantile(0.99)),
            "wasserstein_distance/max": float(wd.max()),
            "negative_share/mean": float((negative / wd.where(wd > 0)).mean()),
            "scored_tokens": float(answer.num_tokens),
            "seconds": answer.seconds,
        }
        measured_on = {
            "corpus": context.corpus.label,
            "windows": answer.num_windows,
            "tokens": answer.num_tokens,
            "pairs": answer.num_pairs,
            "pairs_asked": answer.num_pairs_asked,
            "pairs_dropped": answer.num_pairs_dropped,
            "special_tokens": special_tokens_document(answer.special_tokens),
        }
        warn_of_missing_bos(step.model, answer.special_tokens)
        documents = {MEASURED_ON: measured_on, REFERENCE: reference_document(answer.reference)}
        return StepResult(metrics, {NEURONS: neurons}, documents)


KIND = Profile()
