"""How long reads wait for a store that is away, without MLflow."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from orchestrator.record.client import patience as patience_module
from orchestrator.record.client.failures import RecordError, Unreachable, WrongAnswer
from orchestrator.record.client.patience import LIMIT_S, WRONG_LIMIT_S, Patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, in a list of one; sleeping moves it."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(patience_module, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def away(clock: list[float], seconds: float, error: Exception) -> Callable[[], str]:
    """A read that fails for so long."""
    back = clock[0] + seconds

    def read() -> str:
        if clock[0] < back:
            raise error
        return "read"

    return read


def test_a_read_waits_and_says_so_once(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    patience = Patience()
    with patience.waiting(lambda: False):
        assert patience(away(clock, 120, Unreachable("no answer"))) == "read"
    assert [line.getMessage() for line in caplog.records] == [
        "no answer; waiting for it, at most 480 s",
        "MLflow answers again, after 120 s",
    ]


@pytest.mark.parametrize(("error", "limit_s"), [(Unreachable("away"), LIMIT_S), (WrongAnswer("page"), WRONG_LIMIT_S)])
def test_the_wait_has_a_limit(clock: list[float], error: Unreachable, limit_s: float) -> None:
    patience, before = Patience(), clock[0]
    with patience.waiting(lambda: False), pytest.raises(Unreachable) as caught:
        patience(away(clock, 10_000, error))
    assert caught.value is error and limit_s <= clock[0] - before <= limit_s + 15


def test_outside_of_a_run_and_for_what_is_refused_nothing_waits(clock: list[float]) -> None:
    patience, before = Patience(), clock[0]
    with pytest.raises(Unreachable):
        patience(away(clock, 10, Unreachable("away")))
    with patience.waiting(lambda: False), pytest.raises(RecordError):
        patience(away(clock, 10, RecordError("refused")))
    assert clock[0] == before


def test_an_interrupt_ends_the_wait(clock: list[float]) -> None:
    patience, before = Patience(), clock[0]
    with patience.waiting(lambda: clock[0] > before + 20), pytest.raises(KeyboardInterrupt):
        patience(away(clock, 100, Unreachable("away")))
    assert clock[0] < before + 21
