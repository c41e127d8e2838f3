"""What is under way: the request of every actor, and the parts of steps that have arrived.

Owns the runner's knowledge of its actors, one object per actor. Knows nothing of Ray: actors are names here.
Invariant: a part is kept until its step ends or the pack plan of the step changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from actors.messages.ablation import Part
from actors.messages.model import EngineFacts
from orchestrator.scheduling.cluster import ActorKind


@dataclass(slots=True, kw_only=True)
class _Actor:
    steps: tuple[str, ...] = ()
    """The steps of its request."""
    max_nodes: int | None = None
    """The pack size that the request asks for."""
    prewarming: ActorKind | None = None
    """Its kind, while it is opened before its first steps are ready."""
    seeking: str = ""
    """Label of the model that it computes the reference of; '' while it does not."""
    is_open: bool = False
    """Whether it has loaded its model."""
    engine: EngineFacts | None = None


class InFlight:
    """The requests of one run."""

    def __init__(self) -> None:
        self._actors: dict[str, _Actor] = {}
        self._parts: dict[str, Part] = {}

    def _actor(self, name: str) -> _Actor:
        return self._actors.setdefault(name, _Actor())

    def send(self, actor: str, steps: tuple[str, ...], max_nodes: int | None) -> None:
        """Note that the actor has been sent a request for these steps."""
        state = self._actor(actor)
        state.steps, state.max_nodes = steps, max_nodes

    def end(self, actor: str) -> tuple[str, ...]:
        """Note that the actor's request is over; returns its steps, answered or not."""
        state = self._actor(actor)
        steps, state.steps = state.steps, ()
        return steps

    def steps(self, actor: str) -> tuple[str, ...]:
        """The steps of the actor's request."""
        return self._actor(actor).steps

    def max_nodes(self, actor: str) -> int | None:
        """The pack size of the actor's last request; None = the actor's own."""
        return self._actor(actor).max_nodes

    def seek_reference(self, actor: str, model: str) -> None:
        """Note that the actor has been asked for the reference of its model."""
        self.send(actor, (), None)
        self._actor(actor).seeking = model

    @property
    def sought(self) -> set[str]:
        """Models of which an actor computes the reference."""
        return {actor.seeking for actor in self._actors.values() if actor.seeking}

    def end_reference(self, actor: str) -> str:
        """Note that such a request is over; returns the model's label, '' if there was none."""
        state = self._actor(actor)
        model, state.seeking = state.seeking, ""
        return model

    # -- opening -----------------------------------------------------------------------------------------------------

    def prewarm(self, actor: str, actor_kind: ActorKind) -> None:
        """Note that the actor is being opened before its first steps are ready."""
        self._actor(actor).prewarming = actor_kind

    def end_prewarming(self, actor: str) -> ActorKind | None:
        """Note that opening has ended, well or not; returns the actor's kind, None if it was sent a request instead."""
        state = self._actor(actor)
        actor_kind, state.prewarming = state.prewarming, None
        return actor_kind

    def opened(self, actor: str, engine: EngineFacts | None) -> None:
        """Note that the actor has loaded its model, and the properties of its engine, if it has one."""
        state = self._actor(actor)
        state.is_open, state.engine = True, engine

    def lost(self, actor: str) -> bool:
        """Note that the actor is gone; returns whether it had loaded its model."""
        state = self._actor(actor)
        was_open, state.is_open = state.is_open, False
        return was_open

    def engine(self, step: str) -> EngineFacts:
        """The properties of the engine that works on a step. Raises RuntimeError if none has reported them."""
        engines = (actor.engine for actor in self._actors.values() if step in actor.steps)
        engine = next(engines, None)
        if engine is None:
            raise RuntimeError(f"no actor that has reported its engine works on step {step}")
        return engine

    # -- parts -------------------------------------------------------------------------------------------------------

    def add_part(self, part: Part) -> None:
        """Add packs of a step that have arrived."""
        self._parts[part.step] = join_parts(self._parts.get(part.step), part)

    def parts(self, steps: Iterable[str]) -> dict[str, Part]:
        """{step: its packs so far}, of the steps of which any have arrived."""
        return {step: self._parts[step] for step in steps if step in self._parts}

    def drop_part(self, step: str) -> None:
        """Forget the packs of a step that has ended, or whose pack plan has changed."""
        self._parts.pop(step, None)


def join_parts(before: Part | None, after: Part) -> Part:
    """Both parts as one, from pack 0. After a gap or on another pack plan, the earlier one is dropped."""
    if before is None or before.pack_plan != after.pack_plan or before.end_pack != after.first_pack:
        return after
    return replace(after, first_pack=before.first_pack, edges=np.concatenate([before.edges, after.edges], axis=-1))
