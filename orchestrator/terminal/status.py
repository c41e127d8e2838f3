"""How far studies are, on the terminal: one in full, or one line for each."""

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from orchestrator.progress.snapshot import Request, Snapshot
from orchestrator.status import RunState, StoreStatus, StudyStatus
from orchestrator.steps.step import State
from orchestrator.terminal.console import padded, show_line
from orchestrator.terminal.labelled import show_text, wrapped
from orchestrator.terminal.live import HEADINGS, opening_lines
from orchestrator.terminal.names import shortened
from orchestrator.terminal.times import ago, clock, duration
from studies.errors import printable

COLOURS = {
    RunState.RUNNING: "bold",
    RunState.INTERRUPTED: "yellow",
    RunState.FAILED: "red",
    RunState.FINISHED: "green",
    RunState.NOT_RUN: "dim",
}
SHOWN_FAILURES, SHOWN_CONDITIONS = 10, 6
LABEL = 9
"""Columns before a text: `failed   `."""
WIDEST_STATE = max(map(len, RunState))
MIN_NAME = 16
"""Columns that names get at least."""


def show_status(console: Console, status: StudyStatus) -> None:
    """Print how far a study is, and what to do next."""
    name = printable(status.study)
    for number, line in enumerate(wrapped(f"{name}: {state_phrase(status)}", console.width - LABEL)):
        text = Text(f"{' ' * LABEL if number else ''}{line}", style=COLOURS[status.state])
        if not number:
            text.stylize("bold default", 0, len(name) + 1)
        console.print(text, soft_wrap=True)
    if status.progress is not None:
        _show_progress(console, status.progress, is_running=status.state is RunState.RUNNING)
    elif status.recorded:
        _show_recorded(console, status)
    finding = status.finding
    if finding is not None:
        for number, sentence in enumerate(finding.headline):
            _show_text(console, "" if number else "finding", sentence)
        if verdicts := ", ".join(f"{count} {verdict}" for verdict, count in finding.verdicts.items()):
            _show_text(console, "claims", verdicts)
        if status.progress is None:
            for line in finding.unfinished:
                _show_text(console, "failed", line, "red")
    show_line(console, f"{'next':{LABEL}}{status.next.command}   # {status.next.why}")


def show_statuses(console: Console, found: StoreStatus) -> None:
    """Print one line for each study: its name, its state, how many steps have ended, since when."""
    if not found.studies:
        show_line(console, f"the store {found.store} has no study yet")
    about = [_in_short(status) for status in found.studies]
    steps = max((len(one[0]) for one in about), default=0)
    rest = [f"  {count:>{steps}}  {when}".rstrip() for count, when in about]
    room = console.width - 2 - WIDEST_STATE - max(map(len, rest), default=0)
    names = shortened([printable(status.study) for status in found.studies], max(MIN_NAME, room))
    widest = max(map(cell_len, names.values()), default=0)
    for status, said in zip(found.studies, rest, strict=True):
        line = Text(f"{padded(names[printable(status.study)], widest)}  ")
        line.append(f"{status.state.value:{WIDEST_STATE}}", style=COLOURS[status.state])
        console.print(line.append(said, style="default"), soft_wrap=True)


def _in_short(status: StudyStatus) -> tuple[str, str]:
    """How many steps have ended, and when the study was last heard of."""
    progress, when = status.progress, status.ended or status.last_sign or status.started
    is_estimated = progress is not None and progress.seconds_left is not None and status.state is RunState.RUNNING
    left = f", {duration(progress.seconds_left or 0.0)} left" if progress and is_estimated else ""
    steps = f"{progress.num_ended}/{progress.num_steps} steps" if progress else ""
    return steps, f"{clock(when, status.now) if when else ''}{left}"


def state_phrase(status: StudyStatus) -> str:
    """`running on node7 since 12:03 (14 min); last sign of life 4 s ago`."""
    now, started, last = status.now, status.started, status.last_sign
    host = f" on {printable(status.host)}" if status.host else ""
    since = f" since {clock(started, now)}" if started else ""
    took = f" ({duration(status.elapsed)})" if status.elapsed is not None else ""
    match status.state:
        case RunState.RUNNING:
            sign = f"; last sign of life {ago(last, now)}" if last else ""
            return f"running{host}{since}{took}{sign}"
        case RunState.INTERRUPTED if status.ended:
            return f"interrupted{host} at {clock(status.ended, now)}, {ago(status.ended, now)}{_after(status)}"
        case RunState.INTERRUPTED if last:
            return f"interrupted: its driver{host} last answered {clock(last, now)}, {ago(last, now)}{_after(status)}"
        case RunState.NOT_RUN:
            return "not run yet"
    if status.ended:
        return f"{status.state}{host} {clock(status.ended, now)}, {ago(status.ended, now)}{_after(status)}"
    return f"{status.state}; its last run began {clock(started, now)}" if started else str(status.state)


