"""The sender: order, outages and refusals, without MLflow."""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.record import sender as sender_module
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry
from orchestrator.record.keys import RunKey
from orchestrator.record.outbox import Outbox
from orchestrator.record.sender import Sender, withdrawal
from tests.unit.orchestrator.record.examples import ENTRY, KEY

PAYLOAD = {"items/blimp.parquet": b"items"}


class FakeStore:
    """Logs what reaches it; fails with `error` while that is set."""

    safe_uri = "sqlite:///fake.db"

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def reach(self, *call: Any) -> None:
        if self.error is not None:
            raise self.error
        self.log.append(call)

    def put(self, run_id: str, content: bytes, path: str) -> None:
        self.reach("artifact", run_id, path)

    def confirm_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.reach("confirmed", run_id, sorted(tags))

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, date_ms: int) -> None:
        self.reach("metrics", run_id, dict(metrics), date_ms)

    def log_series(self, run_id: str, name: str, pairs: list[tuple[int, float]], *, date_ms: int) -> None:
        self.reach("series", run_id, name, pairs, date_ms)


class FakeRuns:
    """Every key has one run, named like its condition."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    def ensure(self, key: RunKey, *, running: bool = True) -> Any:
        self._store.reach("ensure", key.condition)
        return SimpleNamespace(run_id=f"run-{key.condition}")

    def tag(self, run: Any, tags: Mapping[str, str]) -> None:
        self._store.reach("tags", run.run_id, sorted(tags))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr(sender_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path)


@pytest.fixture
def sender(store: FakeStore, outbox: Outbox) -> Sender:
    return Sender(store, outbox, FakeRuns(store))


def entry(step_id: str, condition: str = "wasserstein") -> Entry:
    digests = {path: digest(content) for path, content in PAYLOAD.items()}
    return replace(ENTRY, step_id=step_id, key=replace(KEY, condition=condition), digests=digests)


def test_a_tag_that_is_named_after_its_step_stands_in_the_commit_alone(sender: Sender, store: FakeStore) -> None:
    """A page of MLflow shows every tag; this one is read from the commit."""
    kept = {"route": "tree", "route.evaluate.blimp": "tree", "route.evaluate.tse": "flat"}
    sender.add(replace(entry("a"), tags=kept), PAYLOAD)
    sender.send()
    set_on_run = [call[2] for call in store.log if call[0] == "tags"]
    assert set_on_run == [["adopted_from", "route", "route.evaluate.tse"], ["step.evaluate.blimp"]]


def test_the_tag_that_commits_a_step_is_sent_last(sender: Sender, store: FakeStore) -> None:
    sender.add(entry("a"), PAYLOAD)
    assert sender.is_waiting(entry("a")) and sender.num_unsent == 1
    sender.send()
    run, date_ms = "run-wasserstein", 1_700_000_000_123
    assert store.log == [
        ("ensure", "wasserstein"),
        ("artifact", run, "items/blimp.parquet"),
        ("metrics", run, {"blimp/accuracy": 0.8125, "n": 3.0}, date_ms),
        ("series", run, "cost", [(4, 0.5), (30, 0.25)], date_ms),
        ("tags", run, ["adopted_from", "route"]),
        ("tags", run, ["step.evaluate.blimp"]),
        ("confirmed", run, ["step.evaluate.blimp"]),
    ]
    assert sender.sent == {"a": run} and sender.num_unsent == 0 and not sender.is_waiting(entry("a"))


def test_changes_follow_the_entries_and_a_later_change_replaces_an_earlier(sender: Sender, store: FakeStore) -> None:
    sender.change("note", lambda: store.reach("note", "old"))
    sender.change("note", lambda: store.reach("note", "new"))
    sender.add(entry("a"), PAYLOAD)
    sender.send()
    assert store.log[0] == ("ensure", "wasserstein") and store.log[-1] == ("note", "new")
    assert ("note", "old") not in store.log and not sender.has_changes


def test_an_entry_drops_the_change_of_its_runs_status(sender: Sender, store: FakeStore) -> None:
    sender.change(entry("a").key.slot_and_identity, lambda: store.reach("finished"))
    sender.add(entry("a"), PAYLOAD)
    sender.send()
    assert ("finished",) not in store.log


def test_an_entry_drops_the_withdrawal_of_the_commit_that_it_replaces(sender: Sender, store: FakeStore) -> None:
    place = entry("a").key.slot_and_identity
    sender.change(withdrawal(place, "evaluate.blimp"), lambda: store.reach("withdrawn"))
    sender.change(withdrawal(place, "evaluate.tse"), lambda: store.reach("withdrawn, too"))
    sender.add(entry("a"), PAYLOAD)
    sender.send()
    assert ("withdrawn",) not in store.log and store.log[-1] == ("withdrawn, too",)


def test_during_an_outage_pauses_double_and_nothing_is_lost(
    sender: Sender, store: FakeStore, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="orchestrator.record.sender")
    store.error = Unreachable("no answer")
    attempts: list[float] = []
    sender.change("count", lambda: (attempts.append(clock[0]), store.reach("count")))
    for _ in range(400):
        sender.send()
        clock[0] += 0.5
    pauses = [after - before for before, after in pairwise(attempts)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    sender.send(force=True)
    assert len(attempts) == len(pauses) + 2  # no pause holds back what is forced
    store.error = None
    sender.send(force=True)
    assert store.log == [("count",)] and not sender.has_changes
    assert [line.levelname for line in caplog.records] == ["WARNING", "INFO"]


def send_what_rotted(sender: Sender, outbox: Outbox) -> None:
    sender.add(entry("a"), PAYLOAD)
    outbox.file(entry("a"), "items/blimp.parquet").write_bytes(b"rot")
    sender.send()


def add_to_a_full_disk(sender: Sender, outbox: Outbox) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        sender.add(entry("a"), PAYLOAD)


REFUSED = {
    "changed on disk": (
        send_what_rotted,
        "{outbox}/{folder}/files/items/blimp.parquet is missing or changed since it was written; delete its folder to "
        "have the step recomputed (kept in {outbox}/{folder})",
    ),
    "full disk": (
        add_to_a_full_disk,
        "cannot write in {outbox}: No space left on device; make room and run the study again, what was committed is "
        "kept",
    ),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_sent_is_one_line_with_place_and_remedy(
    sender: Sender, outbox: Outbox, act: Callable[[Sender, Outbox], None], message: str
) -> None:
    with pytest.raises(RecordError) as caught:
        act(sender, outbox)
    assert str(caught.value) == message.format(outbox=outbox.folder, folder=entry("a").folder_name)


def test_what_is_refused_is_set_aside_and_raised(sender: Sender, outbox: Outbox) -> None:
    sender.add(entry("rotten"), PAYLOAD)
    sender.add(entry("sound", "random"), PAYLOAD)
    outbox.file(entry("rotten"), "items/blimp.parquet").write_bytes(b"rot")
    with pytest.raises(RecordError, match="rotten"):
        sender.send()
    assert sender.sent == {"sound": "run-random"} and sender.num_unsent == 1
    sender.send()  # it blocks nothing, and is raised once
    assert [waiting.step_id for waiting in outbox.entries()] == ["rotten"]


def test_a_refused_change_is_raised_and_the_others_are_made(sender: Sender, store: FakeStore) -> None:
    def refuse() -> None:
        raise RecordError("refused")

    sender.change("first", refuse)
    sender.change("second", lambda: store.reach("second"))
    with pytest.raises(RecordError, match="refused"):
        sender.send()
    assert store.log == [("second",)] and not sender.has_changes


def test_a_waiting_step_is_found_by_its_run(sender: Sender) -> None:
    sender.add(entry("a"), PAYLOAD)
    assert sender.find(entry("a").key, "a") == entry("a")
    assert sender.find(entry("a", "random").key, "a") is None and sender.find(entry("a").key, "b") is None


def test_what_an_earlier_driver_left_is_queued(sender: Sender, outbox: Outbox) -> None:
    outbox.write(entry("a"), PAYLOAD)
    outbox.write(replace(entry("b"), study="another"), PAYLOAD)
    sender.load("dissociation")
    sender.send()
    assert sender.sent == {"a": "run-wasserstein"}


@pytest.mark.parametrize("other", ["sent", "replaced"])
def test_what_another_driver_of_the_outbox_has_sent_meanwhile_is_forgotten(
    sender: Sender, store: FakeStore, outbox: Outbox, other: str
) -> None:
    outbox.write(entry("a"), PAYLOAD)
    outbox.write(entry("b", "random"), PAYLOAD)
    sender.load("dissociation")
    outbox.remove(entry("a"))
    if other == "replaced":
        content = {"items/blimp.parquet": b"others"}
        digests = {path: digest(written) for path, written in content.items()}
        outbox.write(replace(entry("a"), digests=digests, written_ns=2), content)
    sender.send()
    assert sender.sent == {"b": "run-random"} and sender.num_unsent == 0
    assert len(outbox.entries()) == (other == "replaced")
