"""The claims on made-up evidence: each must come out as each verdict that it can have, for the right reason."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from studies.benchmarks.measures import MIN_ITEMS, MIN_WINDOWS
from studies.claims.evidence import Evidence
from studies.claims.paper import DRAFTS
from studies.claims.scorecard import Margins, Status, Verdict
from studies.statistics.random_controls import RANKED_SETS, OverRandoms
from tests.tiers import every_third
from tests.unit.studies.claims.papers import (
    RANDOM,
    SCAFFOLDING,
    SHARE,
    TREATED,
    evidence,
    items_of,
    of_documents,
    scorecard,
    search,
    whole,
)
from tests.unit.studies.statistics.frames import altered

NAMES = [
    "perplexity_cost",
    "matched_cost",
    "syntax_loss/blimp",
    "syntax_spared/blimp",
    "syntax_loss/tse",
    "syntax_spared/tse",
    "knowledge_loss",
    "knowledge_spared",
    "double_dissociation",
]
OTHERS = [
    "negative_mass",
    "difficulty_agrees",
    "sign_not_magnitude",
    "scaffolding/surprisal",
    "content_spared/surprisal",
]
SUPPORTED, CONTRADICTED, ABSENT, UNDECIDED, NOT_APPLICABLE = (
    Status.SUPPORTED,
    Status.CONTRADICTED,
    Status.ABSENT,
    Status.UNDECIDED,
    Status.NOT_APPLICABLE,
)
DEARER = {
    f"random/seed={seed}": items_of(**{**RANDOM, "log_perplexity": 3.4 + 0.001 * seed}, num_items=100)
    for seed in range(5)
}
"""Random controls that cost more than the top neurons."""


def score(given: Evidence, claims: str = "double_dissociation") -> dict[str, Verdict]:
    """{claim: verdict}."""
    return {verdict.claim: verdict for verdict in scorecard(claims, given)}


def statuses(given: Evidence, claims: str = "double_dissociation") -> dict[str, Status]:
    """{claim: status}."""
    return {name: verdict.status for name, verdict in score(given, claims).items()}


def test_the_papers_picture_is_supported_throughout() -> None:
    assert statuses(evidence()) == dict.fromkeys(NAMES, SUPPORTED)
    assert list(DRAFTS) == ["double_dissociation", "paper", "token_surprisal"]


def test_signs_and_numbers_of_the_effects() -> None:
    verdicts = score(evidence())
    expected = {
        "perplexity_cost": (0.2, 0.19),
        "matched_cost": (0.34, None),
        "syntax_loss/blimp": (-0.2, -0.1975),
        "syntax_spared/blimp": (-0.0025, None),
        "knowledge_loss": (-0.1, -0.0975),
        "knowledge_spared": (-0.0025, None),
        "double_dissociation": (-0.1975, -0.1975 - 0.0975),
    }
    for name, (effect, contrast) in expected.items():
        assert verdicts[name].effect.estimate == pytest.approx(effect, abs=0.01), name
        found = verdicts[name].contrast
        assert (found is None) == (contrast is None), name
        if contrast is not None:
            assert found.estimate == pytest.approx(contrast, abs=0.01), name
    assert [verdicts[name].num_items for name in NAMES] == [20, 8, 400, 400, 400, 400, 800, 800, 1600]
    assert {verdicts[name].margin for name in NAMES if name != "matched_cost"} == {0.02}


def test_p_values_follow_the_verdicts() -> None:
    for verdict in score(evidence()).values():
        assert verdict.p_value < 0.05 and verdict.survives_holm is not None


@pytest.mark.parametrize(
    ("changes", "expected"),
    every_third(
        [
            ({"randoms": DEARER}, {"perplexity_cost": CONTRADICTED}),
            ({"treated": {"blimp": 0.9}}, {"syntax_loss/blimp": CONTRADICTED}),
            ({"matched": {"tse": 0.4}}, {"syntax_loss/tse": CONTRADICTED, "syntax_spared/tse": CONTRADICTED}),
            ({"baseline": {"blimp": 0.6}}, {"syntax_loss/blimp": ABSENT, "syntax_spared/blimp": CONTRADICTED}),
            (
                {"treated": {"blimp": 0.7975, "tse": 0.7975}},
                dict.fromkeys(["syntax_loss/blimp", "syntax_loss/tse", "double_dissociation"], ABSENT),
            ),
            ({"matched": {"blimp": 0.775}}, {"syntax_spared/blimp": UNDECIDED}),
            ({"treated": {"arc_easy": 0.57, "piqa": 0.67}}, {"knowledge_spared": UNDECIDED}),
            (
                {"treated": {"arc_easy": 0.45, "piqa": 0.55}},
                {"knowledge_spared": CONTRADICTED, "knowledge_loss": CONTRADICTED, "double_dissociation": CONTRADICTED},
            ),
            (
                {"matched": {"arc_easy": 0.5975, "piqa": 0.6975}},
                {"knowledge_loss": ABSENT, "double_dissociation": ABSENT},
            ),
            ({"matched_fraction": 0.005, "match_losses": search(0.005)}, {"matched_cost": CONTRADICTED}),
            ({"matched_fraction": 0.01, "match_losses": search(0.01)}, {"matched_cost": UNDECIDED}),
        ]
    ),
)
def test_each_claim_alone_can_come_out_otherwise(changes: dict[str, Any], expected: dict[str, Status]) -> None:
    by_claim = statuses(evidence(**changes))
    rest = {name: status for name, status in by_claim.items() if name not in expected}
    assert {name: by_claim[name] for name in expected} == expected
    if set(expected) & {"syntax_loss/tse", "knowledge_spared"}:
        rest.pop("double_dissociation", None)
    assert set(rest.values()) == {SUPPORTED}


def test_a_single_dissociation_is_not_a_double_one() -> None:
    """Both conditions cost as much of the other skills, the top neurons more syntax: the interaction is large."""
    given = evidence(treated={"arc_easy": 0.5, "piqa": 0.6})
    verdict = score(given)["double_dissociation"]
    assert verdict.contrast.high < 0
    assert verdict.status is ABSENT, "the matched control does not cost more of the other skills"


def test_random_controls_count_by_their_mean_and_their_spread() -> None:
    verdict = score(evidence(random={"log_perplexity": 3.3}))["perplexity_cost"]
    assert verdict.contrast.estimate == pytest.approx(3.2 - (3.3 + 3.012) / 2, abs=0.01)
    assert verdict.status is UNDECIDED, "two sets that differ so much say little of a third"
    assert "over the mean of 2 random controls" in verdict.detail and "random sets" in verdict.detail
    assert "with more random sets a smaller one would be, and from 39 on their ranks decide" in verdict.detail


def test_a_single_random_control_cannot_decide() -> None:
    given = evidence()
    verdict = score(dataclasses.replace(given, randoms={"random/seed=0": given.randoms["random/seed=0"]}))
    assert verdict["perplexity_cost"].status is UNDECIDED
    assert "one random set does not show how such sets vary" in verdict["perplexity_cost"].detail


@pytest.mark.parametrize("costly", [0, 1])
def test_many_random_controls_are_ranked(costly: int) -> None:
    randoms = {f"random/seed={seed}": items_of(**RANDOM) for seed in range(RANKED_SETS)}
    randoms |= {f"random/seed={seed}": items_of(**{**RANDOM, "log_perplexity": 3.4}) for seed in range(costly)}
    verdict = score(evidence(randoms=randoms))["perplexity_cost"]
    assert verdict.status is (UNDECIDED if costly else SUPPORTED)
    assert f"rank p = {2 * (1 + costly) / (1 + RANKED_SETS):.2g}" in verdict.detail


def test_margins_are_part_of_the_claim() -> None:
    verdicts = score(evidence(margins=Margins(accuracy=0.25, log_perplexity=0.3)))
    assert {verdicts[name].status for name in ("perplexity_cost", "syntax_loss/blimp", "double_dissociation")} == {
        ABSENT
    }
    assert verdicts["syntax_loss/blimp"].margin == 0.25 and verdicts["perplexity_cost"].margin == 0.3


def test_paradigms_decide_and_items_are_only_shown() -> None:
    """Half of the paradigms lose everything, half gain: over items the loss is certain, over paradigms it is not."""
    given = evidence()
    rng = np.random.default_rng(0)
    for items, change in ((given.baseline, 0.0), (given.treated, -0.08), (given.matched, 0.0)):
        uid = np.arange(400) % 8
        share = 0.6 + change + (0.3 * np.where(uid < 4, -1, 1) if change else 0)
        correct = (rng.permuted(np.tile(np.arange(50), (8, 1)), axis=1).T.ravel() < 50 * share).astype(float)
        items["blimp"] = altered(items["blimp"], uid=[f"u{u}" for u in uid], correct=correct)
    verdict = score(given)["syntax_loss/blimp"]
    assert verdict.status is UNDECIDED and verdict.effect.estimate == pytest.approx(-0.08, abs=0.02)
    assert "(8 paradigms, 7 df)" in verdict.detail
    low, high = map(float, verdict.detail.partition("over items ")[2].partition("[")[2].partition("]")[0].split(", "))
    assert high < 0 < verdict.effect.high and high - low < (verdict.effect.high - verdict.effect.low) / 2
    assert "cannot be decided with these 8 paradigms" in verdict.detail


def test_missing_matched_control() -> None:
    given = evidence()
    verdicts = score(dataclasses.replace(given, matched=None, matched_fraction=None, match_losses=None))
    kept = {name for name, verdict in verdicts.items() if verdict.status is SUPPORTED}
    assert kept == {"perplexity_cost", "knowledge_spared"}
    assert {verdict.status for name, verdict in verdicts.items() if name not in kept} == {UNDECIDED}
    assert verdicts["syntax_loss/tse"].detail == "no matched control (n = 400)"
    assert verdicts["syntax_loss/tse"].effect is None


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("matched_fraction", "no matched fraction"),
        ("treated_fraction", "no treated fraction"),
        ("match_losses", "did not record the losses of its windows"),
    ],
)
def test_what_the_search_did_not_record(field: str, reason: str) -> None:
    verdicts = score(evidence(**{field: None}))
    assert verdicts["matched_cost"].status is UNDECIDED and reason in verdicts["matched_cost"].detail
    assert verdicts["knowledge_loss"].status is SUPPORTED


def test_missing_random_control() -> None:
    verdict = score(evidence(randoms={}))["perplexity_cost"]
    assert (verdict.status, verdict.detail) == (UNDECIDED, "no random control (n = 20)")


def test_missing_benchmark_is_named() -> None:
    given = evidence()
    del given.matched["piqa"]
    verdicts = score(given)
    assert verdicts["knowledge_loss"].status is UNDECIDED
    assert "no piqa items of matched" in verdicts["knowledge_loss"].detail
    assert verdicts["double_dissociation"].detail == "non-syntactic: no piqa items of matched (n = 1600)"
    assert verdicts["syntax_loss/blimp"].status is SUPPORTED


def test_no_benchmarks_at_all() -> None:
    verdicts = score(evidence(syntactic=(), non_syntactic=()))
    assert list(verdicts) == [*NAMES[:2], "syntax_loss", "syntax_spared", *NAMES[6:]]
    assert {verdict.status for verdict in list(verdicts.values())[2:]} == {UNDECIDED}


def test_the_fewest_windows_cannot_agree_by_chance() -> None:
    assert 0.5**MIN_WINDOWS < 0.025 < 0.5 ** (MIN_WINDOWS - 1)


@pytest.mark.parametrize("short", [0, 1])
def test_few_windows(short: int) -> None:
    by_claim = statuses(evidence(size={"num_windows": MIN_WINDOWS - short}))
    expected = UNDECIDED if short else SUPPORTED
    assert (by_claim["perplexity_cost"], by_claim["matched_cost"]) == (expected, expected)


@pytest.mark.parametrize("short", [0, 1])
def test_few_pairs(short: int) -> None:
    verdicts = score(evidence(size={"num_items": MIN_ITEMS - short}))
    detail = verdicts["syntax_loss/blimp"].detail
    if short:
        assert detail == "too few items, at least 100 needed (n = 99)"
        assert verdicts["knowledge_loss"].effect is not None  # 198 pooled
    else:
        assert detail.startswith("accuracy over baseline -0.2000 [")


def test_few_choices() -> None:
    verdicts = score(evidence(size={"num_items": MIN_ITEMS - 1}, non_syntactic=("piqa",)))
    assert verdicts["knowledge_spared"].status is UNDECIDED
    assert "non-syntactic: too few" in verdicts["double_dissociation"].detail


def test_a_diverged_model_is_not_decided() -> None:
    given = evidence()
    given.treated["perplexity"].table.loc[3, "nll"] = np.inf
    verdicts = score(given)
    assert verdicts["perplexity_cost"].status is UNDECIDED
    assert "1 of 20 perplexity items of treated not finite" in verdicts["perplexity_cost"].detail
    assert verdicts["syntax_loss/blimp"].detail == "the match of perplexity could not be checked (n = 400)"


def test_relu_models_are_not_applicable() -> None:
    verdicts = score(evidence(relu=True, treated={"blimp": 0.9}))
    assert {name: verdict.status for name, verdict in verdicts.items()} == dict.fromkeys(NAMES, NOT_APPLICABLE)
    assert all("ReLU" in verdict.detail for verdict in verdicts.values())


@pytest.mark.parametrize(
    ("benchmark", "alone"),
    [
        ("perplexity", "1 of 20 items only in the second condition, such as window 0, num_tokens 2047"),
        ("blimp", "1 of 400 items only in the second condition, such as uid u, pair 0"),
        ("arc_easy", "1 of 400 items only in the first condition, such as id 0"),
    ],
)
def test_other_items_under_one_condition_raise(benchmark: str, alone: str) -> None:
    given = evidence()
    given.treated[benchmark] = altered(given.treated[benchmark], lambda table: table.iloc[1:])
    with pytest.raises(ValueError) as error:
        scorecard("double_dissociation", given)
    assert str(error.value) == f"the item sets differ: {alone}; evaluate both conditions on the same items"


def test_a_nearly_flat_search_leaves_every_fraction_possible_and_none_beyond() -> None:
    losses = search(0.35)
    flat = losses["role"] == "try"
    noise = np.random.default_rng(1).normal(size=len(losses))
    losses.loc[flat, "nll"] = (3.2 + 0.1 * losses["window"] + 1e-4 * losses["fraction"] + 0.3 * noise)[flat]
    verdict = score(evidence(match_losses=losses))["matched_cost"]
    assert verdict.status is UNDECIDED and verdict.effect is not None
    assert (verdict.effect.low, verdict.effect.high) == (-0.01, 0.99)


def test_details_show_the_numbers_behind_the_verdict() -> None:
    verdicts = score(evidence())
    syntax = verdicts["syntax_loss/blimp"].detail
    assert "accuracy over baseline -0.2000 [" in syntax and "over the matched control -0.1975 [" in syntax
    assert "error +0.2000, which is +100.0 % of the baseline's 0.2000" in syntax
    treated, matched = (np.exp(given["perplexity"].values.mean()) for given in (evidence().treated, evidence().matched))
    assert f"perplexity {matched:.4g} matched, {treated:.4g} treated (log-perplexity +0.0010 [" in syntax
    assert "% of the rise, on 20 windows that the search did not use)" in syntax
    assert "fraction 0.35 matched over 0.01 treated" in verdicts["matched_cost"].detail
    assert "8 windows of the search" in verdicts["matched_cost"].detail
    assert all("\n" not in verdict.detail for verdict in verdicts.values())
    assert "blimp" in verdicts["syntax_loss/blimp"].statement
    assert "35 % (Llama)" in verdicts["matched_cost"].published


# -- the rest of the paper -------------------------------------------------------------------------------------------


def test_token_surprisal_is_a_scorecard_of_its_own() -> None:
    verdicts = score(whole(), "token_surprisal")
    assert list(verdicts) == ["perplexity_cost", "scaffolding/surprisal", "content_spared/surprisal"]
    assert {verdict.status for verdict in verdicts.values()} == {SUPPORTED}
    detail = verdicts["scaffolding/surprisal"].detail
    assert "(80 documents, 79 df)" in detail and "with the matched control in the baseline's place" in detail
    assert "adjusted for frequency, position and baseline surprisal +0.1500 [0.1000, 0.2000] (decides nothing" in detail
    relu = score(whole(relu=True), "token_surprisal")
    assert {verdict.status for verdict in relu.values()} == {NOT_APPLICABLE} and len(relu) == 3


def test_the_papers_other_claims_are_supported_where_its_picture_is_seen() -> None:
    by_claim = statuses(whole(), "paper")
    assert list(by_claim) == [*NAMES, *OTHERS]
    assert by_claim.pop("negative_mass") is NOT_APPLICABLE
    assert set(by_claim.values()) == {SUPPORTED}


@pytest.mark.parametrize("relu", [False, True])
def test_no_verdict_rests_on_the_negative_share(relu: bool) -> None:
    verdict = score(whole(relu=relu), "paper")["negative_mass"]
    assert verdict.status is NOT_APPLICABLE
    assert verdict.detail.startswith("the measure is confounded with the mean: ")
    assert "for description, +0.8000 [0.7500, 0.8500] of the 60 most entangled neurons" in verdict.detail
    assert "description" not in score(whole(negative_share=None), "paper")["negative_mass"].detail


def test_the_reliability_stands_beside_selection_by_mapping_difficulty() -> None:
    without, beside = (
        score(given, "paper")["difficulty_agrees"].detail for given in (whole(), whole(difficulty_reliability=0.625))
    )
    added = "; reliability of mapping difficulty 0.62 (median layer)"
    assert added in beside and beside.replace(added, "") == without


def changed(**changes: Any) -> dict[str, Any]:
    """Another excess surprisal."""
    return {"scaffolding": {"surprisal": SCAFFOLDING._replace(**changes)}}


@pytest.mark.parametrize(
    ("claim", "changes", "expected"),
    every_third(
        [
            ("difficulty_agrees", {"by_difficulty": {"log_perplexity": 3.005}}, ABSENT),
            ("difficulty_agrees", {"by_difficulty": {"log_perplexity": 2.9}}, CONTRADICTED),
            ("sign_not_magnitude", {"posrelu": {"blimp": 0.7, "tse": 0.7}}, CONTRADICTED),
            ("sign_not_magnitude", {"posrelu": {"blimp": 0.77, "tse": 0.78}}, UNDECIDED),
            ("sign_not_magnitude", {"signflip": {"blimp": 0.8, "tse": 0.8}}, ABSENT),
            ("scaffolding/surprisal", changed(contrast=of_documents(0.03)), UNDECIDED),
            ("scaffolding/surprisal", changed(contrast=of_documents(0.01, 0.002)), ABSENT),
            ("scaffolding/surprisal", changed(contrast=of_documents(-0.2)), CONTRADICTED),
            ("scaffolding/surprisal", changed(over_randoms=OverRandoms(of_documents(0.03), {"a": 0.03})), UNDECIDED),
            ("scaffolding/surprisal", changed(over_matched=of_documents(-0.1)), CONTRADICTED),
            ("content_spared/surprisal", changed(content=of_documents(0.1)), CONTRADICTED),
            ("content_spared/surprisal", changed(content=of_documents(0.0)), UNDECIDED),
        ]
    ),
)
def test_they_come_out_otherwise_one_by_one(claim: str, changes: dict[str, Any], expected: Status) -> None:
    by_claim = statuses(whole(**changes), "paper")
    assert by_claim.pop(claim) is expected
    assert set(by_claim.values()) == {SUPPORTED, NOT_APPLICABLE}


@pytest.mark.parametrize(
    ("claim", "changes", "reason"),
    every_third(
        [
            ("difficulty_agrees", {"by_difficulty": None}, "no mapping-difficulty control"),
            ("difficulty_agrees", {"difficulty_randoms": {}}, "no random control"),
            ("sign_not_magnitude", {"signflip": None}, "no signflip control"),
            ("sign_not_magnitude", {"posrelu": None}, "no posrelu control"),
            ("scaffolding", {"scaffolding": {}}, "no surprisal benchmark"),
            ("content_spared", {"scaffolding": {}}, "no surprisal benchmark"),
            ("scaffolding/surprisal", {"scaffolding": {"surprisal": None}}, "not scored on it"),
            ("scaffolding/surprisal", changed(over_randoms=None), "no random control"),
            ("scaffolding/surprisal", changed(over_matched=None), "no matched control"),
            ("scaffolding/surprisal", changed(unscored="random/seed=1"), "random/seed=1 was not scored on it"),
            ("scaffolding/surprisal", changed(num_documents=9), "too few documents"),
            ("content_spared/surprisal", changed(num_documents=9), "too few documents"),
        ]
    ),
)
def test_they_say_why_they_cannot_be_decided(claim: str, changes: dict[str, Any], reason: str) -> None:
    verdict = score(whole(**changes), "paper")[claim]
    assert verdict.status is UNDECIDED and reason in verdict.detail


def test_all_claims_of_the_paper_are_not_applicable_to_relu_models() -> None:
    by_claim = statuses(whole(relu=True), "paper")
    assert set(by_claim.values()) == {NOT_APPLICABLE} and list(by_claim) == [*NAMES, *OTHERS]


def test_the_treated_picture_is_of_its_own() -> None:
    assert SHARE.num_top == 60 and TREATED["blimp"] < 0.7  # what the details above are made from
