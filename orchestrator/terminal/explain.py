"""One step, explained on the terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from orchestrator.explanation.explanation import Cause, Explanation, Recording, Related, Standing
from orchestrator.terminal.console import padded, plain, show_line
from orchestrator.terminal.labelled import show_text
from orchestrator.terminal.names import shortened
from studies.errors import printable

COLOURS = {
    Standing.CACHED: "cyan",
    Standing.NOT_CACHED: "yellow",
    Standing.AGAIN: "yellow",
    Standing.NOT_APPLICABLE: "dim",
}
SHOWN = 12
"""Steps that are listed of those that need this one."""
LABEL = 11
"""Columns before a text: `needed by  `."""


def show_explanation(console: Console, explained: Explanation) -> None:
    """Print what a step stands for, and why it is or is not cached."""
    console.print(plain(explained.title, "bold"), soft_wrap=True)
    _show(console, "id", explained.id)
    _show(console, "kind", f"{explained.kind}, version {explained.version}")
    _show(console, "model", explained.model)
    if explained.condition:
        _show(console, "condition", explained.condition)
    standing = str(explained.standing)
    because = f"{standing}: {explained.reason}" if explained.reason else standing
    _show(console, "state", because, COLOURS[explained.standing])
    _show_causes(console, explained.causes)
    if explained.failure:
        _show(console, "failed", f"in the last run: {explained.failure}", "red")
    if explained.recording is not None:
        _show_recording(console, explained.recording)
    for number, (name, value) in enumerate(_leaves(explained.params)):
        _show(console, "" if number else "parameters", f"{name} = {value}")
    _show_related(console, "inputs", explained.inputs)
    _show_related(console, "needed by", explained.needed_by)


def _show_causes(console: Console, causes: Sequence[Cause]) -> None:
    """Each parameter that changed, and the steps through which it reaches this one."""
    for text in dict.fromkeys(cause.text for cause in causes):
        cause = next(cause for cause in causes if cause.text == text)
        _show(console, "", f"because {text}")
        for title in cause.through:
            _show(console, "", f"  through {title}")


def _show_recording(console: Console, recording: Recording) -> None:
    when = f"{recording.at.astimezone():%Y-%m-%d %H:%M}" if recording.at else "it waits to be sent"
    _show(console, "recorded", f"{when}, study {recording.study}")
    if recording.versions:
        _show(console, "versions", ", ".join(f"{name} {version}" for name, version in recording.versions.items()))
    if recording.receipt:
        _show(console, "receipt", recording.receipt)
    if recording.link:
        show_line(console, f"{'run':{LABEL}}{recording.link}")


def _leaves(params: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of every parameter: `clamp.ceiling`, `0.0`."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value if isinstance(value, str) else json.dumps(value)


def _show_related(console: Console, label: str, steps: Sequence[Related]) -> None:
    """One line for each: its role, the beginning of its id, its title, whether it is cached."""
    roles = max((cell_len(printable(one.role)) for one in steps), default=0)
    words = {True: "cached", False: "not cached"}
    room = console.width - LABEL - roles - len("  12345678    not cached")
    titles = shortened([printable(one.title) for one in steps], room)
    widest = max((cell_len(titles[printable(one.title)]) for one in steps[:SHOWN]), default=0)
    for number, one in enumerate(steps[:SHOWN]):
        role, title = printable(one.role), titles[printable(one.title)]
        line = f"{padded(role, roles)}  {one.id[:8]}  {padded(title, widest)}  {words[one.is_cached]}"
        show_line(console, f"{'' if number else label:{LABEL}}{line}")
    if len(steps) > SHOWN:
        show_line(console, f"{'':{LABEL}}and {len(steps) - SHOWN} more steps")
    if not steps:
        show_line(console, f"{label:{LABEL}}none")


def _show(console: Console, label: str, text: str, style: str = "") -> None:
    show_text(console, label, text, columns=LABEL, style=style)
