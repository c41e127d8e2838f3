"""The host's stream without Ray's processes: an actor's messages, and its machine's load between them."""

import pickle
from collections.abc import Iterator
from typing import Any

from actors.messages.stream import Load, Progress, RequestFailed
from orchestrator.execution.host import Host

PROGRESS = Progress(step="s", done=1, total=2, unit="packs")


class Meter:
    """Is due at every second question."""

    def __init__(self) -> None:
        self.asked = 0

    def due(self) -> Load | None:
        self.asked += 1
        return None if self.asked % 2 else Load(metrics={"system/n/cpu_utilization_percentage": float(self.asked)})


class Actor:
    """Says three times how far it is, then fails if it is asked to."""

    def count(self, request: bool) -> Iterator[Any]:
        yield from [PROGRESS] * 3
        if request:
            raise ValueError("no more")


def streamed(request: bool) -> list[Any]:
    host = Host.__new__(Host)  # its constructor takes over a process
    host._source, host._actor, host._siblings, host._meter = "source", Actor(), [], Meter()  # type: ignore[assignment]
    return list(host.stream("source", "count", request))  # type: ignore[arg-type]


def test_the_load_of_the_machine_comes_between_the_messages() -> None:
    first = Load(metrics={"system/n/cpu_utilization_percentage": 2.0})
    assert streamed(False) == [PROGRESS, PROGRESS, first, PROGRESS]
    assert pickle.loads(pickle.dumps(first)) == first


def test_a_failure_is_the_last_message_all_the_same() -> None:
    assert isinstance(streamed(True)[-1], RequestFailed)
