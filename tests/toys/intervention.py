"""An intervention of our own: halfway to the mean, a' = (a + the neuron's mean) / 2.

Its two pieces: a row for `CLAMP_KINDS`, and an operation for `OPERATIONS`.
"""

from torch import Tensor

from actors.ablation.clamps import Operation, Selected
from studies.neurons.clamps import ClampKind

NAME = "halfway_to_mean"

ROW = ClampKind(values_from="mean", is_relu_identity=lambda _: False)


def _halfway(selected: Selected) -> Tensor:
    return (selected.pre_Tn + selected.setting.floor_n) / 2


def _is_elsewhere(selected: Selected) -> Tensor:
    return selected.pre_Tn != selected.setting.floor_n


OPERATION = Operation(replace=_halfway, changes=_is_elsewhere, digest_name=NAME)
