"""Tables and neuron sets of finished steps, each read from the record once.

The runner builds requests from them and the review its findings. Owns the copies in memory; the record
verifies whatever is read. Raises RecordError where an artifact is missing or damaged.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.steps.artifacts import NEURON_SET, NEURONS
from orchestrator.steps.step import Step
from studies.neurons.selection import EMPTY, NeuronSet


class Treatment(NamedTuple):
    """The neurons that an evaluation acts on."""

    neurons: NeuronSet
    """Empty for the baseline."""
    table: pd.DataFrame | None
    """The neuron table, where the clamp takes values from it."""


class Inputs:
    """The inputs of one plan's steps; `committed` may grow meanwhile."""

    def __init__(self, record: Record, committed: Mapping[str, Committed]) -> None:
        self._record, self._committed = record, committed
        self._tables: dict[str, pd.DataFrame] = {}
        self._neuron_sets: dict[str, NeuronSet] = {}

    def neuron_table(self, profile: str) -> pd.DataFrame:
        """The neuron table of a profile step."""
        if profile not in self._tables:
            self._tables[profile] = self._record.frame(self._committed[profile], NEURONS)
        return self._tables[profile]

    def neuron_set(self, step: str) -> NeuronSet:
        """The neuron set of a select or match step."""
        if step not in self._neuron_sets:
            table = self._record.frame(self._committed[step], NEURON_SET)
            self._neuron_sets[step] = NeuronSet.from_frame(table)
        return self._neuron_sets[step]

    def treatment(self, step: Step) -> Treatment:
        """The neurons of an evaluation."""
        neurons = self.neuron_set(step.inputs["neurons"]) if "neurons" in step.inputs else EMPTY
        table = self.neuron_table(step.inputs["profile"]) if "profile" in step.inputs else None
        return Treatment(neurons, table)
