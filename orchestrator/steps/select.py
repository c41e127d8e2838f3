"""select: a neuron set, made in the driver from a profile."""

from orchestrator.steps.artifacts import NEURON_SET
from orchestrator.steps.result import StepResult
from studies.neurons.selection import NeuronSet


def of_selection(neurons: NeuronSet) -> StepResult:
    facts = {"neuron_set": neurons.digest, "num_neurons": neurons.count}
    return StepResult({}, {NEURON_SET: neurons.to_frame()}, {"selection.json": facts})
