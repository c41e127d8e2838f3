"""The messages around the results: an actor answers a request with a stream of them.

Any number of `Progress` and `Load`, then the results. A stream that ends without its results has failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from actors.messages.model import EngineFacts
from actors.messages.probe import Probed


class EngineDied(Exception):
    """A worker process of an engine ended without an error of its own, or another process filled the GPU when a model
    was to be loaded: a fresh actor may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """A whole request failed inside its actor; the actor is not used again."""

    error: str
    traceback: str
    texts_refused: bool = False
    """Whether the model cannot score the texts as the study file asks for them; else the error is the actor's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """A pack did not fit into the device's memory; the request ends here, and the actor is not used again."""

    num_nodes: int
    """Nodes in that pack."""
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """One step of a coalesced request failed; the other steps continue."""

    step: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a request has come: `done` of `total` `unit`s."""

    step: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the machine of an actor is busy with."""

    metrics: Mapping[str, float]
    """By the names that they are recorded under: `system/<machine>/cpu_utilization_percentage`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The actor has loaded its model."""

    facts: EngineFacts | None = None
    """How an ablation actor computes its numbers; None for a score actor."""
    probe: Probed | None = None
    """The probe under the engine of an ablation actor; None for a score actor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorLost:
    """The actor died or stopped answering."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The stream of the request is complete."""
