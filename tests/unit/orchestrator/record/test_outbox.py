"""The outbox: an entry is there in full or not at all."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry, encode_manifest
from orchestrator.record.outbox import Outbox, folder_size
from orchestrator.record.ownership import own_mark
from tests.unit.orchestrator.record.examples import ENTRY

PAYLOAD = {"items/blimp.parquet": b"items", "identity/evaluate.blimp.json": b"{}"}
DEAD = 2**22 + 1
"""No process has this number: it is above the largest that Linux gives."""
EARLIER = f"{'ab' * 10}.{'c' * 12}"
"""A name as real steps have it."""


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


@pytest.mark.parametrize("damage", ["changed", "missing", "folder", "pipe", "link"])
def test_a_damaged_file_is_not_read(outbox: Outbox, tmp_path: Path, damage: str) -> None:
    outbox.write(entry(), PAYLOAD)
    file = outbox.file(entry(), "items/blimp.parquet")
    file.unlink()
    match damage:
        case "changed":
            file.write_bytes(b"other")
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "link":
            file.symlink_to(tmp_path / "nowhere")
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


# ---- what killed drivers leave


def make(folder: Path, *files: str) -> Path:
    """A folder with these files, or with an empty folder `files`."""
    (folder / "files").mkdir(parents=True)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"some results")
    return folder


def age(folder: Path, seconds: float) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - seconds,) * 2)


def test_only_what_dead_drivers_left_is_swept(outbox: Outbox) -> None:
    outbox.write(entry(), PAYLOAD)
    name, machine = entry().folder_name, own_mark().split("-")[1]
    dead, elsewhere = f"halfwave-{machine}-{DEAD}-1", f"halfwave-{'0' * 12}-{DEAD}-1"
    reused = f"halfwave-{machine}-{os.getpid()}-1"  # this process has not started in 1970
    left = [
        make(outbox.folder / f".writing-{dead}-{name}", "files/items"),
        make(outbox.folder / f".removing-{reused}-{name}", "manifest.json"),
        make(outbox.folder / f".writing-{elsewhere}-old.{'a' * 12}", "files/items"),
        make(outbox.folder / f".writing-{os.getpid()}-{EARLIER}", "files/items"),
        make(outbox.folder / EARLIER, "files/items"),
    ]
    for folder in left[2:4]:
        age(folder, 2 * 86_400)
    used = [
        make(outbox.folder / f".writing-{own_mark()}-{name}"),
        make(outbox.folder / f".writing-{elsewhere}-{name}", "files/items"),  # of another machine, a moment ago
        make(outbox.folder / f".writing-{DEAD}-{EARLIER}"),
        outbox.folder / name,
    ]
    assert set(outbox.leftovers()) == set(left) and outbox.unknown() == []
    outbox.sweep()
    assert set(outbox.folder.iterdir()) == set(used)
    assert outbox.entries() == [entry()]


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_a_driver_that_is_killed_while_it_writes_leaves_nothing_or_an_entry(outbox: Outbox, moment: int) -> None:
    """The process ends at its `moment`-th file or folder that is synced."""
    writer = f"""
import os, signal, sys
from pathlib import Path
from orchestrator.record.outbox import Outbox
from tests.unit.orchestrator.record.test_outbox import PAYLOAD, entry
sync, calls = os.fsync, []
def killed(handle):
    calls.append(handle)
    if len(calls) == {moment}:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)
