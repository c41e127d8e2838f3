"""Status on the terminal: nothing wraps at 80 columns, and names of others are shown as text."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from orchestrator.progress.snapshot import Failure, Opening, Request, Snapshot
from orchestrator.status import Finding, Next, RunState, StoreStatus, StudyStatus
from orchestrator.steps.step import Role, State
from orchestrator.terminal.status import show_status, show_statuses, state_phrase
from orchestrator.terminal.times import clock, duration

NOW = datetime(2026, 12, 1, 12, 3, tzinfo=UTC)
LONG = "EleutherAI/pythia-1.4b-deduped-with-a-long-name"
REQUESTS = tuple(
    Request(
        name="evaluate.arc_challenge", model=f"{LONG}-{i}", since=0.0, done=312, total=780, unit="packs",
        conditions=tuple(f"wasserstein/layers={j}-{j + 3}/seed=0" for j in range(12)), seconds_left=180.0,
    )
    for i in (1, 2)
)  # fmt: skip
PROGRESS = Snapshot(
    status="RUNNING",
    began=0.0,
    taken=60.0,
    host="node7",
    counts={f"evaluate.{name}_of_a_very_long_name": {state: 1000 for state in State} for name in ("blimp", "tse")},
    requests=REQUESTS,
    failures=tuple(Failure(f"evaluate.b m{i}", "CUDA error: " + "out of memory, " * 20) for i in range(12)),
    seconds_left=720.0,
)
STATUS = StudyStatus(
    study="double-dissociation",
    state=RunState.RUNNING,
    now=NOW,
    started=NOW - timedelta(minutes=14),
    ended=None,
    last_sign=NOW - timedelta(seconds=4),
    host="node7",
    progress=PROGRESS,
    recorded={},
    finding=None,
    next=Next("halfwave status s.yaml", "to see how it goes on"),
)


def printed(status: StudyStatus | StoreStatus, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show_statuses(console, status) if isinstance(status, StoreStatus) else show_status(console, status)
    return console.file.getvalue()


def test_nothing_wraps_at_80_columns() -> None:
    lines = printed(STATUS).splitlines()
    assert [line for line in lines if cell_len(line) > 80] == []
    names = [line.split()[0] for line in lines if line.startswith(" ") and "1000" in line]
    assert len(set(names)) == 2, "shortened, and not equal"
    requests = [line for line in lines if line.startswith("now ")]
    assert len(requests) == 2 and all("312/780 packs, about 3 min left" in line for line in requests)
    assert "and 2 more failures" in lines[-2] and any("and 6 more" in line for line in lines)


def test_where_there_is_no_terminal_names_are_whole() -> None:
    assert f"evaluate.arc_challenge {LONG}-1  312/780 packs" in printed(STATUS, width=100_000)


def test_names_and_reasons_are_no_markup_and_no_control_characters() -> None:
    failure = Failure("evaluate [red]b[/red]", "said \x1b[31mthis\x1b[0m")
    status = replace(STATUS, study="[bold]s\n", host="\x1b]0;h\x07", progress=replace(PROGRESS, failures=(failure,)))
    text = printed(status)
    assert "[bold]s\\n: running on \\x1b]0;h\\x07" in text and "evaluate [red]b[/red]: said \\x1b[31mthis" in text
    assert "\x1b" not in text


def test_once_all_steps_have_ended_the_report_is_made() -> None:
    ended = replace(PROGRESS, counts={"profile": {State.DONE: 3}}, requests=(), failures=(), seconds_left=0.0)
    assert "3 of 3 ended (100 %); the report is being made" in printed(replace(STATUS, progress=ended))


PHRASES = {
    "running": ({}, "running on node7 since 11:49 (14 min); last sign of life 4 s ago"),
    "killed": (
        {"state": RunState.INTERRUPTED, "last_sign": NOW - timedelta(minutes=4)},
        "interrupted: its driver on node7 last answered 11:59, 4 min ago, after 10 min",
    ),
    "stopped": (
        {"state": RunState.INTERRUPTED, "last_sign": None, "ended": NOW - timedelta(minutes=2)},
        "interrupted on node7 at 12:01, 2 min ago, after 12 min",
    ),
    "finished": (
        {"state": RunState.FINISHED, "last_sign": None, "ended": NOW - timedelta(hours=1)},
        "finished on node7 11:03, 1 h ago",
    ),
    "of an earlier version": (
        {"state": RunState.FAILED, "last_sign": None, "host": ""}, "failed; its last run began 11:49",
    ),
    "never run": ({"state": RunState.NOT_RUN, "started": None}, "not run yet"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "phrase"), PHRASES.values(), ids=PHRASES)
def test_a_state_in_words(changes: dict[str, object], phrase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.terminal.status.clock", lambda moment, now: f"{moment:%H:%M}")
    assert state_phrase(replace(STATUS, **changes)) == phrase


def test_a_finished_study_shows_finding_and_verdicts() -> None:
    finding = Finding(headline=("Grammar goes.", "It is sure."), verdicts={"supported": 2, "absent": 1}, unfinished=())
    text = printed(replace(STATUS, state=RunState.FINISHED, finding=finding, progress=None))
    assert "finding  Grammar goes.\n         It is sure.\nclaims   2 supported, 1 absent\n" in text


def test_many_studies_have_a_line_each() -> None:
    names = [f"a-study-with-a-very-long-name-{i}-of-many" for i in range(3)]
    text = printed(StoreStatus("sqlite:///x", [replace(STATUS, study=name) for name in names]))
    assert len(text.splitlines()) == 3 and all(cell_len(line) <= 80 for line in text.splitlines())
    assert len({line.split()[0] for line in text.splitlines()}) == 3
    assert printed(StoreStatus("sqlite:///x", [])) == "the store sqlite:///x has no study yet\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "1 h"),
        (7500, "2 h 5 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_time_of_another_day_has_its_date() -> None:
    here = NOW.astimezone()
    assert clock(here, here) == f"{here:%H:%M}"
    assert clock(here - timedelta(days=1), here) == f"{here - timedelta(days=1):%Y-%m-%d %H:%M}"


def test_a_model_that_is_being_loaded_is_shown() -> None:
    console = Console(file=io.StringIO(), width=80)
    loading = replace(PROGRESS, openings=(Opening(Role.ABLATION, "org/model", 37.0),), requests=(), failures=())
    show_status(console, replace(STATUS, progress=loading))
    assert "now      opening engine for org/model, 23 s" in console.file.getvalue().splitlines()
