"""What the tests of benchmarks share: local data files, and the error of a reader that must be one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.errors import StudyError

GOOD = {"sentence_good": "She runs.", "sentence_bad": "She run."}
"""A row of minimal pairs."""

QUESTION = {"context": "The sky is", "choices": ["blue", "square"], "gold": 0}
"""A row of multiple choice."""


def write_jsonl(path: Path, *rows: dict[str, Any] | str) -> Path:
    """A jsonl file; rows that are text are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def study_error(function: Callable[..., object], *arguments: object) -> str:
    """The message of the StudyError that the call raises; it must be one line."""
    with pytest.raises(StudyError) as caught:
        function(*arguments)
    assert str(caught.value).splitlines() == [str(caught.value)]
    return str(caught.value)
