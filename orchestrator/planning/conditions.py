"""The conditions of one model, seeds, layer groups and doses expanded, and the baseline that all are compared with.

Owns the names of expanded conditions, the parts of the study file that each uses, and which of them do not apply to a
ReLU model. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

from orchestrator.planning.models import ResolvedModel
from orchestrator.steps.step import BASELINE
from orchestrator.study_file.spec import ConditionSpec, LayerGroupsSpec, StudySpec
from studies.neurons.clamps import NAMED_CLAMPS, Clamp
from studies.neurons.layer_groups import LayerGroup, layer_groups

NOISE_FLOOR = "noise floor"
"""The baseline on another pack plan: not a condition, but it has evaluations like one."""
NOT_APPLICABLE = "not applicable (ReLU): what it does to the negative half, ReLU does already"

PARTS = (BASELINE, "treated", "matched", "random", "sign", "other", "neighbour")
"""What a condition is beside the treated one, in the order in which tables show them: `sign` is the same neurons under
another operation, `neighbour` that of a matched control."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The empty set of neurons on the same path as every condition, scored on every benchmark."""

    name: ClassVar[str] = BASELINE
    part: ClassVar[str] = BASELINE
    is_whole: ClassVar[bool] = True
    seed: ClassVar[None] = None
    clamp: ClassVar[None] = None
    neurons: ClassVar[None] = None
    role_of_neurons: ClassVar[str] = "neurons"
    is_neighbour: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of one model."""

    base: str
    """Name in the study file."""
    spec: ConditionSpec
    """What the study file says of it."""
    seed: int | None = None
    group: LayerGroup | None = None
    """Its layers, where the study file spreads it over a layer schedule."""
    dose: float | None = None
    """Its fraction, where the study file gives several."""
    neurons: str | None = None
    """Id of the step that makes the neuron set (select or match); None where it does not apply."""
    not_applicable: str = ""
    """Why it does not apply to the model; empty where it does."""
    is_neighbour: bool = False
    """Whether it is the neighbour of the matched control that the study file names: as many neurons more or fewer as
    take it to the other side of the control's target."""

    @property
    def name(self) -> str:
        """`wasserstein`, `wasserstein/layers=0-3/seed=1`, `matched/neighbour`."""
        return self.base + self._place + self._seed + ("/neighbour" if self.is_neighbour else "")

    @property
    def without_seed(self) -> str:
        """Its name, equal for all seeds."""
        return self.base + self._place

    @property
    def curve(self) -> str:
        """Its name, equal for all layer groups and doses."""
        return self.base + self._seed

    @property
    def reference(self) -> str:
        """Name of the condition that it is a control of; empty where it is none."""
        return self.spec.reference + self._place if self.spec.reference else ""

    @property
    def is_whole(self) -> bool:
        """Whether it is none of a schedule's layer groups or doses, and no neighbour."""
        return self.group is None and self.dose is None and not self.is_neighbour

    @property
    def part(self) -> str:
        """What it is beside the treated condition, for tables and figures; one of `PARTS`."""
        if self.is_neighbour:
            return "neighbour"
        if self.spec.match is not None:
            return "matched"
        if self.spec.select == "random":
            return "random"
        if self.spec.select == "top":
            return "treated" if is_treated(self.spec) else "sign"
        return "other"

    @property
    def has_neighbour(self) -> bool:
        """Whether its search is asked for a neighbour, too: claims rest on whole matched controls alone."""
        return self.spec.match is not None and self.is_whole and not self.not_applicable

    @property
    def role_of_neurons(self) -> str:
        """The input role of its evaluations in which they take the step that makes its neurons."""
        return "neighbour" if self.is_neighbour else "neurons"

    @property
    def clamp(self) -> Clamp:
        """What it does to its neurons."""
        return self.spec.clamp

    def layers(self, source: ConditionSpec) -> tuple[int, ...] | None:
        """The layers that it acts on, from its group or from the list in `source`; None = all."""
        return source.layer_list if self.group is None else self.group.layers

    @property
    def _place(self) -> str:
        group = "" if self.group is None else f"/layers={self.group.name}"
        return group if self.dose is None else f"{group}/fraction={self.dose:g}"

    @property
    def _seed(self) -> str:
        return "" if self.seed is None else f"/seed={self.seed}"


def expand(spec: StudySpec, model: ResolvedModel) -> Iterator[Condition]:
    """The conditions of a study for one model, each without its neurons; those that controls refer to come first."""
    references = {condition.reference for condition in spec.conditions.values()}
    for name in sorted(spec.conditions, key=lambda name: name not in references):
        condition = spec.conditions[name]
        if reason := _not_applicable(model, spec.conditions, condition):
            yield Condition(base=name, spec=condition, not_applicable=reason)
            continue
        spread = spec.conditions[condition.reference] if condition.reference else condition
        groups = layer_variants(spread, model.architecture.num_layers)
        seeds = condition.seeds if condition.select == "random" else (None,)
        for group, dose, seed in product(groups, spread.doses or (None,), seeds):
            yield Condition(base=name, spec=condition, seed=seed, group=group, dose=dose)


def is_treated(spec: ConditionSpec) -> bool:
    """Whether it puts the negative clamp, which the claims are about, on top neurons."""
    return spec.select == "top" and spec.clamp == NAMED_CLAMPS["negative"]


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
