"""Ctrl-C at points where it breaks nothing.

A KeyboardInterrupt inside a database transaction or a Ray call leaves locks and half-finished requests behind. Here the
first Ctrl-C asks to finish what runs and start nothing more, the second to stop at the next safe point, between two
records; the third is raised at once. SIGTERM, which batch systems send before they kill, acts like the second, and so
does SIGHUP, which a closed terminal sends, unless it is ignored (nohup).
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

DRAIN, STOP = 1, 2
"""Levels of a request to end: finish what runs, or stop at the next safe point."""
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

Handler = Callable[[int, FrameType | None], Any] | int | None


class Interrupt:
    """A context in which signals wait for `draining`. Outside the main thread signals are left as they are."""

    def __init__(self) -> None:
        self._asked = 0
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS - ignored}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def draining(self) -> bool:
        """Whether to start nothing more. Raises KeyboardInterrupt where stopping was asked for."""
        if self._asked >= STOP:
            raise KeyboardInterrupt
        return self._asked >= DRAIN

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (a signal handler's signature)
        if self._asked >= STOP:
            raise KeyboardInterrupt
        self._asked = self._asked + 1 if number == signal.SIGINT else STOP
