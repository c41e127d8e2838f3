"""The Ray actor that holds one model: loads an actor class by path and streams the messages of one request at a time.

Owns what an actor class does not know of: that it may have others beside it, in the same placement group, among which
one corpus is divided, and that what it raises must reach the driver as a message. The others end with their first.
"""

import importlib
import textwrap
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.messages import ActorLost, EngineDied, ModelSource, Opened, RequestFailed
from orchestrator.redaction import redact_logs

GONE = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)
"""What Ray raises of another process that died, not of what was raised in it."""
ERROR_LENGTH = 500
"""Of an error's one line; the log has all of it."""


class Host:
    """See the module."""

    def __init__(self, path: str, others: int = 0, options: dict[str, Any] | None = None):
        """others: further hosts, on the placement group's next bundles; options: Ray's, of each."""
        redact_logs()
        self._path, self._source, self._actor = path, None, None
        group = get_current_placement_group() if others else None
        self._others = [
            ray.remote(Host)
            .options(
                **(options or {}),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i),
            )
            .remote(path)
            for i in range(1, others + 1)
        ]

    def stream(self, source: ModelSource, method: str, request: Any) -> Iterator[Any]:
        """Messages of one request; an error of the actor's own becomes `RequestFailed`, the last message.

        Without a method the actor is only opened. A source other than the last is another checkpoint of the same
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
                yield Opened(facts=getattr(self._actor, "facts", lambda: None)())
            if not method:
                return
            divided = method == "profile" and self._others
            others = {"others": [self._asking(other) for other in self._others]} if divided else {}
            yield from getattr(self._actor, method)(request, **others)
        except (EngineDied, *GONE) as error:
            yield ActorLost(reason=one_line(error))
        except Exception as error:  # sent on, not swallowed: the driver fails the request's steps
            told = one_line(f"{type(error).__name__}: {error}")
            yield RequestFailed(error=told, traceback=traceback.format_exc())

    def _asking(self, other: Any) -> Callable[[str, Any], Iterator[Any]]:
        """ask(method, request) of a host beside this one, which begins at once. Raises what it failed of."""

        def ask(method: str, request: Any) -> Iterator[Any]:
            stream = other.stream.options(num_returns="streaming").remote(self._source, method, request)
            return _messages(stream)

        return ask

    def close(self) -> None:
        if self._actor is not None:
            self._actor.close()


def _messages(stream: Any) -> Iterator[Any]:
    for item in stream:
        match ray.get(item):
            case RequestFailed(error=error):
                raise RuntimeError(f"in another shard: {error}")
            case Opened():
                pass
            case message:
                yield message


def one_line(error: Any) -> str:
    return textwrap.shorten(str(error), ERROR_LENGTH, placeholder=" ...")
