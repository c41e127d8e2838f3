"""Reads the files that a study names: ordinary ones, of a bounded size.

Owns the bounds, and the refusal of what may never end: pipes, sockets and devices, whatever link leads to them. They
are told apart after opening, which waits for nobody, so that no other file can take their place meanwhile.
Invariant: what is read fits into memory, or a StudyError of one line says how large it may be.
"""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from studies.errors import StudyError

MAX_DATA = 2**30
"""Bytes of a corpus, or of a file of items."""
MAX_LINE = 2**24
"""Characters of one line of items."""
MAX_SMALL = 2**28
"""Bytes of a model's file that is not its weights, of a table of neurons and of a pickle."""
MAX_WEIGHTS = 2**40
"""Bytes of one file of weights."""


def open_ordinary(path: Path, most: int = MAX_DATA) -> io.BufferedReader:
    """An ordinary file of at most `most` bytes, to be read.

    Raises StudyError, naming the file, for one that is larger or of another kind, and OSError where it cannot be read.
    """
    require_ordinary(path, most)
    stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    try:
        _require(path, os.fstat(stream.fileno()), most)
    except StudyError:
        stream.close()
        raise
    return stream


def require_ordinary(path: Path, most: int = MAX_DATA) -> None:
    """Raise StudyError for a pipe, a socket, a device, or a file of more than `most` bytes.

    A folder passes, and so does nothing at all: whoever opens it says what is wrong.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return
    if not stat.S_ISDIR(found.st_mode):
        _require(path, found, most)


def _require(path: Path, found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise StudyError(f"{path} cannot be read: it is not an ordinary file")
    if found.st_size > most:
        raise StudyError(f"{path} has {_size(found.st_size)}; at most {_size(most)} of such a file are read")


def read_bytes(path: Path, most: int = MAX_DATA) -> bytes:
    """The content of a file. Raises as `open_ordinary`, also for one that is larger than it says."""
    with open_ordinary(path, most) as stream:
        pieces, size = [], 0
        while piece := stream.read(2**20):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise StudyError(f"{path} has more than {_size(most)}, the most that is read of such a file")
    return b"".join(pieces)


def read_text(path: Path, encoding: str = "utf-8", most: int = MAX_DATA) -> str:
    """The text of a file, its line ends as `\\n`. Raises as `read_bytes`, and UnicodeDecodeError."""
    with io.TextIOWrapper(io.BytesIO(read_bytes(path, most)), encoding=encoding) as text:
        return text.read()


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """(number from 1 on, line) of a file. Raises as `read_text`, and StudyError for a line of more than `MAX_LINE`."""
    with io.TextIOWrapper(open_ordinary(path), encoding=encoding) as text:
        number = 0
        while line := text.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise StudyError(f"{path}:{number}: a line has at most {MAX_LINE:,} characters")
            yield number, line


def _size(num_bytes: int) -> str:
    """`512 MiB`; exact where it is small."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:,.4g} {name}"
    return f"{num_bytes:,} bytes"
