"""The conditions of one model: seeds, layer groups and doses expanded.

Owns the names of expanded conditions, the parts of the study file that each uses, and which of them do not apply to a
ReLU model. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from orchestrator.planning.models import ResolvedModel
from orchestrator.steps.step import BASELINE
from orchestrator.study_file.spec import ConditionSpec, LayerGroupsSpec, StudySpec
from studies.neurons.layer_groups import LayerGroup, layer_groups

NOISE_FLOOR = "noise floor"
"""The baseline on another pack plan: not a condition, but it has evaluations like one."""
NOT_APPLICABLE = "not applicable (ReLU): what it does to the negative half, ReLU does already"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of one model."""

    name: str
    """`wasserstein`, `wasserstein/layers=0-3/seed=1`."""
    base: str
    """Name in the study file; `baseline` for the empty set."""
    spec: ConditionSpec | None
    """None for the baseline."""
    seed: int | None = None
    group: LayerGroup | None = None
    """Its layers, where the study file spreads it over a layer schedule."""
    dose: float | None = None
    """Its fraction, where the study file gives several."""
    reference: str = ""
    """Name of the condition that it is a control of."""
    neurons: str | None = None
    """Id of the step that makes the neuron set (select or match); None for the baseline."""
    not_applicable: str = ""
    """Why it does not apply to the model; empty where it does."""

    @property
    def is_whole(self) -> bool:
        """Whether it is neither the baseline nor one of a schedule's layer groups or doses."""
        return self.spec is not None and self.group is None and self.dose is None

    @property
    def curve(self) -> str:
        """The condition with its seed, without its place among layer groups or doses."""
        return self.base if self.seed is None else f"{self.base}/seed={self.seed}"

    def layers(self, source: ConditionSpec | None) -> tuple[int, ...] | None:
        """The layers that it acts on, from its group or from the list in `source`; None = all."""
        if self.group is not None:
            return self.group.layers
        return None if source is None else source.layer_list


def baseline() -> Condition:
    """The empty set."""
    return Condition(name=BASELINE, base=BASELINE, spec=None)


def expand(spec: StudySpec, model: ResolvedModel) -> Iterator[Condition]:
    """The conditions of a study for one model, each without its neurons; those that controls refer to come first."""
    references = {condition.reference for condition in spec.conditions.values()}
    for name in sorted(spec.conditions, key=lambda name: name not in references):
        condition = spec.conditions[name]
        if reason := _not_applicable(model, spec.conditions, condition):
            yield Condition(name=name, base=name, spec=condition, not_applicable=reason)
            continue
        spread = spec.conditions[condition.reference] if condition.reference else condition
        groups = layer_variants(spread, model.architecture.num_layers)
        seeds = condition.seeds if condition.select == "random" else (None,)
        for group, dose, seed in product(groups, spread.doses or (None,), seeds):
            place = "" if group is None else f"/layers={group.name}"
            place += "" if dose is None else f"/fraction={dose:g}"
            yield Condition(
                name=name + place + ("" if seed is None else f"/seed={seed}"),
                base=name,
                spec=condition,
                seed=seed,
                group=group,
                dose=dose,
                reference=condition.reference + place if condition.reference else "",
            )


def layer_variants(condition: ConditionSpec, num_layers: int) -> tuple[LayerGroup | None, ...]:
    """The groups that a condition is expanded over; (None,) without a schedule. Raises StudyError for absent layers."""
    if isinstance(condition.layers, LayerGroupsSpec):
        return layer_groups(condition.layers.groups, condition.layers.schedule, num_layers)
    if condition.layer_list is not None:
        layer_groups([condition.layer_list], "single", num_layers)
    return (None,)


def _not_applicable(model: ResolvedModel, conditions: Mapping[str, ConditionSpec], condition: ConditionSpec) -> str:
    """Why a condition does not apply to this model; empty where it does."""
    if not model.architecture.is_relu:
        return ""
    if condition.clamp.is_relu_identity:
        return NOT_APPLICABLE
    reference = condition.reference
    if reference and conditions[reference].clamp.is_relu_identity:
        return f"not applicable (ReLU): it refers to {reference}, which is not applicable"
    return ""
