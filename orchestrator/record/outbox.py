"""The write-ahead folder: what a finished step hands over, complete on disk before MLflow hears of it.

Owns the words of a commit (`RunKey`, `Entry`, `Committed`), the checks that MLflow would refuse, truncate or alter
nothing of it, the bytes of its artifacts, and the folder `<spool>/<step id>.<run>/` that holds it until it has landed.
Knows nothing of MLflow's client. Invariant: an entry is absent or complete; it is written aside, synced, and renamed
into place, and the sha256 of each of its files stands in its manifest.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.record.encoding import digest
from orchestrator.record.keys import Committed, RunKey

if TYPE_CHECKING:  # pandas takes half a second to import, and only reading and writing frames needs it
    pass


_FILE_NAME = re.compile(r"[\w\-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The manifest of a spooled step."""

    study: str
    key: RunKey
    step_id: str
    step_name: str
    metrics: Mapping[str, float]
    series: Mapping[str, Sequence[tuple[int, float]]]
    """{metric: (step, value) pairs}; MLflow's charts show them over the step."""
    tags: Mapping[str, str]
    digests: Mapping[str, str]
    written_ns: int
    """Unix time in nanoseconds. It orders the entries and dates the metrics, so sending twice changes nothing."""
    adopted_from: str = ""
    """The run that these results were copied from."""

    @property
    def folder_name(self) -> str:
        """Step id and run: two conditions with the same step wait side by side."""
        owner = [self.study, self.key.kind, self.key.model, self.key.condition, self.key.identity]
        return f"{self.step_id}.{digest(json.dumps(owner).encode())[:12]}"

    def committed(self, run_id: str = "") -> Committed:
        return Committed(
            step_id=self.step_id, step_name=self.step_name, experiment=self.study, run_id=run_id,
            artifacts=self.digests, metrics=self.metrics, tags=self.tags,
        )  # fmt: skip


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class Spool:
    """The folder of entries. One driver writes it; anyone may read."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def write(self, entry: Entry, payload: Mapping[str, bytes]) -> None:
        """Put a complete entry on disk, in place of an earlier one of the same step and run.

        Raises OSError where the disk does not take it; what was there before stays.
        """
        if not _FILE_NAME.fullmatch(entry.step_id):
            raise ValueError(f"step id {entry.step_id!r} cannot name a folder")
        target = self.folder / entry.folder_name
        aside = self.folder / f".writing-{os.getpid()}-{entry.folder_name}"
        shutil.rmtree(aside, ignore_errors=True)
        manifest = json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False).encode()
        files = {f"files/{path}": content for path, content in payload.items()} | {"manifest.json": manifest}
        try:
            for path, content in files.items():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                with open(aside / path, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for folder in [aside, *(f for f in aside.rglob("*") if f.is_dir())]:
                _sync_folder(folder)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self.remove(entry)
        os.rename(aside, target)
        _sync_folder(self.folder)

    def entries(self, study: str | None = None) -> list[Entry]:
        """All entries (of one study), oldest first."""
        found = [_load(manifest) for manifest in self.folder.glob("[!.]*/manifest.json")]
        return sorted((e for e in found if study in (None, e.study)), key=lambda e: (e.written_ns, e.folder_name))

    def read(self, entry: Entry, path: str) -> bytes | None:
        """A spooled artifact, or None if it is missing or not what the manifest says."""
        try:
            content = self.file(entry, path).read_bytes()
        except FileNotFoundError:
            return None
        return content if digest(content) == entry.digests[path] else None

    def file(self, entry: Entry, path: str) -> Path:
        return self.folder / entry.folder_name / "files" / path

    def holding(self, committed: Committed) -> Iterator[Entry]:
        """The entries of this step with these very artifacts."""
        begins = f"{committed.step_id}."  # a glob would compile its pattern for every one of thousands of steps
        for name in os.listdir(self.folder):
            manifest = self.folder / name / "manifest.json"
            if name.startswith(begins) and manifest.exists():
                entry = _load(manifest)
                if dict(entry.digests) == dict(committed.artifacts):
                    yield entry

    def remove(self, entry: Entry) -> None:
        """Forget an entry; the manifest goes first, so that a kill in between leaves no half entry."""
        folder = self.folder / entry.folder_name
        (folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """Folders that killed drivers left half written or half removed."""
        written = [folder for folder in self.folder.glob(".writing-*") if not _alive(folder.name.split("-")[1])]
        entries = [folder for folder in self.folder.glob("[!.]*") if folder.is_dir()]
        return written + [folder for folder in entries if not (folder / "manifest.json").exists()]

    def sweep(self) -> None:
        """Clear away what killed drivers left."""
        for folder in self.leftovers():
            shutil.rmtree(folder, ignore_errors=True)


def _load(manifest: Path) -> Entry:
    fields = json.loads(manifest.read_bytes())
    return Entry(**{**fields, "key": RunKey(**fields["key"])})


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
