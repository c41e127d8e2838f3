"""Verdicts on claims whose evidence is complete before the study is, told to whoever watches.

Owns when a claim is told: once every step that it rests on has ended. So what is told is what the report will say, but
for Holm's correction, which needs the whole scorecard. Claims of which no power is planned are left to the report.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cached_property

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
        self._ended: set[str] = set()

    def transition(self, step: Step, state: State, remark: str) -> None:  # noqa: ARG002
        if state not in TERMINAL:  # it waits again, or is computed again
            self._ended.discard(step.id)
            return
        self._ended.add(step.id)
        if state is State.CACHED:
            return
        by_claim = self._evidence.get(step.model, {})
        due = {claim for claim, steps in by_claim.items() if step.id in steps and steps <= self._ended}
        if due:
            self._judge(step.model, due)

    @cached_property
    def _evidence(self) -> Mapping[str, Mapping[str, set[str]]]:
        """{model: {claim: the evaluations that it may rest on}}; not made where everything is recorded."""
        return _evidence(self._plan)

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


def _evidence(plan: Plan) -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
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
            found.setdefault(label, {})[power.claim] = steps
    return found
