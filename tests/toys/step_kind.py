"""A step kind of our own: how often each token occurs in the scoring text.

Its pieces: the kind, one method of an actor with its two messages, and an entry in `planning.plan.MODEL_STEPS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from actors.scoring.actor import ScoreActor
from actors.tokens import load_tokenizer, windows
from orchestrator.steps import profile
from orchestrator.steps.kind import Draft, ModelStepKind, PlannedModel, Request, StepContext
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Role, Step
from studies.benchmarks.texts import Windows

TABLE = "token_counts.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRequest:
    """Count the tokens of a text."""

    step: str
    texts: Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How often each token of a vocabulary occurs."""

    step: str
    counts: np.ndarray
    """[vocabulary] occurrences."""


class TokenCounts(ModelStepKind[Counted]):
    """How often each token occurs in the scoring text."""

    name, version, role = "token_counts", 1, Role.SCORE

    def draft(self, model: PlannedModel) -> Draft | None:
        params = profile.params(model.spec.profile, corpus=model.corpus, dtype=model.dtype)
        return Draft(params, {"profile": model.profile}, work=1.0)

    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        (step,) = steps
        return Request("count_tokens", CountRequest(step=step.id, texts=profile.windows(step.params, context.corpus)))

    def result(self, step: Step, answer: Counted, context: StepContext) -> StepResult:
        table = pd.DataFrame({"token": np.arange(len(answer.counts)), "count": answer.counts})
        return StepResult({"token_counts/distinct": float((answer.counts > 0).sum())}, {TABLE: table}, {})


KIND = TokenCounts()


class CountingActor(ScoreActor):
    """A score actor with one more method."""

    def count_tokens(self, request: CountRequest) -> Iterator[Counted]:
        tokenizer = load_tokenizer(self._source)
        ids_BW = windows(request.texts, tokenizer, self._source.context, self._source.vocabulary)
        yield Counted(step=request.step, counts=np.bincount(np.asarray(ids_BW).ravel(), minlength=len(tokenizer)))
