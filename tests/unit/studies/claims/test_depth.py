"""The claims on depth: every verdict, its reasons, and how often chance alone supports one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from studies.claims.depth import ACCUMULATES, CLAIMS, EARLY, DepthEvidence, Groups, depth_drafts
from studies.claims.scorecard import Draft, Status, Verdict, verdicts
from studies.neurons.layer_groups import layer_groups
from studies.statistics.items import BenchmarkItems, Items
from tests.unit.studies.claims.rates import assert_rarely_supported
from tests.unit.studies.statistics.frames import altered, pairs, windows

NUM_LAYERS, NUM_WINDOWS, NUM_PAIRS = 8, 16, 800
SINGLE, CUMULATIVE = (layer_groups(4, schedule, NUM_LAYERS) for schedule in ("single", "cumulative"))
BASE = np.linspace(2.5, 3.5, NUM_WINDOWS)
GROWN = (0.3, 0.4, 0.5, 0.6)
SEEDS = ("random/seed=0", "random/seed=1", "random/seed=2")


def layers(given: DepthEvidence) -> list[Verdict]:
    """The verdicts of a study that asks for them."""
    return verdicts(given.model, CLAIMS, depth_drafts(given, asked=True))


def scored(rise: float, seed: int, noise: float = 0.01) -> dict[str, Items]:
    """Log-perplexity that is higher by `rise`, and pairs of which as large a share is wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(NUM_PAIRS) < round(max(rise, 0.0) * NUM_PAIRS)
    losses = BASE + rise + rng.normal(0, noise, NUM_WINDOWS)
    return {"perplexity": windows(losses), "blimp": pairs(1 - wrong, num_uids=20)}


def schedule(groups: Sequence[Any], rises: Sequence[float], seed: int = 0, noise: float = 0.01) -> Groups:
    """Every group with its rise."""
    return {
        group: scored(rise, 100 * seed + i, noise) for i, (group, rise) in enumerate(zip(groups, rises, strict=True))
    }


def evidence(**changes: Any) -> DepthEvidence:
    """The paper's picture, with `changes` to its fields."""
    fields: dict[str, Any] = {
        "model": "m",
        "relu": False,
        "num_layers": NUM_LAYERS,
        "benchmarks": ("perplexity", "blimp"),
        "baseline": {"perplexity": windows(BASE), "blimp": pairs(np.ones(NUM_PAIRS), num_uids=20)},
        "single": schedule(SINGLE, (0.3, 0.05, 0.04, 0.03)),
        "first_randoms": {name: scored(0.01 + 0.005 * i, 50 + i) for i, name in enumerate(SEEDS)},
        "cumulative": schedule(CUMULATIVE, GROWN, seed=1),
        "cumulative_randoms": {
            name: schedule(CUMULATIVE, (0.01, 0.02, 0.03, 0.04 + 0.005 * i), seed=2 + i) for i, name in enumerate(SEEDS)
        },
    }
    return DepthEvidence(**{**fields, **changes})


def by_claim(given: DepthEvidence) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in layers(given)}


def test_a_model_as_in_the_paper_supports_both_claims_on_every_benchmark() -> None:
    found = by_claim(evidence())
    assert list(found) == [f"{claim}/{name}" for claim in (EARLY, ACCUMULATES) for name in ("perplexity", "blimp")]
    assert {verdict.status for verdict in found.values()} == {Status.SUPPORTED}
    early, grown = found[f"{EARLY}/perplexity"], found[f"{ACCUMULATES}/blimp"]
    assert early.effect is not None and early.contrast is not None and grown.effect is not None
    assert early.effect.estimate == pytest.approx(0.3, abs=0.02)
    assert early.contrast.estimate == pytest.approx(0.25, abs=0.03)
    assert "cost of layers 0-1 over that of layers 2-3" in early.detail
    assert "by layers 0-1 +0." in early.detail and "4-5 +0." in early.detail
    assert grown.effect.estimate == pytest.approx(0.3), "of the last group over the first, as a rise of the error"
    assert early.margin == grown.margin == 0.02
    assert all("\n" not in verdict.detail for verdict in found.values())


