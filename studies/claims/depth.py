"""The claims on depth, judged on layer schedules: which group of layers matters most, and whether costs accumulate.

Owns their words, evidence, effects and contrasts; `scorecard` has the rules. "Most" is meant literally: the first group
costs more than every other one, which is shown by the contrast with the group that is hardest to tell from it (an
intersection-union test, Berger 1982: no correction). "Accumulates" means growth in the shallower and in the deeper half
and along a straight line, so that a single costly group is not enough; and growth beyond that of random neurons, since
each group adds neurons. A contradiction is corrected for the number of contrasts (Bonferroni), since one of many lies
below 0 by chance (`corrected`).

Callers rely on: every claim has one draft per benchmark. Knows no plan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from studies.claims.corrected import judged_among
from studies.claims.evidence import Sample, sample
from studies.claims.scorecard import (
    Claim,
    Draft,
    Margins,
    Part,
    Unit,
    not_applicable,
    undecided,
)
from studies.claims.wording import random_sets, shown
from studies.neurons.layer_groups import LayerGroup, layer_ranges
from studies.statistics.depth import cost_over, costs, growth_over_randoms, mean_cost, slope
from studies.statistics.increases import MIN_CONDITIONS
from studies.statistics.items import BenchmarkItems, Items
from studies.statistics.random_controls import over_randoms

CLAIM_SET = "layers"
"""What a study file calls these claims."""
EARLY, ACCUMULATES = "early_layers_matter_most", "cost_accumulates_with_depth"

CLAIMS: Mapping[str, Claim] = {
    EARLY: Claim(
        "The negative clamp of the top neurons of the first group of layers alone costs more on {benchmark} than that"
        " of every other group alone, and than that of as many random neurons of the same layers.",
        "Early layers matter most: the first four layers alone raise the error on NPI licensing in TSE by 20 %.",
        Unit.OF_BENCHMARK,
    ),
    ACCUMULATES: Claim(
        "What the negative clamp of the top neurons costs on {benchmark} grows as deeper groups of layers are added, in"
        " the shallower and in the deeper half, and by more than with as many random neurons.",
        "Cumulative error grows with depth, most in ellipsis, subject-verb agreement, determiner-noun agreement and"
        " filler-gap.",
        Unit.OF_BENCHMARK,
    ),
}

Groups = Mapping[LayerGroup, BenchmarkItems]
"""A schedule: every group of it, without items where it has not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthEvidence:
    """Everything measured over the layers of one model."""

    model: str
    relu: bool
    """Whether the model's activation is ReLU."""
    num_layers: int
    benchmarks: tuple[str, ...]
    """Perplexity and graded ones; each claim has a verdict on each."""
    baseline: BenchmarkItems
    single: Groups | None = None
    """Negative clamp of the top neurons of one group at a time; None where the study has no such schedule."""
    first_randoms: Mapping[str, BenchmarkItems] = field(default_factory=dict)
    """Negative clamp of as many random neurons of the layers of the first single group, by condition name."""
    cumulative: Groups | None = None
    """Negative clamp of the top neurons of all groups up to one."""
    cumulative_randoms: Mapping[str, Groups] = field(default_factory=dict)
    """Negative clamp of as many random neurons of the same groups."""
    margins: Margins = field(default_factory=Margins)


def depth_drafts(evidence: DepthEvidence, *, asked: bool = False) -> list[Draft]:
    """The drafts of the claims that the study has a schedule for; of all where it asks for them."""
    judges = {EARLY: (_early, evidence.single), ACCUMULATES: (_accumulates, evidence.cumulative)}
    drafts = []
    for claim, (judge_on, groups) in judges.items():
        if groups is None and not asked:
            continue
        names = {f"{claim}/{benchmark}": benchmark for benchmark in evidence.benchmarks} or {claim: ""}
        if evidence.relu:
            drafts += not_applicable(names)
        else:
            drafts += [judge_on(evidence, name, benchmark) for name, benchmark in names.items()]
    return drafts


def _compared(evidence: DepthEvidence, benchmark: str, conditions: Mapping[str, BenchmarkItems]) -> Sample:
    """The baseline and these conditions on one benchmark; `benchmark` is empty where the study has none."""
    return sample({"baseline": evidence.baseline, **conditions}, (benchmark,) if benchmark else ())


# -- early layers ----------------------------------------------------------------------------------------------------


