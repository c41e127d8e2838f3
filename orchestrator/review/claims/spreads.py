"""How much comparisons varied on one model: what a later `plan` assumes for its power.

Owns which comparisons are measured; `studies.statistics.power` has the arithmetic, `studies.reporting.spreads` the
keys. Knows no claim. What a benchmark's items cannot show is left out, never an error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.roles import Roles, roles
from orchestrator.review.findings import Findings
from orchestrator.steps.step import BASELINE
from studies.claims.power import (
    DIFFICULTY,
    DIFFICULTY_RANDOM,
    MATCHED,
    POSRELU,
    RANDOM,
    SIGNFLIP,
    TREATED,
    comparison,
)
from studies.reporting.spreads import spread_record
from studies.statistics.effects import known, mean_difference
from studies.statistics.intervals import CONFIDENCE
from studies.statistics.items import BenchmarkItems, Items, paired_values
from studies.statistics.power import Spread, spread_of

COMPARED = (
    *((role, BASELINE) for role in (TREATED, MATCHED, DIFFICULTY, SIGNFLIP, POSRELU)),
    (TREATED, MATCHED),
)
OVER_RANDOMS = ((TREATED, RANDOM), (DIFFICULTY, DIFFICULTY_RANDOM))

_NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""Half an interval in standard errors."""


def record_spreads(
    findings: Findings, model: ResolvedModel, excess: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The spreads of every comparison of a model that claims rest on, as plain JSON.

    excess: what the model's report says of excess surprisal. Results that cannot be compared are left out.
    """
    by_role = roles(findings.plan, model)
    if by_role is None:
        return []
    names = {*by_role.conditions.values(), *(name for group in by_role.randoms.values() for name in group)}
    items = {name: findings.comparable(model, name) for name in names}
    annotated = findings.plan.annotations
    plain = {name: {b: i for b, i in found.items() if b not in annotated} for name, found in items.items()}
    return [*_of_items(by_role, plain), *_of_documents(by_role, excess)]


def _of_items(by_role: Roles, items: Mapping[str, BenchmarkItems]) -> Iterator[dict[str, Any]]:
    for first, second in COMPARED:
        if first in by_role.conditions and second in by_role.conditions:
            one, other = (items[by_role.conditions[role]] for role in (first, second))
            for benchmark in one:
                if benchmark in other:
                    yield from _spread(benchmark, comparison(first, second), one[benchmark], [other[benchmark]])
    for first, randoms in OVER_RANDOMS:
        controls = [items[name] for name in by_role.randoms[randoms]]
        if first in by_role.conditions and controls:
            one = items[by_role.conditions[first]]
            for benchmark in one:
                if all(benchmark in control for control in controls):
                    of_sets = [control[benchmark] for control in controls]
                    yield from _spread(benchmark, comparison(first, randoms), one[benchmark], of_sets)


def _spread(benchmark: str, compared: str, treated: Items, controls: Sequence[Items]) -> Iterator[dict[str, Any]]:
    """The record of one comparison, with the mean of controls; none where the items show no spread."""
    first = controls[0]
    try:
        value = paired_values(treated, first)[0]
        of_controls = [paired_values(control, first)[0] for control in controls]
        differences = value - np.mean(of_controls, axis=0)
        spread = spread_of(differences, first)
        means = [mean_difference(values, first).value for values in of_controls]
    except ValueError:  # other items, or values that are not finite: the comparisons of the report say so
        return
    if spread is not None:
        discordance = float(np.mean(differences != 0)) if first.measure.is_graded and len(controls) == 1 else None
        sets = _over_sets(means)
        yield spread_record(benchmark, compared, spread, discordance=discordance, random_sets=sets)


def _over_sets(means: Sequence[float]) -> float | None:
    """The standard deviation over random sets; None where these show none."""
    variance = known(float(np.var(means, ddof=1)), np.array(means)) if len(means) > 1 else math.nan
    return None if math.isnan(variance) else variance**0.5


def _of_documents(by_role: Roles, excess: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """From the contrasts of parts of speech over the baseline: their intervals are bootstrapped over documents."""
    by_condition = {(entry["benchmark"], entry["condition"]): entry["contrast"] for entry in excess}
    for benchmark in dict.fromkeys(entry["benchmark"] for entry in excess):
        contrast = by_condition.get((benchmark, by_role.conditions[TREATED]))
        if contrast is None or contrast["low"] is None:
            continue
        error = (contrast["high"] - contrast["low"]) / (2 * _NORMAL)
        spread = Spread(error * contrast["documents"] ** 0.5)
        controls = [by_condition.get((benchmark, name)) for name in by_role.randoms[RANDOM]]
        means = [control["estimate"] for control in controls if control and control["estimate"] is not None]
        sets = _over_sets(means)
        for other, random_sets in ((BASELINE, None), (RANDOM, sets)):
            yield spread_record(
                benchmark, comparison(TREATED, other), spread, discordance=None, random_sets=random_sets
            )