os.fsync = killed
Outbox(Path(sys.argv[1])).write(entry(), PAYLOAD)
"""
    ended = subprocess.run([sys.executable, "-c", writer, str(outbox.folder)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert outbox.entries() == [] and len(outbox.leftovers()) == 1
    outbox.sweep()
    assert list(outbox.folder.iterdir()) == []


# ---- what is not ours

FOREIGN = ("step", "step.run", "notes", f"{'ab' * 10}.{'0' * 12}", f".writing-7-{'ab' * 10}.{'0' * 12}")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("kind", ["folder", "folder of ours too", "file", "link", "link within", "manifest"])
def test_what_others_have_put_there_stays(outbox: Outbox, tmp_path_factory, name: str, kind: str, caplog) -> None:
    place, elsewhere = outbox.folder / name, tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "data").write_bytes(b"mine")
    match kind:
        case "folder":
            place.mkdir()
            (place / "data").write_bytes(b"mine")
        case "folder of ours too":
            make(place, "files/items", "data")
        case "file":
            place.write_bytes(b"mine")
        case "link":
            place.symlink_to(elsewhere)
        case "link within":
            make(place)
            (place / "files" / "more").symlink_to(elsewhere)
        case "manifest":
            place.mkdir()
            (place / "manifest.json").write_text('{"manifest_version": 3, "name": "an extension"}')
    if kind != "link":
        age(place, 9 * 86_400)
    outbox.write(entry(), PAYLOAD)
    before = contents(outbox.folder), contents(elsewhere)
    assert outbox.entries() == [entry()] and outbox.leftovers() == [] and outbox.unknown() == [place]
    outbox.sweep()
    assert (contents(outbox.folder), contents(elsewhere)) == before


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_stands_in_an_entrys_place_is_renamed(outbox: Outbox, tmp_path_factory, kind: str) -> None:
    place, elsewhere = outbox.folder / entry().folder_name, tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "data").write_bytes(b"mine")
    if kind == "file":
        place.write_bytes(b"mine")
    elif kind == "folder":
        shutil.copytree(elsewhere, place)
    else:
        place.symlink_to(elsewhere)
    outbox.write(entry(), PAYLOAD)
    assert outbox.entries() == [entry()] and contents(elsewhere) == {"data": b"mine"}
    (aside,) = outbox.unknown()
    assert re.fullmatch(rf"{re.escape(place.name)}\.set-aside-\d{{8}}T\d{{6}}\.\d{{6}}Z", aside.name)
    assert (aside if kind == "file" else aside / "data").read_bytes() == b"mine"


def test_what_others_have_put_into_an_entry_outlives_it(outbox: Outbox) -> None:
    outbox.write(entry(), PAYLOAD)
    (outbox.folder / entry().folder_name / "files" / "notes.txt").write_bytes(b"mine")
    outbox.remove(entry())
    assert outbox.entries() == [] and outbox.leftovers() == []
    (aside,) = outbox.unknown()
    assert contents(aside) == {"files/notes.txt": b"mine"}


def test_a_copy_of_an_entry_is_no_entry(outbox: Outbox) -> None:
    outbox.write(entry(), PAYLOAD)
    folder = outbox.folder / entry().folder_name
    for name in (f"{folder.name}.bak", f"9be1.{'0' * 12}"):
        shutil.copytree(folder, outbox.folder / name)
    assert outbox.entries() == [entry()] == list(outbox.holding(entry().committed()))
    assert {path.name for path in outbox.unknown()} == {f"{folder.name}.bak", f"9be1.{'0' * 12}"}


# ---- manifests that cannot be read


def damaged_manifests() -> dict[str, bytes]:
    whole = encode_manifest(entry())

    def with_value(name: str, value: object) -> bytes:
        return json.dumps(json.loads(whole) | {name: value}).encode()

    return {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
        "not UTF-8": whole.replace(b"dissociation", b"\xff\xfe\xfa"),
        "a list": b"[]",
        "a number": b"7",
        "deep": b"[" * 100_000,
        "many digits": b'{"written_ns": ' + b"9" * 5000 + b"}",
        "no key": with_value("key", None),
        "key of another type": with_value("key", ["kind"]),
        "a number as the study": with_value("study", 7),
        "half a character": with_value("study", "\ud800"),
        "a time in years": with_value("written_ns", 2**64),
        "a time as text": with_value("written_ns", "1"),
        "metrics as a list": with_value("metrics", [1]),
        "a metric as text": with_value("metrics", {"x": "1"}),
        "a metric that is infinite": with_value("metrics", {"x": float("inf")}),
        "a metric too large": with_value("metrics", {"x": 10**400}),
        "a series of numbers": with_value("series", {"x": [1, 2]}),
        "a step too large": with_value("series", {"x": [[2**70, 1.0]]}),
        "tags of another type": with_value("tags", {"x": None}),
        "a sha256 of another length": with_value("digests", {"x": "ab"}),
        "a path that leads out": with_value("digests", {"../../x": "ab" * 32}),
        "of another step": with_value("step_id", "ffff"),
    }


@pytest.mark.parametrize("damage", damaged_manifests())
def test_a_manifest_that_cannot_be_read_is_no_entry(outbox: Outbox, damage: str, caplog) -> None:
    whole = replace(entry("0000"), written_ns=7)
    outbox.write(whole, PAYLOAD)
    outbox.write(entry(), PAYLOAD)
    folder = outbox.folder / entry().folder_name
    (folder / "manifest.json").write_bytes(damaged_manifests()[damage])
    for _ in range(3):
        assert outbox.entries() == [whole] and list(outbox.holding(entry().committed())) == []
    (line,) = caplog.messages
    assert line.startswith(f"{folder / 'manifest.json'} cannot be read (")
    assert line.endswith("): its step counts as not done; the folder is left as it is") and "\n" not in line
    outbox.sweep()
    assert outbox.unknown() == [folder] and outbox.file(entry(), "items/blimp.parquet").read_bytes() == b"items"
    outbox.write(entry(), PAYLOAD)  # computed again
    assert outbox.entries() == [entry(), whole]
    (aside,) = outbox.unknown()
    assert (aside / "files" / "items" / "blimp.parquet").read_bytes() == b"items"


# ---- several drivers


def test_drivers_that_share_an_outbox_do_not_disturb_each_other(outbox: Outbox) -> None:
    """Three processes write, read, sweep and remove the same entries as fast as they can."""
    driver = """
import sys
from pathlib import Path
from orchestrator.record.outbox import Outbox
from tests.unit.orchestrator.record.test_outbox import PAYLOAD, entry
outbox = Outbox(Path(sys.argv[1]))
for time in range(30):
    shared = entry(written_ns=time)
    outbox.write(shared, PAYLOAD)
    outbox.write(entry(step_id=sys.argv[2], written_ns=time), PAYLOAD)
    outbox.sweep()
    for found in outbox.entries():
        outbox.read(found, "items/blimp.parquet")
    outbox.remove(shared)
    list(outbox.holding(shared.committed()))
"""
    command = [sys.executable, "-c", driver, str(outbox.folder)]
    drivers = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "abc"]
    ended = [driver.communicate()[1] for driver in drivers]
    assert ended == ["", "", ""] and [driver.returncode for driver in drivers] == [0, 0, 0]
    assert {found.step_id for found in outbox.entries()} - {"9be1"} == set("abc")
    assert outbox.unknown() == [] == outbox.leftovers()


def test_a_removed_entry_is_gone(outbox: Outbox) -> None:
    outbox.write(entry(), PAYLOAD)
    outbox.remove(entry())
    assert outbox.entries() == [] and list(outbox.holding(entry().committed())) == []
    assert list(outbox.folder.iterdir()) == []
