"""The power that the claims of a plan will have: the layout of its benchmarks, and the spreads of earlier runs.

Owns how many items, units, windows and documents a benchmark will have, as far as it is known without a model, and in
which order spreads are looked for: an earlier run of this model in this store, of any model, the stated defaults.
`studies.claims.power` has what each claim rests on, `studies.reporting.records` what a report says of spreads.
Callers rely on: a benchmark whose items cannot be told beforehand costs its claims their power, never the plan; so does
an earlier report that cannot be read.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.planning.roles import margins, roles
from orchestrator.record.client.failures import RecordError
from orchestrator.record.reader import Reader
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.texts import CHARACTERS_PER_TOKEN, Continuations, Documents, Sentences, Windows
from studies.claims.paper import is_among
from studies.claims.power import LOW, Assumed, Assumptions, ClaimPower, Design, claim_powers
from studies.reporting.records import REPORT
from studies.reporting.spreads import EarlierSpread, spreads_of_report
from studies.statistics.excess_surprisal import MIN_DOCUMENTS
from studies.statistics.power import Layout, default_spread, default_words, layout_of

MOST_REPORTS = 10
"""Earlier reports that are read at most: a plan must stay fast."""


class PlannedPower(NamedTuple):
    """The power of one claim on one model."""

    model: str
    of_claim: ClaimPower


def powers(plan: Plan, earlier: Sequence[EarlierSpread] = ()) -> list[PlannedPower]:
    """The power of every claim of the study on every model whose neurons are its own; earlier: newest first.

    Empty where the study has no claims, or a model none that applies.
    """
    claims = plan.study.spec.claims
    if claims is None:
        return []
    layouts = _Layouts(plan)
    found = []
    for model in plan.study.models:
        design = _design(plan, model, layouts)
        if design is not None:
            assumptions = _assumptions(plan, model, earlier)
            powers = claim_powers(claims, design, assumptions, margins(plan))
            asked = plan.study.spec.only_claims
            found += [PlannedPower(model.label, power) for power in powers if is_among(power.claim, asked)]
    return found


def earlier_spreads(record: Reader, plan: Plan) -> list[EarlierSpread]:
    """What the last reports of the studies in this store show, newest first.

    None is read where the study has no claims; no more are read once every model has spreads of its own.
    """
    wanted = {model.digest for model in plan.study.models if plan.study.spec.claims}
    found: list[EarlierSpread] = []
    for started, committed in record.last_of_studies("report")[:MOST_REPORTS] if wanted else ():
        with contextlib.suppress(RecordError):
            found += spreads_of_report(record.document(committed, REPORT), day=started[:10])
        if wanted <= {entry.digest for entry in found}:
            break
    return found


def low_powers(planned: Sequence[PlannedPower], plan: Plan) -> list[str]:
    """One line, with the place of its benchmark in the study file, per claim whose power is below 50 %."""
    models: dict[ClaimPower, list[str]] = {}
    for entry in planned:
        if entry.of_claim.power is not None and entry.of_claim.power < LOW:
            models.setdefault(entry.of_claim, []).append(entry.model)
    return [
        plan.study.located.problem(
            plan.study.place(low.benchmarks[0]), _low_power(low, labels, all_of=len(plan.study.models))
        ).message
        for low, labels in models.items()
    ]


def _low_power(low: ClaimPower, labels: Sequence[str], all_of: int) -> str:
    """`tse: syntax_loss/tse has 12 % power ...`."""
    of = "" if len(labels) == all_of else f" for {', '.join(labels)}"
    if low.reason:
        remedy = f"; {low.remedy}" if low.remedy else ""
        return f"{low.claim} cannot be supported{of}: {low.reason}{remedy}"
    shown = f"to show an effect of {low.effect:g}" if low.effect else "to show that there is no effect"
    return f"{low.claim} has {_percent(low.power)} power{of} {shown} with {low.units} by {low.basis}; {low.remedy}"


def _percent(power: float | None) -> str:
    """`44 %`, rounded down, `over 99 %`, `under 1 %`."""
    if power is None:
        return "unknown"
    return "over 99 %" if power > 0.99 else "under 1 %" if power < 0.01 else f"{int(100 * power)} %"


def power_lines(planned: Sequence[PlannedPower]) -> list[list[str]]:
    """[claim and models, power, what it is of and why]: one row per claim, and per models that differ in it."""
    models: dict[tuple[str, str, str], list[str]] = {}
    for label, found in planned:
        shown = f"an effect of {found.effect:g}" if found.effect else "no effect"
        about = found.reason or f"{shown}, {found.units}, by {found.basis}"
        about += f"; {found.remedy}" if found.remedy else ""
        power = _percent(found.power)
        models.setdefault((found.claim, power, about), []).append(label)
    num_models = len({label for label, _ in planned})
    return [
        [claim if len(labels) == num_models else f"{claim} ({', '.join(labels)})", power, about]
        for (claim, power, about), labels in models.items()
    ]


def power_records(planned: Sequence[PlannedPower]) -> list[dict[str, Any]]:
    """As plain JSON: what `plan --json` prints."""
    return [
        {
            "model": label,
            "claim": found.claim,
            "power": found.power,
            "effect": found.effect,
            "benchmarks": list(found.benchmarks),
            "units": found.units,
            "basis": found.basis,
            "reason": found.reason,
            "remedy": found.remedy,
        }
        for label, found in planned
    ]


def _assumptions(plan: Plan, model: ResolvedModel, earlier: Sequence[EarlierSpread]) -> Assumptions:
    """How comparisons on this model are assumed to vary."""
    by_key: dict[tuple[str, str], list[EarlierSpread]] = {}
    for entry in earlier:
        by_key.setdefault((entry.benchmark, entry.comparison), []).append(entry)
    measures = {benchmark.name: benchmark.measure for benchmark in plan.study.benchmarks}

    def assumed(benchmark: str, comparison: str) -> Assumed | None:
        found = by_key.get((benchmark, comparison), [])
        own = next((entry for entry in found if entry.digest == model.digest), None)
        known = own or next(iter(found), None)
        if known is not None:
            whose = "this model's" if own else f"another model's ({known.model})"
            return Assumed(known.spread, f"{whose} run of {known.day}", random_sets=known.random_sets)
        measure = measures[benchmark]
        spread = default_spread(measure)
        return spread and Assumed(spread, "defaults", default_words(measure))

    return assumed


def _design(plan: Plan, model: ResolvedModel, layouts: "_Layouts") -> Design | None:
    """What the study will measure on a model; None where its claims are about no neurons of its own, or none at all."""
    by_role = roles(plan, model) if model.selects_itself else None
    if by_role is None or model.architecture.is_relu:
        return None
    study, benchmarks = plan.study, plan.study.benchmarks
    graded = [benchmark for benchmark in benchmarks if benchmark.measure.is_graded]
    conditions = {role: (name,) for role, name in by_role.conditions.items()} | dict(by_role.randoms)
    scored = {
        role: frozenset.intersection(*(frozenset(plan.evaluations.get((model.label, n), ())) for n in names))
        for role, names in conditions.items()
        if names
    }
    return Design(
        layouts={benchmark.name: layouts.of(benchmark, model) for benchmark in benchmarks},
        perplexity=study.perplexity.name if study.perplexity else None,
        syntactic=tuple(b.name for b in graded if b.is_syntactic is True),
        non_syntactic=tuple(b.name for b in graded if b.is_syntactic is False),
        surprisal=tuple(plan.annotations),
        scored=scored,
        num_sets={role: len(names) for role, names in by_role.randoms.items()},
    )


@dataclass
class _Layouts:
    """The layouts of a plan's benchmarks; what does not depend on the model is made once."""

    plan: Plan

    def __post_init__(self) -> None:
        self._fixed: dict[str, Layout | None] = {}

    def of(self, benchmark: Benchmark, model: ResolvedModel) -> Layout | None:
        """The layout of a benchmark for a model; None where its items are not known before they are scored."""
        request = benchmark.request
        if isinstance(request, Windows):
            window = min(request.window, model.architecture.context)
            tokens = int(min(request.num_tokens or math.inf, len(request.text) / CHARACTERS_PER_TOKEN))
            stride = min(request.stride, window)
            return Layout(((max(0, 1 + (tokens - window) // stride),),), benchmark.measure)
        if benchmark.name not in self._fixed:
            self._fixed[benchmark.name] = _layout(benchmark, request)
        return self._fixed[benchmark.name]


def _layout(benchmark: Benchmark, request: Sentences | Continuations | Documents) -> Layout | None:
    measure = benchmark.measure
    if isinstance(request, Documents):
        return Layout(((len(request.texts),),), replace(measure, noun="documents", fewest=MIN_DOCUMENTS))
    if measure.unit is None and request.items is not None:  # strata of about equal size count as one
        return Layout(((len(request.items.places),),), measure)
    texts = request.texts if isinstance(request, Sentences) else request.contexts
    values: dict[str, Any] = {}
    if isinstance(request, Continuations) and request.margins:
        values["margins"] = np.zeros(len(texts))
    try:  # what it makes of equal log-probabilities has the columns that say which item is of which unit
        return layout_of(benchmark.results(np.zeros(len(texts)), np.ones(len(texts)), **values), measure)
    except Exception:  # of any kind: the benchmark may be a user's own
        return None
