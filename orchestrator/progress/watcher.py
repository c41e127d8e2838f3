"""What a run tells of itself while it goes on."""

from collections.abc import Iterable

from actors.messages.stream import Progress
from orchestrator.redaction import redacted
from orchestrator.steps.step import Role, State, Step
from studies.claims.scorecard import Verdict


class Watcher:
    """Hears of a run. Override what is wanted; whatever is raised ends the run.

    >>> class Failures(Watcher):
    ...     def transition(self, step, state, remark):
    ...         if state is State.FAILED:
    ...             print(step.title, remark)
    >>> study.run(Failures())
    """

    def transition(self, step: Step, state: State, remark: str) -> None:
        """A step changed its state."""

    def report(self, step: Step, progress: Progress) -> None:
        """The request of a running step has come this far."""

    def opening(self, actor: str, model: str, role: Role) -> None:
        """An actor begins to load a model: a new one, or one that goes on with another checkpoint."""

    def opened(self, actor: str) -> None:
        """The actor has loaded it, or is gone."""

    def decided(self, verdict: Verdict) -> None:
        """All that a claim rests on has been computed, and this is its verdict."""


class Watchers(Watcher):
    """Tells each of several watchers, in their order, without secrets."""

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = list(watchers)

    def add(self, watcher: Watcher) -> None:
        """From now on tell one more."""
        self._watchers.append(watcher)

    def transition(self, step: Step, state: State, remark: str) -> None:
        for watcher in self._watchers:
            watcher.transition(step, state, redacted(remark))

    def report(self, step: Step, progress: Progress) -> None:
        for watcher in self._watchers:
            watcher.report(step, progress)

    def opening(self, actor: str, model: str, role: Role) -> None:
        for watcher in self._watchers:
            watcher.opening(actor, model, role)

    def opened(self, actor: str) -> None:
        for watcher in self._watchers:
            watcher.opened(actor)

    def decided(self, verdict: Verdict) -> None:
        for watcher in self._watchers:
            watcher.decided(verdict)
