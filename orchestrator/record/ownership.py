"""Which process owns a file: the mark in the names of what a process is writing, and a lock that one process holds.

A mark names machine, process id and start time, so that what a killed process left behind can be told from what another
one is still writing, and from what is not ours at all. A process on another machine (or in another container) cannot be
asked; what it left counts as abandoned once nothing in it has changed for `ABANDONED_SECONDS`.
Knows nothing of stores and entries.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARK = r"halfwave-[0-9a-f]{12}-\d{1,10}-\d{1,16}"
"""Pattern of a mark: machine, process id, and when the process started, in milliseconds since 1970."""
ABANDONED_SECONDS = 86_400.0
"""A day: what lies about longer costs only disk space."""

TOLD_SECONDS = 3.0
"""How long a process waits for a lock before it says so."""
PATIENCE_SECONDS = 300.0
"""How long a process waits for a lock at all."""
STALE_SECONDS = 120.0
"""Age at which a lock counts as left by a killed process, where the file system has no locks of its own."""


def own_mark() -> str:
    """The mark of this process."""
    process = psutil.Process()
    return f"halfwave-{_machine_digest()}-{process.pid}-{process.create_time() * 1000:.0f}"


def is_abandoned(path: Path, mark: str) -> bool:
    """Whether the process that made `path` under this mark is gone, as far as this machine can tell."""
    _, machine, pid, started = mark.split("-")
    if machine != _machine_digest():
        return unchanged_seconds(path) > ABANDONED_SECONDS
    return not is_running(int(pid), int(started) / 1000)


def is_running(pid: int, started: float) -> bool:
    """Whether a process of this machine still runs; `started` in seconds since 1970."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def other_user(file: Path) -> int | None:
    """The id of another process that has the file (by its real path) open; None where none is seen from here."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(used.path == str(file) for used in process.open_files()):
                return process.pid
    return None


def unchanged_seconds(path: Path) -> float:
    """How long nothing in a file or folder has changed; symbolic links are not followed."""
    walk = () if path.is_symlink() else os.walk(path)
    places = [path, *(Path(place, name) for place, folders, files in walk for name in (*folders, *files))]
    newest = 0.0
    for place in places:
        with contextlib.suppress(OSError):  # gone meanwhile
            newest = max(newest, os.lstat(place).st_mtime)
    return time.time() - newest


@functools.cache
def _machine_digest() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:12]


def machine() -> str:
    """Boot and process namespace: equal for processes that see each other's process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux: the host's name is the best substitute
        return platform.node()


# -- locks -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sole_holder(lock: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """A context in which no other process holds the lock at this path; the file is removed afterwards.

    `on_wait` is called with the holder's name if this process has to wait for more than a moment. Raises TimeoutError,
    with the holder's name, after PATIENCE_SECONDS; OSError if there can be no file at this path."""
    start, is_told = time.monotonic(), False
    while (release := try_lock(lock)) is None:
        waited = time.monotonic() - start
        if waited > PATIENCE_SECONDS:
            raise TimeoutError(_holder(lock))
        if waited > TOLD_SECONDS and not is_told:
            on_wait(_holder(lock))
            is_told = True
        time.sleep(0.05)
    try:
        yield
    finally:
        release()


def try_lock(lock: Path) -> Callable[[], None] | None:
    """Lock the file at this path, made if need be. Returns the function that releases it, None if another has it."""
    handle = _open_lock(lock)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a file system without locks
        os.close(handle)
        _remove(lock)
        return _try_exclusive(lock.with_name(f"{lock.name}-exclusive"))
    return _held(lock, handle)


def _open_lock(lock: Path) -> int:
    flags = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(lock, flags | os.O_RDWR, 0o666)
    except PermissionError:
        if not lock.exists():
            raise
        return os.open(lock, flags & ~os.O_CREAT | os.O_RDONLY)  # another user's; it can be locked all the same


def _try_exclusive(lock: Path) -> Callable[[], None] | None:
    try:
        return _held(lock, os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        if unchanged_seconds(lock) > STALE_SECONDS:
            stale = lock.with_name(f"{lock.name}-{own_mark()}")
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.rename(lock, stale)
                os.unlink(stale)
        return None


def _held(lock: Path, handle: int) -> Callable[[], None] | None:
    """The function that releases a lock whose open file this is; None if the file has been removed meanwhile."""
    if not _is_at(lock, handle):
        os.close(handle)
        return None
    with contextlib.suppress(OSError):  # read only or a full disk: the name of the holder is a courtesy
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}".encode(), 0)

    def release() -> None:
        if _is_at(lock, handle):
            _remove(lock)
        os.close(handle)

    return release


def _is_at(lock: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(lock))
    except FileNotFoundError:
        return False


def _remove(lock: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(lock)


def _holder(lock: Path) -> str:
    """`process 7 on host`, or `another process` where the lock does not say."""
    for file in (lock, lock.with_name(f"{lock.name}-exclusive")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = file.read_text(encoding="utf-8")
            if re.fullmatch(r"process \d+ on [\w.\-]+", text):
                return text
    return "another process"
