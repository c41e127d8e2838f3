"""Ctrl-C at a point where it breaks nothing.

A KeyboardInterrupt inside a database transaction or a Ray call leaves locks and half sentences behind. Here the first
Ctrl-C is only noted, and raised where the loop asks for it, between two records; the second one is raised at once.
"""

import signal
import threading
from types import TracebackType


class Interrupt:
    """A context in which the first SIGINT waits for `check`. Off the main thread signals are left as they are."""

    def __init__(self) -> None:
        self._asked = False
        self._before = None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was asked for since the start."""
        if self._asked:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
