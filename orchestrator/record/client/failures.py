"""The ways in which a store fails its caller; each message is one line.

`Unreachable`: no answer or no sensible one; another try may succeed. Any other `RecordError`: refused for good, missing
or damaged.
"""

from orchestrator.record.keys import Committed
from studies.errors import StudyError


class RecordError(StudyError):
    """The record cannot be read or written as asked."""


class UnrecordableError(RecordError, ValueError):
    """MLflow would refuse or change a result; another result may be recorded."""


class Unreachable(RecordError):
    """The store does not answer, or not sensibly; another try may succeed."""


class WrongAnswer(Unreachable):
    """Something answers, but not MLflow: a login page, another service. That seldom ends by itself."""


class DamagedArtifact(RecordError):
    """An artifact is missing, or not what was recorded."""

    def __init__(self, message: str, committed: Committed | None = None) -> None:
        """committed: the step that recorded it, where that is known."""
        super().__init__(message)
        self.committed = committed
