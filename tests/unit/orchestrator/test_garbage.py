"""What `halfwave gc` prints of a survey: the exact JSON, and the lines."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.garbage import Garbage, StoredRun, parse_age, summary_lines, survey_json
from orchestrator.record.keys import Committed
from studies.errors import StudyError


def stored_run(run_id: str, *step_ids: str) -> StoredRun:
    steps = tuple(
        Committed(step_id=step_id, step_name="blimp", experiment="one", run_id=run_id, artifacts={}, metrics={})
        for step_id in step_ids
    )
    return StoredRun(run_id, "one", "tiny · w", steps)


NOTHING = Garbage(
    runs=(),
    kept=(),
    num_lost=0,
    running=(),
    leftovers=(),
    unknown=(),
    num_waiting=0,
    digests=(),
    bytes_runs=0,
    bytes_leftovers=0,
    server="",
)
GARBAGE = Garbage(
    runs=(stored_run("0123456789", "s1", "s2"),),
    kept=(stored_run("kept", "s3"),),
    num_lost=1,
    running=("one", "two"),
    leftovers=(Path("/work/spool/.writing-7-s4.aa"),),
    unknown=(Path("/work/spool/notes"), Path("/work/spool/x.txt")),
    num_waiting=2,
    digests=("/a|1|2",),
    bytes_runs=3 * 2**20,
    bytes_leftovers=2**19,
    server="",
)


def test_the_json_is_printed_as_ever() -> None:
    assert survey_json(GARBAGE, removed=True) == {
        "removed": True,
        "runs": [{"run_id": "0123456789", "study": "one", "name": "tiny · w", "steps": ["s1", "s2"]}],
        "runs_removable": True,
        "bytes": 3 * 2**20,
        "steps_lost": 1,
        "runs_kept": ["kept"],
        "running": ["one", "two"],
        "spool": {"folders": [".writing-7-s4.aa"], "bytes": 2**19},
        "unknown": ["notes", "x.txt"],
        "waiting": 2,
        "digests": 1,
    }


def test_a_survey_in_lines() -> None:
    assert summary_lines(GARBAGE, removed=False) == [
        "  one: tiny · w (01234567, 2 steps)",
        "1 superseded run, 3.0 MiB; going back to their definitions recomputes 1 step",
        "1 more superseded run holds steps that other runs depend on: kept",
        "1 incomplete outbox folder of dead drivers, 0.5 MiB",
        "2 things in the outbox that Halfwave did not write, or cannot read: notes, x.txt; left as found",
        "1 remembered digest of files that are gone or have changed",
        "2 steps wait in the outbox for the tracking server: kept, the next run of their study sends them",
        "nothing was removed; add --delete to remove this",
        "--delete will refuse while one and two is being run",
    ]
    assert summary_lines(GARBAGE, removed=True)[-1] == "removed"
    assert summary_lines(NOTHING, removed=True) == ["nothing to remove"]


def test_a_server_keeps_its_runs() -> None:
    garbage = replace(GARBAGE, server="http://host:5000", bytes_runs=None)
    lines = summary_lines(garbage, removed=True)
    assert lines[1].startswith("1 superseded run, artifacts elsewhere; ")
    assert lines[-2].startswith("a client cannot remove runs from the server http://host:5000; ")
    assert lines[-2].endswith("mlflow gc --backend-store-uri DATABASE --run-ids 0123456789")
    assert lines[-1] == "removed all but the runs"
    assert survey_json(garbage, removed=True)["runs_removable"] is False


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("7d", timedelta(days=7)),
        ("12h", timedelta(hours=12)),
        ("1d12h30m", timedelta(days=1, hours=12, minutes=30)),
        ("0m", timedelta()),
    ],
)
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "7", "d", "7 d", "-7d", "7d ", "1.5d", "7w", "12h7d", "٧d", "9999999d", "NaN"])
def test_a_bad_age_is_one_line(text: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_age(text)
    expected = f"--older-than: {text!r} is not an age; write days, hours and minutes: 7d, 12h or 1d12h30m"
    assert str(caught.value) == expected
