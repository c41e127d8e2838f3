"""Tables, neuron sets and probes of finished steps, each held in memory once it is made or read.

Steps and the review are made from them. Owns the copies in memory; what an earlier run recorded is read from the
record, which verifies it. Raises RecordError where an artifact is missing or damaged.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from actors.messages.probe import Reference
from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.steps.artifacts import NEURON_SET, NEURON_SETS, NEURONS, REFERENCE, items_table
from orchestrator.steps.result import StepResult, reference_from
from studies.neurons.selection import NeuronSet


class Inputs:
    """The inputs of one plan's steps; `committed` may grow meanwhile."""

    def __init__(self, record: Record, committed: Mapping[str, Committed]) -> None:
        self._record, self._committed = record, committed
        self._tables: dict[str, pd.DataFrame] = {}
        self._neuron_sets: dict[tuple[str, str], NeuronSet] = {}
        """{(step, artifact path): its neuron set}."""
        self._windows: dict[tuple[str, str], pd.DataFrame] = {}
        """{(step, artifact path): the windows of a perplexity}."""
        self._references: dict[str, Mapping[str, Any]] = {}

    def keep(self, step: str, result: StepResult) -> None:
        """Keep what other steps are made from, so that it need not be read back."""
        if NEURONS in result.frames:
            self._tables[step] = result.frames[NEURONS]
        for path in NEURON_SETS.values():
            if path in result.frames:
                self._neuron_sets[step, path] = NeuronSet.from_frame(result.frames[path])
        for path, frame in result.frames.items():
            if "window" in frame:
                self._windows[step, path] = frame
        if REFERENCE in result.documents:
            self._references[step] = result.documents[REFERENCE]

    def neuron_table(self, profile: str) -> pd.DataFrame:
        """The neuron table of a profile step."""
        if profile not in self._tables:
            self._tables[profile] = self._record.frame(self._committed[profile], NEURONS)
        return self._tables[profile]

    def windows(self, step: str, benchmark: str) -> pd.DataFrame:
        """The windows of an evaluation of perplexity: one row each."""
        path = items_table(benchmark)
        if (step, path) not in self._windows:
            self._windows[step, path] = self._record.frame(self._committed[step], path)
        return self._windows[step, path]

    def neuron_set(self, step: str, path: str = NEURON_SET) -> NeuronSet:
        """The neuron set of a select or match step, recorded under this artifact path."""
        if (step, path) not in self._neuron_sets:
            table = self._record.frame(self._committed[step], path)
            self._neuron_sets[step, path] = NeuronSet.from_frame(table)
        return self._neuron_sets[step, path]

    def reference(self, profile: str, model: str) -> Reference | None:
        """The probe that a profile step left for the model with this label; None where it left none."""
        if profile not in self._references:
            committed = self._committed[profile]
            if REFERENCE not in committed.artifacts:
                return None
            self._references[profile] = self._record.document(committed, REFERENCE)
        return reference_from(self._references[profile], model=model)
