"""Standard output and error of the command, whatever is behind them.

Owns three promises. A reader that goes away, or a disk that is full, ends the printing and never the work. What a
terminal cannot show is replaced, and what is logged cannot steer it. And whatever the locale, names and files are
UTF-8, as on every other machine: where the locale says otherwise, Python is started again in its UTF-8 mode, which its
children inherit. Only the entry point of the command prepares streams, and only it says where the log goes.
"""

import codecs
import errno
import io
import locale
import logging
import os
import re
import select
import sys
from pathlib import Path
from typing import Any, TextIO

from studies.errors import StudyError, printable

said = logging.getLogger("halfwave.said")
"""What the command prints as messages, for the log file alone: standard error has it already."""


def prepare() -> None:
    """Put streams that keep these promises in the place of `sys.stdout` and `sys.stderr`; perhaps start Python again.

    Streams that somebody has replaced already are left alone.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return
    _start_again_in_utf8_mode()
    for descriptor in (0, 1, 2):
        _require_open(descriptor)
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr, always_escape=True)


def goes_on_without(notice: str) -> None:
    """For a verb that works, not only prints: say this on standard error, once, when nobody reads its output any more.

    Then output that is lost is no error either.
    """
    output = _output()
    if output is not None:
        output.notice = notice


def is_lost() -> bool:
    """Whether what a verb was to print is lost, for another reason than that its reader had read enough."""
    output = _output()
    if output is None or output.notice:
        return False
    sys.stdout.flush()
    return output.error is not None and output.error.errno not in READER_GONE


def log_to_stderr(level: int) -> None:
    """From now on log messages go to standard error, each as text: none of them can look like another one."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneMessage("%(levelname)s %(message)s"))
    handler.setLevel(level)
    logging.basicConfig(level=level, handlers=[handler])
    said.propagate = False
    for noisy in ("urllib3", "filelock", "httpx", "httpcore", "matplotlib", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_to_file(file: Path) -> None:
    """From now on log messages of every level also go to the end of a file, with their times, and so does `said`.

    Raises StudyError if the file cannot be written."""
    file = Path(os.path.expanduser(file))
    try:
        handler = _LogFile(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise StudyError(
            f"--log-file: {file} cannot be written: {error.strerror}; name a file in a folder that exists and in which "
            "you may write"
        ) from None
    handler.setFormatter(_OneMessage("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)  # the handler of standard error has a level of its own
    root.addHandler(handler)
    said.addHandler(handler)
    said.setLevel(logging.DEBUG)


class _LogFile(logging.FileHandler):
    """A log file that may fill its disk: that is said once, and costs the log alone."""

    def handleError(self, _: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        for logger in (logging.getLogger(), said):
            logger.removeHandler(self)
        print(f"halfwave: --log-file: {self.baseFilename} cannot be written any more: {error}", file=sys.stderr)


class _OneMessage(logging.Formatter):
    """A message with its further lines indented."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(printable, super().format(record).split("\n")))


def plain(text: str) -> str:
    """Text of others, as a terminal may get it: its lines as they are, without colours and other control characters."""
    return "\n".join(map(printable, _COLOUR.sub("", text).replace("\r\n", "\n").expandtabs().split("\n")))


_COLOUR = re.compile(r"\x1b\[[\d;]*m")

READER_GONE = (errno.EPIPE, errno.EIO)
"""Errors of a pipe that nobody reads any more, and of a terminal that was closed."""


class Output(io.FileIO):
    """A descriptor that takes everything: what cannot be written is dropped, from the first failure on."""

    error: OSError | None = None
    """The failure."""
    notice = ""
    """What to say on standard error if the reader has gone away; empty where that is all that a reader wanted."""

    def write(self, data: Any, /) -> int:
        """Write all of it, or drop it."""
        size = memoryview(data).nbytes
        try:
            while (written := super().write(data)) is None:  # a descriptor that does not block, and is full
                select.select([], [self], [])
            return written
        except OSError as error:
            self._drop_the_rest(error)
            return size

    def _drop_the_rest(self, error: OSError) -> None:
        self.error = error
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())  # what others write there is dropped as well
        os.close(nothing)
        notice = self.notice
        if error.errno not in READER_GONE:
            notice = f"standard output cannot be written ({error.strerror}); what follows is lost"
        if notice and self.fileno() == 1:
            print(f"halfwave: {notice}", file=sys.stderr)


def _output() -> Output | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, Output) else None


def _stream(descriptor: int, before: TextIO | None, *, always_escape: bool = False) -> TextIO:
    """A text stream on a descriptor, in the encoding of the one before."""
    raw = Output(descriptor, "w", closefd=False)
    encoding = codecs.lookup(before.encoding).name if before is not None and before.encoding else "utf-8"
    shown_as = "backslashreplace" if always_escape or encoding == "utf-8" else "replace"
    if before is not None:
        before.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=shown_as, line_buffering=always_escape or raw.isatty()
    )


def _require_open(descriptor: int) -> None:
    """Open nothing in the place of a closed descriptor, lest a file that is opened later gets its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != descriptor:
            os.dup2(nothing, descriptor)
            os.close(nothing)


def _start_again_in_utf8_mode() -> None:
    encodings = (sys.getfilesystemencoding(), locale.getencoding())
    if sys.flags.utf8_mode or all(codecs.lookup(name).name == "utf-8" for name in encodings):
        return
    shown = sys.stdout.encoding if sys.stdout is not None else "ascii"  # of the terminal, which stays as it is
    environment = {"PYTHONIOENCODING": shown, **os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)
