"""Two study files of one name in one store: whose report is printed, and which of them may be run."""

import json
from pathlib import Path

import pytest

from orchestrator.definition import definition_of
from orchestrator.record.keys import RunKey
from orchestrator.study import Study
from tests.integration.made_up import Command
from tests.unit.orchestrator.planning.test_resolve import make_folder

STUDY = """\
study: same
models: [{path: ./model}]
profile: {corpus: embedded, tokens: 2048, window: 64, pairs: 16}
conditions:
  wasserstein: {select: top, fraction: 0.1, clamp: negative}
evaluate:
  - embedded_pairs: {per_construction: 8}
noise_floor: false
"""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The first of two study files of one name; it has been run."""
    make_folder(tmp_path / "model")
    first = tmp_path / "first.yaml"
    first.write_text(STUDY)
    (tmp_path / "second.yaml").write_text(STUDY.replace("fraction: 0.1, clamp: negative", "fraction: 0.2, clamp: zero"))
    ran(first)
    return first


def ran(file: Path) -> None:
    """Leave behind what a run of this file would, as far as it says whose it is."""
    study = Study.open(file)
    record = study.record()
    definition = definition_of(file, study.plan.study.located)
    record.open_study("same", definition=file.read_text(), resolved={}, environment={}, source=definition)
    report = {"study": "same", "models": [], "series": [], "unfinished": [f"only in {file.name}"]}
    record.commit(
        RunKey(kind="study", name="same"), file.stem, "report", metrics={}, frames={}, documents={"report.json": report}
    )
    record.reported()
    record.close("FINISHED")


def test_the_second_file_is_refused_before_anything_starts(first: Path, in_process: Command) -> None:
    second = first.with_name("second.yaml")
    refused = in_process("run", second)
    assert refused.code == 2 and len(refused.err.splitlines()) == 1
    assert f"{second}:1: study: same was last run from first.yaml (20" in refused.err
    assert "give one of the two files another name" in refused.err
    assert not Study.open(first).record().latest("same").keys() - {("", "", "report")}
    planned = in_process("plan", second)
    assert planned.code == 0 and "warning: `run` refuses this file: " in planned.err
    assert in_process("plan", first).err == ""


def test_a_report_says_whose_it_is(first: Path, in_process: Command) -> None:
    second = first.with_name("second.yaml")
    assert "this is the report of" not in in_process("report", first).out
    shown = in_process("report", second)
    assert shown.code == 0 and "only in first.yaml" in shown.out
    assert shown.out.startswith("same: this is the report of first.yaml, run on 20")
    assert "not of second.yaml, whose study has the same name" in shown.out.splitlines()[0]
    as_json = in_process("report", second, "--json")
    assert json.loads(as_json.out)["study"] == "same" and "this is the report of first.yaml" in as_json.err
    first.write_text(STUDY.replace("0.1", "0.3"))
    assert "; the file says something else now: run it for its own" in in_process("report", first).out


def test_a_report_that_was_not_made_yet_is_not_taken_for_the_last_ones(first: Path, in_process: Command) -> None:
    """A run that ends before its report leaves the report of the run before."""
    first.unlink()
    second = first.with_name("second.yaml")
    study = Study.open(second)
    record = study.record()
    source = definition_of(second, study.plan.study.located)
    record.open_study("same", definition=second.read_text(), resolved={}, environment={}, source=source)
    record.close("KILLED")
    assert "this is the report of first.yaml, run on 20" in in_process("report", second).out
    ran(second)
    assert "this is the report of" not in in_process("report", second).out


def test_an_edited_or_renamed_file_is_run_as_ever(first: Path) -> None:
    first.write_text(STUDY.replace("0.1", "0.3"))
    assert Study.open(first).second_file() == ""
    assert Study.open(first.rename(first.with_name("third.yaml"))).second_file() == ""
