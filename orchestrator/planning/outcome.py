"""How the steps of a plan ended: the runner's result, and what the review is made from."""

from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.record.keys import Committed
from orchestrator.steps.step import State


class Outcome(NamedTuple):
    """How a study ended."""

    states: Mapping[str, State]
    reasons: Mapping[str, str]
    """{step id: why it failed, was skipped or was recomputed}."""
    committed: Mapping[str, Committed]
