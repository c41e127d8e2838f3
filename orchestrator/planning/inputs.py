"""Tables and neuron sets of finished steps, each held in memory once it is made or read.

Steps and the review are made from them. Owns the copies in memory; what an earlier run recorded is read from the
record, which verifies it. Raises RecordError where an artifact is missing or damaged.
"""

from collections.abc import Mapping

import pandas as pd

from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.steps.artifacts import NEURON_SET, NEURONS
from orchestrator.steps.result import StepResult
from studies.neurons.selection import NeuronSet


class Inputs:
    """The inputs of one plan's steps; `committed` may grow meanwhile."""

    def __init__(self, record: Record, committed: Mapping[str, Committed]) -> None:
        self._record, self._committed = record, committed
        self._tables: dict[str, pd.DataFrame] = {}
        self._neuron_sets: dict[str, NeuronSet] = {}

    def keep(self, step: str, result: StepResult) -> None:
        """Keep what other steps are made from, so that it need not be read back."""
        if NEURONS in result.frames:
            self._tables[step] = result.frames[NEURONS]
        if NEURON_SET in result.frames:
            self._neuron_sets[step] = NeuronSet.from_frame(result.frames[NEURON_SET])

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
