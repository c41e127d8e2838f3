"""A recorded study -> what its page shows.

Owns which parts of the record stand on the page, and which conditions: the texts of flipped items for treated and
matched ones, tokens for these and the first random one. Reads the record alone. Callers rely on: what a study did not
ask for, or an earlier version did not record, is absent; a damaged artifact raises DamagedArtifact, which names it.
"""

import shlex
from collections.abc import Iterator
from typing import Any

import pandas as pd

from orchestrator.record.client.failures import DamagedArtifact, RecordError, Unreachable
from orchestrator.record.recorded_study import RecordedStudy
from orchestrator.steps.artifacts import MATCHING, receipt
from orchestrator.steps.step import BASELINE
from studies.reporting.notebook import Figure
from studies.reporting.page.content import Cell, Content, Link, Match, Passages, Picture, Proof
from studies.reporting.page.render import section_of

SHOWN_CONDITIONS = 6
"""Conditions whose tokens are coloured."""


def page_content(study: RecordedStudy) -> Content:
    """Everything on the page of a study. RecordError where it has no report."""
    report = study.report
    reported, ran = study.last_reported, study.last_run
    return Content(
        study=study.name,
        report=report,
        comparisons=study.comparisons,
        flips=dict(_flips(study, report)),
        passages=tuple(_passages(study, report)),
        pictures={name: _picture(figure) for name, figure in study.figures.items() if section_of(name)},
        proofs=tuple(_proofs(study, report)),
        matches=tuple(_matches(study, report)),
        definition=study.definition,
        resolved=study.resolved,
        environment=study.environment,
        finished=reported.started[:10] if reported else "",
        links=tuple(Link(name, address) for name, address in study.addresses().items()),
        store=study.uri,
        command=f"halfwave run {shlex.quote(reported.file)}" if reported else "",
        run_since=ran.started[:16] if ran and reported and ran.started != reported.started else "",
        run_links=study.run_addresses(),
    )


def _picture(figure: Figure) -> Picture:
    """The SVG alone, where there is one."""
    svg = figure.svg
    return Picture(svg, figure.png if svg is None else None, figure.title, figure.caption)


def _absent(error: RecordError) -> None:
    """Pass over what is not recorded, but over nothing that is damaged or out of reach."""
    if isinstance(error, DamagedArtifact | Unreachable):
        raise error


def _flips(study: RecordedStudy, report: dict[str, Any]) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """The flipped items of every condition that has some recorded, with their texts."""
    for benchmark in dict.fromkeys(b["name"] for model in report["models"] for b in model["benchmarks"]):
        try:
            flipped = study.flipped(benchmark)
        except RecordError as error:
            _absent(error)
            continue
        for (model, condition), rows in flipped.groupby(["model", "condition"], sort=False):
            yield Cell(model, condition, benchmark), rows.drop(columns=["model", "condition"]).reset_index(drop=True)


def _passages(study: RecordedStudy, report: dict[str, Any]) -> Iterator[Passages]:
    """The scored tokens of every benchmark of documents whose texts are recorded."""
    models = report["models"]
    of_documents = {b["name"]: b for m in models for b in m["benchmarks"] if b["measure"]["name"] == "surprisal"}
    for name, benchmark in of_documents.items():
        try:
            items, texts = study.items(name), study.texts(name)
        except RecordError as error:
            _absent(error)
            continue
        by_document = dict(zip(texts["document"].astype(int), texts["text"].astype(str), strict=True))
        for model in models:
            tokens = _tokens(items[items["model"] == model["label"]], model, name)
            yield Passages(model["label"], benchmark["label"], by_document, tokens)


def _tokens(items: pd.DataFrame, model: dict[str, Any], benchmark: str) -> dict[str, pd.DataFrame]:
    """{condition: its tokens beside the baseline's}, of the conditions that are compared with it."""
    place = ["document", "start", "end"]
    scored = {str(name): rows.reset_index(drop=True) for name, rows in items.groupby("condition")}
    before = scored.get(BASELINE)
    compared = {row["condition"] for row in model["rows"] if benchmark in row["deltas"]}
    tokens = {}
    for condition in _whole(model)[:SHOWN_CONDITIONS]:
        after = scored.get(condition)
        if before is not None and after is not None and condition in compared and before[place].equals(after[place]):
            tokens[condition] = before[place].assign(before=before["surprisal"], after=after["surprisal"])
    return tokens


def _whole(model: dict[str, Any]) -> list[str]:
    """The conditions whose tokens are shown: treated, matched, sign controls, and one seed of each random control."""
    order = ("treated", "matched", "sign", "other", "random")
    rows = [row for row in model["rows"] if row["part"] in order and not row["spread"]]
    first = {row["of"]: row for row in reversed(rows)}
    kept = [row for row in rows if first[row["of"]] is row]
    return [row["condition"] for row in sorted(kept, key=lambda row: order.index(row["part"]))]


def _proofs(study: RecordedStudy, report: dict[str, Any]) -> Iterator[Proof]:
    for model in report["models"]:
        for row in model["rows"]:
            recorded = study.documents(model["label"], row["condition"])
            for benchmark in row["cells"]:
                path = receipt(f"evaluate.{benchmark}")
                if path in recorded:
                    found = study.document(model["label"], row["condition"], path)
                    yield _proof(model["label"], row["condition"], benchmark, found)


def _proof(model: str, condition: str, benchmark: str, found: dict[str, Any]) -> Proof:
    engine, proof = found.get("engine", {}), found.get("receipt", {})
    versions = [f"{name} {version}" for name, version in engine.get("versions", {}).items()]
    return Proof(
        model=model,
        condition=condition,
        benchmark=benchmark,
        num_neurons=found.get("num_neurons", 0),
        layers_confirmed=proof.get("layers_matched", 0),
        clipped_fraction=proof.get("clipped_fraction", 0.0),
        route=found.get("route", ""),
        engine=", ".join(filter(None, [engine.get("device", ""), engine.get("dtype", ""), *versions])),
        difference=engine.get("probe_difference"),
        tolerance=engine.get("probe_tolerance"),
    )


def _matches(study: RecordedStudy, report: dict[str, Any]) -> Iterator[Match]:
    for model in report["models"]:
        for row in model["rows"]:
            if row["part"] == "matched" and MATCHING in study.documents(model["label"], row["condition"]):
                yield _match(model["label"], row, study.document(model["label"], row["condition"], MATCHING))


def _match(model: str, row: dict[str, Any], found: dict[str, Any]) -> Match:
    """Its perplexity and that of its target on the windows of the evidence; of earlier versions they are not known."""
    evidence = found.get("evidence") or {}
    return Match(
        model=model,
        condition=row["condition"],
        fraction=found.get("fraction"),
        target=evidence.get("treated"),
        reached=evidence.get("accepted"),
        why_unmatched=found.get("reason", ""),
    )
