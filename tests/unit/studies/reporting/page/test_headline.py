"""The finding in one or two sentences."""

import pytest

from studies.reporting.page.headline import detectable, headline
from studies.statistics.effects import Component, Effect
from tests.unit.studies.reporting.page.examples import model, report, verdict

COST = "Clamping 450 neurons (1 %) raises perplexity by 11.2 %; as many random ones by 1.0 %."


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("supported", "It is grammar that goes: syntactic accuracy falls by 2.5 pp more than"),
        ("contradicted", "It is not grammar that goes"),
        (
            "absent",
            "It is not grammar in particular that goes: at the same perplexity a difference is smaller",
        ),
        ("undecided", "Whether it is grammar that goes, these 928 items cannot tell: effects under ±2.2 pp"),
        ("not applicable", "Whether grammar goes is not asked of this model"),
    ],
)
def test_it_follows_from_the_verdict(status: str, sentence: str) -> None:
    found = headline(report(model(verdicts=[verdict(status)])))
    assert found[0] == COST and found[1].startswith(sentence) and len(found) == 2


def test_an_undecided_claim_without_an_error_says_why() -> None:
    judged = verdict("undecided", standard_error=None, df=None, detail="no matched control")
    assert headline(report(model(verdicts=[judged])))[1].endswith("is undecided: no matched control.")


def test_the_smallest_effect_is_that_of_the_statistics() -> None:
    effect = Effect(-0.025, (Component(0.0075**2, 40.0, 41, "paradigms"),))
    assert detectable(verdict()) == pytest.approx(effect.detectable())
    exact = Effect(0.0, (Component(0.01**2, float("inf"), 9, "items"),))
    assert detectable(verdict(standard_error=0.01, df=None)) == pytest.approx(exact.detectable())
    assert detectable(verdict(standard_error=None)) is None


def test_a_fall_of_perplexity_is_called_one() -> None:
    part = model()
    for row in part["rows"]:
        for delta in row["deltas"].values():
            delta["estimate"] *= -1
    assert headline(report(part))[0] == (
        "Clamping 450 neurons (1 %) lowers perplexity by 10.1 %; as many random ones lower it by 0.9 %."
    )


def test_other_claims_are_counted() -> None:
    claims = [verdict("supported", claim="a"), verdict("undecided", claim="b"), verdict("undecided", claim="c")]
    assert headline(report(model(verdicts=claims)))[1] == (
        "Of 3 claims, supported in 1, undecided in 2. Effects on accuracy under ±2.2 pp do not show here."
    )
    assert headline(report(model(verdicts=[]))) == [COST]


def test_several_models_are_counted() -> None:
    models = [model("a"), model("b", [verdict("undecided")])]
    first, second, counted = headline(report(*models))
    assert " of a raises " in first and " of b raises " in second
    assert counted.startswith("Of 2 models, double dissociation is supported in 1, undecided in 1;")
    many = headline(report(*(model(str(i)) for i in range(4))))
    assert len(many) == 1 and many[0].startswith("Of 4 models")


def test_a_study_without_results_says_so_and_a_training_is_counted() -> None:
    part = {**model(verdicts=[]), "rows": []}
    assert headline(report(part)) == ["s: nothing has been measured yet."]
    series = {"label": "pythia", "verdicts": [verdict("absent", claim="wd_rises")]}
    assert headline({**report(part), "series": [series]}) == ["Over the training of pythia: absent in 1, of 1 claims."]
