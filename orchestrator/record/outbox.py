"""The outbox: a folder that holds every finished step, complete on disk, until MLflow has it.

Owns the folders `<outbox>/<step id>.<run>/` (a manifest and the files of one entry) and what killed drivers leave
among them. Knows nothing of MLflow's client. Invariants: an entry is absent or complete; it is written aside, synced,
and renamed into place, its manifest holds the sha256 of each of its files, and it goes in one step too. What cannot be
read is no entry, and counts as not done. Nothing is removed but what this module wrote: folders with the mark of a
process that is gone, and what a manifest names. Anything else in the outbox stays, at most under another name.
Several drivers may share an outbox; anyone may read.
"""

import contextlib
import errno
import functools
import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.record.encoding import digest
from orchestrator.record.entry import Entry, check_entry, decode_manifest, encode_manifest
from orchestrator.record.keys import Committed
from orchestrator.record.limits import check_path
from orchestrator.record.ownership import ABANDONED_SECONDS, MARK, is_abandoned, own_mark, unchanged_seconds

log = logging.getLogger(__name__)

_STEP_ID = re.compile(r"[\w\-]+")
_ENTRY = re.compile(r"[\w\-]+\.[0-9a-f]{12}")
"""Names of entries: step id and run."""
_MANIFEST, _FILES = "manifest.json", "files"
_ASIDE = re.compile(rf"\.(?:writing|removing)-({MARK})-{_ENTRY.pattern}")
"""Names of folders that a process is writing or removing."""
_EARLIER_ASIDE = re.compile(r"\.writing-\d+-[0-9a-f]{16,64}\.[0-9a-f]{12}")
"""As earlier versions named folders that they were writing: by process id alone."""
_EARLIER_REMOVED = re.compile(r"[0-9a-f]{16,64}\.[0-9a-f]{12}")
"""As earlier versions left entries that they were removing: without a manifest."""
_ATTEMPTS = 5
"""How often an entry is put in its place while other drivers put theirs there."""


