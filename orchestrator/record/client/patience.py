"""How long a read waits for a store that does not answer.

Writes need not wait, because the outbox holds them; what needs the answer itself can only ask again. Owns the pauses
and the limit of an outage; one line says that it waits, another that the store is back. Without `waiting` a read fails
at once, so that whoever only looks at a store that is down is told immediately. Used from one thread.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from orchestrator.record.client.failures import Unreachable, WrongAnswer

log = logging.getLogger(__name__)

LIMIT_S = 480.0
"""The longest outage that reads sit out; shorter than the silence after which a lease lapses."""
WRONG_LIMIT_S = 60.0
"""The same where something answers that is not MLflow: a proxy may, while the server behind it starts."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
"""Pauses between two attempts; each is twice the last."""
GLANCE_S = 0.25
"""How often a pause looks whether to stop."""

T = TypeVar("T")


class Patience:
    """The patience of one record's reads."""

    def __init__(self) -> None:
        self._stop: Callable[[], bool] | None = None

    @contextmanager
    def waiting(self, stop: Callable[[], bool]) -> Iterator[None]:
        """Within, reads wait for the store, up to the limit of an outage.

        stop: looked at meanwhile; True ends the wait with KeyboardInterrupt."""
        self._stop = stop
        try:
            yield
        finally:
            self._stop = None

    def __call__(self, read: Callable[[], T]) -> T:
        """What `read` returns. Raises Unreachable once the store has not answered for too long, or at once outside
        `waiting`."""
        pause_s, since = FIRST_PAUSE_S, time.monotonic()
        while True:
            try:
                answer = read()
            except Unreachable as error:
                limit_s = WRONG_LIMIT_S if isinstance(error, WrongAnswer) else LIMIT_S
                if self._stop is None or time.monotonic() - since >= limit_s:
                    raise
                if pause_s == FIRST_PAUSE_S:
                    log.warning("%s; waiting for it, at most %.0f s", error, limit_s)
                self._pause(pause_s, self._stop)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if pause_s > FIRST_PAUSE_S:
                    log.warning("MLflow answers again, after %.0f s", time.monotonic() - since)
                return answer

    @staticmethod
    def _pause(seconds: float, stop: Callable[[], bool]) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if stop():
                raise KeyboardInterrupt
            time.sleep(min(left, GLANCE_S))