def _early(evidence: DepthEvidence, claim: str, benchmark: str) -> Draft:
    groups, randoms = evidence.single, evidence.first_randoms
    if groups is None:
        reason = "no condition puts the negative clamp of top neurons on one group of layers at a time"
        return undecided(claim, reason, 0)
    in_depth = sorted(groups, key=lambda group: group.layers)
    named = {f"layers {group.name}": groups[group] for group in in_depth}
    compared = _compared(evidence, benchmark, named | dict(randoms))
    problem = (
        _shape_problem(in_depth, evidence.num_layers)
        or compared.problem
        or ("" if randoms else f"no random control of layers {in_depth[0].name}")
    )
    if problem:
        return undecided(claim, problem, compared.num_items)
    baseline = evidence.baseline[benchmark]
    cost_by_group = {group: costs(groups[group][benchmark], baseline) for group in in_depth}
    random_costs = {name: costs(items[benchmark], baseline) for name, items in randoms.items()}
    first, *others = in_depth
    over = over_randoms(cost_by_group[first], random_costs)
    cost = f"cost of layers {first.name}"
    parts = [
        Part(cost, mean_cost(cost_by_group[first]), +1),
        max((_over_group(cost_by_group, first, other) for other in others), key=_hardness),
        Part(f"{cost} over {random_sets(randoms)}", over.effect, +1, True, over.rank_p_value(+1)),
    ]
    profile = ", ".join(f"{group.name} {mean_cost(cost).value:+.4f}" for group, cost in cost_by_group.items())
    sizes = "" if len({len(group.layers) for group in in_depth}) == 1 else "; other groups compared at the first's size"
    detail = f"{'; '.join(map(shown, parts))}; by layers {profile}{sizes}"
    margin = evidence.margins.of(baseline.measure)
    return judged_among(claim, parts, 2 + len(others), margin=margin, detail=detail, num_items=compared.num_items)


def _shape_problem(in_depth: Sequence[LayerGroup], num_layers: int) -> str:
    """Why one of these groups cannot be said to matter most; empty where it can."""
    if len(in_depth) < 2:
        return "a single group of layers"
    if any(max(a.layers) > min(b.layers) for a, b in pairwise(in_depth)):
        return "the groups overlap in depth"
    uncovered = sorted(set(range(num_layers)).difference(*(group.layers for group in in_depth)))
    return f"layers {layer_ranges(uncovered)} are in no group" if uncovered else ""


def _over_group(cost_by_group: Mapping[LayerGroup, Items], first: LayerGroup, other: LayerGroup) -> Part:
    """The first group over another one, whose cost counts as if it had as many layers."""
    share = len(first.layers) / len(other.layers)
    effect = cost_over(cost_by_group[first], cost_by_group[other], share)
    return Part(f"cost of layers {first.name} over that of layers {other.name}", effect, +1, True)


def _hardness(part: Part) -> tuple[float, float]:
    """Larger the further a contrast is from being shown; an unknown variance is the furthest."""
    shown_by, refuted_by = part.effect.p_value(+1), part.effect.p_value(-1)
    return (math.inf, 0.0) if math.isnan(shown_by) else (shown_by, -refuted_by)


# -- accumulation ----------------------------------------------------------------------------------------------------


def _accumulates(evidence: DepthEvidence, claim: str, benchmark: str) -> Draft:
    groups, randoms = evidence.cumulative, evidence.cumulative_randoms
    if groups is None:
        return undecided(claim, "no condition adds one group of layers after another to the negative clamp", 0)
    in_order = sorted(groups, key=lambda group: group.number)
    first, last = in_order[0], in_order[-1]
    named = {f"layers {group.name}": groups[group] for group in in_order}
    named |= {
        f"{name} on layers {group.name}": of_random.get(group, {})
        for name, of_random in randoms.items()
        for group in (first, last)
    }
    compared = _compared(evidence, benchmark, named)
    is_downwards = all(a.depth < b.depth for a, b in pairwise(in_order))
    problem = (
        ("" if len(in_order) >= MIN_CONDITIONS else f"fewer than {MIN_CONDITIONS} groups of layers")
        or ("" if is_downwards else "the groups are not in the order of depth")
        or compared.problem
        or ("" if randoms else "no random control of the same groups")
    )
    if problem:
        return undecided(claim, problem, compared.num_items)
    baseline = evidence.baseline[benchmark]
    cost_by_group = {group: costs(groups[group][benchmark], baseline) for group in in_order}
    ends_of_randoms = {
        name: (costs(of_random[first][benchmark], baseline), costs(of_random[last][benchmark], baseline))
        for name, of_random in randoms.items()
    }
    parts = _growth(cost_by_group, ends_of_randoms)
    margin, detail = evidence.margins.of(baseline.measure), "; ".join(map(shown, parts))
    return judged_among(claim, parts, len(parts), margin=margin, detail=detail, num_items=compared.num_items)


def _growth(
    cost_by_group: Mapping[LayerGroup, Items], ends_of_randoms: Mapping[str, tuple[Items, Items]]
) -> list[Part]:
    """The growth from the first to the last group, that over random controls, and along the way.

    cost_by_group: of cumulative groups, shallow to deep; ends_of_randoms: (first, last) of each random control.
    """
    in_order, in_costs = list(cost_by_group), list(cost_by_group.values())
    middle = (len(in_order) - 1) // 2
    over = growth_over_randoms((in_costs[0], in_costs[-1]), ends_of_randoms)
    straight = slope(in_costs, [group.step for group in in_order])

    def between(start: int, end: int, is_contrast: bool) -> Part:
        label = f"growth of the cost from layers {in_order[start].name} to {in_order[end].name}"
        return Part(label, cost_over(in_costs[end], in_costs[start]), +1, is_contrast)

    return [
        between(0, -1, is_contrast=False),
        Part(f"that over {random_sets(ends_of_randoms)}", over.effect, +1, True, over.rank_p_value(+1)),
        Part("growth of the cost per layer", straight, +1, True),
        between(0, middle, is_contrast=True),
        between(middle, -1, is_contrast=True),
    ]
