"""sha256 of local files, remembered by (path, size, time of change), so that a resume need not read the weights.

Owns `digests.json` in the working folder. It is a cache: without it, or with anything else in its place, files are read
again. Refuses to know what a digest is for.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path


class DigestCache:
    """The digests that the file at `path` remembers."""

    def __init__(self, path: Path):
        self._path = path
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError):
            known = {}
        self._known = known if isinstance(known, dict) else {}

    def digest(self, files: Iterable[Path]) -> str:
        """One digest of several files, of their names and contents."""
        whole = hashlib.sha256()
        for file in files:
            key = _key(file)
            if key not in self._known:
                with file.open("rb") as stream:
                    self._known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            whole.update(f"{file.name}:{self._known[key]}\n".encode())
        return whole.hexdigest()

    def stale(self) -> list[str]:
        """The entries whose file is gone or has changed since."""
        return [key for key in self._known if not _holds(key)]

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._known.pop(key, None)

    def save(self) -> None:
        aside = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        with contextlib.suppress(OSError):  # the record reports a folder that is not writable
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(self._known, indent=0))
            os.replace(aside, self._path)  # whole or not at all: another driver may be reading it


def _key(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"


def _holds(key: str) -> bool:
    try:
        return _key(Path(key.rsplit("|", 2)[0])) == key
    except (OSError, ValueError):
        return False
