"""An ablation actor that knows the intervention of `toys.intervention`: importing it adds both pieces."""

from actors.ablation.actor import AblationActor
from actors.ablation.clamps import OPERATIONS
from studies.neurons.clamps import CLAMP_KINDS
from tests.toys.intervention import NAME, OPERATION, ROW

CLAMP_KINDS[NAME], OPERATIONS[NAME] = ROW, OPERATION


class InterveningActor(AblationActor):
    """An ablation actor, unchanged."""
