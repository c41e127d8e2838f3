"""The claims on synthetic evidence: each must be able to hold, to fail, and to be undecidable."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from studies.benchmarks.measures import MIN_ITEMS, MIN_WINDOWS, MINIMAL_PAIRS
from studies.claims.evidence import Evidence, Scaffolding
from studies.claims.paper import CLAIM_SETS, double_dissociation
from studies.claims.scorecard import Status, Verdict
from studies.statistics.comparisons import mcnemar
from studies.statistics.excess_surprisal import Contrast
from studies.statistics.intervals import Interval
from studies.statistics.items import Items, pool
from studies.statistics.neuron_table import NegativeShare
from tests.tiers import every_third
from tests.unit.studies.statistics.frames import altered, choices, windows

NAMES = [
    "perplexity_cost",
    "matched_cost",
    "syntax_loss/blimp",
    "syntax_loss/tse",
    "knowledge_spared",
    "double_dissociation",
]


def graded(num_items: int, accuracy: float) -> np.ndarray:
    """The same items are right first, so that conditions are nested."""
    return (np.arange(num_items) < round(accuracy * num_items)).astype(float)


def frames(
    *,
    log_perplexity: float,
    blimp: float,
    tse: float,
    arc_easy: float,
    piqa: float,
    num_items: int = 400,
    num_windows: int = 20,
) -> dict[str, Items]:
    """Items of one condition from the accuracy on each benchmark."""
    window = np.arange(num_windows)
    losses = log_perplexity + 0.2 * np.sin(window) + 0.01 * np.cos(10 * log_perplexity + window)
    by_benchmark = {"perplexity": windows(losses)}
    for name, accuracy in {"blimp": blimp, "tse": tse}.items():
        table = {"uid": "u", "phenomenon": "p", "pair": range(num_items), "correct": graded(num_items, accuracy)}
        by_benchmark[name] = Items(pd.DataFrame(table), MINIMAL_PAIRS)
    for name, accuracy in {"arc_easy": arc_easy, "piqa": piqa}.items():
        by_benchmark[name] = choices(graded(num_items, accuracy))
    return by_benchmark


BASELINE = {"log_perplexity": 3.0, "blimp": 0.8, "tse": 0.8, "arc_easy": 0.6, "piqa": 0.7}
TREATED = {"log_perplexity": 3.2, "blimp": 0.6, "tse": 0.6, "arc_easy": 0.58, "piqa": 0.68}
MATCHED = {"log_perplexity": 3.21, "blimp": 0.78, "tse": 0.78, "arc_easy": 0.5, "piqa": 0.6}
RANDOM = {**BASELINE, "log_perplexity": 3.01}


def evidence(
    *,
    baseline: Mapping[str, float] = {},
    treated: Mapping[str, float] = {},
    matched: Mapping[str, float] = {},
    random: Mapping[str, float] = {},
    size: Mapping[str, int] = {},
    **fields: Any,
) -> Evidence:
    """The paper's picture, with changes: of conditions' results (of the first random control), and of other fields."""
    values = {
        "model": "tiny",
        "relu": False,
        "baseline": frames(**{**BASELINE, **baseline}, **size),
        "treated": frames(**{**TREATED, **treated}, **size),
        "matched": frames(**{**MATCHED, **matched}, **size),
        "randoms": {"random_0": frames(**{**RANDOM, **random}, **size), "random_1": frames(**RANDOM, **size)},
        "treated_fraction": 0.01,
        "matched_fraction": 0.35,
        "match_bracket": (0.34, 0.36),
        "perplexity": "perplexity",
        "syntactic": ("blimp", "tse"),
        "non_syntactic": ("arc_easy", "piqa"),
    }
    return Evidence(**(values | fields))


def score(given: Evidence) -> dict[str, Verdict]:
    """{claim: verdict}."""
    return {verdict.claim: verdict for verdict in double_dissociation(given)}


def statuses(given: Evidence) -> dict[str, Status]:
    """{claim: status}."""
    return {name: verdict.status for name, verdict in score(given).items()}


def test_the_papers_picture_holds_throughout() -> None:
    assert statuses(evidence()) == dict.fromkeys(NAMES, Status.HOLDS)
    assert CLAIM_SETS["double_dissociation"] is double_dissociation and list(CLAIM_SETS)[1:] == [
        "paper",
        "token_surprisal",
    ]


def test_signs_and_numbers_of_the_effects() -> None:
    verdicts = score(evidence())
    assert verdicts["perplexity_cost"].effect.estimate == pytest.approx(0.2, abs=0.01)
    assert verdicts["perplexity_cost"].contrast.estimate == pytest.approx(0.19, abs=0.01)
    assert verdicts["syntax_loss/blimp"].effect.estimate == pytest.approx(-0.2)
    assert verdicts["syntax_loss/blimp"].contrast.estimate == pytest.approx(-0.18)
    assert verdicts["knowledge_spared"].effect.estimate == pytest.approx(-0.1)
    assert verdicts["knowledge_spared"].contrast.estimate == pytest.approx(-0.08)
    assert verdicts["double_dissociation"].effect.estimate == pytest.approx(-0.18 - 0.08)
    assert [verdicts[name].num_items for name in NAMES] == [20, 20, 400, 400, 800, 1600]


@pytest.mark.parametrize(
    ("changes", "failing"),
    every_third(
        [
            ({"treated": {"log_perplexity": 2.9}}, {"perplexity_cost"}),
            ({"treated": {"blimp": 0.9}}, {"syntax_loss/blimp"}),
            ({"baseline": {"blimp": 0.5}}, {"syntax_loss/blimp"}),
            ({"matched": {"tse": 0.4}}, {"syntax_loss/tse"}),
            ({"baseline": {"arc_easy": 0.45, "piqa": 0.55}}, {"knowledge_spared"}),
            ({"treated": {"arc_easy": 0.45, "piqa": 0.55}}, {"knowledge_spared"}),
            ({"matched_fraction": 0.005, "match_bracket": (0.004, 0.006)}, {"matched_cost"}),
            ({"matched_fraction": 0.012, "match_bracket": (0.009, 0.015)}, {"matched_cost"}),
            ({"matched_fraction": 0.012, "match_bracket": (0.01, 0.015)}, {"matched_cost"}),
            (
                {"treated": TREATED | {"blimp": 0.78, "tse": 0.78, "arc_easy": 0.5, "piqa": 0.6}},
                {"syntax_loss/blimp", "syntax_loss/tse", "knowledge_spared", "double_dissociation"},
            ),
        ]
    ),
)
def test_a_flipped_effect_or_contrast_fails_its_claim_alone(changes: dict[str, Any], failing: set[str]) -> None:
    by_claim = statuses(evidence(**changes))
    assert {name for name, status in by_claim.items() if status is not Status.HOLDS} == failing
    assert {by_claim[name] for name in failing} == {Status.DOES_NOT_HOLD}


def test_one_random_seed_is_enough_to_refute() -> None:
    verdict = score(evidence(random={"log_perplexity": 3.3}))["perplexity_cost"]
    assert verdict.status is Status.DOES_NOT_HOLD
    assert verdict.contrast.estimate == pytest.approx(-0.1, abs=0.01)
    assert "over random_0, the weakest of 2 random controls" in verdict.detail


def test_an_effect_within_the_noise_does_not_hold() -> None:
    """One pair of 400 lost: the estimate has the right sign, the interval touches 0."""
    given = evidence(baseline={"blimp": 0.8}, treated={"blimp": 0.7975}, matched={"blimp": 0.8})
    verdict = score(given)["syntax_loss/blimp"]
    assert verdict.effect.estimate < 0
    assert verdict.status is Status.DOES_NOT_HOLD


def test_missing_matched_control() -> None:
    given = evidence()
    verdicts = score(dataclasses.replace(given, matched=None, matched_fraction=None, match_bracket=None))
    assert verdicts.pop("perplexity_cost").status is Status.HOLDS
    assert {verdict.status for verdict in verdicts.values()} == {Status.NOT_DECIDABLE}
    assert verdicts["syntax_loss/tse"].detail == "no matched control (n = 400)"
    assert verdicts["syntax_loss/tse"].effect is None


@pytest.mark.parametrize("field", ["matched_fraction", "treated_fraction", "match_bracket"])
def test_missing_fraction_of_the_match(field: str) -> None:
    verdicts = score(evidence(**{field: None}))
    assert verdicts["matched_cost"].status is Status.NOT_DECIDABLE
    assert field.replace("_", " ") in verdicts["matched_cost"].detail
    assert verdicts["knowledge_spared"].status is Status.HOLDS


def test_missing_random_control() -> None:
    verdict = score(evidence(randoms={}))["perplexity_cost"]
    assert (verdict.status, verdict.detail) == (Status.NOT_DECIDABLE, "no random control (n = 20)")


def test_missing_benchmark_is_named() -> None:
    given = evidence()
    del given.matched["piqa"]
    verdicts = score(given)
    assert verdicts["knowledge_spared"].status is Status.NOT_DECIDABLE
    assert "no piqa items of matched" in verdicts["knowledge_spared"].detail
    assert verdicts["double_dissociation"].detail == "non-syntactic: no piqa items of matched (n = 1600)"
    assert verdicts["syntax_loss/blimp"].status is Status.HOLDS


def test_no_benchmarks_at_all() -> None:
    verdicts = score(evidence(syntactic=(), non_syntactic=()))
    assert list(verdicts) == [*NAMES[:2], "syntax_loss", *NAMES[4:]]
    assert [verdict.status for verdict in verdicts.values()][2:] == [Status.NOT_DECIDABLE] * 3


def test_the_fewest_windows_cannot_agree_by_chance() -> None:
    assert 0.5**MIN_WINDOWS < 0.025 < 0.5 ** (MIN_WINDOWS - 1)


@pytest.mark.parametrize("short", [0, 1])
def test_few_windows(short: int) -> None:
    by_claim = statuses(evidence(size={"num_windows": MIN_WINDOWS - short}))
    expected = Status.NOT_DECIDABLE if short else Status.HOLDS
    assert (by_claim["perplexity_cost"], by_claim["matched_cost"]) == (expected, expected)


@pytest.mark.parametrize("short", [0, 1])
def test_few_pairs(short: int) -> None:
    verdicts = score(evidence(size={"num_items": MIN_ITEMS - short}))
    assert (verdicts["syntax_loss/blimp"].status is Status.NOT_DECIDABLE) == bool(short)
    if short:
        assert verdicts["syntax_loss/blimp"].detail == "too few items, at least 100 needed (n = 99)"
        assert verdicts["knowledge_spared"].status is not Status.NOT_DECIDABLE  # 198 pooled


def test_few_choices() -> None:
    verdicts = score(evidence(size={"num_items": MIN_ITEMS - 1}, non_syntactic=("piqa",)))
    assert verdicts["knowledge_spared"].status is Status.NOT_DECIDABLE
    assert "non-syntactic: too few" in verdicts["double_dissociation"].detail


def test_a_diverged_model_is_not_decided() -> None:
    given = evidence()
    given.treated["perplexity"].table.loc[3, "nll"] = np.inf
    verdicts = score(given)
    assert verdicts["perplexity_cost"].status is Status.NOT_DECIDABLE
    assert "1 of 20 perplexity items of treated not finite" in verdicts["perplexity_cost"].detail
    assert "perplexity match not checked" in verdicts["syntax_loss/blimp"].detail


def test_relu_models_are_not_applicable() -> None:
    verdicts = score(evidence(relu=True, treated={"blimp": 0.9}))
    assert {name: verdict.status for name, verdict in verdicts.items()} == dict.fromkeys(NAMES, Status.NOT_APPLICABLE)
    assert all("ReLU" in verdict.detail for verdict in verdicts.values())


@pytest.mark.parametrize(
    ("benchmark", "alone"),
    [
        ("perplexity", "1 of 20 items only in the second condition, such as window 0, num_tokens 2047"),
        ("blimp", "1 of 400 items only in the second condition, such as uid u, pair 0"),
        ("arc_easy", "1 of 800 items only in the first condition, such as uid arc_easy, pair 0"),
    ],
)
def test_other_items_under_one_condition_raise(benchmark: str, alone: str) -> None:
    given = evidence()
    given.treated[benchmark] = altered(given.treated[benchmark], lambda table: table.iloc[1:])
    with pytest.raises(ValueError) as error:
        double_dissociation(given)
    assert str(error.value) == f"the item sets differ: {alone}; evaluate both conditions on the same items"


def test_details_show_the_numbers_behind_the_verdict() -> None:
    verdicts = score(evidence())
    syntax = verdicts["syntax_loss/blimp"].detail
    assert "accuracy -0.2000 [" in syntax and "; -0.1800 [" in syntax
    assert "treated/baseline p = " in syntax and "(lost 80, gained 0, ties dropped 0)" in syntax
    treated, matched = (np.exp(given["perplexity"].values.mean()) for given in (evidence().treated, evidence().matched))
    assert f"perplexity {matched:.4g} matched, {treated:.4g} treated" in syntax
    assert "bracket, not a confidence interval" in verdicts["matched_cost"].detail
    assert verdicts["matched_cost"].effect == pytest.approx((0.34, 0.33, 0.35))
    assert all("\n" not in verdict.detail for verdict in verdicts.values())
    assert "blimp" in verdicts["syntax_loss/blimp"].statement
    assert "35 % (Llama)" in verdicts["matched_cost"].published


def test_p_values_are_corrected_over_the_whole_scorecard() -> None:
    """The smallest of the six tests is multiplied by six; alone on the card it would be by two."""
    changes = {
        "treated": {"blimp": 0.78, "tse": 0.8, "arc_easy": 0.6, "piqa": 0.7},
        "matched": {"blimp": 0.8, "tse": 0.8, "arc_easy": 0.6, "piqa": 0.7},
    }
    detail = score(evidence(**changes))["syntax_loss/blimp"].detail
    assert f"treated/baseline p = {6 * 2 / 2**8:.2g} (lost 8," in detail
    alone = score(evidence(**changes, syntactic=("blimp",), non_syntactic=()))["syntax_loss/blimp"].detail
    assert f"treated/baseline p = {2 * 2 / 2**8:.2g} (lost 8," in alone


# -- the rest of the paper -------------------------------------------------------------------------------------------


SHARE = NegativeShare(Interval(0.8, 0.75, 0.85), Interval(0.5, 0.49, 0.51), Interval(0.3, 0.25, 0.35), 60, 5000)
SCAFFOLDING = Scaffolding(
    Contrast(Interval(0.2, 0.15, 0.25), 1e-6, 80, 5000),
    Interval(0.01, -0.01, 0.03),
    {"random": Interval(0.1, 0.05, 0.15)},
)
MORE = {
    "by_difficulty": {"log_perplexity": 3.1},
    "magnitude": {"blimp": 0.79, "tse": 0.79},
}


def with_scaffolding(**changes: Any) -> dict[str, Any]:
    return {"scaffolding": {"surprisal": SCAFFOLDING._replace(**changes)}}


def weak(interval: Interval) -> Contrast:
    return SCAFFOLDING.contrast._replace(interval=interval)


def test_token_surprisal_is_a_scorecard_of_its_own() -> None:
    verdicts = {verdict.claim: verdict for verdict in CLAIM_SETS["token_surprisal"](whole())}
    assert list(verdicts) == ["perplexity_cost", "scaffolding/surprisal"]
    assert {verdict.status for verdict in verdicts.values()} == {Status.HOLDS}
    detail = verdicts["scaffolding/surprisal"].detail
    assert "Wilcoxon p = 1e-06 over 80 documents" in detail and "content words themselves +0.0100" in detail
    relu = CLAIM_SETS["token_surprisal"](whole(relu=True))
    assert {verdict.status for verdict in relu} == {Status.NOT_APPLICABLE} and len(relu) == 2


def whole(**changes: Any) -> Evidence:
    """The paper's picture with its other controls."""
    fields = {name: frames(**{**BASELINE, **MORE[name], **changes.pop(name, {})}) for name in MORE}
    randoms = evidence().randoms
    derived = {"negative_share": SHARE, "correlation": 0.4, "scaffolding": {"surprisal": SCAFFOLDING}}
    return evidence(**{**fields, "difficulty_randoms": randoms, **derived, **changes})


