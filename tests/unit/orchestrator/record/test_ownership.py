"""Marks tell the files of running processes from those of dead ones; a lock has one holder."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.record import ownership
from orchestrator.record.ownership import MARK, is_abandoned, own_mark, sole_holder, try_lock, unchanged_seconds


def other_machine(mark: str) -> str:
    return re.sub(r"-[0-9a-f]{12}-", f"-{'0' * 12}-", mark)


def test_a_mark_lasts_as_long_as_its_process(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    script = "import sys; from orchestrator.record.ownership import own_mark; print(own_mark(), flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], **pipes) as process:
        mark = process.stdout.readline().strip()
        assert re.fullmatch(MARK, mark) and not is_abandoned(file, mark)
        process.kill()
        time.sleep(0.2)
        assert is_abandoned(file, mark)  # nobody has waited for it yet
    assert is_abandoned(file, mark) and not is_abandoned(file, own_mark())
    assert is_abandoned(file, re.sub(r"\d+$", "1", own_mark()))  # the process id was given again


def test_what_a_process_elsewhere_left_is_judged_by_its_age(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").touch()
    mark = other_machine(own_mark())
    assert not is_abandoned(folder, mark)
    for path in (folder / "below", folder):
        os.utime(path, (0, 0))
    assert not is_abandoned(folder, mark)  # the file within is young
    os.utime(folder / "below" / "file", (0, 0))
    assert is_abandoned(folder, mark) and unchanged_seconds(folder) > 1e9


@pytest.fixture(params=["locks", "no locks"])
def lock(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a lock on a file system with locks, and on one without."""
    if request.param == "no locks":

        def refuse(handle: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return tmp_path / "lock"


def test_a_lock_has_one_holder_and_leaves_nothing(lock: Path) -> None:
    release = try_lock(lock)
    assert release is not None and try_lock(lock) is None
    release()
    again = try_lock(lock)
    assert again is not None
    again()
    assert list(lock.parent.iterdir()) == []


def test_holders_follow_each_other(lock: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def hold() -> None:
        for _ in range(10):
            with sole_holder(lock, lambda holder: None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 40 and set(most) == {1} and list(lock.parent.iterdir()) == []


def test_one_that_waits_says_for_whom_and_not_for_ever(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "TOLD_SECONDS", 0.1)
    monkeypatch.setattr(ownership, "PATIENCE_SECONDS", 0.3)
    release, told = try_lock(lock), []
    assert release is not None
    with pytest.raises(TimeoutError) as caught, sole_holder(lock, told.append):
        raise AssertionError("entered")
    assert told == [str(caught.value)] and re.fullmatch(rf"process {os.getpid()} on [\w.\-]+", told[0])
    release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from orchestrator.record.ownership import try_lock\n"
        "held = try_lock(Path(sys.argv[1])); print('held', flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock")], **pipes) as process:
        assert process.stdout.readline() == "held\n" and try_lock(tmp_path / "lock") is None
        process.send_signal(signal.SIGKILL)
    with sole_holder(tmp_path / "lock", lambda holder: None):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_locks_an_old_one_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"

    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    release = try_lock(lock)
    assert release is not None
    (marker,) = tmp_path.iterdir()
    os.utime(marker, (0, 0))
    assert try_lock(lock) is None  # removes it
    taken = try_lock(lock)
    assert taken is not None
    release()  # by the first, which was slow: the lock is another's now
    assert try_lock(lock) is None
    taken()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "elsewhere")
    for place in (tmp_path / "none" / "lock", tmp_path / "folder", tmp_path / "link"):
        with pytest.raises(OSError):
            try_lock(place)
    assert list((tmp_path / "folder").iterdir()) == []
