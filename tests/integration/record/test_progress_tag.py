"""How far a run is, on the study's own run: written now and then and at the end, and never at a study's cost."""

from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from orchestrator.record.client.failures import Unreachable
from orchestrator.record.driver import lease as lease_module
from orchestrator.record.driver import progress_tag as module
from orchestrator.record.driver.progress_tag import PAUSE_SECONDS, TAG, WRITE_SECONDS
from orchestrator.record.record import Record
from tests.integration.record.recorded import StoreFolder, commit, condition, fail_with


class Clock:
    """In place of `time` in the modules that wait."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


def tag(store: StoreFolder, study: str) -> str:
    (parent,) = store.runs(study, "study")
    return parent.data.tags[TAG]


def followed(store: StoreFolder, study: str) -> tuple[Record, SimpleNamespace]:
    record, said = store.record(study), SimpleNamespace(text="begun", asked=0)

    def text(status: str) -> str:
        said.asked += 1
        return f"{said.text} {status}"

    record.follow(text)
    return record, said


def test_it_is_written_now_and_then_and_at_the_end(store: StoreFolder, study: str, clock: Clock) -> None:
    record, said = followed(store, study)
    assert tag(store, study) == "begun RUNNING", "as soon as the run begins"
    said.text = "on its way"
    record.renew()
    assert (tag(store, study), said.asked) == ("begun RUNNING", 1), "nothing is even asked before its time"
    clock.now += WRITE_SECONDS
    record.renew()
    assert tag(store, study) == "on its way RUNNING"
    said.text = "computed"
    record.show_progress()
    assert tag(store, study) == "computed RUNNING", "at once"
    said.text = "over"
    record.close("FAILED")
    assert tag(store, study) == "over FAILED"


def test_the_next_run_does_not_show_that_of_the_last(store: StoreFolder, study: str) -> None:
    followed(store, study)[0].close("FINISHED")
    record = store.record(study)
    assert tag(store, study) == ""
    record.close("FINISHED")


def test_a_store_that_is_away_is_asked_once_and_after_a_pause(
    store: StoreFolder, study: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = followed(store, study)
    clock.now += WRITE_SECONDS
    with monkeypatch.context() as away:
        calls = fail_with(away, MlflowException("the database is locked"))
        for _ in range(5):
            record.renew()
            record.show_progress()
        assert calls == ["log_batch"]
        clock.now += PAUSE_SECONDS
        record.renew()
        assert calls == ["log_batch"] * 2
    clock.now += PAUSE_SECONDS
    record.renew()
    assert commit(record, condition(), "s1").run_id, "results are sent as ever"
    record.close("FINISHED")


def test_nothing_is_asked_while_the_lease_cannot_be_renewed(
    store: StoreFolder, study: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, said = followed(store, study)
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.0)
    clock.now += WRITE_SECONDS
    with monkeypatch.context() as away:

        def unreachable(*_: object) -> None:
            raise Unreachable("MLflow does not answer")

        away.setattr(record._lease, "_refuse_other_driver", unreachable)
        record.renew()
        assert said.asked == 1
    record.renew()
    assert said.asked == 2
    record.close("FINISHED")


def test_a_text_that_the_store_refuses_fails_nothing(
    store: StoreFolder, study: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = followed(store, study)
    clock.now += WRITE_SECONDS
    log_batch = MlflowClient.log_batch

    def refuse(client: MlflowClient, run_id: str, **parts: object) -> None:
        if any(one.key == TAG for one in parts.get("tags", ())):
            raise MlflowException("too long", error_code=INVALID_PARAMETER_VALUE)
        log_batch(client, run_id, **parts)

    with monkeypatch.context() as refused:
        refused.setattr(MlflowClient, "log_batch", refuse)
        record.renew()
    record.close("FINISHED")
