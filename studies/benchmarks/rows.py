"""Rows of local data files, read so that every error names its file and line; and which of them a smaller run keeps.

Owns the jsonl format: one JSON object a line, UTF-8, blank lines skipped but counted. Knows no benchmark: which fields
a row needs is the caller's business.
"""

import json
import re
from pathlib import Path
from typing import Any

from studies.errors import StudyError, why_unreadable

TEXT_ENCODING = "utf-8-sig"
"""UTF-8 with or without the byte-order mark that Windows editors write."""
_METRIC_PART = re.compile(r"\w[\w.: -]{0,99}")

Row = dict[str, Any]
"""One JSON object; `Any` because a file may hold any JSON value, and callers check what they use."""


def read_jsonl(path: Path, limit: int | None = None) -> list[tuple[int, Row]]:
    """(line number, object) of every line, or of the first `limit` objects. Raises StudyError naming file and line."""
    rows: list[tuple[int, Row]] = []
    try:
        with path.open(encoding=TEXT_ENCODING) as lines:
            for number, line in enumerate(lines, start=1):
                if limit is not None and len(rows) >= limit:
                    break
                if line.strip():
                    rows.append((number, _parse(line, f"{path}:{number}")))
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {why_unreadable(error)}") from None
    return rows


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{where}: not JSON ({getattr(error, 'msg', error)})") from None
    if not isinstance(row, dict):
        raise StudyError(f"{where}: every line must be a JSON object, found {type(row).__name__}")
    return row


def required_texts(row: Row, where: str, *fields: str) -> list[str]:
    """The texts in these fields. Raises StudyError if one is missing, empty or not a text; `where` is file and line."""
    for field in fields:
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise StudyError(f"{where}: every line needs a non-empty text {field!r}; found {row.get(field)!r}")
    return [row[field] for field in fields]


def require_metric_part(value: str, where: str, what: str) -> None:
    """Raise StudyError unless the value can stand in the name of a metric; where: file and line; what: the value's."""
    if not _METRIC_PART.fullmatch(value) or value in ("accuracy", "all"):
        raise StudyError(
            f"{where}: {what} {value!r} names a metric: use letters, digits, spaces, '_', '-', '.' and ':', at most "
            "100, and neither 'accuracy' nor 'all'"
        )


def data_files(folder: Path, *patterns: str) -> list[Path]:
    """Files of the first pattern that matches any, sorted. Raises StudyError if the folder is missing or none match."""
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder}")
    for pattern in patterns:
        if files := sorted(folder.glob(pattern)):
            return files
    raise StudyError(f"{folder} holds no {' or '.join(patterns)}")


def evenly(available: int, wanted: int) -> list[int]:
    """Indices of `wanted` rows among `available`, evenly spaced: floor(i * available / wanted), i = 0 .. wanted - 1."""
    return [i * available // wanted for i in range(wanted)]
