"""Requests and results that are prepared from what is recorded, in a store that may be away or damaged.

Owns what becomes of an attempt: its value; a wait for the store; a finished step that is computed again because an
artifact of it is damaged; or a failure, on one line. Changes no state of a step. Invariant: a step is sent back once a
run at most, so that a store that damages everything does not keep a run for ever.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from orchestrator.record.client.failures import DamagedArtifact, Unreachable
from orchestrator.steps.step import FINISHED, State, Step
from studies.errors import StudyError, describe

log = logging.getLogger(__name__)

T = TypeVar("T")


class Prepared(NamedTuple, Generic[T]):
    """The outcome of an attempt; nothing of it is set where the store is away."""

    value: T | None = None
    damaged: Step | None = None
    """The step to compute again before the next attempt."""
    failure: str = ""


class Preparation:
    """The attempts of one run."""

    def __init__(self, steps: Mapping[str, Step]) -> None:
        """steps: of the plan, by id."""
        self._steps = steps
        self._sent_back: set[str] = set()
        self.store_is_away = False
        """Whether the last attempt has to wait for the store."""

    def attempt(self, steps: Sequence[Step], prepare: Callable[[], T], states: Mapping[str, State]) -> Prepared[T]:
        """Call `prepare` for these steps. states: of all steps, by id."""
        prepared: Prepared[T]
        try:
            prepared = Prepared(prepare())
        except Unreachable as error:
            if not self.store_is_away:
                log.warning("%s; %s waits for it", error, steps[0].title)
            self.store_is_away = True
            return Prepared()
        except DamagedArtifact as error:
            damaged = self._to_send_back(error, states)
            prepared = Prepared(failure=str(error)) if damaged is None else Prepared(damaged=damaged)
        except Exception as error:
            prepared = Prepared(failure=why_failed(error))
        self.store_is_away = False
        return prepared

    def _to_send_back(self, error: DamagedArtifact, states: Mapping[str, State]) -> Step | None:
        step = self._steps.get(error.committed.step_id) if error.committed else None
        if step is None or step.id in self._sent_back or states[step.id] not in FINISHED:
            return None
        log.warning("%s: %s; it is computed again now", step.title, error)
        self._sent_back.add(step.id)
        return step


def why_failed(error: Exception) -> str:
    """Why a step failed; the traceback of an error that nobody expected is logged for `-v`."""
    if not isinstance(error, StudyError):
        log.debug("an error that nobody expected", exc_info=error)
    return describe(error)