def _after(status: StudyStatus) -> str:
    """How long it took; nothing where too little is known, as of a driver that was heard of only once."""
    return f", after {duration(status.elapsed)}" if status.elapsed is not None and status.elapsed >= 1 else ""


def _show_progress(console: Console, progress: Snapshot, *, is_running: bool) -> None:
    ended, total = progress.num_ended, progress.num_steps
    share = f" ({100 * ended // total} %)" if total else ""
    left = progress.seconds_left
    if is_running and ended == total:
        outlook = "; the report is being made"
    else:
        outlook = f", about {duration(left)} left" if is_running and left is not None else ""
    show_line(console, f"{'steps':{LABEL}}{ended} of {total} ended{share}{outlook}")
    _show_counts(console, progress)
    for line in opening_lines(progress, console.width - LABEL):
        console.print(Text(f"{'now':{LABEL}}").append_text(line), soft_wrap=True)
    for request in progress.requests:
        _show_request(console, request, progress.taken)
    if progress.requests_left_out:
        _show_text(console, "", f"and {progress.requests_left_out} more requests")
    if progress.error:
        _show_text(console, "error", progress.error, "red")
    for failure in progress.failures[:SHOWN_FAILURES]:
        _show_text(console, "failed", f"{failure.title}: {failure.reason}", "red")
    more = progress.failures_left_out + max(0, len(progress.failures) - SHOWN_FAILURES)
    if more:
        _show_text(console, "", f"and {more} more failures")


def _show_counts(console: Console, progress: Snapshot) -> None:
    """How many steps of each name are in each state that any is in; names are shortened to the terminal."""
    states = [state for state in State if any(of_name.get(state) for of_name in progress.counts.values())]
    most = {state: max(of_name.get(state, 0) for of_name in progress.counts.values()) for state in states}
    headings = {state: HEADINGS.get(state, state.value) for state in states}
    widths = {state: max(len(headings[state]), len(str(most[state]))) + 2 for state in states}
    names = shortened(map(printable, progress.counts), max(MIN_NAME, console.width - LABEL - sum(widths.values())))
    widest = max(map(cell_len, names.values()), default=0)
    cells = "".join(f"{headings[state]:>{widths[state]}}" for state in states)
    console.print(Text(f"{' ' * (LABEL + widest)}{cells}", style="dim"), soft_wrap=True)
    for name, of_name in progress.counts.items():
        line = Text(" " * LABEL + padded(names[printable(name)], widest))
        for state in states:
            count = of_name.get(state)
            style = "red" if state is State.FAILED and count else "" if count else "dim"
            line.append(f"{count or '·':>{widths[state]}}", style=style)
        console.print(line, soft_wrap=True)


def _show_request(console: Console, request: Request, taken: float) -> None:
    far = (
        f"{request.done}/{request.total} {request.unit}" if request.total else f"for {duration(taken - request.since)}"
    )
    left = f", about {duration(request.seconds_left)} left" if request.seconds_left is not None else ""
    said = f"  {far}{left}"
    label = f"{request.name} {request.model}"
    room = max(MIN_NAME, console.width - LABEL - cell_len(said))
    show_line(console, f"{'now':{LABEL}}{shortened([printable(label)], room)[printable(label)]}{said}")
    conditions = [condition for condition in request.conditions[:SHOWN_CONDITIONS] if condition]
    short = shortened(map(printable, conditions), max(MIN_NAME, console.width - LABEL - 2))
    more = request.conditions_left_out + max(0, len(request.conditions) - SHOWN_CONDITIONS)
    names = ", ".join(short.values()) + (f" and {more} more" if more else "")
    if names:
        _show_text(console, "", names)


def _show_recorded(console: Console, status: StudyStatus) -> None:
    """What is known of a study whose driver left nothing of its progress."""
    _show_text(console, "recorded", ", ".join(f"{count} {name}" for name, count in status.recorded.items()))


def _show_text(console: Console, label: str, text: str, style: str = "") -> None:
    show_text(console, label, text, columns=LABEL, style=style)
