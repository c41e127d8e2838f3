"""The head of a cluster: how long its silence is waited for, and what does not count as silence."""

import socket
import threading
from collections.abc import Iterator

import pytest

from orchestrator.execution import head as module
from orchestrator.execution.head import Head, HeadLost


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class Clock:
    """Stands for the module `time`; sleeping passes no time of ours."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def address(server: socket.socket) -> str:
    host, port = server.getsockname()
    return f"{host}:{port}"


def test_a_head_that_comes_back_in_time_is_not_lost(listening: socket.socket, clock: Clock) -> None:
    place = listening.getsockname()
    head = Head(address(listening))
    clock.sleep(10)
    assert head.answers()
    listening.close()
    assert head.answers(), "it is not asked again within seconds"
    for _ in range(5):
        clock.sleep(module.LOST_SECONDS / 6)
        assert not head.answers()
    with socket.create_server(place):
        clock.sleep(module.CHECK_SECONDS)
        assert head.answers()


def test_silence_for_long_is_an_error(listening: socket.socket, clock: Clock) -> None:
    place = address(listening)
    head = Head(place)
    listening.close()
    clock.sleep(3600)  # the driver was stopped: one look says nothing about the time before
    assert not head.answers()
    clock.sleep(module.LOST_SECONDS + 1)
    with pytest.raises(HeadLost) as error:
        head.answers()
    assert str(error.value) == (
        f"the head of the Ray cluster at {place} does not answer any more; what was committed is kept, run "
        "again to resume"
    )


def test_a_call_that_never_returns_ends_with_the_head(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = Head(address(listening))
    assert head.ask(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        head.ask(lambda: 1 // 0)
    monkeypatch.setattr(module, "LOST_SECONDS", 0.1)
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.05)
    listening.close()
    with pytest.raises(HeadLost):
        head.ask(threading.Event().wait)
