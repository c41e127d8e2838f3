"""The JSON Schemas of `docs/schemas`, and the check that nothing is printed which they do not describe."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def strict(part: Any) -> Any:
    """The schema, refusing keys that it does not describe: users of a schema ignore them, its tests must not."""
    if isinstance(part, list):
        return [strict(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {key: strict(value) for key, value in part.items()}
    if "properties" in part and isinstance(part["properties"], dict):
        closed["additionalProperties"] = False
    return closed


def mistakes(name: str, document: Any) -> list[str]:
    """How a document departs from its schema; empty where it does not."""
    errors = Draft202012Validator(strict(schema(name))).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in errors]


def assert_valid(name: str, document: Any) -> None:
    """The document has the form that the schema describes, and no more."""
    assert mistakes(name, document) == []
