"""The outbox: a folder that holds every finished step, complete on disk, until MLflow has it.

Owns the folders `<outbox>/<step id>.<run>/` (a manifest and the files of one entry) and what killed drivers leave
among them. Knows nothing of MLflow's client. Invariant: an entry is absent or complete; it is written aside, synced,
and renamed into place, and its manifest holds the sha256 of each of its files. One driver writes; anyone may read.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry, decode_manifest, encode_manifest
from orchestrator.record.keys import Committed

_FOLDER_NAME = re.compile(r"[\w\-]+")
_MANIFEST = "manifest.json"
_ASIDE = ".writing-"
"""Begins the name of a folder that is being written; the process id follows."""


class Outbox:
    """The entries in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def write(self, entry: Entry, payload: Mapping[str, bytes]) -> None:
        """Put a complete entry on disk, in place of an earlier one of the same step and run.

        `payload`: {artifact path: bytes}. Raises OSError where the disk refuses it; what was there before stays."""
        if not _FOLDER_NAME.fullmatch(entry.step_id):
            raise ValueError(f"step id {entry.step_id!r} cannot name a folder")
        aside = self.folder / f"{_ASIDE}{os.getpid()}-{entry.folder_name}"
        shutil.rmtree(aside, ignore_errors=True)
        files = {f"files/{path}": content for path, content in payload.items()} | {_MANIFEST: encode_manifest(entry)}
        try:
            for path, content in files.items():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                with open(aside / path, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for folder in [aside, *(path for path in aside.rglob("*") if path.is_dir())]:
                _sync_folder(folder)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self.remove(entry)
        os.rename(aside, self.folder / entry.folder_name)
        _sync_folder(self.folder)

    def entries(self, study: str | None = None) -> list[Entry]:
        """All entries, or those of one study, oldest first."""
        entries = [_load(manifest) for manifest in self.folder.glob(f"[!.]*/{_MANIFEST}")]
        chosen = (entry for entry in entries if study in (None, entry.study))
        return sorted(chosen, key=lambda entry: (entry.written_ns, entry.folder_name))

    def read(self, entry: Entry, path: str) -> bytes | None:
        """An artifact that waits, or None if it is missing or differs from the manifest's sha256."""
        try:
            content = self.file(entry, path).read_bytes()
        except FileNotFoundError:
            return None
        return content if digest(content) == entry.digests[path] else None

    def file(self, entry: Entry, path: str) -> Path:
        """Where an artifact of an entry lies."""
        return self.folder / entry.folder_name / "files" / path

    def holding(self, committed: Committed) -> Iterator[Entry]:
        """The entries of this step with exactly these artifacts."""
        prefix = f"{committed.step_id}."  # a glob would compile its pattern for every one of thousands of steps
        for name in os.listdir(self.folder):
            manifest = self.folder / name / _MANIFEST
            if name.startswith(prefix) and manifest.exists():
                entry = _load(manifest)
                if dict(entry.digests) == dict(committed.artifacts):
                    yield entry

    def remove(self, entry: Entry) -> None:
        """Forget an entry. The manifest goes first, so that a kill in between leaves no half entry."""
        folder = self.folder / entry.folder_name
        (folder / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """Folders that killed drivers left half written or half removed."""
        aside = [path for path in self.folder.glob(f"{_ASIDE}*") if not _is_running(path.name.split("-")[1])]
        entries = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        return aside + [path for path in entries if not (path / _MANIFEST).exists()]

    def sweep(self) -> None:
        """Remove the leftovers."""
        for folder in self.leftovers():
            shutil.rmtree(folder, ignore_errors=True)


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _load(manifest: Path) -> Entry:
    return decode_manifest(manifest.read_bytes())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
