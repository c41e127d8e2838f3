"""The rule, and how drafts become verdicts."""

import math

import pytest

from studies.claims.scorecard import (
    Claim,
    Draft,
    Status,
    format_interval,
    judge,
    not_applicable,
    undecided,
    verdicts,
    weakest,
)
from studies.statistics.comparisons import McNemar
from studies.statistics.intervals import Interval

CLAIMS = {
    "cost": Claim("It costs.", "It cost them."),
    "loss": Claim("Accuracy on {benchmark} drops.", "It dropped."),
}
EFFECT = Interval(0.2, 0.1, 0.3)


@pytest.mark.parametrize(
    ("direction", "intervals", "expected"),
    [
        (+1, [EFFECT], Status.HOLDS),
        (-1, [EFFECT], Status.DOES_NOT_HOLD),
        (+1, [EFFECT, None], Status.HOLDS),
        (+1, [EFFECT, Interval(0.1, -0.01, 0.2)], Status.DOES_NOT_HOLD),
        (+1, [Interval(0.1, 0.0, 0.2)], Status.DOES_NOT_HOLD),
        (-1, [Interval(-0.2, -0.3, -0.1), Interval(-0.1, -0.2, -0.05)], Status.HOLDS),
        (+1, [Interval(0.1, math.nan, math.nan)], Status.DOES_NOT_HOLD),
    ],
)
def test_a_claim_holds_where_every_interval_lies_beyond_0(
    direction: int, intervals: list[Interval | None], expected: Status
) -> None:
    assert judge(direction, *intervals) is expected


def test_the_weakest_contrast_has_the_lowest_lower_bound() -> None:
    contrasts = {"a": Interval(0.1, 0.05, 0.2), "b": Interval(0.3, -0.1, 0.7)}
    assert weakest(contrasts) == ("b", contrasts["b"])


def test_a_verdict_has_the_words_of_its_claim_and_the_numbers_of_its_draft() -> None:
    (verdict,) = verdicts("tiny", CLAIMS, [Draft("loss/blimp", Status.HOLDS, "numbers", 400, EFFECT)])
    assert (verdict.claim, verdict.model, verdict.status) == ("loss/blimp", "tiny", Status.HOLDS)
    assert verdict.statement == "Accuracy on blimp drops." and verdict.published == "It dropped."
    assert (verdict.detail, verdict.num_items, verdict.effect, verdict.contrast) == ("numbers", 400, EFFECT, None)


def test_a_claim_without_its_benchmark_and_one_that_cannot_be_decided() -> None:
    drafts = [undecided("loss", "no benchmark", 0), *not_applicable(["cost"])]
    loss, cost = verdicts("tiny", CLAIMS, drafts)
    assert loss.statement == "Accuracy on a syntactic benchmark drops."
    assert (loss.status, loss.detail, loss.effect) == (Status.NOT_DECIDABLE, "no benchmark (n = 0)", None)
    assert (cost.status, cost.num_items) == (Status.NOT_APPLICABLE, 0)
    assert cost.detail == "ReLU model: the negative clamp is the identity"


def test_the_tests_of_all_drafts_are_corrected_together() -> None:
    first = Draft("cost", Status.HOLDS, "a", 10, tests={"x/y": McNemar(8, 0, 1, 0.01)})
    second = Draft(
        "loss/tse", Status.HOLDS, "b", 10, tests={"x/z": McNemar(5, 4, 0, 0.04), "z/y": McNemar(6, 1, 0, 0.03)}
    )
    details = [verdict.detail for verdict in verdicts("tiny", CLAIMS, [first, second])]
    assert details == [
        "a; McNemar (Holm) x/y p = 0.03 (lost 8, gained 0, ties dropped 1)",
        "b; McNemar (Holm) x/z p = 0.06 (lost 5, gained 4, ties dropped 0), z/y p = 0.06 (lost 6, gained 1, ties"
        " dropped 0)",
    ]


def test_intervals_are_printed_with_a_sign() -> None:
    assert format_interval(Interval(0.12, 0.1096, 0.1305)) == "+0.1200 [0.1096, 0.1305]"
    assert format_interval(Interval(-1.5e-6, -2e-6, 1e-6), ".3g") == "-1.5e-06 [-2e-06, 1e-06]"