class Outbox:
    """The entries in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def write(self, entry: Entry, payload: Mapping[str, bytes]) -> None:
        """Put a complete entry on disk, in place of an earlier one of the same step and run.

        `payload`: {artifact path: bytes}. Raises ValueError for a path that leads out of its folder, and OSError where
        the disk refuses it; what was there before stays."""
        if not _STEP_ID.fullmatch(entry.step_id):
            raise ValueError(f"step id {entry.step_id!r} cannot name a folder")
        for path in payload:
            check_path(path)
        if not self.folder.is_dir():  # moved away while the study runs: it must not come back
            raise FileNotFoundError(errno.ENOENT, "the folder is gone", str(self.folder))
        aside = self.folder / f".writing-{own_mark()}-{entry.folder_name}"
        shutil.rmtree(aside, ignore_errors=True)
        files = {f"{_FILES}/{path}": content for path, content in payload.items()}
        try:
            for path, content in (files | {_MANIFEST: encode_manifest(entry)}).items():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                with open(aside / path, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for folder in [aside, *(path for path in aside.rglob("*") if path.is_dir())]:
                _sync_folder(folder)
            self._put_in_place(aside, entry.folder_name)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _sync_folder(self.folder)

    def _put_in_place(self, aside: Path, name: str) -> None:
        for attempt in range(_ATTEMPTS):
            self._make_room(name)
            try:
                os.rename(aside, self.folder / name)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or attempt == _ATTEMPTS - 1:
                    raise

    def _make_room(self, name: str) -> None:
        """Remove what stands in the place of an entry if it is one, else rename it."""
        place = self.folder / name
        before = _status(place)
        if (entry := self._load(name)) is not None:
            self.remove(entry)
        elif self._is_leftover(name):
            shutil.rmtree(place, ignore_errors=True)
        elif before and (now := _status(place)) and os.path.samestat(before, now):  # not one that has just come
            _set_aside(place, place)

    def entries(self, study: str | None = None) -> list[Entry]:
        """All entries, or those of one study, oldest first. What cannot be read is left out, with a warning."""
        entries = [entry for name in self._names() if (entry := self._load(name)) is not None]
        chosen = (entry for entry in entries if study in (None, entry.study))
        return sorted(chosen, key=lambda entry: (entry.written_ns, entry.folder_name))

    def has(self, entry: Entry) -> bool:
        """Whether exactly this entry is there still: another driver may have sent or replaced it."""
        return self._load(entry.folder_name) == entry

    def read(self, entry: Entry, path: str) -> bytes | None:
        """An artifact that waits, or None if it cannot be read or differs from the manifest's sha256."""
        file = self.file(entry, path)
        if not _is_real(file, stat.S_ISREG):
            return None
        try:
            content = file.read_bytes()
        except OSError:
            return None
        return content if digest(content) == entry.digests[path] else None

    def file(self, entry: Entry, path: str) -> Path:
        """Where an artifact of an entry lies."""
        return self.folder / entry.folder_name / _FILES / path

    def holding(self, committed: Committed) -> Iterator[Entry]:
        """The entries of this step with exactly these artifacts."""
        prefix = f"{committed.step_id}."  # a glob would compile its pattern for every one of thousands of steps
        for name in self._names():
            entry = self._load(name) if name.startswith(prefix) else None
            if entry is not None and dict(entry.digests) == dict(committed.artifacts):
                yield entry

    def remove(self, entry: Entry) -> None:
        """Forget an entry, if it is there. Files that others have put beside its own stay, under another name."""
        folder = self.folder / entry.folder_name
        aside = self.folder / f".removing-{own_mark()}-{entry.folder_name}"
        try:
            os.rename(folder, aside)
        except FileNotFoundError:  # another driver was faster
            return
        except OSError as error:
            log.warning("cannot remove %s: %s; it will be sent again", folder, error.strerror)
            return
        for path in (*(f"{_FILES}/{path}" for path in entry.digests), _MANIFEST):
            with contextlib.suppress(OSError):
                (aside / path).unlink()
        for place, _, _ in os.walk(aside, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(place)
        if os.path.lexists(aside):
            _set_aside(aside, folder)

    def leftovers(self) -> list[Path]:
        """Folders that killed drivers left half written or half removed, and that hold nothing else."""
        return [self.folder / name for name in self._names() if self._is_leftover(name)]

    def sweep(self) -> None:
        """Remove the leftovers."""
        for folder in self.leftovers():
            shutil.rmtree(folder, ignore_errors=True)

    def unknown(self) -> list[Path]:
        """What is in the outbox and is neither an entry, nor a leftover, nor being written: it is never removed."""
        return [self.folder / name for name in self._names() if not self._is_known(name)]

    def _is_known(self, name: str) -> bool:
        if _ASIDE.fullmatch(name):
            return _has_our_layout(self.folder / name)
        if _EARLIER_ASIDE.fullmatch(name):
            return _has_our_layout(self.folder / name) and not os.path.lexists(self.folder / name / _MANIFEST)
        return self._load(name) is not None or self._is_leftover(name)

    def _names(self) -> list[str]:
        """Names of all that is in the folder; none where there is no folder."""
        try:
            return sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []

    def _load(self, name: str) -> Entry | None:
        """The entry in the folder of this name; None where there is none, with a warning if there is a manifest."""
        folder = self.folder / name
        if not _ENTRY.fullmatch(name) or not _is_real(folder, stat.S_ISDIR):
            return None
        manifest = folder / _MANIFEST
        if not _is_real(manifest, stat.S_ISREG):
            return None
        try:
            entry = check_entry(decode_manifest(manifest.read_bytes()))
            if entry.folder_name == name:
                return entry
            reason = "it is that of another folder"
        except FileNotFoundError:  # another driver has just sent it
            return None
        except OSError as error:
            reason = str(error.strerror)
        except ValueError as error:
            reason = str(error)
        _warn(manifest, reason)
        return None

    def _is_leftover(self, name: str) -> bool:
        folder = self.folder / name
        if match := _ASIDE.fullmatch(name):
            return _has_our_layout(folder) and is_abandoned(folder, match[1])
        if os.path.lexists(folder / _MANIFEST) or not _has_our_layout(folder):
            return False
        if _EARLIER_ASIDE.fullmatch(name):  # of a process on this machine or on another one
            return unchanged_seconds(folder) > ABANDONED_SECONDS
        return _EARLIER_REMOVED.fullmatch(name) is not None


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; symbolic links are not followed."""
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(status.st_size for file in files if (status := _status(file)) and stat.S_ISREG(status.st_mode))


@functools.cache
def _warn(manifest: Path, reason: str) -> None:
    """Cached: every look at the outbox meets the same manifests, and one line of each is enough."""
    log.warning("%s cannot be read (%s): its step counts as not done; the folder is left as it is", manifest, reason)


def _set_aside(path: Path, place: Path) -> None:
    """Rename what is no entry, so that it cannot be taken for one."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    target = place.with_name(f"{place.name}.set-aside-{stamp}")
    with contextlib.suppress(FileNotFoundError):  # another driver was faster
        os.rename(path, target)
        log.warning("%s holds what Halfwave did not write, or cannot read: renamed to %s", place, target.name)


def _status(path: Path) -> os.stat_result | None:
    """Of the path itself, be it a symbolic link; None where there is nothing."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def _is_real(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Whether a path is of this kind itself, not by a symbolic link."""
    status = _status(path)
    return status is not None and is_kind(status.st_mode)


def _has_our_layout(folder: Path) -> bool:
    """Whether a folder holds nothing but what an entry can hold: a manifest, and regular files below `files`."""
    if not _is_real(folder, stat.S_ISDIR):
        return False
    for place, folders, files in os.walk(folder):
        is_top = Path(place) == folder
        if is_top and not (set(folders) <= {_FILES} and set(files) <= {_MANIFEST}):
            return False
        links = [name for name in folders if not _is_real(Path(place, name), stat.S_ISDIR)]
        if links or not all(_is_real(Path(place, name), stat.S_ISREG) for name in files):
            return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
