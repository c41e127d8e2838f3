"""The end of `run`: the finding, the scorecard, what did not finish, and where to read on, on one screen.

Owns what is left out where the screen would not hold it: a study of any size takes at most `LINES` lines, and whatever
is missing is in the report and on the page, which the last lines name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from orchestrator.study import Result
from orchestrator.terminal.console import plain
from orchestrator.terminal.report import show_completed
from orchestrator.terminal.scorecard import scorecard_lines
from studies.reporting.page.headline import headline
from studies.reporting.records import completed
from studies.reporting.text import caveat_lines

LINES = 25
FINDING = 7
"""Lines that the headline may take."""
REMARKS = 2
"""Steps that did not finish, and caveats, of which the end of a run tells so many each, one line for each."""


def show_result(console: Console, result: Result, seconds: float, *, tables: str, ui: str, full: bool = False) -> None:
    """Print how a run ended. seconds: how long it took. tables, ui: the commands that print every table and open
    MLflow. full: print all of the report, as the first one does, in place of the finding and the scorecard."""
    report = completed(result.report)
    last = _last_lines(result, seconds, "" if full else tables, ui)
    if full:
        show_completed(console, report)
        last = [Text(), *last]
    else:
        room = LINES - 1 - sum(_height(console, line) for line in last)
        last = [Text(), *_finding(console, report, room), *last]
    for line in last:
        console.print(line, soft_wrap=True)


def _finding(console: Console, report: Mapping[str, Any], room: int) -> list[Text]:
    """Headline, scorecard, what did not finish and caveats, each with an empty line behind it, in at most so many
    lines."""
    finding = _headline(console, report)
    remarks = _remarks(console, "not finished", "red", report["unfinished"])
    remarks += _remarks(console, "note", "yellow", caveat_lines(report))
    scorecard = scorecard_lines(report, console.width)
    left = max(room - len(finding) - len(remarks) - 3, 2)
    if len(scorecard) > left:
        hidden = len(scorecard) - left + 1
        scorecard = [*scorecard[: left - 1], plain(f"and {hidden} more claims", style="dim")]
    return [line for part in (finding, scorecard, remarks) if part for line in (*part, Text())]


def _headline(console: Console, report: Mapping[str, Any]) -> list[Text]:
    """The finding, wrapped to the width; a sentence that does not fit any more is left out."""
    lines: list[Text] = []
    for sentence in headline(report):
        wrapped = list(plain(sentence).wrap(console, console.width))
        if lines and len(lines) + len(wrapped) > FINDING:
            break
        lines += wrapped[:FINDING]
    return lines


def _remarks(console: Console, word: str, style: str, entries: Sequence[str]) -> list[Text]:
    """`not finished: evaluate.blimp m wasserstein: ...`, the first ones; then how many more there are."""
    lines = []
    for entry in entries[:REMARKS]:
        line = plain(f"{word}: ", style=style).append_text(plain(entry, style="default"))
        line.truncate(console.width, overflow="ellipsis")
        lines.append(line)
    if len(entries) > REMARKS:
        lines.append(plain(f"{word}: {len(entries) - REMARKS} more", style=style))
    return lines


def _last_lines(result: Result, seconds: float, tables: str, ui: str) -> list[Text]:
    """The counts, and where to read on; the page comes last."""
    lines = [plain(f"{result.computed} steps computed, {result.cached} cached, in {seconds:.0f} s")]
    if result.unsent:
        waiting = f"{result.unsent} steps wait {result.why_unsent}; the next run sends them"
        lines.append(plain(waiting, style="yellow"))
    if tables:
        lines.append(plain(f"See all tables:   {tables}"))
    lines.append(plain(f"Open the record:  {ui}"))
    lines.append(plain(f"Read the page:    {result.page}"))
    return lines


def _height(console: Console, line: Text) -> int:
    """Lines of the terminal that a line takes."""
    return max(1, -(-cell_len(line.plain) // console.width))
