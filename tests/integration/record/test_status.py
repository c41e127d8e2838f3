"""`status` from the record alone: of studies that run, ended in every way, and were left by earlier versions."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.progress.snapshot import Failure, Request, Snapshot, encode
from orchestrator.record.driver.lease import TAG as LEASE
from orchestrator.record.driver.lease import encode_claim, own_claim
from orchestrator.record.driver.progress_tag import TAG as PROGRESS
from orchestrator.record.keys import RunKey
from orchestrator.record.record import Record
from orchestrator.steps.step import State
from tests.integration.made_up import Command
from tests.integration.record.recorded import StoreFolder, commit, condition
from tests.integration.record.test_last_report import REPORT
from tests.old_stores.stores import WORKDIR, unpack
from tests.schemas import assert_valid

REQUEST = Request(
    name="evaluate.blimp", model="m", conditions=("treated", "random/seed=0"), since=0.0, done=312, total=780,
    unit="packs", seconds_left=180.0,
)  # fmt: skip
FAILURE = Failure("match m matched", "no memory: hf_abcdefghijklmnopqrstuvwx")


def snapshot(status: str, began: float) -> Snapshot:
    return Snapshot(
        status=status,
        began=began,
        taken=time.time(),
        host="node7",
        counts={"evaluate.blimp": {State.RUNNING: 2, State.PENDING: 1}, "match": {State.FAILED: 1, State.DONE: 1}},
        requests=(REQUEST,),
        failures=(FAILURE,),
        seconds_left=720.0,
    )


def opened(store: StoreFolder, study: str) -> Record:
    """A study that runs, with one recorded step."""
    record, began = store.record(study), time.time()
    record.follow(lambda status: encode(snapshot(status, began)))
    commit(record, condition(), "s1")
    return record


@pytest.fixture
def asked(store: StoreFolder, study: str, in_process: Command) -> Callable[..., Any]:
    """What `status --json` prints of the study, valid by its schema."""

    def ask(*where: object) -> Mapping[str, Any]:
        found = in_process("status", "--study", study, "--tracking-uri", store.uri, "--json", *where)
        assert (found.code, found.err) == (0, "")
        document = json.loads(found.out)
        assert_valid("status", document)
        assert document["store"] == store.uri
        (status,) = document["studies"]
        return status

    return ask


@pytest.fixture
def shown(store: StoreFolder, study: str, in_process: Command) -> Callable[[], str]:
    """What `status` prints of the study."""
    return lambda: in_process("status", "--study", study, "--tracking-uri", store.uri).out


def test_a_running_study(store: StoreFolder, study: str, asked: Callable, shown: Callable) -> None:
    record = opened(store, study)
    found = asked()
    assert (found["state"], found["host"], found["ended"]) == ("running", "node7", None)
    assert found["started"] and found["last_sign_of_life"] and found["elapsed_seconds"] >= 0
    assert (found["steps"]["total"], found["steps"]["ended"], found["steps"]["seconds_left"]) == (5, 2, 720.0)
    assert found["steps"]["by_name"][0] == {
        "name": "evaluate.blimp", "pending": 1, "running": 2, "cached": 0, "done": 0, "failed": 0, "skipped": 0,
        "not_applicable": 0,
    }  # fmt: skip
    (request,) = found["running"]
    assert (request["conditions"], request["done"], request["total"]) == (["treated", "random/seed=0"], 312, 780)
    assert found["recorded"] == {"evaluate.blimp": 1} and found["headline"] == []
    assert found["failures"] == [{"step": "match m matched", "reason": "no memory: ***"}], "no secret is shown"
    text = shown()
    assert text.startswith(f"{study}: running on node7 since ") and "last sign of life " in text
    assert "2 of 5 ended (40 %), about 12 min left" in text
    assert "evaluate.blimp m  312/780 packs, about 3 min left" in text and "treated, random/seed=0" in text
    assert "failed   match m matched: no memory: ***" in text
    record.close("KILLED")


@pytest.mark.parametrize(("status", "state"), [("KILLED", "interrupted"), ("FAILED", "failed")])
def test_a_study_whose_driver_said_how_it_ended(
    store: StoreFolder, study: str, asked: Callable, shown: Callable, status: str, state: str
) -> None:
    opened(store, study).close(status)
    found = asked()
    assert (found["state"], found["last_sign_of_life"]) == (state, None) and found["ended"]
    assert found["running"] == [] and found["steps"]["seconds_left"] is None
    assert (found["steps"]["by_name"][0]["pending"], found["steps"]["by_name"][0]["running"]) == (3, 0)
    assert f"{study}: {state} on node7 " in shown() and "\nnow " not in shown()
    assert found["next"]["command"].startswith("halfwave run STUDY.yaml --tracking-uri ")


def test_a_study_whose_driver_was_killed(store: StoreFolder, study: str, asked: Callable, shown: Callable) -> None:
    opened(store, study)  # and neither closed nor released
    experiment = store.client.get_experiment_by_name(study).experiment_id
    gone = replace(own_claim(), pid=2**22 + 1, renewed=time.time() - 240)
    store.client.set_experiment_tag(experiment, LEASE, encode_claim(gone))
    (parent,) = store.runs(study, "study")
    old = replace(snapshot("RUNNING", time.time() - 900), taken=time.time() - 250)
    store.client.set_tag(parent.info.run_id, PROGRESS, encode(old))
    found = asked()
    assert (found["state"], found["ended"]) == ("interrupted", None) and found["last_sign_of_life"]
    assert f"{study}: interrupted: its driver on node7 last answered " in shown() and ", 4 min ago" in shown()
    assert found["running"] == [] and found["next"]["why"] == "to resume it"


def test_a_finished_study_shows_its_finding(store: StoreFolder, study: str, asked: Callable, shown: Callable) -> None:
    record = opened(store, study)
    verdict = {"claim": "syntax_loss", "status": "supported", "detail": "d", "effect": None}
    model = {"label": "m", "rows": [], "benchmarks": [], "doubling": [], "verdicts": [verdict, verdict]}
    report = REPORT | {"study": study, "models": [model]}
    key = RunKey(kind="study", name=study)
    record.commit(key, f"{study}-r", "report", metrics={}, frames={}, documents={"report.json": report})
    record.close("FINISHED")
    found = asked()
    assert found["state"] == "finished" and found["verdicts"] == {"supported": 2}
    assert found["headline"] == ["Of 2 claims 2 supported."] and found["unfinished"] == REPORT["unfinished"]
    assert "finding  Of 2 claims 2 supported.\nclaims   2 supported\n" in shown()
    assert found["next"]["command"] == f"halfwave report --study {study} --tracking-uri '{store.uri}'"
    opened(store, study)
    assert asked()["headline"] == [], "a report of another run is none of this one"


def test_a_report_that_cannot_be_read_costs_the_finding_alone(
    store: StoreFolder, study: str, asked: Callable, shown: Callable
) -> None:
    record = opened(store, study)
    key = RunKey(kind="study", name=study)
    record.commit(key, f"{study}-r", "report", metrics={}, frames={}, documents={"report.json": {"models": 1}})
    record.close("FINISHED")
    assert (asked()["state"], asked()["headline"]) == ("finished", [])
    assert "\nfinding" not in shown()


def test_what_ended_the_whole_run_is_said(store: StoreFolder, study: str, asked: Callable, shown: Callable) -> None:
    record = store.record(study)
    record.follow(lambda status: encode(replace(snapshot(status, 1.0), error="--address h:1: nothing answers there")))
    record.close("FAILED")
    assert asked()["error"] == "--address h:1: nothing answers there"
    assert "error    --address h:1: nothing answers there" in shown()


def test_without_a_study_every_one_has_a_line(tmp_path: Path, in_process: Command) -> None:
    folder = unpack("finished", tmp_path) / WORKDIR
    found = in_process("status", "--workdir", folder)
    assert found.code == 0 and [line.split()[:2] for line in found.out.splitlines()] == [
        ["dissociation", "finished"], ["everything", "finished"],
    ]  # fmt: skip
    document = json.loads(in_process("status", "--workdir", folder, "--json").out)
    assert_valid("status", document)
    assert [one["study"] for one in document["studies"]] == ["dissociation", "everything"]


def test_a_store_of_an_earlier_version_says_what_the_record_knows(tmp_path: Path, in_process: Command) -> None:
    folder = unpack("half_finished", tmp_path) / WORKDIR
    (found,) = json.loads(in_process("status", "--study", "interrupted", "--workdir", folder, "--json").out)["studies"]
    assert (found["state"], found["steps"]) == ("interrupted", None) and found["recorded"]["profile"] >= 1
    text = in_process("status", "--study", "interrupted", "--workdir", folder).out
    assert text.startswith("interrupted: interrupted: its driver") and "recorded " in text
    assert "next     halfwave run " in text


def test_a_store_or_study_that_is_not_there_is_one_line(
    store: StoreFolder, study: str, tmp_path: Path, in_process: Command
) -> None:
    opened(store, study).close("FINISHED")
    for where, message in (
        (("--workdir", tmp_path), f"no record: there is no MLflow store at {tmp_path}/mlflow.db; run the study first"),
        (("--tracking-uri", store.uri, "--study", study[:-1]), f"has no study '{study[:-1]}'; did you mean '{study}'?"),
    ):
        found = in_process("status", *where)
        assert found.code == 2 and found.out == "" and found.err.count("\n") == 1 and message in found.err
