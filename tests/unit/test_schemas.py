"""The schemas themselves: valid, and every key described in a phrase."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.schemas import FOLDER, schema

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def test_there_is_one_for_each_verb() -> None:
    assert NAMES == ["explain", "status"]


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_describes_every_key(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(undescribed(found)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_allows_no_other_keys(name: str) -> None:
    objects = [part for part in parts(schema(name)) if "properties" in part]
    assert objects and all(part["additionalProperties"] is False for part in objects)
    assert all(sorted(part["required"]) == sorted(part["properties"]) for part in objects), "no key is left out"


def parts(node: Any) -> Iterator[dict[str, Any]]:
    """The mappings of a schema."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from parts(value)


def undescribed(found: dict[str, Any]) -> Iterator[str]:
    for part in parts(found):
        for key, said in part.get("properties", {}).items():
            if not said.get("description", "").endswith((".", "`.")):
                yield key
