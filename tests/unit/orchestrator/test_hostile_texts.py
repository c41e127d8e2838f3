"""Names, data and errors on the terminal: whatever they hold, they are text, and no line is forged."""

import io
import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from actors.messages.stream import Progress
from orchestrator import streams
from orchestrator.cli.messages import say
from orchestrator.planned_steps import PlannedStep
from orchestrator.progress.run_progress import RunProgress
from orchestrator.scheduling.forecast import Fit, Forecast
from orchestrator.steps.step import Role, State
from orchestrator.terminal.console import UNBOUNDED, show_line
from orchestrator.terminal.plan import show_plan
from orchestrator.terminal.report import show_report
from studies.errors import Mistakes, StudyError, printable
from tests.hostile import HOSTILE
from tests.unit.studies.reporting.test_markdown import report
from tests.watchers import Shown

STYLES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")

each_text = pytest.mark.parametrize("text", HOSTILE, ids=ascii)


def step(text: str) -> Any:
    return SimpleNamespace(id="0" * 20, name=text, title=text, model=text, condition=text)


def assert_text(shown: str, text: str, times: int) -> None:
    """The text is shown so often, on one line each, and nothing of it steers the terminal."""
    shown = STYLES.sub("", shown)
    assert all(line.isprintable() for line in shown.split("\n")), shown
    assert shown.count(printable(text)) >= times, shown


@each_text
@pytest.mark.parametrize("terminal", [False, True])
def test_a_report(text: str, terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=UNBOUNDED, force_terminal=terminal)
    show_report(console, report(text))
    assert_text(console.file.getvalue(), text, 15)


@each_text
def test_a_plan_and_its_forecast(text: str) -> None:
    console = Console(file=io.StringIO(), width=UNBOUNDED)
    fit = Fit(text, text, text, 2 * 2**30, 2**30, "", 1, 0.0, 7200.0, 2.0)
    added = {"kind": "windows", "first": [text], "later": [], "last": [], "missing_bos": ""}
    planned = [PlannedStep(step(text), False, text, 0.0)]
    show_plan(console, planned, {text: {text: added}}, Forecast(text, "GPU", (fit,), 7200.0, 3600.0))
    show_line(console, text)
    assert_text(console.file.getvalue(), text, 9)


@each_text
@pytest.mark.parametrize("terminal", [False, True])
def test_a_running_study(text: str, terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=400, force_terminal=terminal)
    with Shown(console, text, RunProgress([step(text)]), {}) as display:
        display.opening(text, text, Role.ABLATION)
        display.transition(step(text), State.RUNNING, "")
        display.report(step(text), Progress(step="0" * 20, done=1, total=2, unit="packs"))
        console.print(display._render())
        display.transition(step(text), State.FAILED, text)
    shown = console.file.getvalue().replace("\r", "")
    assert_text(shown, text, 2)


@each_text
def test_messages_and_logs(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        streams.log_to_stderr(logging.WARNING)
        logging.getLogger("somebody").warning("found %s", text)
    finally:
        root.handlers = before
    say(str(StudyError(text)))
    shown = capsys.readouterr().err
    assert_text(shown, text.split("\n")[0], 2)
    found, *_, told = shown.splitlines()
    assert found.startswith("WARNING found ") and told == f"halfwave: {printable(text)}"
    assert all(line.startswith(("WARNING ", "halfwave: ", "    ")) for line in shown.splitlines())


@each_text
def test_an_error_is_one_line_and_mistakes_are_one_each(text: str) -> None:
    assert str(StudyError(text)) == printable(text)
    assert str(Mistakes([text, "other"])).split("\n") == [printable(text), "other"]


def test_a_job_is_shown_with_its_lines_and_without_its_colours() -> None:
    assert streams.plain("\x1b[36m(pid=1)\x1b[0m one\r\ntwo\x1b]0;t\x07\n") == "(pid=1) one\ntwo\\x1b]0;t\\x07\n"
