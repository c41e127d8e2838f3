"""Pydantic's errors in a reader's words: each one line with file, line, key path, problem and remedy.

Owns the wording and the choice of the errors to report: between a list and its entry, the entry; and none that follows
from a value that could not be read. Knows the grammar only for the keys that each block allows.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.study_file.evaluations import option_names
from orchestrator.study_file.located import KeyPath, Located, Problem, quote
from orchestrator.study_file.models import CheckpointsSpec, ModelSpec
from orchestrator.study_file.spec import (
    ConditionSpec,
    DataSpec,
    LayerGroupsSpec,
    MatchSpec,
    ProfileSpec,
    StudySpec,
)
from studies.errors import did_you_mean
from studies.neurons.clamps import Clamp

_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text",
    "too_short": "a non-empty mapping",
    "int": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "invalid_key": "text",
}
"""{pydantic's error type, or its first word: what stands after "must be"}."""


_ALIASES = {"fp32": "float32", "fp16": "float16", "half": "float16", "bf16": "bfloat16"}
"""{a word that other tools take for a dtype: ours}."""
_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def grammar_problems(error: ValidationError, located: Located) -> list[Problem]:
    """What is wrong, for the user. An error inside a list or mapping replaces the one that it causes outside."""
    errors = [(_key_path(details, located), details) for details in error.errors()]
    inside = {path[:end] for path, _ in errors for end in range(len(path))}
    unreadable = {problem.path for problem in located.problems}
    around = {path[:end] for path in unreadable for end in range(len(path))}
    told: dict[tuple[KeyPath, str], list[ErrorDetails]] = {}
    for path, details in errors:
        missing = str(details["loc"][-1]) if details["type"] == "missing" else ""
        if missing:
            follows = (*path, "") in unreadable
        else:
            follows = path in inside or (path in around and details["type"] != "extra_forbidden")
        if not follows and not any(path[:end] in unreadable for end in range(len(path) + 1)):
            told.setdefault((path, missing), []).append(details)
    for path, missing in list(told):
        if missing and any(_is_meant(missing, path, other) for other, name in told if not name):
            del told[path, missing]
    return [
        located.problem(path, text)
        for (path, _), alternatives in told.items()
        for text in _problem(path, min(alternatives, key=lambda details: details["type"]), alternatives).split("\n")
    ]


def _is_meant(missing: str, path: KeyPath, unknown: KeyPath) -> bool:
    """Whether an unknown key of the mapping at `path` is a misspelling of the key that is missing there."""
    in_mapping = len(unknown) == len(path) + 1 and unknown[: len(path)] == path
    return in_mapping and did_you_mean(str(unknown[-1]), _allowed_keys(unknown)).endswith(f"mean {missing!r}?")


def _problem(path: KeyPath, first: ErrorDetails, alternatives: Sequence[ErrorDetails]) -> str:
    """The error at `path` in words; `alternatives`: all errors there, one for each type that would be allowed."""
    value, context = first["input"], first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            return f"unknown key{did_you_mean(str(first['loc'][-1]), _allowed_keys(path))}"
        case "missing":
            return f"the key {first['loc'][-1]!r} is missing"
        case "literal_error":
            allowed = re.findall(r"'([^']+)'", context["expected"])
            meant = _ALIASES.get(value, value) if isinstance(value, str) else ""
            return f"{quote(value)} is not allowed{did_you_mean(meant, allowed)}"
        case "value_error":
            return first["msg"].removeprefix("Value error, ")
        case "string_pattern_mismatch":
            return f"{_allowed_text(context['pattern'])}; found {quote(value)}"
        case "too_short" | "string_too_short":
            least = context["min_length"]
            return "must not be empty" if least == 1 else f"needs at least {least}; found {quote(value)}"
    expected = list(dict.fromkeys(_expected(details) for details in alternatives))
    return f"must be {' or '.join(expected)}; found {quote(value)}{_remedy(path, expected, value)}"


def _allowed_text(pattern: str) -> str:
    """A pattern in words: a name, perhaps with a fixed beginning; any other pattern as it is."""
    name = re.fullmatch(r"\^([a-z]*)(\[A-Za-z0-9])?\[A-Za-z0-9._-\]\{0,\d+\}\$", pattern)
    if name is None:
        return f"must match {pattern}"
    beginning = f"begin with {name[1]}, then " if name[1] else ""
    return f"{beginning}use letters, digits, dots, dashes and underscores, at most 100"


def _expected(details: ErrorDetails) -> str:
    """What stands after "must be"; pydantic's own message for a type that is not in `_EXPECTED`."""
    kind = details["type"]
    words = _EXPECTED.get(kind) or _EXPECTED.get(kind.split("_")[0])
    return words.format(**_bounds(details.get("ctx", {}))) if words else details["msg"]


def _bounds(context: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as a reader writes them: 1, not 1.0."""
    return {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in context.items()}


def _remedy(path: KeyPath, expected: Sequence[str], value: Any) -> str:
    """What to do about a percentage, text in place of a number or a list, and a number in place of text."""
    if list(expected) == ["text"] and isinstance(value, int | float):
        return "; put it in quotes"
    if _is_fraction(path) and isinstance(value, int | float) and 1 <= value < 100 and value is not True:
        return f"; for {value:g} % write {value / 100:g}"
    if list(expected) == ["a list"] and isinstance(value, str | int | float) and value not in ("", True, False):
        is_number = path[-1] == "seeds" and isinstance(value, int) and 2 <= value < 10
        return f"; write [{value}]" + (f", or {list(range(int(value)))} for {value} seeds" if is_number else "")
    if expected[0] not in ("a number", "a whole number") or not isinstance(value, str):
        return ""
    percentage = re.fullmatch(r"\s*(\d{1,9}(?:[.,]\d{1,9})?)\s*%\s*", value)
    if percentage and expected[0] == "a number":
        return f"; write {float(percentage[1].replace(',', '.')) / 100:g}"
    whole = re.fullmatch(r"(\d{1,3}(?:[, ]\d{3})+|\d{1,9})\s*([kmgb]?)", value.lower())
    if expected[0] == "a whole number" and whole and not value.isdecimal():
        return f"; write {int(re.sub('[, ]', '', whole[1])) * _THOUSANDS[whole[2]]}"
    if re.fullmatch(r"\d{1,9},\d{1,9}", value) and expected[0] == "a number":
        return f"; write {value.replace(',', '.')}, with a point"
    with contextlib.suppress(ValueError):
        float(value)
        return "; YAML reads it as text: write a number without quotes, and with a point before its e (1.0e-3)"
    return ""


def _is_fraction(path: KeyPath) -> bool:
    """Whether the value at this path is a share of a whole: a fraction, one of a list of them, or a tolerance."""
    return any(part in ("fraction", "within", "within_rise") for part in path[-2:])


def _key_path(details: ErrorDetails, located: Located) -> KeyPath:
    """Pydantic's location as a path in the file: without union tags, and with the word of an evaluation put back."""
    path: list[str | int] = []
    node: Any = located.data
    for part in details["loc"]:
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, dict) and str(part).isdigit() and int(part) in node:
            part, node = int(part), node[int(part)]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        path.append(part)
        if path[0] == "evaluate" and isinstance(node, dict) and len(path) == 2 and len(node) == 1:
            ((word, node),) = node.items()
            path.append(word)
    return tuple(path)


def _allowed_keys(path: KeyPath) -> list[str]:
    """The keys that the block with an unknown key at `path` accepts."""
    match path:
        case (_,):
            return list(StudySpec.model_fields)
        case ("models", *_):
            return list(ModelSpec.model_fields)
        case ("checkpoints", *_):
            return list(CheckpointsSpec.model_fields)
        case ("data", *_):
            return list(DataSpec.model_fields)
        case ("profile", *_):
            return list(ProfileSpec.model_fields)
        case ("conditions", _, "clamp", *_):
            return [field.name for field in dataclasses.fields(Clamp)]
        case ("conditions", _, "match", *_):
            return list(MatchSpec.model_fields)
        case ("conditions", _, "layers", *_):
            return list(LayerGroupsSpec.model_fields)
        case ("conditions", *_):
            return list(ConditionSpec.model_fields)
        case ("evaluate", _, word, *_):
            return option_names(str(word))
    return []
