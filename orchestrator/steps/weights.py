"""weights: how far a checkpoint's weights have moved since the one before."""

import pandas as pd

from actors.messages import Weights
from orchestrator.steps.artifacts import WEIGHTS
from orchestrator.steps.result import StepResult


def of_weights(result: Weights, before: str) -> StepResult:
    """before: label of the earlier checkpoint. All metrics are 0 where the weights are the same."""
    table = pd.DataFrame(result.columns)
    means = table.drop(columns=["layer", "neuron"]).mean().dropna()
    metrics = {f"cosine_dissimilarity/{name}": float(mean) for name, mean in means.items()}
    return StepResult(metrics, {WEIGHTS: table}, {"weights.json": {"before": before, "seconds": result.seconds}})
