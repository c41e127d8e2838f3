"""Conditions of one model: seeds, layer groups and doses expanded; which of them say nothing about a ReLU model."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.planning.models import ResolvedModel
from orchestrator.study_file.spec import ConditionSpec, LayerGroupsSpec
from studies.neurons.layer_groups import Group, layer_groups


def layer_variants(condition: ConditionSpec, num_layers: int) -> tuple[Group | None, ...]:
    """The groups that a condition is expanded over; (None,) without a schedule. Raises StudyError for absent layers."""
    if isinstance(condition.layers, LayerGroupsSpec):
        return layer_groups(condition.layers.groups, condition.layers.schedule, num_layers)
    if condition.layer_list is not None:
        layer_groups([condition.layer_list], "single", num_layers)
    return (None,)


NOISE_FLOOR = "noise floor"


NOT_APPLICABLE = "not applicable (ReLU): what it does to the negative half, ReLU does already"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of one model, seeds and layer groups expanded."""

    name: str
    base: str
    """Name in the study file; `baseline` for the empty set."""
    spec: ConditionSpec | None
    seed: int | None = None
    group: Group | None = None
    """Its layers, where the study file spreads it over a layer schedule."""
    dose: float | None = None
    """Its fraction, where the study file gives several."""
    reference: str = ""
    """Name of the condition that it is a control of."""
    neurons: str | None = None
    """Id of the step that makes the neuron set (select or match); None for the baseline."""
    not_applicable: str = ""

    @property
    def is_whole(self) -> bool:
        """Neither the baseline nor one of a schedule's layer groups or doses."""
        return self.spec is not None and self.group is None and self.dose is None

    @property
    def curve(self) -> str:
        """The condition with its seed, without its place among layer groups or doses."""
        return self.base if self.seed is None else f"{self.base}/seed={self.seed}"


def _not_applicable(model: ResolvedModel, conditions: Mapping[str, ConditionSpec], condition: ConditionSpec) -> str:
    """Why a condition says nothing about this model; empty where it does."""
    if not model.architecture.is_relu:
        return ""
    if condition.clamp.is_relu_identity:
        return NOT_APPLICABLE
    reference = condition.reference
    if reference and conditions[reference].clamp.is_relu_identity:
        return f"not applicable (ReLU): it refers to {reference}, which is not applicable"
    return ""


def _layers(condition: Condition, source: ConditionSpec | None) -> tuple[int, ...] | None:
    """The layers that a condition is confined to, by its group or the list in `source`; None = all."""
    return condition.group.layers if condition.group else source and source.layer_list