@pytest.mark.parametrize(
    ("claim", "changes", "status", "reason"),
    [
        (EARLY, {"single": schedule(SINGLE, (0.0, 0.3, 0.0, 0.0))}, Status.ABSENT, ""),
        (EARLY, {"single": schedule(SINGLE, (0.2, 0.1, 0.3, 0.1))}, Status.CONTRADICTED, "that of layers 4-5 -0.0997"),
        (
            EARLY,
            {"single": schedule(SINGLE, (0.2, 0.1, 0.2, 0.1), noise=0.05)},
            Status.UNDECIDED,
            "the 95 % interval of cost of layers 0-1 over that of layers 4-5 includes 0",
        ),
        (
            EARLY,
            {"first_randoms": {name: scored(0.5, i) for i, name in enumerate(SEEDS)}},
            Status.CONTRADICTED,
            "over the mean of 3 random controls -0.1",
        ),
        (
            EARLY,
            {"first_randoms": {SEEDS[0]: scored(0.01, 1)}},
            Status.UNDECIDED,
            "one random set does not show how such sets vary",
        ),
        (ACCUMULATES, {"cumulative": schedule(CUMULATIVE, (0.3, 0.3, 0.3, 0.3))}, Status.ABSENT, ""),
        (ACCUMULATES, {"cumulative": schedule(CUMULATIVE, (0.6, 0.5, 0.4, 0.3))}, Status.CONTRADICTED, ""),
        (
            ACCUMULATES,
            {"cumulative": schedule(CUMULATIVE, (0.1, 0.5, 0.5, 0.5), noise=0.05)},
            Status.UNDECIDED,
            "the 95 % interval of growth of the cost from layers 0-3 to 0-7 includes 0",
        ),
        (
            ACCUMULATES,
            {"cumulative": schedule(CUMULATIVE, (0.1, 0.1, 0.1, 0.5), noise=0.05)},
            Status.UNDECIDED,
            "the 95 % interval of growth of the cost from layers 0-1 to 0-3 includes 0",
        ),
        (
            ACCUMULATES,
            {"cumulative_randoms": {n: schedule(CUMULATIVE, GROWN, 7 + i, 0.05) for i, n in enumerate(SEEDS)}},
            Status.UNDECIDED,
            "that over the mean of 3 random controls includes 0",
        ),
    ],
)  # fmt: skip
def test_every_verdict_on_perplexity(claim: str, changes: dict[str, Any], status: Status, reason: str) -> None:
    verdict = by_claim(evidence(benchmarks=("perplexity",), **changes))[f"{claim}/perplexity"]
    assert (verdict.status, reason in verdict.detail) == (status, True), verdict.detail


