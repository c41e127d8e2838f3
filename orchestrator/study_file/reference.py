"""The reference of the study file: the tables of keys in `docs/study-file.md`, and the schema for editors beside it.

Owns how a JSON Schema reads as a table. The page is written by hand but for these tables, each between two marks; what
they say comes from `schema` and the presets.
Invariant: every block of the grammar has one table in the page, and a page without a place for one is an error.

    python -m orchestrator.study_file.reference      # writes both, in docs/ of the folder where it is started
"""

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.study_file.models import LOADING_KEYS, ModelSpec
from orchestrator.study_file.schema import Schema, study_schema
from orchestrator.study_file.spec import PRESETS
from studies.benchmarks.registry import BENCHMARKS
from studies.errors import StudyError

PAGE, SCHEMA = Path("study-file.md"), Path("schemas/study.json")
"""Inside the folder of the documentation."""

_TABLE = re.compile(r"(?<=<!-- keys: )([\w ]+)( -->\n).*?(?=<!-- end of keys -->)", re.DOTALL)
"""Between the marks of a table: its name, the end of the first mark, and the table."""
_LARGE = 10**6
"""Limits from here on say nothing to a reader."""
_BLOCKS = {
    "data": "DataSpec",
    "profile": "ProfileSpec",
    "condition": "ConditionSpec",
    "clamp": "Clamp",
    "match": "MatchSpec",
    "layers": "LayerGroupsSpec",
    "margins": "MarginsSpec",
    "model": "ModelSpec",
    "checkpoints": "CheckpointsSpec",
    "engine": "Engine",
}
"""{table, and the anchor of its section: definition in the schema}."""


def schema_text() -> str:
    """The JSON Schema as it lies in the documentation."""
    return json.dumps(study_schema(), indent=2) + "\n"


def with_tables(page: str) -> str:
    """The page with its tables as they are now. Raises StudyError unless it has a place for each, and no other."""
    tables = _tables(study_schema())
    places = [match[1] for match in _TABLE.finditer(page)]
    if sorted(places) != sorted(tables):
        wrong = {*places} ^ {*tables} or {name for name in tables if places.count(name) > 1}
        raise StudyError(
            f"{PAGE}: every table needs one place, `<!-- keys: NAME -->` and `<!-- end of keys -->`, and there is no "
            f"other; wrong are {', '.join(sorted(wrong))}"
        )
    return _TABLE.sub(lambda match: f"{match[1]}{match[2]}\n{tables[match[1]]}\n", page)


def write(docs: Path) -> None:
    """Bring the page and the schema in this folder up to date. Raises StudyError where there is no such page."""
    page = docs / PAGE
    try:
        text = page.read_text(encoding="utf-8")
    except OSError:
        raise StudyError(f"there is no {page}; start this at the top of the repository") from None
    page.write_text(with_tables(text), encoding="utf-8")
    (docs / SCHEMA).parent.mkdir(exist_ok=True)
    (docs / SCHEMA).write_text(schema_text(), encoding="utf-8")


def _tables(schema: Schema) -> dict[str, str]:
    """{name: the table of a block, of the words of evaluations, or of the options of one of these words}."""
    definitions = schema["$defs"]
    tables = {"study": _keys(schema)}
    for name, defined in _BLOCKS.items():
        shared = LOADING_KEYS if name in ("model", "checkpoints") else ()
        tables[name] = _keys(definitions[defined], without=shared, presets=_by_preset() if name == "profile" else {})
    tables["resources"] = _keys(definitions["ModelSpec"], without=set(ModelSpec.model_fields) - set(LOADING_KEYS))
    options = ((f"`{key}`", _type(value)) for key, value in definitions["Engine"]["properties"].items() if value)
    tables["engine"] = _table(("option", "value"), options)
    words = ((f"`{word}`", definitions[word]["description"]) for word in BENCHMARKS)
    tables["evaluations"] = _table(("word", "what it scores"), words)
    first = {options: word for word, options in reversed(BENCHMARKS.items())}
    return tables | {word: _keys(definitions[word]) for word in first.values() if definitions[word]["properties"]}


def _by_preset() -> dict[str, dict[str, Any]]:
    """{preset: its values of the keys of the profile}."""
    return {name: {**preset.profile, "bos": preset.bos} for name, preset in PRESETS.items()}


def _keys(block: Schema, *, without: Collection[str] = (), presets: Mapping[str, Mapping[str, Any]] = {}) -> str:
    """The table of the keys that a block accepts; presets: those whose defaults are not the block's own."""
    rows = []
    for key, value in block["properties"].items():
        if value is False or key in without:
            continue
        default = "**required**" if key in block.get("required", ()) else _code(value.get("default"))
        own = {preset: _code(values[key]) for preset, values in presets.items() if key in values}
        default = own.pop("strict", default)
        others = [f"`{preset}`: {code}" for preset, code in own.items() if code != default]
        rows.append((f"`{key}`", _type(value), "; ".join([default, *others]), value.get("description", "")))
    return _table(("key", "type", "default", "meaning"), rows)


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    cells = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, ("---",) * len(headings), *cells))


def _code(value: Any) -> str:
    """A value as it is written in a study file."""
    if value is None:
        return "none"
    unquoted = re.sub(r'"([a-z][a-z_0-9]*)"', r"\1", json.dumps(value))
    return f"`{unquoted}`"


def _type(schema: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return _reference(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return _either(f"`{word}`" for word in schema["enum"])
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return _either(_type(one) for one in alternatives if one.get("type") != "null")
    match schema.get("type"):
        case "array":
            return f"[{_type(schema['items'])}, ...]"
        case "object":
            return f"{{name: {_type(schema['additionalProperties'])}}}"
        case "boolean":
            return "true or false"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + _limits(schema)
    beginning = re.match(r"\^([a-z]*)", schema.get("pattern", ""))
    return "text" if beginning is None else f"name that begins with `{beginning[1]}`" if beginning[1] else "name"


def _reference(definition: str) -> str:
    """A definition by name, which is a link to its table where it has one."""
    anchors = {defined: name for name, defined in _BLOCKS.items()} | {"Evaluation": "evaluations"}
    name = definition.removesuffix("Spec").lower()
    return f"[{name}](#{anchors[definition]})" if definition in anchors else name


def _either(alternatives: Iterable[str]) -> str:
    *others, last = dict.fromkeys(alternatives)
    return f"{', '.join(others)} or {last}" if others else last


def _limits(schema: Schema) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {schema[limit]:g}" for limit, word in words.items() if schema.get(limit, _LARGE) < _LARGE]
    return f" {', '.join(limits)}" if limits else ""


if __name__ == "__main__":
    try:
        write(Path("docs"))
    except StudyError as error:
        print(f"halfwave: {error}", file=sys.stderr)
        sys.exit(2)
