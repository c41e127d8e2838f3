"""Watchers of a run that call functions of a test."""

from collections.abc import Callable

from actors.messages.stream import Progress
from orchestrator.progress.watcher import Watcher
from orchestrator.steps.step import Role, State, Step
from orchestrator.terminal.live import Display


class On(Watcher):
    """Calls one function at every transition, another at every report."""

    def __init__(
        self,
        transition: Callable[[Step, State, str], object] | None = None,
        report: Callable[[Step, Progress], object] | None = None,
    ) -> None:
        self._transition, self._report = transition, report

    def transition(self, step: Step, state: State, remark: str) -> None:
        if self._transition:
            self._transition(step, state, remark)

    def report(self, step: Step, progress: Progress) -> None:
        if self._report:
            self._report(step, progress)


class Shown(Display):
    """A display that is told as by a run: its progress hears of everything first."""

    def transition(self, step: Step, state: State, remark: str) -> None:
        self._progress.transition(step, state, remark)
        super().transition(step, state, remark)

    def report(self, step: Step, progress: Progress) -> None:
        self._progress.report(step, progress)
        super().report(step, progress)

    def opening(self, actor: str, model: str, role: Role) -> None:
        self._progress.opening(actor, model, role)
        super().opening(actor, model, role)

    def opened(self, actor: str) -> None:
        self._progress.opened(actor)
