"""select: chooses a condition's neurons from a neuron table.

Runs in the driver. Everything that a selection depends on comes as an argument: parameters, tables and sets.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from orchestrator.steps.artifacts import NEURON_SET
from orchestrator.steps.kind import DriverStepKind, StepContext
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Step
from orchestrator.study_file.spec import ConditionSpec
from studies.errors import StudyError
from studies.neurons import selection
from studies.neurons.selection import NeuronSet


def params(
    condition: ConditionSpec,
    *,
    layers: tuple[int, ...] | None,
    fraction: float | None,
    seed: int | None,
    scoring: Mapping[str, Any],
    explicit: NeuronSet | None,
) -> dict[str, Any]:
    """The science parameters of a selection.

    layers, fraction, seed: of this variant of the condition. scoring: the preset's rules. explicit: the neurons that
    the study file lists, for `select: explicit`.
    """
    chosen: dict[str, Any] = {"select": condition.select, "layers": list(layers) if layers else None}
    match condition.select:
        case "top" | "bottom":
            rule = scoring["rule"] if condition.select == "top" else "rank"
            return chosen | {"score": condition.score, "fraction": fraction, "rule": rule}
        case "random":
            disjoint = scoring["disjoint"] if condition.disjoint is None else condition.disjoint
            chosen |= {"fraction": fraction, "seed": seed, "disjoint": disjoint and condition.like is not None}
            return chosen if condition.like is None else chosen | {"layers": None}  # the layers of the set it is like
    if explicit is None:
        raise ValueError("an explicit selection needs its neurons")
    return chosen | {"neurons": explicit.digest}


def choose(
    params: Mapping[str, Any], neurons: pd.DataFrame, *, like: NeuronSet | None, explicit: NeuronSet | None
) -> NeuronSet:
    """The selected neurons.

    neurons: the neuron table of the profile. like: the set whose counts per layer a random selection copies. explicit:
    the neurons that the study file lists. Raises StudyError where the table cannot give what the parameters ask for.
    """
    match params["select"]:
        case "top" | "bottom":
            rules = {"top": selection.top, "bottom": selection.bottom}
            rule = selection.above_percentile if params["rule"] == "percentile" else rules[params["select"]]
            return rule(neurons, score=params["score"], fraction=params["fraction"], layers=params["layers"])
        case "random":
            if like is None:
                counts = selection.counts_of(params["fraction"], neurons, params["layers"])
            else:
                counts = {layer: len(indices) for layer, indices in like.indices.items()}
            avoid = like if like is not None and params["disjoint"] else selection.EMPTY
            return selection.random_like(neurons, counts=counts, seed=params["seed"], disjoint_from=avoid)
        case "explicit" if explicit is not None:
            return selection.explicit(explicit, neurons, params["layers"])
    raise StudyError(f"unknown selection {params['select']!r}")


class Select(DriverStepKind):
    """A neuron set, chosen from a neuron table."""

    name, version = "select", 1

    def compute(self, step: Step, context: StepContext) -> StepResult:
        """The neuron set and its digest. Raises StudyError as `choose`."""
        neurons = choose(
            step.params,
            context.neuron_table(step.inputs["profile"]),
            like=context.neuron_set(step.inputs["like"]) if "like" in step.inputs else None,
            explicit=context.listed_neurons(step) if step.params["select"] == "explicit" else None,
        )
        document = {"neuron_set": neurons.digest, "num_neurons": neurons.count}
        return StepResult({}, {NEURON_SET: neurons.to_frame()}, {"selection.json": document})


KIND = Select()
