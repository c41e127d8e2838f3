"""Ctrl-C: the first drains, the second stops at a safe point, the third at once; SIGTERM stops at a safe point."""

import signal
import threading

import pytest

from orchestrator.execution.interrupt import Interrupt


def test_the_first_drains_the_second_waits_for_a_safe_point_and_the_third_does_not():
    with Interrupt() as interrupt:
        assert not interrupt.draining()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.draining() and interrupt.draining()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.draining()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("before", [0, 1])
def test_sigterm_stops_at_the_next_safe_point(before):
    with Interrupt() as interrupt:
        for _ in range(before):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupt.draining()


def test_afterwards_signals_are_as_before_also_after_an_error():
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(one) for one in signals]
    with pytest.raises(ZeroDivisionError), Interrupt():
        assert all(signal.getsignal(one) is not handler for one, handler in zip(signals, before, strict=True))
        1 / 0  # noqa: B018
    assert [signal.getsignal(one) for one in signals] == before


def test_off_the_main_thread_signals_are_left_alone():
    before, found = signal.getsignal(signal.SIGINT), []

    def work():
        with Interrupt() as interrupt:
            interrupt.draining()
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
