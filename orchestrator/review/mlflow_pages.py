"""The report on MLflow's own pages: notes, verdicts and differences to search and sort by, the inputs of every run.

Owns what each page says and under which names; all of it is taken from the report and the plan, so that the pages, the
report and its tables cannot disagree. Shown after every review, also one that was read back; only what differs is
written.
"""

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import RunKey
from orchestrator.record.pages.links import MEMBERS
from orchestrator.record.pages.run_page import RunInput, RunPage
from orchestrator.record.pages.views import DELTA
from orchestrator.record.pages.writer import MAX_NOTE, Pages
from orchestrator.record.record import Record
from orchestrator.review.sentences import FLIPPED, logged_tables
from orchestrator.steps.step import BROKEN, FINISHED
from studies.claims.scorecard import Status
from studies.reporting import notes
from studies.reporting.page.scorecard import counts
from studies.reporting.records import completed

CLAIM_TAG, CLAIM_METRIC = "claim.", "claim/"
DIGITS = 4
"""Significant digits of numbers on a page; the report has every bit."""
RUN_NOTE = 7_900
"""Characters of the note on a run; MLflow cuts its tags at 8,000."""
LINKED = ("report.html", "report.md")
"""Artifacts of the study's own run that notes lead to."""


def show_pages(plan: Plan, outcome: Outcome, record: Record, report: Mapping[str, Any]) -> None:
    """Bring the pages of a study up to date."""
    report, pages, keys = completed(report), record.pages, _Keys(plan, outcome)
    parts = {part["label"]: part for part in report["models"]}
    for model in plan.study.models:
        part = parts.get(model.label)
        profile = keys.profile(model)
        if profile is not None:
            pages.show(profile, _profile_page(plan, model, profile, report, keys))
        rows = {row["condition"]: row for row in part["rows"]} if part else {}
        for condition, key in keys.conditions(model).items():
            pages.show(key, _condition_page(plan, model, key, part, rows.get(condition), keys))
    parent = RunKey(kind="study", name=plan.study.spec.study)
    links = _links(pages, parent)
    by_status = dict.fromkeys(map(str, Status), 0) | dict(counts(report))
    metrics = {f"claims/{_name(status)}": float(number) for status, number in by_status.items()}
    pages.show(parent, RunPage(note=notes.experiment_note(report, links, RUN_NOTE), metrics=metrics))
    pages.describe(notes.experiment_note(report, links, MAX_NOTE))


class _Keys:
    """The runs of a plan, with what was computed on them."""

    def __init__(self, plan: Plan, outcome: Outcome) -> None:
        self._outcome, self._steps = outcome, plan.steps
        self._by_run: dict[str, list[str]] = {}
        self._keys: dict[tuple[str, str, str], RunKey] = {}
        for step, keys in plan.runs.items():
            for key in keys:
                self._by_run.setdefault(key.name, []).append(step)
                self._keys[key.slot] = key

    def profile(self, model: ResolvedModel) -> RunKey | None:
        return self._keys.get(("profile", model.label, ""))

    def conditions(self, model: ResolvedModel) -> dict[str, RunKey]:
        """{condition: its run}, of those that have one."""
        return {
            condition: key
            for (kind, label, condition), key in self._keys.items()
            if kind == "condition" and label == model.label
        }

    def failures(self, key: RunKey) -> list[tuple[str, str]]:
        """(step, reason) of the steps on a run that failed or were skipped."""
        states, reasons = self._outcome.states, self._outcome.reasons
        broken = [step for step in self._by_run[key.name] if states[step] in BROKEN]
        return [(self._steps[step].name, reasons.get(step, "no reason is known")) for step in broken]

    def finished(self, key: RunKey) -> set[str]:
        """Names of the finished steps on a run."""
        states = self._outcome.states
        return {self._steps[step].name for step in self._by_run[key.name] if states[step] in FINISHED}


def _profile_page(plan: Plan, model: ResolvedModel, key: RunKey, report: Mapping[str, Any], keys: _Keys) -> RunPage:
    """The verdicts on a model, as tags and metrics, and what its neurons were profiled on."""
    part = next((part for part in report["models"] if part["label"] == model.label), None)
    verdicts = part["verdicts"] if part else []
    metrics: dict[str, float] = {}
    for verdict in verdicts:
        metrics |= _interval(f"{CLAIM_METRIC}{_name(verdict['claim'])}", verdict.get("effect"))
    said = notes.model_note(report, part) if part else ""
    corpus = plan.study.corpus
    return RunPage(
        note=_note(said, *notes.failure_lines(keys.failures(key))),
        tags={f"{CLAIM_TAG}{_name(verdict['claim'])}": str(verdict["status"]) for verdict in verdicts},
        owned=(CLAIM_TAG,) if part else (),
        metrics=metrics,
        inputs=(_model_input(model), RunInput(corpus.label, corpus.digest, corpus.source, "scoring text")),
    )


def _condition_page(
    plan: Plan,
    model: ResolvedModel,
    key: RunKey,
    part: Mapping[str, Any] | None,
    row: Mapping[str, Any] | None,
    keys: _Keys,
) -> RunPage:
    """What a condition costs, as a sentence and as metrics, and what it was evaluated on."""
    said = notes.condition_note(part, row) if part and row else ""
    finished = keys.finished(key)
    evaluated = [b for b in plan.study.benchmarks if f"evaluate.{b.name}" in finished]
    return RunPage(
        note=_note(said, *notes.failure_lines(keys.failures(key))),
        tags=logged_tables(row.get("flipped", {})) if row else {},
        metrics=_row_metrics(row) if row else {},
        inputs=(_model_input(model), *(RunInput(b.label, b.digest, b.name, "benchmark") for b in evaluated)),
    )


def _note(*paragraphs: str) -> str:
    return notes.cut_at_a_row([line for one in paragraphs if one for line in (one, "")][:-1], RUN_NOTE)


def _row_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """`delta/<benchmark>` with its interval, `num_neurons`, the realised `fraction`, and how many items flipped."""
    metrics: dict[str, float] = {}
    for benchmark, delta in row["deltas"].items():
        metrics |= _interval(f"{DELTA}{benchmark}", delta)
    for benchmark, changes in row.get("flipped", {}).items():
        metrics |= {f"{FLIPPED}/{benchmark}_{change}": float(number) for change, number in changes.items()}
    if row["fraction"] is not None:
        metrics["fraction"] = _rounded(row["fraction"])
    if row["num_neurons"] is not None:
        metrics["num_neurons"] = float(row["num_neurons"])
    return metrics


def _interval(name: str, interval: Mapping[str, Any] | None) -> dict[str, float]:
    """`<name>`, `<name>_low`, `<name>_high`, of what is known."""
    values = {name: "estimate", f"{name}_low": "low", f"{name}_high": "high"}
    known = {metric: interval[part] for metric, part in values.items()} if interval else {}
    return {metric: _rounded(value) for metric, value in known.items() if value is not None}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _name(text: str) -> str:
    """A claim or a verdict in a name: `not applicable` becomes `not_applicable`."""
    return re.sub(r"[^\w./-]", "_", text)


def _model_input(model: ResolvedModel) -> RunInput:
    revision = f"@{model.revision}" if model.revision else ""
    return RunInput(model.label, model.digest, f"{model.path}{revision}", "model")


def _links(pages: Pages, parent: RunKey) -> dict[str, str]:
    """{what it opens: address}."""
    files = {name: pages.run_address(parent, name) for name in LINKED}
    views = {"conditions": pages.view_address(), "members of schedules and doses": pages.view_address(MEMBERS)}
    return {**files, **views, "the study's own run": pages.run_address(parent)}