def paper_statuses(given: Evidence) -> dict[str, Status]:
    """{claim: status} of all claims of the paper."""
    return {verdict.claim: verdict.status for verdict in CLAIM_SETS["paper"](given)}


def test_the_papers_other_claims_hold_where_its_picture_does() -> None:
    by_claim = paper_statuses(whole())
    assert list(by_claim) == [
        *NAMES,
        "negative_mass",
        "difficulty_agrees",
        "sign_not_magnitude",
        "scaffolding/surprisal",
    ]
    assert set(by_claim.values()) == {Status.HOLDS}


def test_the_reliability_stands_beside_selection_by_mapping_difficulty() -> None:
    without, beside = (
        next(verdict.detail for verdict in CLAIM_SETS["paper"](given) if verdict.claim == "difficulty_agrees")
        for given in (whole(), whole(difficulty_reliability=0.625))
    )
    added = "; reliability of mapping difficulty 0.62 (median layer)"
    assert added in beside and beside.replace(added, "") == without


@pytest.mark.parametrize(
    ("claim", "changes"),
    every_third(
        [
            ("negative_mass", {"negative_share": SHARE._replace(top=Interval(0.52, 0.49, 0.55))}),
            ("negative_mass", {"negative_share": SHARE._replace(difference=Interval(0.01, -0.02, 0.04))}),
            ("difficulty_agrees", {"by_difficulty": {"log_perplexity": 3.005}}),
            ("sign_not_magnitude", {"magnitude": {"blimp": 0.4, "tse": 0.4}}),
            ("scaffolding/surprisal", with_scaffolding(contrast=weak(Interval(0.1, -0.01, 0.2)))),
            ("scaffolding/surprisal", with_scaffolding(over_randoms={"a": Interval(0.1, -0.01, 0.2)})),
        ]
    ),
)
def test_they_fail_one_by_one(claim: str, changes: dict[str, Any]) -> None:
    by_claim = paper_statuses(whole(**changes))
    assert by_claim.pop(claim) is Status.DOES_NOT_HOLD
    assert set(by_claim.values()) == {Status.HOLDS}


