"""Files that a study names: what never ends, and what is too large, is one line."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from studies import files
from studies.errors import StudyError
from studies.files import lines, open_ordinary, read_bytes, read_text

pytestmark = pytest.mark.timeout(30)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the name of a socket is short
        server.bind(path.name)


def make_link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


READERS: dict[str, Callable[[Path], object]] = {
    "bytes": read_bytes,
    "text": read_text,
    "lines": lambda path: list(lines(path)),
    "stream": lambda path: open_ordinary(path).close(),
}


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_link_to_zeros])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_never_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    (tmp_path / "link").symlink_to("x")
    for path in (tmp_path / "x", tmp_path / "link"):
        with pytest.raises(StudyError) as error:
            read(path)
        assert str(error.value) == f"{path} cannot be read: it is not an ordinary file"


def test_a_pipe_that_takes_the_place_of_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pipe(tmp_path / "x")
    monkeypatch.setattr(files, "require_ordinary", lambda path, most: None)
    with pytest.raises(StudyError) as error:
        read_bytes(tmp_path / "x")
    assert str(error.value) == f"{tmp_path}/x cannot be read: it is not an ordinary file"


def test_the_bound_stands_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    os.truncate(path, 2**41)  # takes no room
    with pytest.raises(StudyError) as error:
        read_text(path)
    assert str(error.value) == f"{path} has 2 TiB; at most 1 GiB of such a file are read"
    os.truncate(path, 1001)
    with pytest.raises(StudyError) as error:
        read_bytes(path, 1000)
    assert str(error.value) == f"{path} has 1,001 bytes; at most 1,000 bytes of such a file are read"
    with pytest.raises(StudyError) as error:
        read_bytes(Path("/proc/self/status"), 10)  # says that it is empty
    assert str(error.value) == "/proc/self/status has more than 10 bytes, the most that is read of such a file"


def test_a_line_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE", 1000)
    (tmp_path / "x").write_text("a\n" + "b" * 1000 + "\n")
    with pytest.raises(StudyError) as error:
        list(lines(tmp_path / "x"))
    assert str(error.value) == f"{tmp_path}/x:2: a line has at most 1,000 characters"


def test_ordinary_files_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("\ufeffä\r\nb\rc".encode())
    assert read_text(tmp_path / "x", "utf-8-sig") == (tmp_path / "x").read_text("utf-8-sig") == "ä\nb\nc"
    assert list(lines(tmp_path / "x", "utf-8-sig")) == [(1, "ä\n"), (2, "b\n"), (3, "c")]
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)
