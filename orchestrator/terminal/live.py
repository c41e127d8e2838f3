"""The display of a running study: a live table on a terminal, elsewhere one plain line per transition.

Owns the grammar of those lines, `RUN  3fa9c1d2  evaluate.blimp SmolLM2-135M wasserstein (remark)`, and the rate and
remaining time of long steps. Plans and reports are printed by `terminal`.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from actors.messages.stream import Progress
from orchestrator.steps.step import FINISHED, State, Step
from studies.errors import printable

WORDS = {
    State.PENDING: "WAIT",
    State.RUNNING: "RUN ",
    State.CACHED: "HIT ",
    State.DONE: "DONE",
    State.FAILED: "FAIL",
    State.SKIPPED: "SKIP",
    State.NOT_APPLICABLE: "N/A ",
}
COLOURS = {
    State.FAILED: "red",
    State.SKIPPED: "yellow",
    State.NOT_APPLICABLE: "yellow",
    State.DONE: "green",
    State.CACHED: "cyan",
    State.RUNNING: "bold",
}
UNBOUNDED = 10_000
"""Columns that no live table needs."""
PLAIN_SECONDS = 30.0
"""Seconds between two progress lines where there is no live table."""


class FirstReport(NamedTuple):
    """The first progress report of a step. Before it the model loads, which says nothing about the rate."""

    done: int
    at: float
    """Seconds, on the monotonic clock."""


def transition_line(step: Step, state: State, remark: str) -> str:
    """One transition as a line of text."""
    return printable(f"{WORDS[state]}  {step.id[:8]}  {step.title}{f' ({remark})' if remark else ''}")


class Display:
    """Shows a running study. A context manager, whose `transition` and `progress` are passed to `Study.run`."""

    def __init__(self, console: Console, steps: Iterable[Step]) -> None:
        self._console = console
        self._states: dict[str, State] = {}
        self._counts: dict[str, Counter[State]] = {}
        """{step name: number of its steps in each state}. Kept up to date, because counting at every transition would
        take minutes with thousands of cached steps."""
        for step in steps:
            self._states[step.id] = State.PENDING
            self._counts.setdefault(step.name, Counter())[State.PENDING] += 1
        self._current: dict[str, tuple[Step, Progress]] = {}
        """{step id: its latest report}, of the running steps that have sent one."""
        self._started: dict[str, float] = {}
        self._first: dict[str, FirstReport] = {}
        self._last_line = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def transition(self, step: Step, state: State, remark: str) -> None:
        """Show that a step changed its state: in the table, or as a line where there is none."""
        self._counts[step.name][self._states[step.id]] -= 1
        self._counts[step.name][state] += 1
        self._states[step.id] = state
        if state is State.RUNNING:
            self._started[step.id] = time.monotonic()
            self._first.pop(step.id, None)
        else:
            self._current.pop(step.id, None)
        is_notable = state in (State.FAILED, State.SKIPPED) or (state in FINISHED and remark)
        if state is State.DONE and step.id in self._started:
            seconds = f"{time.monotonic() - self._started[step.id]:.1f} s"
            remark = f"{seconds}; {remark}" if remark else seconds
        text = transition_line(step, state, remark)
        if self._live is None:
            self._print(text)
        elif is_notable:
            self._live.console.print(Text(text, style=COLOURS[state]))

    def progress(self, step: Step, progress: Progress) -> None:
        """Show how far a running step is: as a bar, or now and then as a line where there is no table."""
        self._current[step.id] = (step, progress)
        self._first.setdefault(step.id, FirstReport(progress.done, time.monotonic()))
        if self._live is None and time.monotonic() - self._last_line > PLAIN_SECONDS:
            self._print(f"      {step.title}: {progress_text(progress, self._first[step.id])}")

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(Text(printable(text)), soft_wrap=True)

    def _render(self) -> Group:
        """The live table. Called from rich's refresh thread."""
        table = self._table(list(State))
        anything = self._console.options.update_width(UNBOUNDED)
        if self._console.measure(table, options=anything).maximum > self._console.width:
            table = self._table([state for state in State if any(counts[state] for counts in self._counts.values())])
        return Group(table, *(self._bar(*current) for current in list(self._current.values())))

    def _table(self, states: Sequence[State]) -> Table:
        """How many steps of each name are in these states; names are folded where the terminal is narrow."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("step", overflow="fold")
        for state in states:
            table.add_column(state.value, justify="right", no_wrap=True)
        for name, counts in self._counts.items():
            cells = [
                Text(str(counts[state]), style=COLOURS.get(state, "")) if counts[state] else Text("·", style="dim")
                for state in states
            ]
            table.add_row(Text(printable(name)), *cells)
        return table

    def _bar(self, step: Step, progress: Progress) -> Table:
        row = Table.grid(Column(overflow="fold"), Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
        bar = ProgressBar(total=progress.total, completed=progress.done, width=24)
        row.add_row(Text(printable(step.title)), bar, Text(progress_text(progress, self._first[step.id])))
        return row


def progress_text(progress: Progress, first: FirstReport) -> str:
    """`312/780 packs  2.6/s  about 180 s left`; without rate and remaining time until there is a second report."""
    text, done = f"{progress.done}/{progress.total} {progress.unit}", progress.done - first.done
    if done <= 0:
        return text
    rate = done / max(time.monotonic() - first.at, 1e-9)
    return f"{text}  {rate:.2g}/s  about {(progress.total - progress.done) / rate:.0f} s left"
