"""Finished surprisal evaluations -> excess surprisal by part of speech on every condition's run: table, figures, page.

Owns what is recorded of it and what the report says; `studies.statistics.excess_surprisal` has the statistics. The words come in here:
they are tagged once a study, and only where something is left to make.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.record.keys import Committed
from orchestrator.review.findings import Findings, broken_runs
from orchestrator.steps.step import BASELINE, review_id
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.reporting import figures
from studies.reporting.surprisal_page import examples_page
from studies.reporting.text import contrast_record
from studies.statistics.excess_surprisal import CLOSED, OPEN, Excess


def record_excess(findings: Findings, model: ResolvedModel) -> list[dict[str, Any]]:
    """Record what each condition of a model adds to every benchmark's surprisal, once; returns what the report says."""
    found = []
    for benchmark in findings.plan.study.benchmarks:
        if isinstance(benchmark, SurprisalBenchmark):
            conditions = [c for c in findings.plan.conditions[model.label] if c.spec and not c.not_applicable]
            conditions.sort(
                key=lambda condition: not condition.is_whole
            )  # of two that are one step, the whole has files
            found += _of_benchmark(findings, model, benchmark, conditions)
    return found


def _of_benchmark(
    findings: Findings, model: ResolvedModel, benchmark: SurprisalBenchmark, conditions: list[Condition]
) -> list[dict[str, Any]]:
    evaluations, committed = findings.plan.evaluations, findings.outcome.committed
    params = {"benchmark": benchmark.name, "unit": benchmark.unit, "annotation": benchmark.annotation}
    steps = {c.name: evaluations[model.label, c.name].get(benchmark.name) for c in conditions}
    baseline = evaluations[model.label, BASELINE][benchmark.name]
    ids = {
        name: review_id("excess", params, [baseline, step])
        for name, step in steps.items()
        if step in committed and baseline in committed
    }
    known = findings.record.intact(list(ids.values())) if ids else {}
    broken = broken_runs(findings.plan, findings.outcome)
    path, found = f"excess/{benchmark.name}.json", []
    for condition in conditions:
        if condition.name not in ids:
            continue
        step, keys = ids[condition.name], findings.plan.runs[steps[condition.name]]
        if step not in known:
            known[step] = _commit(findings, model, benchmark, condition, keys[0], step)
        for key in keys:
            findings.record.adopt(key, known[step])
            findings.record.finish(key, "FAILED" if key.name in broken else "FINISHED")
        facts = findings.record.document(known[step], path)
        found.append(
            {"condition": condition.name, "benchmark": benchmark.name, "spread": not condition.is_whole, **facts}
        )
    return found


def _commit(findings, model, benchmark: SurprisalBenchmark, condition: Condition, key, step_id: str) -> Committed:
    findings.require_comparable(model, [BASELINE, condition.name])
    excess = findings.excess(model, benchmark, condition.name, BASELINE)
    table = excess.table()
    facts, name = _facts(excess, table, benchmark), benchmark.name
    title = f"{model.label}: {condition.name}, {benchmark.label}"
    files, documents = {}, {f"excess/{name}.json": facts}
    if condition.is_whole:
        for kind in {"upos", "relation"} & set(table["kind"]):
            files[f"figures/{name}-{kind}.png"] = figures.excess_bars(table, kind=kind, title=title)
        page = examples_page(excess.items, benchmark.documents, benchmark.words, title=title)
        documents[f"excess/{name}-sentences.html"] = page
    return findings.record.commit(
        key,
        step_id,
        f"excess.{name}",
        metrics=_metrics(table, facts, name),
        frames={f"excess/{name}.parquet": table},
        documents=documents,
        files=files,
    )


def _facts(excess: Excess, table: pd.DataFrame, benchmark: SurprisalBenchmark) -> dict[str, Any]:
    columns = ["name", "num_items", "share", "surprisal", "excess", "low", "high"]
    kinds = {kind: rows[columns] for kind, rows in table.groupby("kind")}
    plain = {kind: rows.astype(object).where(rows.notna(), None).to_dict("records") for kind, rows in kinds.items()}
    return {
        "unit": benchmark.unit,
        "annotation": benchmark.annotation,
        "documents": len(benchmark.documents),
        "all": plain["all"][0],
        "upos": plain["upos"],
        "contrast": contrast_record(excess.contrast()),
        "closed_contrast": contrast_record(excess.contrast(CLOSED, OPEN)),
    }


def _metrics(table: pd.DataFrame, facts: Mapping[str, Any], name: str) -> dict[str, float]:
    of_upos = table[table["kind"] == "upos"]
    found = {f"{name}/{row.name}": row.excess for row in of_upos.itertuples(index=False)}
    found[f"{name}/excess"] = facts["all"]["excess"]
    for contrast, metric in (("contrast", "scaffolding_contrast"), ("closed_contrast", "closed_contrast")):
        if facts[contrast]["estimate"] is not None:
            found[f"{name}/{metric}"] = facts[contrast]["estimate"]
    return found
