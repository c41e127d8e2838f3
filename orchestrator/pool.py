"""Resident actors by model: created, streamed from, evicted; every event comes back as plain data.

Owns all contact with Ray actors. An actor is a `Host` that loads one actor class by path and streams one request at a
time. Closing is orderly first (engines shut their worker processes down), then the actor is killed. An actor that dies
becomes an `ActorLost` event, never an exception.
"""

import contextlib
import importlib
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from actors.messages import ModelSource, RequestFailed
from orchestrator.scheduler import Demand, Resident
from orchestrator.steps import Role

ACTOR_CLASSES = {Role.SCORE: "actors.score:ScoreActor", Role.ABLATION: "actors.ablation:AblationActor"}
CLOSE_SECONDS = 20.0


class Host:
    """The Ray actor: loads `module:Class` on the first request and streams its messages."""

    def __init__(self, path: str):
        self._path, self._source, self._actor = path, None, None

    def stream(self, source: ModelSource, method: str, request: Any) -> Iterator[Any]:
        """Messages of one request; an error of the actor's own becomes `RequestFailed`, the last message.

        A source other than the last is another checkpoint of the same architecture: the actor reloads.
        """
        try:
            if source != self._source:
                if self._actor is None:
                    module, name = self._path.split(":")
                    self._actor = getattr(importlib.import_module(module), name)(source)
                else:
                    self._actor.reload(source)
                self._source = source
                yield Opened(facts=getattr(self._actor, "facts", lambda: None)())
            yield from getattr(self._actor, method)(request)
        except Exception as error:  # sent on, not swallowed: the driver fails the request's steps
            yield RequestFailed(error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())

    def close(self) -> None:
        if self._actor is not None:
            self._actor.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The actor has loaded its model; `facts` are the engine's, None for a score actor."""

    facts: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The request's stream has ended in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorLost:
    """The actor died or fell silent."""

    reason: str


@dataclass(slots=True)
class _Hosted:
    role: Role
    handle: Any
    stream: Any = None
    last_event: float = 0.0


class Pool:
    """Resident actors of one driver; use as a context manager, so that no process outlives it."""

    def __init__(self, sources: dict[str, ModelSource], demands: dict[str, Demand], *, silence_seconds: float = 1800.0):
        self.sources, self._demands = sources, demands
        self._silence_seconds = silence_seconds
        self._hosted: dict[str, _Hosted] = {}

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exception) -> None:
        for model in list(self._hosted):
            self.evict(model)

    def residents(self) -> dict[str, Resident]:
        """What the scheduler needs to know."""
        return {
            model: Resident(model=model, role=hosted.role, busy=hosted.stream is not None)
            for model, hosted in self._hosted.items()
        }

    def start(self, model: str, role: Role, method: str, request: Any, *, takes: str = "") -> None:
        """Stream a request from the model's actor, which is created if absent, or takes another checkpoint's place."""
        if takes:
            self._hosted[model] = self._hosted.pop(takes)
        if model not in self._hosted:
            demand = self._demands[model]
            actor = ray.remote(Host).options(
                num_cpus=demand.cpus, num_gpus=demand.gpus, max_restarts=0, max_task_retries=0, name=None
            )
            self._hosted[model] = _Hosted(role, actor.remote(ACTOR_CLASSES[role]))
        hosted = self._hosted[model]
        stream = hosted.handle.stream.options(num_returns="streaming")
        hosted.stream = stream.remote(self.sources[model], method, request)
        hosted.last_event = time.monotonic()

    def wait(self, timeout: float) -> list[tuple[str, Any]]:
        """(model, message) pairs; empty after `timeout` seconds without any."""
        streams = {hosted.stream: model for model, hosted in self._hosted.items() if hosted.stream is not None}
        if not streams:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(streams), num_returns=1, timeout=timeout)
        events = [(streams[stream], self._next(streams[stream])) for stream in ready]
        for model, hosted in list(self._hosted.items()):
            if hosted.stream is not None and time.monotonic() - hosted.last_event > self._silence_seconds:
                self.evict(model)
                events.append((model, ActorLost(reason=f"no sign of life for {self._silence_seconds:.0f} s")))
        return events

    def evict(self, model: str) -> None:
        """Close the model's actor in order, then kill it."""
        hosted = self._hosted.pop(model)
        if hosted.stream is None:
            with contextlib.suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):  # killed next
                ray.get(hosted.handle.close.remote(), timeout=CLOSE_SECONDS)
        ray.kill(hosted.handle, no_restart=True)

    def _next(self, model: str) -> Any:
        hosted = self._hosted[model]
        hosted.last_event = time.monotonic()
        try:
            message = ray.get(next(hosted.stream))
        except StopIteration:
            hosted.stream = None
            return Finished()
        except ray.exceptions.RayActorError as error:
            ray.kill(self._hosted.pop(model).handle, no_restart=True)  # out of reach, it may still hold its memory
            return ActorLost(reason=str(error).strip().split("\n")[0])
        if isinstance(message, RequestFailed):
            hosted.stream = None
            self.evict(model)
        return message
