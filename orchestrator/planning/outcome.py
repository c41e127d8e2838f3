"""How the steps of a plan ended: what the runner returns and the review reads."""

from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.planning.inputs import Inputs
from orchestrator.record.keys import Committed
from orchestrator.steps.step import BROKEN, State


class Outcome(NamedTuple):
    """The end of one run of a plan."""

    states: Mapping[str, State]
    """{step id: its state}."""
    reasons: Mapping[str, str]
    """{step id: why it failed, was skipped or was recomputed}."""
    committed: Mapping[str, Committed]
    """{step id: where its results lie}, of the steps that have finished."""
    inputs: Inputs
    """The tables and neuron sets of these steps."""

    @property
    def complete(self) -> bool:
        """Whether no step failed or was skipped."""
        return not any(state in BROKEN for state in self.states.values())
