"""weights: how far the weights of a checkpoint's neurons have moved since the previous checkpoint.

Runs on a score actor.
"""

from typing import Any

import pandas as pd

from actors.messages import ModelSource, Weights, WeightsRequest
from orchestrator.steps.artifacts import WEIGHTS
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Step


def params(*, before: str, dtype: str) -> dict[str, Any]:
    """The science parameters; `before` is the digest of the previous checkpoint."""
    return {"before": before, "dtype": dtype}


def request(step: Step, before: ModelSource) -> WeightsRequest:
    """The request to the score actor."""
    return WeightsRequest(step=step.id, before=before)


def result(answer: Weights, before: str) -> StepResult:
    """The table of cosine dissimilarities and their means; `before` is the label of the previous checkpoint."""
    dissimilarities = pd.DataFrame(answer.columns)
    means = dissimilarities.drop(columns=["layer", "neuron"]).mean().dropna()
    metrics = {f"cosine_dissimilarity/{name}": float(mean) for name, mean in means.items()}
    document = {"before": before, "seconds": answer.seconds}
    return StepResult(metrics, {WEIGHTS: dissimilarities}, {"weights.json": document})


def are_equal(result: StepResult) -> bool:
    """Whether the two checkpoints have the same weights, so that one of the revisions is not what its name says."""
    return not any(result.metrics.values())
