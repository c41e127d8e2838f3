"""weights: how far the weights of a checkpoint's neurons have moved since the previous checkpoint.

Runs on a score actor.
"""

from collections.abc import Sequence

import pandas as pd

from actors.messages.scoring import Weights, WeightsRequest
from orchestrator.steps.artifacts import WEIGHTS
from orchestrator.steps.kind import Draft, ModelStepKind, PlannedModel, Request, StepContext
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Role, Step
from studies.errors import StudyError


class WeightChange(ModelStepKind[Weights]):
    """Cosine dissimilarity of every neuron's weights to the previous checkpoint."""

    name, version, role = "weights", 1, Role.SCORE

    def draft(self, model: PlannedModel) -> Draft | None:
        """None for a model that has no previous checkpoint."""
        return None if model.before is None else Draft({"before": model.before, "dtype": model.dtype})

    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        """The checkpoint to compare with."""
        (step,) = steps
        message = WeightsRequest(step=step.id, before=context.previous_checkpoint(step.model))
        return Request("weights", message)

    def result(self, step: Step, answer: Weights, context: StepContext) -> StepResult:
        """The table and its means. Raises StudyError where the two checkpoints have the same weights."""
        before = context.previous_checkpoint(step.model).label
        dissimilarities = pd.DataFrame(answer.columns)
        means = dissimilarities.drop(columns=["layer", "neuron"]).mean().dropna()
        metrics = {f"cosine_dissimilarity/{name}": float(mean) for name, mean in means.items()}
        if not any(metrics.values()):
            raise StudyError(
                f"its weights are those of {before}; one of the two revisions is not the checkpoint that its name says"
            )
        return StepResult(
            metrics, {WEIGHTS: dissimilarities}, {"weights.json": {"before": before, "seconds": answer.seconds}}
        )


KIND = WeightChange()
