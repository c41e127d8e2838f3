"""Rows of local data files, read so that every error names its file and line; and which of them a smaller run keeps.

Owns the jsonl format: one JSON object a line, UTF-8, blank lines skipped but counted, no key twice, no NaN; and how a
row is named, by itself or by its number. Knows no benchmark: which fields a row needs is the caller's business.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from studies.errors import StudyError, shown, why_unreadable
from studies.files import lines

TEXT_ENCODING = "utf-8-sig"
"""UTF-8 with or without the byte-order mark that Windows editors write."""
_METRIC_PART = re.compile(r"\w[\w.: -]{0,99}")

Row = dict[str, Any]
"""One JSON object; `Any` because a file may hold any JSON value, and callers check what they use."""


def read_jsonl(path: Path, limit: int | None = None) -> list[tuple[int, Row]]:
    """(line number, object) of every line, or of the first `limit` objects. Raises StudyError naming file and line."""
    rows: list[tuple[int, Row]] = []
    try:
        for number, line in lines(path, TEXT_ENCODING):
            if limit is not None and len(rows) >= limit:
                break
            if line.strip():
                rows.append((number, _parse(line, f"{path}:{number}")))
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {why_unreadable(error)}") from None
    return rows


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant)
        if "\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise StudyError(f"{where}: not text: a \\ud800 to \\udfff is half of a character; write both halves") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        raise StudyError(f"{where}: not JSON ({reason}); write one object a line: {{...}}") from None
    if not isinstance(row, dict):
        raise StudyError(f"{where}: every line must be a JSON object, found {type(row).__name__}")
    return row


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object. Raises ValueError where it has a key twice: the first value would be lost silently."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(key for key in keys if keys.count(key) > 1))} occurs twice")
    return row


def _no_constant(name: str) -> NoReturn:
    """For `json.loads`, which would accept NaN and Infinity."""
    raise ValueError(f"{name} is no JSON value")


def required_texts(row: Row, where: str, *fields: str) -> list[str]:
    """The texts in these fields. Raises StudyError if one is missing, empty or not a text; `where` is file and line."""
    for field in fields:
        if not isinstance(row.get(field), str) or not row[field].strip():
            found = f"found {shown(row[field])}" if field in row else f"it has none{_keys(row)}"
            raise StudyError(f"{where}: every line needs a non-empty text {field!r}; {found}")
    return [row[field] for field in fields]


def _keys(row: Row) -> str:
    """`; its keys are "good", "bad"`, the first six; empty where the row has none."""
    return f"; its keys are {', '.join(map(shown, list(row)[:6]))}" if row else ""


def require_metric_part(value: str, where: str, what: str) -> None:
    """Raise StudyError unless the value can stand in the name of a metric; where: file and line; what: the value's."""
    if not _METRIC_PART.fullmatch(value) or value in ("accuracy", "all"):
        raise StudyError(
            f"{where}: {what} {value!r} names a metric: use letters, digits, spaces, '_', '-', '.' and ':', at most "
            "100, and neither 'accuracy' nor 'all'"
        )


def optional_name(row: Row, where: str, *fields: str) -> str | None:
    """The text or whole number in the first of these fields that the row has; None where it has none of them.

    Raises StudyError for any other value: `null` is no name.
    """
    for field in fields:
        if field in row:
            value = row[field]
            if not (value.strip() if isinstance(value, str) else type(value) is int):
                allowed = "a non-empty text or a whole number"
                raise StudyError(f"{where}: {field!r} must be {allowed}; found {shown(value)}; leave it out for none")
            return str(value)
    return None


class _Row(NamedTuple):
    """A row that has a name."""

    where: str
    """File and line."""
    named_itself: bool
    """Whether the name stands in the row; else it is the row's number."""


class RowNames:
    """The names of rows, each of which may occur once: the one that a row has, else its number."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}

    def add(self, given: str | None, index: int, where: str, group: str = "") -> str:
        """The name of a row. Raises StudyError, with file and line, where another row of the group has it.

        given: the name in the row, if it has one. index: its number. where: file and line.
        """
        name, row = str(index) if given is None else given, _Row(where, given is not None)
        other = self._rows.setdefault((group, name), row)
        if other is row:
            return name
        if other.named_itself and row.named_itself:
            raise StudyError(f"{where}: the id {shown(name)} is that of {other.where}; give each row an id of its own")
        raise StudyError(
            f"{where}: the id {shown(name)} is that of {other.where}, as rows without an id are numbered from 0; give "
            "all rows an id, or none"
        )


def data_files(folder: Path, *patterns: str) -> list[Path]:
    """Files of the first pattern that matches any, sorted. Raises StudyError if the folder is missing or none match."""
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder}, which should hold {' or '.join(patterns)}")
    for pattern in patterns:
        if files := sorted(folder.glob(pattern)):
            return files
    raise StudyError(f"{folder} holds no {' or '.join(patterns)}")


def evenly(available: int, wanted: int) -> list[int]:
    """Indices of `wanted` rows among `available`, evenly spaced: floor(i * available / wanted), i = 0 .. wanted - 1."""
    return [i * available // wanted for i in range(wanted)]
