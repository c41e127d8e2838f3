"""The head of a Ray cluster, watched from the driver.

Where Ray's global control service (GCS) has not answered for 60 seconds, Ray ends the driver's process from within, and
calls that need the GCS do not return before. So the driver looks whether it answers, and makes such calls through
`ask`: it can then close its runs, and say why. Knows nothing of actors.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from studies.errors import StudyError

log = logging.getLogger(__name__)

LOST_SECONDS = 25.0
"""Silence after which the head counts as lost; what follows must be over when Ray's 60 seconds are."""
CHECK_SECONDS = 2.0
"""Pause between two checks."""
ANSWER_SECONDS = 2.0
"""Time within which the head accepts a connection."""


T = TypeVar("T")


class HeadLost(StudyError):
    """The head of the cluster does not answer any more."""


class Head:
    """The head at an address of the form HOST:PORT."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._checked_at = self._heard_at = time.monotonic()
        self._answered = True

    def answers(self) -> bool:
        """Whether it answered within the last seconds. Raises HeadLost once it has been silent for LOST_SECONDS."""
        if time.monotonic() - self._checked_at >= CHECK_SECONDS:
            self._check()
        return self._answered

    def ask(self, call: Callable[[], T]) -> T:
        """The value of a call that needs the head. Raises HeadLost where it falls silent, and whatever the call raises.

        The call is made in a thread of its own, because nothing can end it."""
        answer: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

        def make() -> None:
            try:
                answer.put((call(), None))
            except BaseException as error:  # raised again by the thread that waits
                answer.put((None, error))

        threading.Thread(target=make, daemon=True).start()
        while True:
            try:
                value, error = answer.get(timeout=CHECK_SECONDS)
            except Empty:
                self.answers()
                continue
            if error is not None:
                raise error
            return cast(T, value)

    def _check(self) -> None:
        """Ask now. Only silence that was noticed twice counts: this process may have been stopped meanwhile."""
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
        except OSError:
            if self._answered:
                log.warning("the head of the Ray cluster at %s does not answer; waiting for it", self._address)
                self._answered, self._heard_at = False, time.monotonic()
            elif time.monotonic() - self._heard_at > LOST_SECONDS:
                raise HeadLost(
                    f"the head of the Ray cluster at {self._address} does not answer any more; what was committed is "
                    "kept, run again to resume"
                ) from None
        else:
            if not self._answered:
                log.warning("the head of the Ray cluster at %s answers again", self._address)
            self._answered = True
        self._checked_at = time.monotonic()
