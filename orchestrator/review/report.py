"""Finished steps -> the report: tables, verdicts and figures, recorded on the parent run.

Made from whatever has finished; steps that have not are listed. Owns what the report holds for the study as a whole;
`model_report` has the part of each model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.planning.roles import margins
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.record.encoding import encode_json
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.record import Record
from orchestrator.review.claims.across_models import record_across_models
from orchestrator.review.drawings import Reviewed, report_figures
from orchestrator.review.dynamics import record_dynamics
from orchestrator.review.findings import Findings
from orchestrator.review.mean_accuracy import record_mean_accuracies
from orchestrator.review.model_report import COMPARISONS, ModelReport
from orchestrator.review.sentences import record_flips, record_texts
from orchestrator.steps.step import BROKEN, FINISHED, review_id
from studies.reporting.markdown import markdown
from studies.reporting.records import REPORT, margins_record


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
    last = record.latest(plan.study.spec.study).get(("", "", "report"))
    content = _content(record, last)
    used = _margins(plan, content)
    step_id = _report_id(plan, outcome, unfinished, used)
    if last is not None and last.step_id == step_id:
        recorded = content if record.verify(last) else None
    else:
        recorded = _content(record, record.intact([step_id]).get(step_id))
    if recorded is not None and recorded["unfinished"] == unfinished:  # else a part of it failed, and is tried again
        return Review(recorded, True)
    findings = Findings(plan, outcome, record)
    with findings.unless_failed("texts of the items"):
        record_texts(findings)
    with findings.unless_failed("mean accuracies"):
        record_mean_accuracies(findings)
    built: list[tuple[ModelReport, dict[str, Any]]] = []
    for model in plan.study.models:
        with findings.unless_failed(f"report of {model.label}"):
            part = ModelReport(findings, model)
            content = part.build()
            with findings.unless_failed(f"flipped items of {model.label}"):
                _add_flips(content, record_flips(findings, model))
            encode_json(content)  # a number that JSON does not have costs this model's part, not the report
            built.append((part, content))
    parts, models = [part for part, _ in built], [content for _, content in built]
    series: list[dict[str, Any]] = []
    with findings.unless_failed("training dynamics"):
        series = record_dynamics(findings)
    across: list[dict[str, Any]] = []
    with findings.unless_failed("claims across models"):
        across = record_across_models(plan.study.models, models)
    reviewed = [Reviewed(part.model, content, part.tables.get(COMPARISONS)) for part, content in built]
    figures = report_figures(findings, reviewed, across)
    report = {
        "study": plan.study.spec.study,
        "models": models,
        "across_models": across,
        "series": series,
        "margins": used,
        "unfinished": [*unfinished, *findings.failures],
    }
    description = markdown(report)
    record.commit(
        RunKey(kind="study", name=plan.study.spec.study),
        step_id,
        "report",
        metrics={},
        frames=_tables(parts),
        documents={REPORT: report, "report.md": description},
        files=figures,
    )
    return Review(report, False)


def _add_flips(content: dict[str, Any], flipped: Mapping[str, Any]) -> None:
    """Say in the rows of a model how many items each condition lost and gained."""
    for row in content["rows"]:
        if row["condition"] in flipped:
            row["flipped"] = flipped[row["condition"]]


def unreviewed(plan: Plan, reason: str) -> Review:
    """What stands for the report of a study that could not be reviewed."""
    unfinished = [f"report: {reason}; what was computed is kept, run the study again for its report"]
    empty: dict[str, list[Any]] = {"models": [], "across_models": [], "series": [], "margins": []}
    report = {"study": plan.study.spec.study, **empty, "unfinished": unfinished}
    return Review(report, False)


def _margins(plan: Plan, last: Mapping[str, Any] | None) -> list[dict[str, float]]:
    """The margins of the study's claims, in the order in which its reports used them, the present ones last.

    More than one: they were changed after results existed, which a reader must know. A study without claims adds none.
    last: the study's last report.
    """
    earlier: list[dict[str, float]] = [] if last is None else last.get("margins", [])
    if plan.study.spec.claims is None:
        return earlier
    present = margins_record(margins(plan))
    return earlier if earlier and earlier[-1] == present else [*earlier, present]


def _content(record: Record, found: Committed | None) -> Mapping[str, Any] | None:
    """A recorded report; None where there is none, or a damaged one, which is made again."""
    try:
        return None if found is None else record.document(found, REPORT)
    except DamagedArtifact:
        return None


def _report_id(plan: Plan, outcome: Outcome, unfinished: list[str], used: list[dict[str, float]]) -> str:
    """The id of the report on these results, and on whatever else it depends on: claims, annotations, checkpoints."""
    finished = sorted(step for step, state in outcome.states.items() if state in FINISHED)
    spec = plan.study.spec
    places = {model.label: model.checkpoint for model in plan.study.models if model.checkpoint}
    params: dict[str, Any] = {
        "claims": spec.claims,
        "margins": used,
        "study": spec.study,
        "unfinished": unfinished,
        "annotations": [[name, words.unit, words.identity] for name, words in plan.annotations.items()],
        "checkpoints": {label: [p.series, p.step, p.cohort, p.before] for label, p in places.items()},
    }
    if spec.only_claims is not None:
        params["only_claims"] = list(spec.only_claims)
    return review_id("report", params, finished, outcome.committed)


def _tables(parts: list[ModelReport]) -> dict[str, pd.DataFrame]:
    """{artifact: the tables of all models, one below the other}."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for part in parts:
        for name, table in part.tables.items():
            tables.setdefault(name, []).append(table.assign(model=part.label))
    return {name: pd.concat(of_models) for name, of_models in tables.items()}
