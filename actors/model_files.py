"""The files of a model's folder that loading it reads, and their sha256, remembered by signature.

The driver makes a model's identity of them; every actor compares them with what lies on its own node (`loaded_files`).
Owns which files these are, and when a remembered digest still holds: a file whose path, size, times of change or inode
differ is read again. Times include the inode's own (ctime), which no program can set back. A cache is never needed:
without it, or with anything else in its place, files are read again.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from studies.errors import StudyError
from studies.files import MAX_SMALL, MAX_WEIGHTS, open_ordinary, require_ordinary

PROVENANCE_FILE = "provenance.json"
"""{"name", "note"} of the weights' origin. The note is shown with the model's numbers; no loader reads it."""
SUFFIXES = {".json", ".safetensors", ".txt", ".jinja", ".py"}
TOKENIZER_SUFFIXES = {".model", ".tiktoken", ".spm", ".codes", ".tokenizer"}
WEIGHT_SUFFIXES = {".safetensors", ".bin"}
MAX_ENTRIES = 10_000
"""Most digests that a cache remembers, about 2 MB; the oldest go first."""
_SHA256 = re.compile("[0-9a-f]{64}")


def model_files(folder: Path, *, pickled: bool) -> dict[str, Path]:
    """{name: path} of the files that loading a model from this folder reads, sorted by name.

    pickled: whether its weights are pickles. Files that merely may be read count, too: a loader looks for
    `generation_config.json`, adapters and templates, and the code beside them may read the rest. Raises StudyError for
    one that is no ordinary file, or larger than any model needs.
    """
    suffixes = SUFFIXES | TOKENIZER_SUFFIXES | ({".bin"} if pickled else set())
    files = {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.suffix in suffixes and path.name != PROVENANCE_FILE and not path.is_dir()
    }
    for path in files.values():
        require_ordinary(path, MAX_WEIGHTS if path.suffix in WEIGHT_SUFFIXES else MAX_SMALL)
    return files


def sha256(file: Path) -> str:
    """sha256 of the file's content, in hex. Raises StudyError if the file changes while it is read."""
    return _read(file)[1]


def blob_digest(file: Path) -> str:
    """The sha256 by which the hub's cache names the file's blob; '' for a copy, or a blob outside of LFS.

    In a cache, `snapshots/<commit>/<file>` is a link to `blobs/<name>` of the same repository.
    """
    blob = file.resolve()
    of_cache = blob.parent == file.parent.resolve().parent.parent / "blobs"
    return blob.name if of_cache and _SHA256.fullmatch(blob.name) else ""


def signature(file: Path) -> str:
    """The file's path, size, mtime, ctime and inode, links followed: equal as long as nobody has touched it."""
    stat = file.stat()
    return f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}"


class FileDigests:
    """The sha256 of files, by signature, as the file at `path` remembers them."""

    def __init__(self, path: Path):
        self._path = path
        self._known = self._remembered()
        self._forgotten: set[str] = set()

    def knows(self, file: Path) -> bool:
        """Whether the file's digest is known without reading it."""
        return signature(file) in self._known

    def sha256(self, file: Path) -> str:
        """As the function `sha256`, but a file whose signature is known is not read."""
        known = self._known.get(signature(file))
        if known is None:
            unchanged, known = _read(file)
            self._known[unchanged] = known
        return known

    def forget(self, signatures: Iterable[str]) -> None:
        """Drop entries, from the file as well once it is saved."""
        self._forgotten.update(signatures)
        for known in self._forgotten:
            self._known.pop(known, None)

    def save(self) -> None:
        """Write the file, with what others have added to it meanwhile."""
        known = {**self._remembered(), **self._known}
        kept = [entry for entry in known.items() if entry[0] not in self._forgotten][-MAX_ENTRIES:]
        aside = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no result
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(dict(kept), indent=0), encoding="utf-8")
            self._keep_foreign_file()
            os.replace(aside, self._path)  # whole or not at all: others may be reading it

    def _keep_foreign_file(self) -> None:
        """Rename a file at our place that we have not written: somebody's data, or a damaged cache."""
        content = self._content()
        if os.path.lexists(self._path) and (content is None or len(_digests_in(content)) < len(content)):
            os.rename(self._path, self._path.with_name(f"{self._path.name}.set-aside-{time.time_ns()}"))

    def _remembered(self) -> dict[str, str]:
        """The entries of the file that can be digests."""
        return _digests_in(self._content() or {})

    def _content(self) -> dict[str, object] | None:
        """What the file says; None if it is no JSON object."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None


def _digests_in(content: Mapping[str, object]) -> dict[str, str]:
    return {key: digest for key, digest in content.items() if isinstance(digest, str) and _SHA256.fullmatch(digest)}


def _read(file: Path) -> tuple[str, str]:
    """(signature, sha256) of a file. Raises StudyError if it changes meanwhile."""
    before = signature(file)
    with open_ordinary(file, MAX_WEIGHTS) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if signature(file) != before:
        raise StudyError(f"{file} changed while it was read; run again once it is complete")
    return before, digest