@pytest.mark.parametrize(
    ("claim", "changes", "reason"),
    every_third(
        [
            ("negative_mass", {"negative_share": None}, "no neuron table"),
            ("negative_mass", {"negative_share": SHARE._replace(num_top=8)}, "too few neurons"),
            ("difficulty_agrees", {"by_difficulty": None}, "no mapping-difficulty control"),
            ("difficulty_agrees", {"difficulty_randoms": {}}, "no random control"),
            ("sign_not_magnitude", {"magnitude": None}, "no magnitude control"),
            ("scaffolding", {"scaffolding": {}}, "no surprisal benchmark"),
            ("scaffolding/surprisal", {"scaffolding": {"surprisal": None}}, "not scored on it"),
            ("scaffolding/surprisal", with_scaffolding(over_randoms={}), "no random control"),
            ("scaffolding/surprisal", with_scaffolding(over_randoms={"a": None}), "a was not scored on it"),
            (
                "scaffolding/surprisal",
                with_scaffolding(contrast=SCAFFOLDING.contrast._replace(num_documents=9)),
                "too few",
            ),
        ]
    ),
)
def test_they_say_why_they_cannot_be_decided(claim: str, changes: dict[str, Any], reason: str) -> None:
    given = dataclasses.replace(whole(), **changes)
    (verdict,) = [verdict for verdict in CLAIM_SETS["paper"](given) if verdict.claim == claim]
    assert verdict.status is Status.NOT_DECIDABLE and reason in verdict.detail