def test_one_group_of_many_below_0_by_chance_is_no_contradiction() -> None:
    """Its 95 % interval lies below 0, but would not after correction for the number of groups."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, NUM_WINDOWS)
    noise += 0.028 - noise.mean()
    items = {group: {"perplexity": windows(BASE + 0.2)} for group in SINGLE}
    items[SINGLE[2]] = {"perplexity": windows(BASE + 0.2 + noise)}
    items[SINGLE[0]] = {"perplexity": windows(BASE + 0.2 + rng.normal(0, 0.001, NUM_WINDOWS))}
    verdict = by_claim(evidence(single=items, benchmarks=("perplexity",)))[f"{EARLY}/perplexity"]
    assert verdict.contrast is not None and verdict.contrast.high < 0
    assert verdict.status is Status.UNDECIDED
    assert "is below 0, which one of 5 intervals may be by chance" in verdict.detail


def without(groups: Groups, number: int) -> Groups:
    """A schedule of which one group has not finished."""
    return {group: {} if group.number == number else items for group, items in groups.items()}


UNEQUAL = layer_groups([[0, 1, 2, 3], [4, 5], [6, 7]], "single", NUM_LAYERS)
BACKWARDS = layer_groups([[6, 7], [2, 3, 4, 5], [0, 1]], "cumulative", NUM_LAYERS)
PARTLY = layer_groups([[0, 1], [4, 5]], "single", NUM_LAYERS)
MIXED = layer_groups([[0, 2, 4, 6], [1, 3, 5, 7]], "single", NUM_LAYERS)


@pytest.mark.parametrize(
    ("claim", "changes", "reason"),
    [
        (EARLY, {"single": None}, "no condition puts the negative clamp of top neurons on one group of layers"),
        (EARLY, {"single": without(evidence().single or {}, 1)}, "no perplexity items of layers 0-1"),
        (EARLY, {"single": without(evidence().single or {}, 3)}, "no perplexity items of layers 4-5"),
        (EARLY, {"single": schedule(PARTLY, (0.3, 0.1))}, "layers 2-3,6-7 are in no group"),
        (EARLY, {"single": schedule(MIXED, (0.3, 0.1))}, "the groups overlap in depth"),
        (EARLY, {"single": schedule(layer_groups(1, "single", 8), (0.3,))}, "a single group of layers"),
        (EARLY, {"first_randoms": {}}, "no random control of layers 0-1"),
        (EARLY, {"first_randoms": {"random/seed=0": {}}}, "no perplexity items of random/seed=0"),
        (EARLY, {"baseline": {}}, "no perplexity items of baseline"),
        (ACCUMULATES, {"cumulative": None}, "no condition adds one group of layers after another"),
        (ACCUMULATES, {"cumulative": without(evidence().cumulative or {}, 2)}, "no perplexity items of layers 0-3"),
        (ACCUMULATES, {"cumulative": schedule(BACKWARDS, (0.1, 0.2, 0.3))}, "the groups are not in the order of depth"),
        (
            ACCUMULATES,
            {"cumulative": schedule(layer_groups(2, "cumulative", NUM_LAYERS), (0.3, 0.5)), "cumulative_randoms": {}},
            "fewer than 3 groups of layers",
        ),
        (ACCUMULATES, {"cumulative_randoms": {}}, "no random control of the same groups"),
        (
            ACCUMULATES,
            {"cumulative_randoms": {"r": without(evidence().cumulative or {}, 4)}},
            "no perplexity items of r on layers 0-7",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_says_why(claim: str, changes: dict[str, Any], reason: str) -> None:
    verdict = by_claim(evidence(benchmarks=("perplexity",), **changes))[f"{claim}/perplexity"]
    assert verdict.status is Status.UNDECIDED and reason in verdict.detail, verdict.detail


def test_too_few_windows_or_a_value_that_is_not_finite_decide_nothing() -> None:
    few = {"perplexity": windows(BASE[:5])}
    given = evidence(
        benchmarks=("perplexity",), baseline=few, single=dict.fromkeys(SINGLE, few), first_randoms={"r": few}
    )
    assert "too few windows, at least 6 needed" in by_claim(given)[f"{EARLY}/perplexity"].detail
    broken = {"perplexity": altered(windows(BASE), nll=np.inf)}
    given = evidence(benchmarks=("perplexity",), single={**(evidence().single or {}), SINGLE[0]: broken})
    assert "16 of 16 perplexity items of layers 0-1 not finite" in by_claim(given)[f"{EARLY}/perplexity"].detail


def test_a_first_group_of_more_layers_must_win_at_equal_size() -> None:
    """It costs most, with twice the layers of a group that costs two thirds as much."""
    single = schedule(UNEQUAL, (0.3, 0.2, 0.1))
    verdict = by_claim(evidence(benchmarks=("perplexity",), single=single))[f"{EARLY}/perplexity"]
    assert verdict.status is Status.CONTRADICTED and "at the first's size" in verdict.detail
    assert verdict.contrast is not None and verdict.contrast.estimate == pytest.approx(0.3 - 2 * 0.2, abs=0.03)


def test_the_slope_is_that_of_a_straight_line_over_the_layers_covered() -> None:
    rises = (0.3, 0.42, 0.46, 0.6)
    verdict = by_claim(evidence(cumulative=schedule(CUMULATIVE, rises, noise=0)))[f"{ACCUMULATES}/perplexity"]
    assert f"growth of the cost per layer {np.polyfit([2, 4, 6, 8], rises, 1)[0]:+.4f}" in verdict.detail


def test_a_relu_model_and_studies_without_a_schedule() -> None:
    relu = layers(evidence(relu=True, single={}, cumulative={}))
    assert {verdict.status for verdict in relu} == {Status.NOT_APPLICABLE} and len(relu) == 4
    bare = evidence(single=None, cumulative=None)
    assert depth_drafts(bare) == [] and len(depth_drafts(bare, asked=True)) == 4
    assert [draft.claim for draft in depth_drafts(evidence(single=None))] == [
        f"{ACCUMULATES}/perplexity", f"{ACCUMULATES}/blimp",
    ]  # fmt: skip
    unscored = evidence(benchmarks=(), single=None)
    assert {draft.claim for draft in depth_drafts(unscored, asked=True)} == {EARLY, ACCUMULATES}


def test_other_items_under_a_group_are_refused() -> None:
    other = {**(evidence().single or {}), SINGLE[1]: {"perplexity": windows(BASE[1:])}}
    with pytest.raises(ValueError, match="the item sets differ"):
        layers(evidence(benchmarks=("perplexity",), single=other))


def noisy(rng: np.random.Generator, rise: float) -> BenchmarkItems:
    return {"perplexity": windows(BASE + rise + rng.normal(0, 0.05, NUM_WINDOWS))}


FEW = {kind: layer_groups(3, kind, NUM_LAYERS) for kind in ("single", "cumulative")}
ONLY_PERPLEXITY: dict[str, Any] = {"model": "m", "relu": False, "num_layers": NUM_LAYERS, "benchmarks": ("perplexity",)}


def early_by_chance(rises: Sequence[float], of_randoms: float, rng: np.random.Generator) -> Draft:
    """The treated neurons of the first group are a further random set where they cost as much as random ones."""
    shifts = (rng.normal(0, 0.02) if of_randoms else 0.0, 0.0, 0.0)
    given = DepthEvidence(
        **ONLY_PERPLEXITY,
        baseline={"perplexity": windows(BASE)},
        single={group: noisy(rng, rise + own) for group, rise, own in zip(FEW["single"], rises, shifts, strict=True)},
        first_randoms={name: noisy(rng, of_randoms + rng.normal(0, 0.02)) for name in SEEDS},
    )
    return depth_drafts(given)[0]


def accumulation_by_chance(rises: Sequence[float], of_randoms: Sequence[float], rng: np.random.Generator) -> Draft:
    def curve(rises: Sequence[float], shift: float = 0.0) -> Groups:
        return {g: noisy(rng, rise + shift * g.number) for g, rise in zip(FEW["cumulative"], rises, strict=True)}

    given = DepthEvidence(
        **ONLY_PERPLEXITY,
        baseline={"perplexity": windows(BASE)},
        cumulative=curve(rises, rng.normal(0, 0.01) if rises == of_randoms else 0.0),
        cumulative_randoms={name: curve(of_randoms, rng.normal(0, 0.01)) for name in SEEDS},
    )
    return depth_drafts(given)[0]


RAMP, FLAT = (0.1, 0.2, 0.3), (0.0, 0.0, 0.0)
EQUAL_GROUPS = {
    "tied with one": ((0.1, 0.1, 0.0), 0.0),
    "all equal": ((0.1, 0.1, 0.1), 0.0),
    "no worse than random": ((0.1, 0.0, 0.0), 0.1),
}
NO_GROWTH = {
    "one step": ((0.1, 0.4, 0.4), FLAT),
    "no growth": ((0.1, 0.1, 0.1), FLAT),
    "as random": (RAMP, RAMP),
}


def test_equal_groups_rarely_support_early_layers() -> None:
    assert_rarely_supported(lambda rng: early_by_chance(*EQUAL_GROUPS["tied with one"], rng), 200)


@pytest.mark.long
@pytest.mark.parametrize("costs", EQUAL_GROUPS.values(), ids=EQUAL_GROUPS)
def test_equal_groups_rarely_support_early_layers_in_2000_studies(costs: tuple[Sequence[float], float]) -> None:
    assert_rarely_supported(lambda rng: early_by_chance(*costs, rng), 2000)


def test_costs_that_do_not_grow_rarely_accumulate() -> None:
    assert_rarely_supported(lambda rng: accumulation_by_chance(*NO_GROWTH["one step"], rng), 200)


@pytest.mark.long
@pytest.mark.parametrize("costs", NO_GROWTH.values(), ids=NO_GROWTH)
def test_costs_that_do_not_grow_rarely_accumulate_in_2000_studies(
    costs: tuple[Sequence[float], Sequence[float]],
) -> None:
    assert_rarely_supported(lambda rng: accumulation_by_chance(*costs, rng), 2000)
