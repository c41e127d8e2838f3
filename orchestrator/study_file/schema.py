"""The grammar of a study file as a JSON Schema, for editors and for the reference (`reference`).

Owns what pydantic does not say of the grammar: short forms (a model, a clamp or an evaluation as a word), words that
are looked up when a file is read, and what each key means, which is the docstring under its field.
Invariant: a study file that `load` accepts is valid under this schema. The reverse does not hold: what one key demands
of another, and whatever is looked up, the command alone checks.

    python -m orchestrator.study_file.schema > study.json
"""

import ast
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from orchestrator.study_file.clamps import ClampBlock, clamp_words
from orchestrator.study_file.engine_options import NEVER, AllowedOptions
from orchestrator.study_file.evaluations import options_model
from orchestrator.study_file.models import CheckpointsSpec, ModelSpec
from orchestrator.study_file.references import claim_sets
from orchestrator.study_file.spec import (
    ConditionSpec,
    DataSpec,
    LayerGroupsSpec,
    MarginsSpec,
    MatchSpec,
    ProfileSpec,
    StudySpec,
)
from studies.benchmarks.registry import BENCHMARKS
from studies.neurons.clamps import CLAMP_KINDS

Schema = dict[str, Any]

_DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest that every YAML language server reads."""
_DEFINED = (DataSpec, ProfileSpec, ConditionSpec, MatchSpec, LayerGroupsSpec, MarginsSpec, ModelSpec, CheckpointsSpec)
"""The blocks that pydantic defines by the name of their class."""


def study_schema() -> Schema:
    """The JSON Schema of a study file. Evaluations and clamps are those that are registered now."""
    schema = _block(StudySpec, StudySpec)
    definitions = schema.pop("$defs")
    for block in _DEFINED:
        _describe(definitions[block.__name__], block)
    definitions["Revision"] = _revision()
    definitions["Clamp"] = _block(ClampBlock, ClampBlock)
    definitions["Engine"] = _engine()
    definitions |= {word: _block(options_model(word), options) for word, options in BENCHMARKS.items()}
    _write_short_forms(schema, definitions)
    return {"$schema": _DIALECT, "title": "Halfwave study file", **schema, "$defs": definitions}


def reference_to(definition: str) -> Schema:
    """A schema that stands for the definition of this name."""
    return {"$ref": f"#/$defs/{definition}"}


class _Untitled(GenerateJsonSchema):
    """Without titles of fields, which would only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _block(model: type[BaseModel], documented: type) -> Schema:
    """The schema of a block; `documented`: the class with the docstrings of its fields."""
    return _describe(model.model_json_schema(schema_generator=_Untitled), documented)


def _describe(block: Schema, documented: type) -> Schema:
    """The block, changed: what it is and what each of its keys means, and no default that is the lack of a value."""
    block.pop("title", None)
    block["description"] = _first_paragraph(documented)
    meanings = dict(_meanings(documented))
    for key, value in block.get("properties", {}).items():
        if not isinstance(value.get("default", {}), bool | int | float | str | list):
            value.pop("default", None)  # null, or a block: what it holds has defaults of its own
        if key in meanings:
            value["description"] = meanings[key]
    return block


def _first_paragraph(documented: type) -> str:
    paragraph, _, _ = (inspect.getdoc(documented) or "").partition("\n\n")
    return " ".join(paragraph.split())


def _meanings(documented: type) -> Iterator[tuple[str, str]]:
    """(field, the docstring under it) of a class and, before it, of those that it inherits from."""
    for base in reversed(documented.__mro__):
        if base is object or base is BaseModel:
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        statements = definition.body if isinstance(definition, ast.ClassDef) else []
        for field, below in itertools.pairwise(statements):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    yield name, " ".join(text.split())


def _revision() -> Schema:
    step = {"type": "integer", "minimum": 0}
    named = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": step}
    return {
        "description": "A checkpoint: a word that says its training step, or {word: training step}.",
        "anyOf": [{"type": "string", "pattern": r"step[-_]?\d|\d$"}, named],
    }


def _engine() -> Schema:
    """The options that every study may set, with their types; any others but those that none may set."""
    engine = _block(AllowedOptions, AllowedOptions)
    for option in engine["properties"].values():
        option.pop("default", None)  # a placeholder: vLLM has its own
    engine["properties"] |= dict.fromkeys(sorted(NEVER), False)
    return engine


def _write_short_forms(schema: Schema, definitions: dict[str, Schema]) -> None:
    """Puts into the schema what may stand in place of a block, and the words that are looked up."""
    study, condition = schema["properties"], definitions["ConditionSpec"]["properties"]
    schema["anyOf"] = [{"required": ["models"]}, {"required": ["checkpoints"]}]
    definitions["ModelSpec"]["anyOf"] = [{"required": ["name"]}, {"required": ["path"]}]
    _alternatives(study["models"]["items"], {"type": "string", "minLength": 1}, reference_to("ModelSpec"))
    series = reference_to("CheckpointsSpec")
    study["checkpoints"].pop("items"), study["checkpoints"].pop("type")
    _alternatives(study["checkpoints"], series, {"type": "array", "items": series})
    _alternatives(condition["clamp"], {"enum": clamp_words()}, reference_to("Clamp"))
    definitions["Clamp"]["properties"]["kind"]["enum"] = list(CLAMP_KINDS)
    _alternatives(study["claims"], {"enum": claim_sets()}, {"type": "null"})
    for loaded in ("ModelSpec", "CheckpointsSpec"):
        engine = definitions[loaded]["properties"]["engine"]
        definitions[loaded]["properties"]["engine"] = reference_to("Engine") | {"description": engine["description"]}
    definitions["Evaluation"] = {"anyOf": list(_evaluations(definitions))}
    study["evaluate"]["items"] = reference_to("Evaluation")


def _alternatives(place: Schema, *schemas: Schema) -> None:
    place.pop("$ref", None)
    place["anyOf"] = list(schemas)


def _evaluations(definitions: dict[str, Schema]) -> Iterator[Schema]:
    """A word alone; a word with its options, or with the path that is its only required one."""
    alone = [word for word in BENCHMARKS if not definitions[word].get("required")]
    yield {"enum": alone}
    forms: dict[str, Schema] = {}
    for word in BENCHMARKS:
        others: list[Schema] = [{"type": "null"}] if word in alone else []
        if "path" in definitions[word]["properties"]:
            others.append({"type": "string", "minLength": 1})
        forms[word] = {"anyOf": [reference_to(word), *others], "description": definitions[word]["description"]}
    yield {
        **{"type": "object", "minProperties": 1, "maxProperties": 1},
        **{"additionalProperties": False, "properties": forms},
    }


if __name__ == "__main__":
    print(json.dumps(study_schema(), indent=2))
