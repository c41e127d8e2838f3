"""Verdicts on claims whose evidence is complete before the study is, told to whoever watches.

Owns when a claim is told: once every step that it rests on has ended. So what is told is what the report will say, but
for Holm's correction, which needs the whole scorecard. Claims of which no power is planned are left to the report.
"""

import logging
from collections.abc import Callable

from orchestrator.planning.conditions import NOISE_FLOOR
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.planning.power import powers
from orchestrator.progress.watcher import Watcher
from orchestrator.record.record import Record
from orchestrator.review.claims.evidence import perplexity_name
from orchestrator.review.claims.verdicts import model_verdicts
from orchestrator.review.findings import Findings
from orchestrator.steps.step import TERMINAL, State, Step

log = logging.getLogger(__name__)

UNMATCHED = ("perplexity_cost", "difficulty_agrees")
"""Claims that do not rest on a matched control, whose search takes long."""


class EarlyVerdicts(Watcher):
    """Judges the claims of a run while it goes on."""

    def __init__(self, plan: Plan, record: Record, outcome: Callable[[], Outcome], tell: Watcher) -> None:
        """outcome: the states and records of the run as they stand."""
        self._plan, self._record, self._outcome, self._tell = plan, record, outcome, tell
        self._open: dict[tuple[str, str], set[str]] = _evidence(plan)
        """{(model, claim): the steps that it still waits for}, of claims that have not been told."""

    def transition(self, step: Step, state: State, remark: str) -> None:  # noqa: ARG002
        waiting = [key for key, steps in self._open.items() if step.id in steps] if state in TERMINAL else []
        for key in waiting:
            self._open[key].discard(step.id)
        due = [key for key in waiting if not self._open[key]]
        for key in due:
            del self._open[key]
        if due and state is not State.CACHED:
            self._judge(step.model, {claim for _, claim in due})

    def _judge(self, label: str, claims: set[str]) -> None:
        try:
            findings = Findings(self._plan, self._outcome(), self._record)
            found = model_verdicts(findings, self._plan.model(label))
        except Exception as error:  # of any kind: the report judges every claim in any case
            log.debug("claims could not be judged before the end", exc_info=error)
            return
        for verdict in found:
            if verdict.claim in claims:
                self._tell.decided(verdict)


def _evidence(plan: Plan) -> dict[tuple[str, str], set[str]]:
    """{(model, claim): the evaluations that it may rest on}."""
    found: dict[tuple[str, str], set[str]] = {}
    perplexity = perplexity_name(plan)
    for label, power in powers(plan):
        left_out, benchmarks = {NOISE_FLOOR}, set(power.benchmarks)
        if power.claim in UNMATCHED:
            controls = (*plan.conditions[label], *plan.neighbours[label].values())
            left_out |= {control.name for control in controls if control.spec.match is not None}
        else:  # how well a control matches, its perplexity says
            benchmarks.add(perplexity)
        steps = {
            step
            for (of_model, condition), by_benchmark in plan.evaluations.items()
            for benchmark, step in by_benchmark.items()
            if of_model == label and condition not in left_out and benchmark in benchmarks
        }
        if steps:
            found[label, power.claim] = steps
    return found
