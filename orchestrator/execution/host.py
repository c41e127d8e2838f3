"""The Ray actor that holds one model: loads an actor class by path and streams the messages of one request at a time.

Owns what an actor class does not know: that it may have siblings in the same placement group, which a method with a
parameter `others` gets to share its work with, and that an exception must reach the driver as a message. Siblings end
with the host that started them.
"""

import importlib
import inspect
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.messages.model import ModelSource
from actors.messages.stream import ActorLost, EngineDied, Load, Opened, RequestFailed
from orchestrator.execution import scratch
from orchestrator.node_load import LoadMeter
from orchestrator.redaction import redact_logs
from studies.errors import TextError, one_line

DEAD = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)
"""Errors that Ray raises when another process has died, as opposed to errors raised inside it."""


class Host:
    """One model in one Ray actor."""

    def __init__(self, path: str, num_siblings: int = 0, options: dict[str, Any] | None = None) -> None:
        """path: `module:Class` of the actor class. num_siblings: further hosts, on the next bundles of the placement
        group; options: Ray's options for each of them."""
        redact_logs()
        self._scratch = scratch.use_own_folder()
        self._path, self._meter = path, LoadMeter()
        self._source: ModelSource | None = None
        self._actor: Any = None
        group = get_current_placement_group() if num_siblings else None
        self._siblings = [
            ray.remote(Host)
            .options(
                **(options or {}),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i),
            )
            .remote(path)
            for i in range(1, num_siblings + 1)
        ]

    def stream(self, source: ModelSource, method: str, request: Any) -> Iterator[Any]:
        """The messages of one request. An exception becomes `RequestFailed` or `ActorLost`, the last message.

        An empty method only opens the actor. A source other than the last one is another checkpoint of the same
        architecture: the actor reloads.
        """
        try:
            if source != self._source:
                if self._actor is None:
                    module, name = self._path.split(":")
                    self._actor = getattr(importlib.import_module(module), name)(source)
                else:
                    self._actor.reload(source)
                self._source = source
                yield self._actor.opened()
            if not method:
                return
            answer = getattr(self._actor, method)
            divides = self._siblings and "others" in inspect.signature(answer).parameters
            options = {"others": [self._ask(sibling) for sibling in self._siblings]} if divides else {}
            for message in answer(request, **options):
                yield message
                if (load := self._meter.due()) is not None:
                    yield load
        except (EngineDied, *DEAD) as error:
            yield ActorLost(reason=one_line(error))
        except Exception as error:  # sent on, not swallowed: the driver fails the request's steps
            refused = isinstance(error, TextError)
            described = one_line(str(error) if refused else f"{type(error).__name__}: {error}")
            yield RequestFailed(error=described, traceback=traceback.format_exc(), texts_refused=refused)

    def _ask(self, sibling: Any) -> Callable[[str, Any], Iterator[Any]]:
        """A function of (method, request) that starts the sibling at once and re-raises its failure."""

        def ask(method: str, request: Any) -> Iterator[Any]:
            stream = sibling.stream.options(num_returns="streaming").remote(self._source, method, request)
            return _messages(stream)

        return ask

    def close(self) -> None:
        """Close the actor in order: engines shut their worker processes down."""
        if self._actor is not None:
            self._actor.close()
        scratch.remove(self._scratch)


def _messages(stream: Any) -> Iterator[Any]:
    for item in stream:
        match ray.get(item):
            case RequestFailed(error=error):
                raise RuntimeError(f"in another shard: {error}")
            case Opened() | Load():
                pass
            case message:
                yield message
