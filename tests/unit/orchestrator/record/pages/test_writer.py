"""When pages are written: outages, refusals and machines' load, without MLflow."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.keys import RunKey
from orchestrator.record.pages import writer
from orchestrator.record.pages.run_page import RunPage
from orchestrator.record.pages.writer import MAX_NOTE, Pages
from tests.unit.orchestrator.record.examples import KEY


class FakeStore:
    """Logs what reaches it; fails with `error` while that is set."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.error: Exception | None = None
        self.tags = {"mlflow.note.content": "old"}

    def reach(self, *call: Any) -> None:
        if self.error is not None:
            raise self.error
        self.log.append(call)

    def experiment(self, name: str) -> Any:
        return SimpleNamespace(tags=self.tags)

    def tag_experiment(self, experiment: str, tags: dict[str, str], held: dict[str, str]) -> None:
        self.reach("note", experiment, tags, held)

    def log_samples(self, run_id: str, samples: list[tuple[int, dict[str, float]]]) -> None:
        self.reach("samples", run_id, [metrics for _, metrics in samples])

    def show(self, key: RunKey, page: RunPage) -> None:
        self.reach("page", key.condition, page)


class FakeSender:
    """Applies changes at `send`; they stay while the store is away."""

    def __init__(self) -> None:
        self.changes: dict[object, Callable[[], object]] = {}

    def change(self, target: object, apply: Callable[[], object]) -> None:
        self.changes[target] = apply

    def send(self) -> None:
        for target, apply in list(self.changes.items()):
            try:
                apply()
            except Unreachable:
                return
            del self.changes[target]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def sender() -> FakeSender:
    return FakeSender()


@pytest.fixture
def pages(store: FakeStore, sender: FakeSender) -> Pages:
    runs: Any = SimpleNamespace(show=store.show, parent=SimpleNamespace(run_id="parent"), find=lambda key: None)
    made = Pages(store, runs, sender)  # type: ignore[arg-type]
    made.open("study", "7")
    return made


def test_a_page_waits_for_a_store_that_is_away_and_the_last_one_counts(
    pages: Pages, store: FakeStore, sender: FakeSender
) -> None:
    store.error = Unreachable("no answer")
    pages.show(KEY, RunPage(note="first"))
    pages.show(KEY, RunPage(note="second"))
    store.error = None
    sender.send()
    assert [page.note for _, _, page in store.log] == ["second"] and not sender.changes


def test_a_page_that_mlflow_refuses_costs_a_warning(
    pages: Pages, store: FakeStore, sender: FakeSender, caplog: pytest.LogCaptureFixture
) -> None:
    store.error = RecordError("too many words")
    with caplog.at_level(logging.WARNING):
        pages.describe("text")
    assert caplog.messages == ["a page of MLflow is not up to date: too many words"] and not sender.changes


def test_the_note_of_the_experiment_is_compared_with_what_is_there(pages: Pages, store: FakeStore) -> None:
    pages.describe("new")
    assert store.log == [("note", "7", {"mlflow.note.content": "new"}, {"mlflow.note.content": "old"})]


def test_no_secret_is_shown(pages: Pages, store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-value")
    pages.show(KEY, RunPage(note="it said s3cr3t-value", tags={"t": "s3cr3t-value"}))
    ((_, _, page),) = store.log
    assert "s3cr3t" not in page.note + page.tags["t"]


@pytest.mark.parametrize(
    "page",
    [
        RunPage(note="x" * 8001),
        RunPage(metrics={"delta/x": float("nan")}),
        RunPage(metrics={"delta=x": 1.0}),
        RunPage(tags={"claim.a": "x" * 8001}),
        RunPage(tags={"step.a": "x"}),
    ],
    ids=["a long note", "nan", "a name", "a long tag", "a tag of the record"],
)
def test_what_mlflow_would_refuse_is_refused_here(pages: Pages, store: FakeStore, page: RunPage) -> None:
    with pytest.raises(ValueError, match=r"metric|tag"):
        pages.show(KEY, page)
    with pytest.raises(ValueError, match="19001 characters"):
        pages.describe("x" * (MAX_NOTE + 1))
    assert store.log == []


def test_samples_wait_and_the_oldest_are_dropped(
    pages: Pages, store: FakeStore, sender: FakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_SAMPLES", 2)
    store.error = Unreachable("no answer")
    for load in (1.0, 2.0, 3.0):
        pages.sample({"system/n/cpu_utilization_percentage": load})
    store.error = None
    sender.send()
    pages.sample({"system/n/cpu_utilization_percentage": 4.0})
    values = [[metrics["system/n/cpu_utilization_percentage"] for metrics in samples] for _, _, samples in store.log]
    assert values == [[2.0, 3.0], [4.0]]


def test_a_run_that_is_not_there_has_no_address(pages: Pages) -> None:
    assert pages.run_address(KEY) == "" and "#/experiments/7/" in pages.view_address()
