"""What `policy.decide` may answer. Plain data: the caller applies each decision, and nothing here knows how."""

from typing import NamedTuple

from orchestrator.scheduling.cluster import ActorKind
from orchestrator.scheduling.placement import Demand, Placement
from orchestrator.steps.step import Role


class Start(NamedTuple):
    """Send these steps to an actor, which is opened if no actor has that name; or run them in the driver.

    Without steps the actor is only opened (prewarmed), before steps that will be ready soon.
    """

    role: Role
    steps: tuple[str, ...]
    """Step ids; one request."""
    model: str = ""
    actor: str = ""
    placement: Placement = ()
    """Where to open a new actor; empty for an actor that exists."""
    reload: bool = False
    """Whether the actor holds another checkpoint, whose weights are exchanged in place."""


class Evict(NamedTuple):
    """Close this idle actor."""

    actor: str


class Skip(NamedTuple):
    """This step can never run, because `culprit`, one of its inputs, failed or was skipped."""

    step: str
    culprit: str


class Fail(NamedTuple):
    """This step cannot run."""

    step: str
    reason: str


class NoRoom(NamedTuple):
    """Nothing runs and nothing can start: not even the empty cluster has room for an actor of this kind."""

    actor_kind: ActorKind
    demand: Demand


class Stop(NamedTuple):
    """Every step is in a terminal state, or the study is drained."""


Decision = Start | Evict | Skip | Fail | NoRoom | Stop
