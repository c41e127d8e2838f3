"""Proves that what an actor loads is what was pinned: the files on its own node, before and after it reads them.

Owns the comparison with the digests of a source, and the digests that a node remembers. The digest decides, never the
signature: a signature that the node does not know means that the file is read, once a node, at about 1 GB a second. A
file that is gone, new, different, or touched while it is loaded is a StudyError; so is, of the hub, a file that does
not come from the pinned commit.

A node's digests lie in the user's cache folder: on the node's own disk as a rule, kept between sessions, and not
writable for others, as a temporary folder may be.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from actors.messages.model import ModelSource
from actors.model_files import FileDigests, blob_digest, model_files, sha256, signature
from studies.errors import StudyError

log = logging.getLogger(__name__)

LOGGED_BYTES = 2**30
"""Files that are hashed without a word in the log."""
_GIT_ID = re.compile("[0-9a-f]{40}")


@contextmanager
def unchanged(source: ModelSource) -> Iterator[None]:
    """Around whatever loads the source. Raises StudyError if its files are not those that were pinned, or change.

    An error of the loader is raised as it is where the files are in order, else as the cause of the StudyError.
    """
    before = verify(source)
    try:
        yield
    except Exception as error:
        try:
            _require_untouched(source, before, verify(source))
        except StudyError as change:
            raise change from error
        raise
    _require_untouched(source, before, verify(source))


def verify(source: ModelSource) -> dict[str, str]:
    """{file: its signature}, of the source's files on this node, each compared with its digest.

    A hub model need not be there yet; of a local folder that nobody has pinned, nothing is known and nothing checked.
    Raises StudyError, one line, for the first file that is not what was pinned.
    """
    is_local = source.revision is None
    folder = Path(source.path) if is_local else _snapshot(source)
    if not (source.files if is_local else folder.is_dir()):
        return {}
    try:
        files = model_files(folder, pickled=source.pickled)
        signatures = {name: signature(path) for name, path in files.items()}
        (_verify_folder if is_local else _verify_snapshot)(source, folder, files)
    except OSError as error:
        raise StudyError(
            f"{source.label}: {error.filename or folder} cannot be read on {platform.node()}: {error.strerror}"
        ) from None
    return signatures


def _require_untouched(source: ModelSource, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raises StudyError for the first file that somebody touched. A hub's files may come while they are loaded."""
    for name, signed in before.items():
        if after.get(name) != signed:
            raise StudyError(
                f"{source.label}: {name} in {source.path} changed while it was loaded on {platform.node()}; run again "
                "once nothing writes there"
            )


# -- local folders ---------------------------------------------------------------------------------------------------


def _verify_folder(source: ModelSource, folder: Path, files: Mapping[str, Path]) -> None:
    digests = _digests(source.label, {name: path for name, path in files.items() if name in source.files}, source.files)
    for name in sorted({*source.files, *files}):
        if name not in files:
            problem = "is gone"
        elif name not in source.files:
            problem = "is new"
        elif digests[name] != source.files[name]:
            problem = f"is another file (sha256 {digests[name][:12]}, not {source.files[name][:12]})"
        else:
            continue
        raise StudyError(
            f"{source.label}: {folder / name} on {platform.node()} {problem}: not the model that the study was planned "
            "with; run again, and the model as it is now gets steps of its own"
        )


def _digests(label: str, files: Mapping[str, Path], expected: Mapping[str, str]) -> dict[str, str]:
    """{file: its sha256}, as the node remembers it; where that is not what is expected, of the content itself."""
    digests = FileDigests(cache_file())
    if unknown := [path for path in files.values() if not digests.knows(path)]:
        with _one_at_a_time(unknown[0].parent):
            digests = FileDigests(cache_file())  # another actor of this node may have read them meanwhile
            _read(label, digests, [path for path in unknown if not digests.knows(path)])
    return {
        name: expected[name] if digests.sha256(path) == expected[name] else sha256(path) for name, path in files.items()
    }


def _read(label: str, digests: FileDigests, files: list[Path]) -> None:
    started, num_bytes = time.monotonic(), sum(path.stat().st_size for path in files)
    if num_bytes > LOGGED_BYTES:
        log.warning("%s: hashing %.1f GB, once on %s", label, num_bytes / 1e9, platform.node())
    for path in files:
        digests.sha256(path)
    digests.save()
    log.info("%s: hashed %d files in %.1f s", label, len(files), time.monotonic() - started)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for other actors of this node that read the folder; on file systems without locks, all of them read it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def cache_file() -> Path:
    """Where this node remembers digests: in $XDG_CACHE_HOME, else ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path(os.path.expanduser("~"), ".cache")) / "halfwave/digests.json"


# -- the hub ---------------------------------------------------------------------------------------------------------


def _snapshot(source: ModelSource) -> Path:
    """The folder of the pinned commit in the hub's cache. Raises StudyError where loaders would prefer another one."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if os.path.isdir(source.path):
        raise StudyError(
            f"{source.label}: loaders prefer the folder {os.path.abspath(source.path)} to the hub's {source.path}; run "
            f"from another folder, or write path: ./{source.path} beside the model"
        )
    assert source.revision is not None
    repository = repo_folder_name(repo_id=source.path, repo_type="model")
    return Path(constants.HF_HUB_CACHE, repository, "snapshots", source.revision)


def _verify_snapshot(source: ModelSource, folder: Path, files: Mapping[str, Path]) -> None:
    expected = {name: source.files.get(name) or blob_digest(path) for name, path in files.items()}
    in_lfs = {name: path for name, path in files.items() if expected[name] and not _GIT_ID.fullmatch(expected[name])}
    digests = _digests(source.label, in_lfs, expected)
    for name, path in files.items():
        found = digests.get(name) or _git_id(path)
        if not expected[name]:
            problem = _not_of_commit(source, folder, path)
        elif found != expected[name]:
            problem = f"holds other content ({found[:12]}, not {expected[name][:12]})"
        else:
            problem = ""
        if problem:
            raise StudyError(
                f"{source.label}: {path} on {platform.node()} {problem}: not {source.path} at {source.revision}; "
                f"remove {path.resolve()} and run again, and it is fetched anew"
            )


def _not_of_commit(source: ModelSource, folder: Path, path: Path) -> str:
    """Why a file without a digest cannot be one of the commit; '' where nothing speaks against it."""
    if path.is_symlink() and path.resolve().parent != folder.resolve().parent.parent / "blobs":
        return "is a link that leaves the cache"
    return "is not in the commit" if source.files and not path.is_symlink() else ""


def _git_id(path: Path) -> str:
    """The id that git gives to the content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
