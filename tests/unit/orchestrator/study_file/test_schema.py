"""The JSON Schema: what the command accepts is valid under it, and what an editor should mark is not."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jsonschema
import pytest
import yaml
from annotated_types import Ge

from orchestrator.study_file.schema import study_schema
from studies.benchmarks import registry
from studies.benchmarks.measures import PERPLEXITY, Measure
from studies.neurons import clamps
from tests.conftest import ROOT
from tests.unit.orchestrator.study_file import tiny_study
from tests.unit.orchestrator.study_file.tiny_study import (
    LAST,
    LIKE,
    MODEL,
    MODELS,
    PROFILE,
    SERIES,
    STUDY,
    TOP,
    changed,
    parse,
    with_series,
)

CATALOG = sorted((ROOT / "studies" / "catalog").glob("*.yaml"))

VALID = {
    "the study": STUDY,
    "a series": with_series(),
    "a list of series": with_series(f"checkpoints: [{SERIES.removeprefix('checkpoints: ').strip()}]\n"),
    "models": changed(
        MODEL, "  - ./b\n  - {name: a/c, revision: v1, gpus: 0.5}\n  - {path: d, labels: {node: gpu-1}}\n"
    ),
    "engine options": changed(MODEL, "  - {name: a/b, engine: {max_model_len: 64, kv_cache_dtype: auto}}\n"),
    "bounds": changed(TOP, "{select: top, fraction: 0.1, clamp: {floor: -1, ceiling: 0.5}}"),
    "kind": changed(TOP, "{select: top, fraction: 0.1, clamp: {kind: signflip}}"),
    "neurons": changed(TOP, "{select: explicit, neurons: {0: [1, 2], 3: [4]}, clamp: zero}"),
    "a file of neurons": changed(TOP, "{select: explicit, neurons: a.csv, clamp: zero}"),
    "a schedule": changed(TOP, "{select: top, fraction: 0.1, clamp: zero, layers: {groups: [[0], [1, 2]]}}"),
    "nothing where nothing is asked": changed(LAST, "claims: null\nmodel_root: ~\n"),
    "pairs by path": changed(LAST, "  - pairs: a.jsonl\n  - choices: {path: b.jsonl}\n  - blimp:\n"),
}

BROKEN = {
    "unknown key": (LAST, "claim: double_dissociation\n"),
    "no evaluate": ("evaluate:\n", "evaluat:\n"),
    "unknown preset": ("study: tiny", "study: tiny\npreset: papper"),
    "name with a space": ("study: tiny", 'study: "a b"'),
    "no models": (MODELS, ""),
    "number as model": (MODEL, "  - 3\n"),
    "model without a name": (MODEL, "  - {gpus: 1}\n"),
    "unknown key of a model": (MODEL, "  - {name: a/b, gpu: 1}\n"),
    "engine option of the wrong type": (MODEL, "  - {name: a/b, engine: {max_model_len: long}}\n"),
    "engine option that no study may set": (MODEL, "  - {name: a/b, engine: {dtype: float16}}\n"),
    "window of one token": (PROFILE, "profile: {window: 1}"),
    "text as tokens": (PROFILE, "profile: {tokens: many}"),
    "unknown score": (PROFILE, "profile: {scores: [wasserstein]}"),
    "unknown clamp": (TOP, "{select: top, fraction: 0.1, clamp: negativ}"),
    "unknown bound": (TOP, "{select: top, fraction: 0.1, clamp: {floors: 0}}"),
    "no clamp": (TOP, "{select: top, fraction: 0.1}"),
    "fraction of 2": (TOP, "{select: top, fraction: 2, clamp: zero}"),
    "one dose of 2": (TOP, "{select: top, fraction: [0.1, 2], clamp: zero}"),
    "unknown select": (TOP, "{select: topp, fraction: 0.1, clamp: zero}"),
    "negative layer": (TOP, "{select: top, fraction: 0.1, clamp: zero, layers: [-1]}"),
    "text as seeds": (LIKE, "like: w, seeds: some"),
    "unknown evaluation": (tiny_study.PERPLEXITY, "  - perplexty\n"),
    "unknown option": (tiny_study.PERPLEXITY, "  - perplexity: {corpora: embedded}\n"),
    "option out of range": (tiny_study.PERPLEXITY, "  - perplexity: {window: 0}\n"),
    "two words in one entry": (tiny_study.PERPLEXITY, "  - {perplexity: {}, blimp: {}}\n"),
    "pairs without a path": (tiny_study.PERPLEXITY, "  - pairs\n"),
    "unknown claims": (LAST, "claims: everything\n"),
    "margin of a word": (LAST, "margins: {accuracy: small}\n"),
    "one revision": (MODELS, "checkpoints: {of: a, revisions: [step1]}\n"),
    "revision without a step": (MODELS, "checkpoints: {of: a, revisions: [early, late]}\n"),
}


def problems(text: str, schema: Mapping[str, Any] | None = None) -> list[str]:
    """What an editor would mark in this text; keys are texts to it."""
    data = json.loads(json.dumps(yaml.safe_load(text)))
    checker = jsonschema.Draft7Validator(study_schema() if schema is None else schema)
    return [error.message for error in checker.iter_errors(data)]


def test_it_is_a_json_schema() -> None:
    jsonschema.Draft7Validator.check_schema(study_schema())


@pytest.mark.parametrize("path", CATALOG, ids=lambda path: path.stem)
def test_every_study_of_the_catalog_is_valid(path: Any) -> None:
    assert problems(path.read_text()) == []


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
def test_what_the_command_accepts_is_valid(text: str) -> None:
    parse(text)
    assert problems(text) == []


@pytest.mark.parametrize(("old", "new"), BROKEN.values(), ids=BROKEN)
def test_a_mistake_is_marked(old: str, new: str) -> None:
    assert problems(changed(old, new)) != []


def test_every_key_says_what_it_means() -> None:
    def silent(node: Any, place: str) -> list[str]:
        if isinstance(node, list):
            return [found for part in node for found in silent(part, place)]
        if not isinstance(node, dict):
            return []
        keys = node.get("properties", {})
        own = [
            f"{place}.{key}" for key, value in keys.items() if isinstance(value, dict) and not value.get("description")
        ]
        return own + [found for name, part in node.items() for found in silent(part, name)]

    schema = study_schema()
    schema["$defs"].pop("Engine")  # whose options vLLM documents
    assert len(silent({"properties": {"a": {"type": "string"}}}, "made up")) == 1
    assert silent(schema, "study") == []


def test_words_that_are_added_are_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Options:
        """Made up."""

        size: Annotated[int, Ge(5)]
        """How many."""
        measure: ClassVar[Measure] = PERPLEXITY

    assert problems(changed(tiny_study.PERPLEXITY, "  - made_up: {size: 7}\n")) != []
    monkeypatch.setitem(registry.BENCHMARKS, "made_up", Options)  # type: ignore[arg-type]
    monkeypatch.setitem(clamps.CLAMP_KINDS, "halved", clamps.ClampKind(is_relu_identity=lambda _: False))
    schema = study_schema()
    assert schema["$defs"]["made_up"]["properties"]["size"] == {
        **{"type": "integer", "minimum": 5},
        "description": "How many.",
    }
    assert problems(changed(tiny_study.PERPLEXITY, "  - made_up: {size: 7}\n"), schema) == []
    assert problems(changed(tiny_study.PERPLEXITY, "  - made_up: {size: 3}\n"), schema) != []
    assert problems(changed(tiny_study.PERPLEXITY, "  - made_up\n"), schema) != []
    assert problems(changed(TOP, "{select: top, fraction: 0.1, clamp: halved}"), schema) == []
