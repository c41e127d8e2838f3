"""Finished steps -> the report: tables, verdicts, figures, recorded on the parent run.

Made from whatever finished; what did not is named. Owns what stands in the report and which tables and figures go with
it; `evidence` has the claims' roles.
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
from orchestrator.review.model_report import _ModelReport
from orchestrator.steps.step import BROKEN, FINISHED, review_id
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.reporting import figures
from studies.reporting import text as report

REPORT = "report.json"


class Review(NamedTuple):
    """The report and whether it was made now or read back."""

    report: Mapping[str, Any]
    cached: bool


def review(plan: Plan, outcome: Outcome, record: Record) -> Review:
    """Make the report of a study, or read it back when every step it rests on is the same."""
    done = sorted(step for step, state in outcome.states.items() if state in FINISHED)
    unfinished = [
        f"{step.title}: {outcome.states[step.id]} ({outcome.reasons.get(step.id, 'no reason')})"
        for step in plan.steps.values()
        if outcome.states[step.id] in BROKEN
    ]
    spec, surprisals = plan.study.spec, [b for b in plan.study.benchmarks if isinstance(b, SurprisalBenchmark)]
    params = {
        "claims": spec.claims,
        "study": spec.study,
        "unfinished": unfinished,
        "annotations": [[b.name, b.unit, b.annotation] for b in surprisals],
        "checkpoints": {m.label: list(m.checkpoint) for m in plan.study.models if m.checkpoint},
    }
    step_id = review_id("report", params, done)
    known = record.intact([step_id]).get(step_id)
    if known is not None:
        return Review(record.document(known, REPORT), True)
    record_mean_accuracies(plan, outcome, record)
    findings = Findings(plan, outcome, record)
    builders = [_ModelReport(findings, model) for model in plan.study.models]
    models = [builder.build() for builder in builders]
    tables: dict[str, list[pd.DataFrame]] = {}
    for builder in builders:
        for name, table in builder.tables.items():
            tables.setdefault(name, []).append(table.assign(model=builder.label))
    found = {
        "study": plan.study.spec.study,
        "models": models,
        "series": record_dynamics(findings),
        "unfinished": unfinished,
    }
    files = {
        f"figures/{name}.png": png
        for builder, table in zip(builders, models, strict=True)
        for name, png in builder.figures(table)
    }
    scored = [model for model in models if model["structure"]]
    if len(scored) > 1:
        files["figures/negative-share.png"] = figures.negative_shares(scored)
    key = RunKey(kind="study", name=plan.study.spec.study)
    record.commit(
        key,
        step_id,
        "report",
        metrics={},
        frames={name: pd.concat(parts) for name, parts in tables.items()},
        documents={REPORT: found, "report.md": report.markdown(found)},
        files=files,
    )
    record.note(report.markdown(found)[:7000])
    return Review(found, False)
