"""Finished steps -> the report: tables, verdicts and figures, recorded on the parent run.

Made from whatever has finished; steps that have not are listed. Owns what the report holds for the study as a whole;
`model_report` has the part of each model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import RunKey
from orchestrator.record.record import Record
from orchestrator.review.dynamics import record_dynamics
from orchestrator.review.findings import Findings
from orchestrator.review.mean_accuracy import record_mean_accuracies
from orchestrator.review.model_report import ModelReport
from orchestrator.steps.step import BROKEN, FINISHED, review_id
from studies.reporting import figures, text

REPORT = "report.json"
NOTE_LENGTH = 7000
"""Characters of the report that the parent run shows as its note; MLflow cuts tags at 8,000."""


class Review(NamedTuple):
    """The report, and whether it was made now or read back."""

    report: Mapping[str, Any]
    cached: bool


def review(plan: Plan, outcome: Outcome, record: Record) -> Review:
    """Make the report of a study, or read it back if every step that it is made from is the same."""
    unfinished = [
        f"{step.title}: {outcome.states[step.id]} ({outcome.reasons.get(step.id, 'no reason')})"
        for step in plan.steps.values()
        if outcome.states[step.id] in BROKEN
    ]
    step_id = _report_id(plan, outcome, unfinished)
    known = record.intact([step_id]).get(step_id)
    if known is not None:
        return Review(record.document(known, REPORT), True)
    record_mean_accuracies(plan, outcome, record)
    findings = Findings(plan, outcome, record)
    parts = [ModelReport(findings, model) for model in plan.study.models]
    models = [part.build() for part in parts]
    report = {
        "study": plan.study.spec.study,
        "models": models,
        "series": record_dynamics(findings),
        "unfinished": unfinished,
    }
    markdown = text.markdown(report)
    record.commit(
        RunKey(kind="study", name=plan.study.spec.study),
        step_id,
        "report",
        metrics={},
        frames=_tables(parts),
        documents={REPORT: report, "report.md": markdown},
        files=_figures(parts, models),
    )
    record.note(markdown[:NOTE_LENGTH])
    return Review(report, False)


def _report_id(plan: Plan, outcome: Outcome, unfinished: list[str]) -> str:
    """The id of the report on these results, and on whatever else it depends on: claims, annotations, checkpoints."""
    finished = sorted(step for step, state in outcome.states.items() if state in FINISHED)
    spec = plan.study.spec
    places = {model.label: model.checkpoint for model in plan.study.models if model.checkpoint}
    params = {
        "claims": spec.claims,
        "study": spec.study,
        "unfinished": unfinished,
        "annotations": [[name, words.unit, words.identity] for name, words in plan.annotations.items()],
        "checkpoints": {label: [p.series, p.step, p.cohort, p.before] for label, p in places.items()},
    }
    return review_id("report", params, finished)


def _tables(parts: list[ModelReport]) -> dict[str, pd.DataFrame]:
    """{artifact: the tables of all models, one below the other}."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for part in parts:
        for name, table in part.tables.items():
            tables.setdefault(name, []).append(table.assign(model=part.label))
    return {name: pd.concat(of_models) for name, of_models in tables.items()}


def _figures(parts: list[ModelReport], models: list[dict[str, Any]]) -> dict[str, bytes]:
    files = {
        f"figures/{name}.png": png
        for part, model in zip(parts, models, strict=True)
        for name, png in part.figures(model)
    }
    scored = [model for model in models if model["structure"]]
    if len(scored) > 1:
        files["figures/negative-share.png"] = figures.negative_shares(scored)
    return files
