"""Ctrl-C waits for a safe point once, and no longer than once."""

import signal
import threading

import pytest

from orchestrator.interrupt import Interrupt


def test_the_first_one_waits_for_the_check_and_the_second_does_not():
    with Interrupt() as interrupt:
        interrupt.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_signals_are_as_before_also_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interrupt():
        assert signal.getsignal(signal.SIGINT) != before
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is before


def test_off_the_main_thread_signals_are_left_alone():
    before, found = signal.getsignal(signal.SIGINT), []

    def work():
        with Interrupt() as interrupt:
            interrupt.check()
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
