"""Transitions -> a live rich table on a terminal, one plain line each elsewhere. Also renders plans and reports.

One grammar for lines: `RUN  3fa9c1d2  evaluate.blimp SmolLM2-135M wasserstein (reason)`.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors.messages import Progress
from orchestrator.scheduling.forecast import Forecast
from orchestrator.steps.step import State, Step
from orchestrator.study import PlannedStep, Result
from studies.reporting.text import finding_lines, scorecard, series_lines, text_of

WORDS = {
    State.PENDING: "WAIT",
    State.RUNNING: "RUN ",
    State.CACHED: "HIT ",
    State.DONE: "DONE",
    State.FAILED: "FAIL",
    State.SKIPPED: "SKIP",
}
COLOURS = {
    State.FAILED: "red",
    State.SKIPPED: "yellow",
    State.DONE: "green",
    State.CACHED: "cyan",
    State.RUNNING: "bold",
}
STATUS_COLOURS = {"holds": "green", "does not hold": "red", "not decidable": "yellow", "not applicable": "yellow"}


def line(step: Step, state: State, remark: str) -> str:
    """One transition as a line."""
    return f"{WORDS[state]}  {step.id[:8]}  {step.title}{f' ({remark})' if remark else ''}"


PLAIN_SECONDS = 30.0
"""How often a long step says how far it is where there is no live table."""


class Display:
    """Shows a running study; use as a context manager and pass its two methods to `Study.run`."""

    def __init__(self, console: Console, steps: Iterable[Step]):
        self._console = console
        self._states: dict[str, State] = {}
        self._counts: dict[str, Counter[State]] = {}
        """{step name: how many of its steps are in each state}, kept up to date: counting them anew at every
        transition takes minutes when thousands of steps are cached."""
        for step in steps:
            self._states[step.id] = State.PENDING
            self._counts.setdefault(step.name, Counter())[State.PENDING] += 1
        self._current: dict[str, tuple[Step, Progress]] = {}
        self._started: dict[str, float] = {}
        self._first: dict[str, tuple[int, float]] = {}
        """{step id: (done, when) of its first report}: before it the model loads, which says nothing of the rate."""
        self._last_line = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        if self._live is not None:
            self._live.__exit__(*exception)

    def transition(self, step: Step, state: State, remark: str) -> None:
        """A step changed its state."""
        self._counts[step.name][self._states[step.id]] -= 1
        self._counts[step.name][state] += 1
        self._states[step.id] = state
        if state is State.RUNNING:
            self._started[step.id] = time.monotonic()
            self._first.pop(step.id, None)
        else:
            self._current.pop(step.id, None)
        if state is State.DONE and step.id in self._started:
            remark = f"{time.monotonic() - self._started[step.id]:.1f} s"
        text = line(step, state, remark)
        if self._live is None:
            self._print(text)
        elif state in (State.FAILED, State.SKIPPED):
            self._live.console.print(Text(text, style=COLOURS[state]))

    def progress(self, step: Step, progress: Progress) -> None:
        """A running step reported how far it is."""
        self._current[step.id] = (step, progress)
        self._first.setdefault(step.id, (progress.done, time.monotonic()))
        if self._live is None and time.monotonic() - self._last_line > PLAIN_SECONDS:
            self._print(f"      {step.title}: {how_far(progress, *self._first[step.id])}")

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _render(self) -> Group:
        """Called from the display's own thread."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("step")
        for state in State:
            table.add_column(state.value, justify="right")
        for name, counts in self._counts.items():
            cells = [
                Text(str(counts[state]), style=COLOURS.get(state, "")) if counts[state] else Text("·", style="dim")
                for state in State
            ]
            table.add_row(name, *cells)
        return Group(table, *(self._bar(*current) for current in list(self._current.values())))

    def _bar(self, step: Step, progress: Progress) -> Table:
        row = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=progress.total, completed=progress.done, width=24)
        row.add_row(step.title, bar, how_far(progress, *self._first[step.id]))
        return row


def how_far(progress: Progress, done_first: int, when_first: float) -> str:
    """`312/780 packs  2.6/s  about 180 s left`; rate and rest from the first report on."""
    text, done = f"{progress.done}/{progress.total} {progress.unit}", progress.done - done_first
    if done <= 0:
        return text
    rate = done / max(time.monotonic() - when_first, 1e-9)
    return f"{text}  {rate:.2g}/s  about {(progress.total - progress.done) / rate:.0f} s left"


