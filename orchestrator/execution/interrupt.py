"""Ctrl-C at a point where it breaks nothing.

A KeyboardInterrupt inside a database transaction or a Ray call leaves locks and half sentences behind. Here the first
Ctrl-C asks to finish what runs and start nothing more, the second to stop at the next safe point, between two records;
the third is raised at once. SIGTERM, which batch systems send before they kill, asks to stop like the second.
"""

import signal
import threading
from types import FrameType, TracebackType

DRAIN, STOP = 1, 2


class Interrupt:
    """A context in which signals wait for `draining`. Off the main thread signals are left as they are."""

    def __init__(self) -> None:
        self._asked = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def draining(self) -> bool:
        """Whether to start nothing more. Raises KeyboardInterrupt where stopping was asked for."""
        if self._asked >= STOP:
            raise KeyboardInterrupt
        return self._asked >= DRAIN

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked >= STOP:
            raise KeyboardInterrupt
        self._asked = STOP if number == signal.SIGTERM else self._asked + 1
