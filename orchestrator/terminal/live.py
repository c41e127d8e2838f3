"""The display of a running study: a live screen on a terminal, elsewhere one plain line per event.

Owns the grammar of those lines, `RUN  3fa9c1d2  evaluate.blimp SmolLM2-135M wasserstein (remark)`, and the layout of
the screen; counts, rates and times left are those of `progress.run_progress`.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors.messages.stream import Progress
from orchestrator.progress.run_progress import RunProgress
from orchestrator.progress.snapshot import Request, Snapshot
from orchestrator.progress.watcher import Watcher
from orchestrator.steps.step import FINISHED, Role, State, Step
from orchestrator.terminal.names import shortened
from orchestrator.terminal.scorecard import STATUS_COLOURS
from orchestrator.terminal.times import duration
from studies.claims.scorecard import Verdict
from studies.errors import printable
from studies.reporting.page.quantities import interval
from studies.reporting.records import verdict_record
from studies.reporting.units import of_verdict

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
HEADINGS = {State.NOT_APPLICABLE: "n/a"}
"""Of columns whose state has a long name."""
OPENED = {Role.ABLATION: "engine", Role.SCORE: "model in Transformers"}
"""{role of an actor: what it opens}."""
UNBOUNDED = 10_000
"""Columns that no live table needs."""
PLAIN_SECONDS = 30.0
"""Seconds between two progress lines where there is no live screen."""
BAR = 24
"""Columns of the bar over all steps; at least, where the terminal is narrow."""
ROOM_FOR_ALL = 110
"""Columns from which a request shows all that is known of it."""
SHARE_OF_NAME = 0.5
"""Of a line, that the name of a request may take if its conditions need the rest."""


def transition_line(step: Step, state: State, remark: str) -> str:
    """One transition as a line of text."""
    return printable(f"{WORDS[state]}  {step.id[:8]}  {step.title}{f' ({remark})' if remark else ''}")


class Display(Watcher):
    """Shows a running study; use it as a context manager, within which the study runs."""

    def __init__(
        self, console: Console, title: str, progress: RunProgress, measures: Mapping[str, Mapping[str, object]]
    ) -> None:
        """title: of the study. progress: of the run, which hears of everything before the display does. measures:
        {benchmark: its measure as plain JSON}, in whose units verdicts are shown."""
        self._console, self._title, self._progress, self._measures = console, title, progress, measures
        self._started: dict[str, float] = {}
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

    # -- events ------------------------------------------------------------------------------------------------------

    def transition(self, step: Step, state: State, remark: str) -> None:
        """Show that a step changed its state: on the screen, or as a line where there is none."""
        if state is State.RUNNING:
            self._started[step.id] = time.monotonic()
        is_notable = state in (State.FAILED, State.SKIPPED) or (state in FINISHED and remark)
        if state is State.DONE and step.id in self._started:
            seconds = f"{time.monotonic() - self._started[step.id]:.1f} s"
            remark = f"{seconds}; {remark}" if remark else seconds
        if self._live is None or is_notable:
            self._print(Text(transition_line(step, state, remark), style=COLOURS.get(state, "") if self._live else ""))

    def report(self, step: Step, progress: Progress) -> None:  # noqa: ARG002
        """Show how far a request is: on the screen, or now and then as a line where there is none."""
        if self._live is None and time.monotonic() - self._last_line > PLAIN_SECONDS:
            snapshot = self._progress.snapshot()
            request = next((r for r in snapshot.requests if (r.name, r.model) == (step.name, step.model)), None)
            if request is not None:
                self._print(Text(f"      {request_name(request)}: {how_far(request)}"))

    def opening(self, actor: str, model: str, role: Role) -> None:  # noqa: ARG002
        """Show that an actor loads a model."""
        if self._live is None:
            self._print(Text(printable(f"OPEN  {OPENED.get(role, role)} for {model}")))

    def decided(self, verdict: Verdict) -> None:
        """Print a verdict as soon as it is known."""
        recorded = verdict_record(verdict)
        effect = (
            interval(recorded["effect"], of_verdict(recorded, self._measures)) if verdict.effect else verdict.detail
        )
        line = Text(f"{verdict.status.upper():<14} ", style=STATUS_COLOURS.get(verdict.status, ""))
        line.append(printable(f"{verdict.claim}: {effect} ({verdict.model})"), style="default")
        self._print(line)

    def _print(self, line: Text) -> None:
        self._last_line = time.monotonic()
        (self._live.console if self._live else self._console).print(line, soft_wrap=True)

    # -- the live screen ---------------------------------------------------------------------------------------------

    def _render(self) -> Group:
        """The live screen. Called from rich's refresh thread."""
        snapshot = self._progress.snapshot()
        table = _counts(snapshot, list(State))
        anything = self._console.options.update_width(UNBOUNDED)
        if self._console.measure(table, options=anything).maximum > self._console.width:
            shown = [state for state in State if any(of_name.get(state) for of_name in snapshot.counts.values())]
            table = _counts(snapshot, shown)
        width = self._console.width
        lines = [*opening_lines(snapshot, width), *_request_lines(snapshot.requests, width)]
        return Group(_headline(self._title, snapshot, width), table, *lines)