def show_plan(console: Console, planned: list[PlannedStep], foreseen: Forecast) -> None:
    """Every step with its id, cached or why not, and its work; then the forecast."""
    widest = max((len(entry.step.title) for entry in planned), default=0)
    told = Text()  # lines of one text: a table of 10,000 rows takes rich longer than all the rest of a plan
    for entry in planned:
        work = f"{entry.flops / 1e12:,.1f} TFLOP" if entry.flops else ""
        told.append(f"{entry.step.id[:8]}  {entry.step.title:{widest}}  {work:>14}  ")
        told.append("cached\n" if entry.cached else f"{entry.reason}\n", style="cyan" if entry.cached else None)
    console.print(told, soft_wrap=True, end="")
    left = [entry for entry in planned if not entry.cached]
    total = sum(entry.flops for entry in left) / 1e12
    console.print(
        f"{len(planned)} steps, {len(planned) - len(left)} cached, {len(left)} to run: about {total:,.0f} TFLOP"
    )
    _show_forecast(console, foreseen)


def _show_forecast(console: Console, foreseen: Forecast) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    headings = ("model", "an actor takes", "actors", "memory", "", "from", "to", f"{foreseen.device}-hours")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("model", "an actor takes", "") else "right")
    for model in foreseen.models:
        verdict = Text("fits") if model.fits else Text("does not fit", style="red")
        has = f" of {model.available / 2**30:.1f}" if model.available else ""
        hours = (f"{seconds / 3600:.2f} h" for seconds in (model.begins, model.ends))
        memory = f"{model.need / 2**30:.1f}{has} GiB"
        table.add_row(model.model, model.takes, str(model.actors), memory, verdict, *hours, f"{model.device_hours:.2f}")
    console.print(table)
    hours = f"{foreseen.device_hours:.2f} {foreseen.device}-hours, {foreseen.makespan / 3600:.2f} h from start to end"
    least = f"no schedule takes less than {foreseen.bound / 3600:.2f} h"
    console.print(f"On {foreseen.where}: about {hours} ({least})", highlight=False)


def show_report(console: Console, report: Mapping[str, Any]) -> None:
    """The table and the verdicts of every model, then of every series of checkpoints."""
    for model in report["models"]:
        table = Table(title=model["display"], title_justify="left", header_style="dim")
        for heading in ("condition", "neurons", *(benchmark["label"] for benchmark in model["benchmarks"])):
            table.add_column(heading)
        for row in model["rows"]:
            cells = [text_of(b["name"], row["cells"].get(b["name"])) for b in model["benchmarks"]]
            if row["remark"]:
                cells = [row["remark"], *[""] * (len(cells) - 1)]
            table.add_row(row["condition"], row["neurons"], *cells)
        console.print(table)
        console.print(f"95 % bootstrap intervals over items. {model['noise']}".rstrip(), style="dim", highlight=False)
        for line in finding_lines(model):
            console.print(line, highlight=False)
        _show_verdicts(console, model["verdicts"])
    for series in report.get("series", ()):
        console.print(f"\nTraining of {series['label']}", style="italic", highlight=False)
        for line in series_lines(series):
            console.print(line, highlight=False)
        _show_verdicts(console, series["verdicts"])
    if card := scorecard(report["models"]):
        heading, *rows = card
        table = Table(title="Scorecard", title_justify="left", header_style="dim")
        for cell in heading:
            table.add_column(cell)
        for cells in rows:
            table.add_row(*cells)
        console.print(table)
    for entry in report["unfinished"]:
        console.print(f"[red]not finished[/red] {entry}", highlight=False)


def _show_verdicts(console: Console, verdicts: Iterable[Mapping[str, Any]]) -> None:
    for verdict in verdicts:
        told = Text(f"{verdict['status'].upper():<14} ", style=STATUS_COLOURS[verdict["status"]])
        told.append(f"{verdict['claim']}: ", style="bold").append(verdict["detail"], style="default")
        console.print(told)


def show_result(console: Console, result: Result, seconds: float) -> None:
    """The closing lines of `run`."""
    show_report(console, result.report)
    console.print(f"\n{result.computed} steps computed, {result.cached} cached, in {seconds:.0f} s", highlight=False)
    if result.unsent:
        console.print(
            f"[yellow]{result.unsent} steps wait in the spool for the tracking server; run again to send them[/yellow]"
        )
    console.print(f"Open the record:  {result.ui_command}", highlight=False, soft_wrap=True)
    console.print(f"then              {result.ui_link}", highlight=False, soft_wrap=True)


def make_console() -> Console:
    """stdout; 160 columns when it is not a terminal, so that tables are not broken."""
    return Console() if sys.stdout.isatty() else Console(width=160)
