"""The table of rules, cell by cell, and how drafts become verdicts."""

import math

import pytest

from studies.claims.scorecard import (
    Claim,
    Denial,
    Draft,
    Part,
    Status,
    Unit,
    format_interval,
    judge,
    judged,
    not_applicable,
    undecided,
    verdicts,
)
from studies.statistics.effects import Component, Effect
from studies.statistics.intervals import Interval

CLAIMS = {
    "cost": Claim("It costs.", "It cost them.", Unit.NUMBER),
    "loss": Claim("Accuracy on {benchmark} drops.", "It dropped.", Unit.ACCURACY),
}
MARGIN = 0.02


def around(value: float, half: float = 0.01, df: float = math.inf) -> Effect:
    """An effect whose 95 % interval is value ± half (and its 90 % one 0.84 times as wide, without limit of units)."""
    return Effect(value, (Component((half / 1.959964) ** 2, df, 100, "items"),))


def claimed(value: float, half: float = 0.01) -> Part:
    """An effect that the claim puts above 0."""
    return Part("the effect", around(value, half), +1)


def over(value: float, half: float = 0.01) -> Part:
    """A contrast that the claim puts above 0."""
    return Part("the contrast", around(value, half), +1, True)


def denied(value: float, half: float = 0.01) -> Denial:
    """An effect that the claim denies."""
    return Denial("the denied effect", around(value, half))


UNKNOWN = Part("the effect", Effect(0.3, (Component(math.nan, 1, 1, "sets"),)), +1)


@pytest.mark.parametrize(
    ("parts", "denials", "expected"),
    [
        # ABSENT: the effect lies inside the margin ...
        ([claimed(0.0)], [], Status.ABSENT),
        ([claimed(0.0), over(0.1)], [], Status.ABSENT),
        # ... even where its 95 % interval excludes 0, on either side ...
        ([claimed(0.01, 0.005), over(0.1)], [], Status.ABSENT),
        ([claimed(-0.01, 0.005)], [], Status.ABSENT),
        # ... and where one of two effects is; but not where only a contrast is small.
        ([claimed(0.1), claimed(0.0)], [], Status.ABSENT),
        ([claimed(0.1), over(0.005, 0.004)], [], Status.SUPPORTED),
        # SUPPORTED: effects and contrasts lie beyond 0, denied effects inside the margin.
        ([claimed(0.1)], [], Status.SUPPORTED),
        ([claimed(0.1), over(0.05)], [], Status.SUPPORTED),
        ([], [denied(0.0)], Status.SUPPORTED),
        ([], [denied(0.01, 0.005)], Status.SUPPORTED),
        ([claimed(0.1)], [denied(0.0)], Status.SUPPORTED),
        # CONTRADICTED: one of them lies beyond 0 on the other side, a denied effect beyond the margin.
        ([claimed(-0.1)], [], Status.CONTRADICTED),
        ([claimed(0.1), over(-0.05)], [], Status.CONTRADICTED),
        ([claimed(0.1, 0.2), over(-0.05)], [], Status.CONTRADICTED),
        ([], [denied(0.1)], Status.CONTRADICTED),
        ([], [denied(-0.1)], Status.CONTRADICTED),
        ([claimed(0.1)], [denied(0.1)], Status.CONTRADICTED),
        # UNDECIDED: an interval includes 0, or is wider than the margin, or is not known.
        ([claimed(0.1, 0.2)], [], Status.UNDECIDED),
        ([claimed(0.1), over(0.05, 0.1)], [], Status.UNDECIDED),
        ([claimed(0.0, 0.03)], [], Status.UNDECIDED),
        ([], [denied(0.0, 0.1)], Status.UNDECIDED),
        ([], [denied(0.025, 0.01)], Status.UNDECIDED),  # beyond 0, but perhaps inside the margin
        ([claimed(0.1)], [denied(0.0, 0.1)], Status.UNDECIDED),
        ([UNKNOWN], [], Status.UNDECIDED),
        ([claimed(0.1), UNKNOWN._replace(is_contrast=True)], [], Status.UNDECIDED),
    ],
)
def test_the_table_of_rules(parts: list[Part], denials: list[Denial], expected: Status) -> None:
    assert judge(parts, denials, MARGIN)[0] is expected


def test_a_margin_is_met_by_the_90_percent_interval() -> None:
    """Its half width is 0.84 of the other's, so that these two lie on either side of the rule."""
    assert judge([claimed(0.0, MARGIN / 0.83)], [], MARGIN)[0] is Status.UNDECIDED
    assert judge([claimed(0.0, MARGIN / 0.85)], [], MARGIN)[0] is Status.ABSENT


def test_without_a_margin_nothing_is_absent() -> None:
    assert judge([claimed(0.0, 1e-6)], [], None)[0] is Status.UNDECIDED


