"""How far a driver is: a tag on the study's own run, for whoever asks from elsewhere.

Best effort: a store that does not answer is asked again only after a pause, once and for a few seconds, and whatever it
refuses costs nothing but the tag. Knows nothing of what the text says.
"""

import logging
import time
from collections.abc import Callable, Mapping

from orchestrator.record.client.answers import request_limits
from orchestrator.record.client.failures import RecordError
from orchestrator.record.runs import Runs

log = logging.getLogger(__name__)

TAG = "halfwave.progress"
WRITE_SECONDS = 10.0
"""At least so long between two texts."""
PAUSE_SECONDS = 60.0
"""After a request that failed."""
ANSWER_SECONDS = 5
"""For which the store is waited for."""


class ProgressTag:
    """The tag on the parent run of the study that is open."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._text: Callable[[str], str] | None = None
        self._next = 0.0

    def follow(self, text: Callable[[str], str]) -> None:
        """From now on the tag holds what this returns for the status of the run: at most `limits.MAX_TAG`
        characters."""
        self._text = text

    def write(self, *, at_once: bool = False) -> None:
        """Bring the tag up to date, if its time has come. at_once: even if it has not, unless the last request
        failed."""
        now = time.monotonic()
        due = self._next - (WRITE_SECONDS if at_once else 0.0)
        if self._text is None or now < due:
            return
        try:
            with request_limits(retries=0, timeout_s=ANSWER_SECONDS):
                self._runs.tag(self._runs.parent, {TAG: self._text("RUNNING")})
            self._next = time.monotonic() + WRITE_SECONDS
        except RecordError as error:
            log.debug("the progress is not written: %s", error)
            self._next = time.monotonic() + PAUSE_SECONDS

    def last(self, status: str) -> Mapping[str, str]:
        """The tag that says how the run has ended; empty where nothing is followed."""
        return {} if self._text is None else {TAG: self._text(status)}