def _headline(title: str, snapshot: Snapshot, width: int) -> Table:
    """Study, bar over all steps, how many have ended, seconds so far and left."""
    ended, total = snapshot.num_ended, snapshot.num_steps
    said = f"{ended} of {total} steps  {duration(snapshot.elapsed)}"
    if snapshot.seconds_left is not None and ended < total:
        said += f", about {duration(snapshot.seconds_left)} left"
    elif ended == total:
        said += ", reviewing"
    bar = BAR if width >= ROOM_FOR_ALL else max(8, BAR - (ROOM_FOR_ALL - width) // 2)
    room = max(12, width - cell_len(said) - bar - 4)
    name = printable(title)
    row = Table.grid(padding=(0, 2))
    row.add_row(
        Text(shortened([name], room)[name], style="bold"),
        ProgressBar(total=max(total, 1), completed=ended, width=bar, complete_style="green", finished_style="green"),
        Text(said),
    )
    return row


def _counts(snapshot: Snapshot, states: Sequence[State]) -> Table:
    """How many steps of each name are in these states; names are folded where the terminal is narrow."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("step", overflow="fold")
    for state in states:
        table.add_column(HEADINGS.get(state, state.value), justify="right", no_wrap=True)
    for name, of_name in snapshot.counts.items():
        cells = [
            Text(str(of_name[state]), style=COLOURS.get(state, "")) if of_name.get(state) else Text("·", style="dim")
            for state in states
        ]
        table.add_row(Text(printable(name)), *cells)
    return table


def opening_lines(snapshot: Snapshot, width: int) -> list[Text]:
    """`opening engine for SmolLM2-135M, 23 s`, a line each."""
    before = [f"opening {OPENED.get(opening.role, opening.role)} for " for opening in snapshot.openings]
    after = [f", {duration(snapshot.taken - opening.since)}" for opening in snapshot.openings]
    names = [printable(opening.model) for opening in snapshot.openings]
    around = max((cell_len(first + last) for first, last in zip(before, after, strict=True)), default=0)
    short = shortened(names, max(12, width - around))
    return [Text(f"{first}{short[name]}{last}") for first, name, last in zip(before, names, after, strict=True)]


def _request_lines(requests: Sequence[Request], width: int) -> list[Text]:
    """One line a request: its steps, its conditions, as many as there is room for, and how far it is."""
    said = {id(request): how_far(request, short=width < ROOM_FOR_ALL) for request in requests}
    longest = max(map(cell_len, said.values()), default=0)
    room = max(20, width - longest - 2)
    labels = {id(request): printable(f"{request.name} {request.model}") for request in requests}
    names = shortened(labels.values(), max(12, int(SHARE_OF_NAME * room)))
    lines = []
    for request in requests:
        name = names[labels[id(request)]]
        about = listed(request.conditions, request.conditions_left_out, room - cell_len(name) - 2)
        line = Text().append(name, style="bold").append(f"  {about}" if about else "")
        line.append(" " * (room + 2 - cell_len(line.plain))).append(said[id(request)])
        lines.append(line)
    return lines


def request_name(request: Request) -> str:
    """`evaluate.blimp SmolLM2-135M baseline, wasserstein`, in full."""
    about = listed(request.conditions, request.conditions_left_out, UNBOUNDED)
    return printable(f"{request.name} {request.model}{f' {about}' if about else ''}")


def listed(conditions: Iterable[str], num_left_out: int, width: int) -> str:
    """`baseline, wasserstein +7`: as many conditions as fit into the width, and how many more there are."""
    names = [printable(name) for name in conditions if name]
    for shown in range(len(names), -1, -1):
        hidden = len(names) - shown + num_left_out
        text = ", ".join(names[:shown]) + (f" +{hidden}" if hidden else "")
        if cell_len(text) <= width:
            return text.strip()
    return ""


def how_far(request: Request, *, short: bool = False) -> str:
    """`312/780 packs  2.6/s  about 3 min left`; without rate and time until there is a second report. short: without
    the rate."""
    if not request.total:
        return ""
    text = f"{request.done}/{request.total} {request.unit}"
    if request.rate is not None and not short:
        text += f"  {request.rate:.2g}/s"
    if request.seconds_left is not None:
        text += f"  {'' if short else 'about '}{duration(request.seconds_left)} left"
    return text
