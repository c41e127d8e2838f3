"""The JSON Schemas of docs/schemas, and what a test asks of a document."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    """The schema of a verb's JSON."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def assert_valid(name: str, document: Any) -> None:
    """The document has the form that the schema describes."""
    checker = Draft202012Validator(schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert [f"{error.json_path}: {error.message}" for error in checker.iter_errors(document)] == []
