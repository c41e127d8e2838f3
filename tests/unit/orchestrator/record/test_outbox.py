"""The outbox: an entry is there in full or not at all."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry
from orchestrator.record.outbox import Outbox, folder_size
from tests.unit.orchestrator.record.examples import ENTRY

PAYLOAD = {"items/blimp.parquet": b"items", "identity/evaluate.blimp.json": b"{}"}
DEAD = 2**22 + 1
"""No process has this number: it is above the largest that Linux gives."""


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path)


def entry(step_id: str = "9be1", written_ns: int = 1, study: str = "dissociation") -> Entry:
    digests = {path: digest(content) for path, content in PAYLOAD.items()}
    return replace(ENTRY, step_id=step_id, written_ns=written_ns, study=study, digests=digests)


def test_what_was_written_is_read_back(outbox: Outbox) -> None:
    outbox.write(entry(), PAYLOAD)
    assert outbox.entries() == [entry()]
    assert {path: outbox.read(entry(), path) for path in PAYLOAD} == PAYLOAD
    assert list(outbox.holding(entry().committed())) == [entry()]
    assert list(outbox.holding(replace(entry().committed(), artifacts={}))) == []
    folder = outbox.folder / entry().folder_name
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == {
        "manifest.json",
        "files/items/blimp.parquet",
        "files/identity/evaluate.blimp.json",
    }
    assert folder_size(folder / "files") == 7


def test_entries_are_sorted_by_age_and_can_be_of_one_study(outbox: Outbox) -> None:
    for step_id, written_ns, study in (("b", 2, "one"), ("c", 1, "one"), ("a", 3, "two")):
        outbox.write(entry(step_id, written_ns, study), PAYLOAD)
    assert [waiting.step_id for waiting in outbox.entries()] == ["c", "b", "a"]
    assert [waiting.step_id for waiting in outbox.entries("two")] == ["a"]


def test_a_later_entry_of_the_same_step_and_run_replaces_the_earlier(outbox: Outbox) -> None:
    outbox.write(entry(written_ns=1), PAYLOAD)
    outbox.write(entry(written_ns=2), PAYLOAD)
    assert [waiting.written_ns for waiting in outbox.entries()] == [2]


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_file_is_not_read(outbox: Outbox, damage: str) -> None:
    outbox.write(entry(), PAYLOAD)
    file = outbox.file(entry(), "items/blimp.parquet")
    file.write_bytes(b"other") if damage == "changed" else file.unlink()
    assert outbox.read(entry(), "items/blimp.parquet") is None


def test_a_disk_that_is_full_leaves_the_earlier_entry(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox.write(entry(written_ns=1), PAYLOAD)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="space"):
        patch.setattr(os, "fsync", full)
        outbox.write(entry(written_ns=2), PAYLOAD)
    assert [waiting.written_ns for waiting in outbox.entries()] == [1] and outbox.leftovers() == []


@pytest.mark.parametrize("step_id", ["", "..", "a/b", "a b", "é\0"])
def test_a_step_id_that_cannot_name_a_folder_is_refused(outbox: Outbox, step_id: str) -> None:
    with pytest.raises(ValueError) as caught:
        outbox.write(entry(step_id), PAYLOAD)
    assert str(caught.value) == f"step id {step_id!r} cannot name a folder"
    assert list(outbox.folder.iterdir()) == []


def test_only_what_dead_drivers_left_is_swept(outbox: Outbox) -> None:
    outbox.write(entry(), PAYLOAD)
    torn, half_removed = outbox.folder / f".writing-{DEAD}-9be1.aa", outbox.folder / "ff.bb"
    alive = outbox.folder / f".writing-{os.getpid()}-9be1.cc"
    for folder in (torn, half_removed, alive):
        (folder / "files").mkdir(parents=True)
    assert set(outbox.leftovers()) == {torn, half_removed}
    outbox.sweep()
    assert set(outbox.folder.iterdir()) == {alive, outbox.folder / entry().folder_name}


def test_a_removed_entry_is_gone(outbox: Outbox) -> None:
    outbox.write(entry(), PAYLOAD)
    outbox.remove(entry())
    assert outbox.entries() == [] and list(outbox.holding(entry().committed())) == []
    assert list(outbox.folder.iterdir()) == []
