"""The sentences behind the numbers: the texts of every benchmark's items, and the items that each condition flipped.

Owns two review steps. `texts.<benchmark>` stands on the study's own run, once a benchmark, and is identified by the
digest of its data. `flipped` stands on the run of every treated and matched condition, and of others that are no random
controls: a table for each graded benchmark, in the form that `mlflow.load_table` reads and MLflow shows as a table.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from orchestrator.planning.models import ResolvedModel
from orchestrator.record.encoding import MAX_CSV, encode_csv
from orchestrator.record.keys import RunKey
from orchestrator.review.findings import Findings
from orchestrator.review.recorded import ReviewStep, adopt_or_make, broken_runs
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BASELINE, review_id
from studies.benchmarks.protocol import Benchmark
from studies.reporting.records import table_record
from studies.statistics.flips import CHANGE, GAINED, LOST, flips

TEXTS = "texts.{}"
"""Name of the step that records a benchmark's texts."""
FLIPPED, SUMMARY = "flipped", "flipped.json"
LOGGED_TABLES = "mlflow.loggedArtifacts"
"""The tag by which MLflow knows the tables of a run (`MlflowClient.log_table`)."""
DIGITS = 4
"""Decimal places of a log-probability in a table for reading, nats; the items have every bit."""


def texts_table(benchmark: str) -> str:
    """Where the texts of a benchmark's items are recorded, on the study's own run."""
    return f"texts/{benchmark}.parquet"


def flipped_table(benchmark: str) -> str:
    """Where the items of a benchmark that a condition flipped are recorded, on the condition's run."""
    return f"flipped/{benchmark}.json"


def record_texts(findings: Findings) -> None:
    """Record the texts of every benchmark's items, where they are not recorded yet."""
    plan, record = findings.plan, findings.record
    key = RunKey(kind="study", name=plan.study.spec.study)
    steps = {_texts_id(benchmark): benchmark for benchmark in plan.study.benchmarks}
    known = record.intact(list(steps))
    for step, benchmark in steps.items():
        if step in known:
            record.adopt(key, known[step])
        elif (texts := findings.item_texts(benchmark)) is not None:
            name, path = TEXTS.format(benchmark.name), texts_table(benchmark.name)
            record.commit(key, step, name, metrics={}, frames={path: texts}, documents={})


def _texts_id(benchmark: Benchmark) -> str:
    return review_id("texts", {"benchmark": benchmark.name, "digest": benchmark.digest}, [], {})


def record_flips(findings: Findings, model: ResolvedModel) -> dict[str, dict[str, dict[str, int]]]:
    """Record the items that each condition of a model answers otherwise than the baseline.

    Returns {condition: {benchmark: {lost, gained}}}; random controls are left out, and so is what cannot be compared.
    """
    plan = findings.plan
    graded = {b.name: b for b in plan.study.benchmarks if b.measure.is_graded}
    baseline = findings.evaluations(model, BASELINE)
    steps: dict[str, ReviewStep] = {}
    compared: dict[str, tuple[str, list[str]]] = {}
    for condition in plan.conditions[model.label]:
        evaluations = findings.evaluations(model, condition.name)
        names = [
            name
            for name in graded
            if name in evaluations and name in baseline and findings.alike(model, condition.name, BASELINE, name)
        ]
        if names and condition.is_whole and condition.part != "random":
            inputs = [step for name in names for step in (baseline[name], evaluations[name])]
            step = review_id(FLIPPED, {"benchmarks": names}, inputs, findings.committed)
            steps[condition.name] = ReviewStep(step, FLIPPED, plan.runs[evaluations[names[0]]])
            compared.setdefault(step, (condition.name, names))

    def make(step: ReviewStep) -> StepResult:
        condition, names = compared[step.id]
        return _flipped(findings, model, condition, [graded[name] for name in names])

    broken = broken_runs(plan, findings.outcome)
    summaries = adopt_or_make(findings, list(steps.values()), make, summary=SUMMARY, broken=broken)
    return {condition: summaries[step.id] for condition, step in steps.items() if step.id in summaries}


def _flipped(findings: Findings, model: ResolvedModel, condition: str, benchmarks: list[Benchmark]) -> StepResult:
    treated, control = (findings.items(model, name) for name in (condition, BASELINE))
    documents: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    summary: dict[str, dict[str, int]] = {}
    for benchmark in benchmarks:
        name, measure = benchmark.name, benchmark.measure
        found = flips(treated[name], control[name])
        table = _with_texts(found, findings.item_texts(benchmark), measure.key)
        documents[flipped_table(name)] = table_record(table, DIGITS)
        if len(content := encode_csv(table)) <= MAX_CSV:
            files[f"flipped/{name}.csv"] = content
        summary[name] = {change: int((found[CHANGE] == change).sum()) for change in (LOST, GAINED)}
    return StepResult(metrics={}, frames={}, documents={**documents, SUMMARY: summary}, files=files)


def _with_texts(found: pd.DataFrame, texts: pd.DataFrame | None, key: tuple[str, ...]) -> pd.DataFrame:
    """The flips with their texts.

    The first two columns are those by which MLflow compares runs, a text and what became of it; then come the other
    texts, by how much the decision moved, and where the item is from."""
    columns = list(key)
    if texts is None or not set(columns) <= set(texts.columns):
        return found
    whole = found.merge(texts, on=columns, how="left", validate="many_to_one", suffixes=("", "_of_text"))
    shown, *others = [name for name in texts.columns if name not in columns]
    about = [name for name in ("phenomenon",) if name in found]
    rest = [name for name in found.columns if name not in {*columns, *about, CHANGE}]
    return whole[[shown, CHANGE, *others, *about, *rest, *columns]]


def logged_tables(flipped: Mapping[str, object]) -> dict[str, str]:
    """The tag of a run with the tables of these benchmarks; none without any."""
    tables = [{"path": flipped_table(name), "type": "table"} for name in flipped]
    return {LOGGED_TABLES: json.dumps(tables)} if tables else {}