def test_the_negative_mass_applies_to_relu_models_too() -> None:
    by_claim = paper_statuses(whole(relu=True))
    assert by_claim.pop("negative_mass") is Status.HOLDS
    assert set(by_claim.values()) == {Status.NOT_APPLICABLE} and len(by_claim) == len(NAMES) + 3


def test_the_dissociation_comes_with_a_logistic_model_where_there_are_paradigms_enough() -> None:
    def detail(given: Evidence) -> str:
        (verdict,) = [v for v in double_dissociation(given) if v.claim == "double_dissociation"]
        return verdict.detail

    given = evidence()
    assert "(logistic model, GEE: too few paradigms)" in detail(given)
    for items in (given.baseline, given.treated, given.matched):
        for benchmark in ("blimp", "tse"):
            items[benchmark].table["uid"] = [f"u{i % 8}" for i in range(400)]
    assert "the log-odds ratio is -" in detail(given)


def test_all_tests_of_a_scorecard_are_one_family() -> None:
    given = whole(magnitude={"blimp": 0.75, "tse": 0.75})
    (verdict,) = [v for v in CLAIM_SETS["paper"](given) if v.claim == "sign_not_magnitude"]
    corrected = float(re.search(r"treated/magnitude p = ([^ ]+)", verdict.detail)[1])
    alone = mcnemar(*(pool({name: f[name] for name in given.syntactic}) for f in (given.treated, given.magnitude)))
    assert corrected > 1.9 * alone.p_value, "it was corrected for the others"
