"""Ctrl-C drains, stops at a safe point, then stops at once; SIGTERM and SIGHUP stop at a safe point."""

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("before", [0, 1])
def test_sigterm_and_sighup_stop_at_the_next_safe_point(before, number):
    with Interrupt() as interrupt:
        for _ in range(before):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            interrupt.draining()


def test_afterwards_signals_are_as_before_also_after_an_error():
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(one) for one in signals]
    with pytest.raises(ZeroDivisionError), Interrupt():
        assert all(signal.getsignal(one) is not handler for one, handler in zip(signals, before, strict=True))
        1 / 0  # noqa: B018
    assert [signal.getsignal(one) for one in signals] == before


def test_a_study_started_with_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupt.draining()
    finally:
        signal.signal(signal.SIGHUP, before)


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
