"""The root of all errors that a user can fix, the hint that ends many of their messages, and any text on one line.

Every message is one line: where the problem is (in the study file), the value, what is allowed, and the fix. The
command line prints it without a traceback and exits with 2. Only `Mistakes` has several such lines. These errors cross
Ray, so each survives a pickle round trip.
"""

import difflib
import itertools
import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

ERROR_LENGTH = 500
"""Characters of an error on one line."""


class StudyError(Exception):
    """An error that a user can fix; `str(error)` is one printable line, whatever names and data it was made from."""

    def __str__(self) -> str:
        return printable(super().__str__())


class Mistakes(StudyError):
    """Everything that is wrong with a study file; `str(error)` is one line for each mistake."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(map(printable, lines)))

    def __str__(self) -> str:
        return Exception.__str__(self)

    def __reduce__(self) -> tuple[type["Mistakes"], tuple[list[str]]]:
        return Mistakes, (str(self).split("\n"),)


class DataRootError(StudyError):
    """Evaluation data that only a local folder can have, where the study has no data root."""


class InterventionError(StudyError):
    """An intervention could not be applied, or its application could not be verified.

    Never caught in order to continue: results without the intervention would pass for results with it.
    """


class TextError(StudyError):
    """A model cannot score the texts of a request as the study file asks for them."""


def printable(text: str) -> str:
    """The text on one line, with what cannot be printed escaped: it neither steers a terminal nor forges a line.

    Escaped are control characters, line ends of every kind, and marks that change the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def did_you_mean(value: str, allowed: Iterable[str], listed: str = "") -> str:
    """The end of an error message: a suggestion for a mistyped value.

    Returns '; did you mean X?' where an allowed value is close; else '; `listed` lists them' where `listed` names a
    command or page that does; else the allowed values; else an empty text.
    """
    allowed = sorted(set(map(str, allowed)))
    close = difflib.get_close_matches(value, allowed, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if listed:
        return f"; {listed} lists them"
    return f"; allowed: {', '.join(allowed)}" if allowed else ""


def shown(value: Any) -> str:
    """A value of a JSON file as a message shows it: in JSON's words, short, on one line."""
    try:
        text = _json(value, ensure_ascii=False)
        text = text if text.isprintable() else _json(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):  # not of JSON, or too large for it
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:45]}...{text[-10:]}"


def _json(value: Any, *, ensure_ascii: bool) -> str:
    """The value as JSON, or the beginning of one that would be endless: a list may hold another one many times."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=ensure_ascii)
    pieces = json.JSONEncoder(ensure_ascii=ensure_ascii).iterencode(value)
    return "".join(itertools.islice(pieces, 1000))


def one_line(error: Exception | str, length: int = ERROR_LENGTH) -> str:
    """The whole text of an error on one line of at most `length` characters.

    Line breaks and runs of white space become single spaces, and what cannot be printed is escaped. A text that is too
    long ends after a whole word, with ` ...`: half a secret would no longer be recognised as one. An exception without
    a text, or whose first word is too long, is named by its type.
    """
    text = printable(" ".join(str(error).split()))
    line = textwrap.shorten(text, length, placeholder=" ...", break_on_hyphens=False)
    if line not in ("", "...") or isinstance(error, str):
        return line
    return f"{type(error).__name__} {line}".strip()


def describe(error: Exception) -> str:
    """Why something failed, on one line: the text of a StudyError; any other error is named by its type as well."""
    return str(error) if isinstance(error, StudyError) else f"{type(error).__name__}: {one_line(str(error))}"


def is_utf8(name: object) -> bool:
    """Whether a name of the file system is UTF-8 text; Python holds any other bytes in it as halves of characters."""
    try:
        str(name).encode()
    except UnicodeEncodeError:
        return False
    return True


def why_unreadable(error: OSError | ValueError) -> str:
    """Why a file could not be read, without its path, which the message names already."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return getattr(error, "strerror", None) or one_line(error)


def first_line(error: Exception | str) -> str:
    """As `one_line`, without what follows the first line: for errors that go on with a traceback or general hints."""
    lines = str(error).strip().splitlines()
    return one_line(lines[0] if lines else error)


def unformulated(value: Any) -> Any:
    """A cell of a CSV file; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
