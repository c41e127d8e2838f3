"""Two sides -> what differs between them, as plain JSON: results on the items that both hold, verdicts side by side.

Owns what may be compared. Two results of one model need the same comparability key; those of two models the same
engine, and where items are made of tokens the same packs, too, because other tokens are other items. Their texts, the
version of their step and every parameter but the clamp must agree. What may not be compared is listed with the reason.
The arithmetic belongs to `studies.statistics.comparisons`, the keys of a result to `studies.reporting.records`.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.comparison.sides import Side
from orchestrator.record.client.failures import RecordError
from orchestrator.record.keys import Committed
from orchestrator.record.recorded_study import EVALUATION
from orchestrator.steps import comparability
from orchestrator.steps.artifacts import identity_document, items_table
from orchestrator.steps.identity import difference
from orchestrator.steps.step import BASELINE
from studies.benchmarks.measures import Measure
from studies.errors import StudyError
from studies.reporting.records import measure_record, paired_record
from studies.statistics.comparisons import paired
from studies.statistics.items import Items

OWN_PARAMS = ("clamp", "engine", "route", "dtype")
"""Parameters in which compared results may differ: the intervention, and what their comparability keys say."""


def compare(a: Side, b: Side) -> dict[str, Any]:
    """What differs between two sides, as plain JSON (docs/json.md). StudyError where they have no model in common."""
    if (a.study.uri, a.study.name, a.named.model, a.named.number) == (
        b.study.uri,
        b.study.name,
        b.named.model,
        b.named.number,
    ):
        raise StudyError(f"{a.named} and {b.named} are the same; name two models (@MODEL) or an invocation (#1)")
    measures = {**b.measures(), **a.measures()}
    models = [_models(a, b, *labels, measures) for labels in _pairs(a, b)]
    return {"a": _about(a), "b": _about(b), "models": models}


def _about(side: Side) -> dict[str, Any]:
    named = side.named
    return {
        "named": str(named),
        "study": side.study.name,
        "model": named.model or None,
        "invocation": named.number,
        "store": side.study.uri,
    }


def _pairs(a: Side, b: Side) -> list[tuple[str, str]]:
    """The labels of the models that are compared with each other."""
    if a.named.model and b.named.model:
        return [(a.named.model, b.named.model)]
    if common := [model for model in a.models if model in b.models]:
        return [(model, model) for model in common]
    if len(a.models) == len(b.models) == 1:
        return [(a.models[0], b.models[0])]
    theirs = " and ".join(f"{side.named} has {', '.join(side.models) or 'none'}" for side in (a, b))
    raise StudyError(f"no model in common: {theirs}; name one of each: STUDY@MODEL")


def _models(a: Side, b: Side, model_a: str, model_b: str, measures: Mapping[str, Measure]) -> dict[str, Any]:
    """One model of each side."""
    of_a, of_b = _evaluations(a, model_a), _evaluations(b, model_b)
    found = {place: _compared(a, of_a[place], b, of_b[place], measures) for place in of_a if place in of_b}
    rows = [
        {"condition": name, "benchmark": on, **row} for (name, on), row in found.items() if not isinstance(row, str)
    ]
    refused = [
        {"condition": name, "benchmark": on, "reason": why} for (name, on), why in found.items() if isinstance(why, str)
    ]
    return {
        "a": model_a,
        "b": model_b,
        "rows": rows,
        "not_compared": refused,
        "only_a": [{"condition": name, "benchmark": on} for name, on in of_a if (name, on) not in of_b],
        "only_b": [{"condition": name, "benchmark": on} for name, on in of_b if (name, on) not in of_a],
        "verdicts": _verdicts(a.verdicts(model_a), b.verdicts(model_b)),
    }


def _evaluations(side: Side, model: str) -> dict[tuple[str, str], Committed | str]:
    """{(condition, benchmark): its evaluation, or why the record no longer tells it} of a model, the baseline first."""
    found: dict[tuple[str, str], Committed | str] = {}
    for run in side.runs:
        if run.slot.kind == "condition" and run.slot.model == model:
            found |= {(run.slot.condition, name): step for name, step in run.steps.items()}
    for (slot, name), reason in side.lost.items():
        if slot.kind == "condition" and slot.model == model:
            found[slot.condition, name] = reason
    ordered = sorted(found, key=lambda place: place[0] != BASELINE)
    return {
        (condition, name.removeprefix(EVALUATION)): found[condition, name]
        for condition, name in ordered
        if name.startswith(EVALUATION)
    }


def _compared(
    a: Side, one: Committed | str, b: Side, other: Committed | str, measures: Mapping[str, Measure]
) -> dict[str, Any] | str:
    """The results of two evaluations on the items that both hold, or why they are not compared."""
    for side, found in ((a, one), (b, other)):
        if isinstance(found, str):
            return f"{side.named}: {found}"
    assert not isinstance(one, str) and not isinstance(other, str)
    benchmark = one.step_name.removeprefix(EVALUATION)
    measure = measures.get(benchmark)
    if measure is None:
        return "what it measures is not known: this version cannot read the recorded study file"
    if reason := _computed_otherwise(a, one, b, other, measure):
        return reason
    path = items_table(benchmark)
    of_a, of_b = (Items(side.reader.frame(step, path), measure) for side, step in ((a, one), (b, other)))
    try:
        row = paired_record(paired(of_a, of_b))
    except ValueError as error:
        return str(error)
    counts = {
        "num_items_a": len(of_a),
        "num_items_b": len(of_b),
        "same_result": one.artifacts[path] == other.artifacts[path],
    }
    return {"measure": measure_record(measure), **row, **counts}


def _computed_otherwise(a: Side, one: Committed, b: Side, other: Committed, measure: Measure) -> str:
    """Why two results must not be compared; empty where they may."""
    before, after = _identity(a, one), _identity(b, other)
    if changed := difference(_of_the_benchmark(after), _of_the_benchmark(before)):
        return f"not the same measurement: {'; '.join(changed[:2])}"
    key_a, key_b = (comparability.recorded_key(step.step_name, step.tags) for step in (one, other))
    if key_a is None or key_b is None:
        return ""
    if (
        before["model"] != after["model"] and not measure.is_of_tokens
    ):  # other tokens make other packs of the same texts
        key_a, key_b = key_a.engine, key_b.engine
    if key_a.agrees(key_b):
        return ""
    with_a, with_b = comparability.difference(key_a, key_b)
    return f"{a.named} with {with_a}, {b.named} with {with_b}"


def _identity(side: Side, step: Committed) -> dict[str, Any]:
    """The payload that the id of an evaluation is the hash of; RecordError where that is no such thing."""
    found = side.reader.document(step, identity_document(step.step_name))
    if not (isinstance(found, dict) and {"version", "model"} <= found.keys() and isinstance(found.get("params"), dict)):
        raise RecordError(f"{side.named}: the identity of {step.step_name} on run {step.run_id} cannot be read")
    return found


def _of_the_benchmark(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What the identity of an evaluation says of the measurement, whatever the model and the intervention."""
    params = {name: value for name, value in identity["params"].items() if name not in OWN_PARAMS}
    return {"version": identity["version"], **params}


def _verdicts(of_a: Mapping[str, Mapping[str, Any]], of_b: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The verdicts on the claims that both have judged."""
    return [{"claim": claim, "a": _verdict(of_a[claim]), "b": _verdict(of_b[claim])} for claim in of_a if claim in of_b]


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": verdict["status"], "effect": verdict["effect"]}