def test_undecided_names_what_is_missing_and_what_would_decide() -> None:
    _, missing = judge([claimed(0.1), over(0.05, 0.1)], [denied(0.0, 0.1)], MARGIN)
    assert missing == (
        "the 95 % interval of the contrast includes 0 (0.14 would be shown with 80 % power; about 818 items would"
        " decide 0.05); the 90 % interval of the denied effect is not inside ±0.02 (about 5,574 items would decide it)"
    )


@pytest.mark.parametrize(("p_value", "expected"), [(0.05, Status.SUPPORTED), (0.1, Status.UNDECIDED)])
def test_ranks_decide_a_contrast_where_there_are_any(p_value: float, expected: Status) -> None:
    ranked = over(0.05, 0.1)._replace(rank_p_value=p_value)
    assert judge([claimed(0.1), ranked], [], MARGIN)[0] is expected


def test_a_draft_shows_the_first_effect_and_contrast_and_the_largest_p_value() -> None:
    parts = [claimed(0.1), over(0.05, 0.1), over(0.2)]
    draft = judged("cost", parts, margin=MARGIN, detail="numbers", num_items=7)
    assert draft.effect == pytest.approx((0.1, 0.09, 0.11)) and draft.contrast == pytest.approx((0.05, -0.05, 0.15))
    assert draft.p_value == max(part.p_value for part in parts) == parts[1].p_value
    assert draft.detail.startswith("numbers; the 95 % interval of the contrast includes 0 (")
    absence = judged("cost", [], [denied(0.01)], margin=MARGIN, detail="numbers", num_items=7)
    assert absence.effect == pytest.approx((0.01, 0.0, 0.02), abs=1e-6) and absence.contrast is None
    assert judged("cost", [UNKNOWN], margin=None, detail="", num_items=1).p_value is None


def test_a_verdict_has_the_words_of_its_claim_and_the_numbers_of_its_draft() -> None:
    draft = Draft("loss/blimp", Status.SUPPORTED, "numbers", 400, Interval(0.2, 0.1, 0.3), margin=0.02, p_value=0.01)
    (verdict,) = verdicts("tiny", CLAIMS, [draft])
    assert (verdict.claim, verdict.model, verdict.status) == ("loss/blimp", "tiny", Status.SUPPORTED)
    assert verdict.statement == "Accuracy on blimp drops." and verdict.published == "It dropped."
    assert (verdict.detail, verdict.num_items, verdict.effect, verdict.contrast) == ("numbers", 400, draft.effect, None)
    assert (verdict.margin, verdict.p_value, verdict.survives_holm) == (0.02, 0.01, True)


def test_a_claim_without_its_benchmark_and_one_that_cannot_be_decided() -> None:
    drafts = [undecided("loss", "no benchmark", 0), *not_applicable(["cost"])]
    loss, cost = verdicts("tiny", CLAIMS, drafts)
    assert loss.statement == "Accuracy on a syntactic benchmark drops."
    assert (loss.status, loss.detail, loss.effect) == (Status.UNDECIDED, "no benchmark (n = 0)", None)
    assert (cost.status, cost.num_items) == (Status.NOT_APPLICABLE, 0)
    assert cost.detail == "ReLU model: the negative clamp is the identity"
    assert loss.survives_holm is None and cost.p_value is None


@pytest.mark.parametrize(
    ("parts", "denials", "p_value"),
    [
        ([claimed(0.01, 0.005)], [], around(0.01, 0.005).p_value_within(MARGIN)),
        ([claimed(0.1), over(-0.05)], [], around(-0.05).p_value(-1)),
        ([], [denied(-0.05)], around(-0.05 + MARGIN).p_value(-1)),
        ([claimed(0.1), over(0.05, 0.1)], [], around(0.05, 0.1).p_value(+1)),
    ],
)
def test_a_p_value_is_that_of_what_the_verdict_says(parts: list[Part], denials: list[Denial], p_value: float) -> None:
    draft = judged("cost", parts, denials, margin=MARGIN, detail="", num_items=1)
    assert draft.p_value == pytest.approx(p_value)
    assert (draft.p_value <= 0.05) == (draft.status is not Status.UNDECIDED)


def test_holm_is_over_all_that_was_tested_and_decides_nothing() -> None:
    drafts = [Draft("cost", Status.SUPPORTED, "", 1, p_value=p) for p in (0.001, 0.02, 0.04)]
    drafts.insert(1, undecided("cost", "no control", 0))
    found = verdicts("tiny", CLAIMS, drafts)
    assert [verdict.survives_holm for verdict in found] == [True, None, True, True]
    found = verdicts("tiny", CLAIMS, [drafts[0], drafts[3], drafts[3]._replace(p_value=0.03)])
    assert [verdict.survives_holm for verdict in found] == [True, False, False]
    assert {verdict.status for verdict in found} == {Status.SUPPORTED}


def test_intervals_are_printed_with_a_sign() -> None:
    assert format_interval(Interval(0.12, 0.1096, 0.1305)) == "+0.1200 [0.1096, 0.1305]"
    assert format_interval(Interval(-1.5e-6, -2e-6, 1e-6), ".3g") == "-1.5e-06 [-2e-06, 1e-06]"
