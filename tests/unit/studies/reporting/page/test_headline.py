"""The finding in a few sentences: none that the numbers do not say."""

import math
from typing import Any

import pytest

from studies.claims.scorecard import Claim, Part, Unit, judged, verdicts
from studies.reporting.page.headline import detectable, headline
from studies.reporting.records import verdict_record
from studies.statistics.effects import Component, Effect
from tests.unit.studies.reporting.page.examples import model, report, verdict

COST = "Clamping 450 neurons (1 % of each layer) raises perplexity by 11.2 %; as many random ones change it by +1.0 %."


def effect(value: float, half: float) -> Effect:
    """With a 95 % interval of this half width."""
    return Effect(value, (Component((half / 2.0211) ** 2, 40.0, 41, "paradigms"),))


def dissociation(syntax: tuple[float, float], rest: tuple[float, float]) -> dict[str, Any]:
    """The verdict that the rules give to both halves (value, half width of the 95 % interval)."""
    parts = [Part("on syntax", effect(*syntax), -1), Part("on the rest", effect(*rest), -1)]
    draft = judged("double_dissociation", parts, margin=0.02, detail="the numbers", num_items=888)
    words = {"double_dissociation": Claim("It costs.", "It cost.", Unit.ACCURACY)}
    return verdict_record(verdicts("m", words, [draft])[0])


LOWER = "syntactic accuracy is 10.0 pp lower than under a control at the same perplexity"
CASES: dict[str, tuple[tuple[float, float], tuple[float, float], str]] = {
    "both": ((-0.10, 0.02), (-0.05, 0.02), f"It is grammar that goes: {LOWER}, which costs other skills more."),
    "both go": ((-0.10, 0.02), (0.05, 0.02), f"S{LOWER[1:]}; the double dissociation is contradicted."),
    "the other way": ((0.10, 0.02), (-0.05, 0.02),
                      f"S{LOWER[1:].replace('lower', 'higher')}; the double dissociation is contradicted."),
    "no syntax": ((-0.001, 0.005), (-0.05, 0.02),
                  "It is not grammar in particular that goes: at the same perplexity the difference in syntactic "
                  "accuracy is smaller than 2.0 pp."),
    "no rest": ((-0.10, 0.02), (0.0, 0.01),
                f"S{LOWER[1:]}; the double dissociation is absent: its other half is smaller than 2.0 pp."),
    "rest open": ((-0.10, 0.02), (-0.02, 0.04),
                  f"S{LOWER[1:]}; whether that is a double dissociation these data cannot tell."),
    "syntax open": ((-0.02, 0.04), (-0.05, 0.02),
                    "Whether it is grammar that goes, these 888 items cannot tell: effects on syntax under ±5.7 pp do "
                    "not show here."),
    "open and contradicted": ((-0.02, 0.04), (0.05, 0.02),
                              "Syntactic accuracy differs by −2.0 pp [−6.0, +2.0] from that under a control at the "
                              "same perplexity; the double dissociation is contradicted."),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_one_half_shows_is_not_said_of_the_other(case: str) -> None:
    syntax, rest, sentence = CASES[case]
    assert headline(report(model(verdicts=[dissociation(syntax, rest)]))) == [COST, sentence]


def test_a_claim_that_was_not_estimated_says_why_and_one_without_meaning_that() -> None:
    judged_none = verdict("undecided", effect=None, standard_error=None, df=None, detail="no matched control")
    assert headline(report(model(verdicts=[judged_none])))[1] == (
        "Whether it is grammar that goes is undecided: no matched control."
    )
    assert headline(report(model(verdicts=[verdict("not applicable", effect=None)])))[1] == (
        "Whether grammar goes is not asked of this model: the clamp changes nothing in it."
    )


def test_the_smallest_effect_is_that_of_the_statistics() -> None:
    found = Effect(-0.025, (Component(0.0075**2, 40.0, 41, "paradigms"),))
    assert detectable(verdict()) == pytest.approx(found.detectable())
    exact = Effect(0.0, (Component(0.01**2, float("inf"), 9, "items"),))
    assert detectable(verdict(standard_error=0.01, df=None)) == pytest.approx(exact.detectable())
    assert detectable(verdict(standard_error=None)) is None


@pytest.mark.parametrize(
    ("rise", "told"),
    [
        ((-0.1, -0.12, -0.08), "lowers perplexity by 9.5 %;"),
        ((0.1, -0.1, 0.3), "changes perplexity by +10.5 % [−9.5, +35.0];"),
        ((0.1, None, None), "changes perplexity by +10.5 %;"),
        ((math.log(1200.0), 7.0, 7.2), "multiplies perplexity by 1.2e+03;"),
    ],
)
def test_a_rise_is_called_one_only_where_its_interval_says_so(rise: tuple[float | None, ...], told: str) -> None:
    part = model(verdicts=[])
    part["rows"][1]["deltas"]["perplexity"] |= dict(zip(("estimate", "low", "high"), rise, strict=True))
    assert told in headline(report(part))[0]


def test_the_treated_condition_and_its_random_controls_are_those_of_the_claims() -> None:
    """Another condition of top neurons, and a random control with another clamp, are not."""
    part = model(verdicts=[])
    other = {**part["rows"][1], "condition": "difficulty", "num_neurons": 7}
    signflip = {**part["rows"][2], "condition": "random_signflip/seed=0", "deltas": {"perplexity": {"estimate": 2.0}}}
    part["rows"] = [part["rows"][0], other, signflip, *part["rows"][1:]]
    assert headline(report(part)) == [COST]


def test_other_claims_are_counted_with_the_smallest_effects_that_would_show() -> None:
    claims = [
        verdict("supported", claim="a"), verdict("undecided", claim="b"),
        verdict("undecided", claim="c", unit="log_perplexity", standard_error=0.01),
        verdict("undecided", claim="d/blimp", unit="of_benchmark", standard_error=0.001),
    ]  # fmt: skip
    assert headline(report(model(verdicts=claims)))[1:] == [
        "Of 4 claims 1 supported, 3 undecided.",
        "What is undecided would show from ±2.2 pp (accuracy), ±2.9 % (perplexity), ±0.3 pp (cost in accuracy) on.",
    ]
    assert headline(report(model(verdicts=[]))) == [COST]


def test_how_many_ordinary_neurons_cost_as_much_is_told_where_it_is_shown() -> None:
    def matched(status: str) -> dict[str, Any]:
        effect = {"estimate": 0.0789, "low": 0.06, "high": 0.10}
        return verdict(status, claim="matched_cost", unit="fraction", effect=effect)

    told = "Ordinary neurons cost as much only from 8.89 % of each layer on."
    assert headline(report(model(verdicts=[matched("supported")])))[1] == told
    for status in ("undecided", "absent", "contradicted"):
        assert told not in headline(report(model(verdicts=[matched(status)])))
    assert told not in headline(report(model("a", [matched("supported")]), model("b", [matched("supported")])))


def test_several_models_are_counted_with_the_smallest_effects() -> None:
    models = [model("a"), model("b", [verdict("undecided")])]
    first, second, counted, smallest = headline(report(*models))
    assert " of a raises " in first and " of b raises " in second
    assert counted == (
        "The claim double dissociation on 2 models: 1 supported, 1 undecided; of all 2 verdicts 1 supported, 1 "
        "undecided."
    )
    assert smallest == "What is undecided would show from ±2.2 pp (accuracy) on."
    many = headline(report(*(model(str(i)) for i in range(4))))
    assert len(many) == 1 and many[0].startswith("The claim double dissociation on 4 models: 4 supported")


def test_a_study_without_claims_has_been_measured_all_the_same() -> None:
    said = ["s judges no claims; what each condition costs stands below."]
    assert headline(report(*(model(str(i), []) for i in range(4)))) == said
    part = model(verdicts=[])
    part["benchmarks"] = part["benchmarks"][1:]
    assert headline(report(part)) == said
    assert headline(report({**model(verdicts=[]), "roles": {"conditions": {}, "randoms": {}}})) == said
    assert headline(report({**model(verdicts=[]), "rows": []})) == ["s: nothing has been measured yet."]
    assert headline({**report(), "models": []}) == ["s: nothing has been measured yet."]


def test_verdicts_of_an_earlier_version_are_not_told_in_todays_words() -> None:
    old = {name: value for name, value in verdict("holds").items() if name not in ("margin", "unit", "standard_error")}
    found = {**report(model(verdicts=[old])), "series": []}
    assert headline(found) == ["s was judged by the rules of an earlier version; run it again for its finding."]


def test_a_training_is_counted() -> None:
    part = {**model(verdicts=[]), "rows": []}
    series = {"label": "pythia", "verdicts": [verdict("absent", claim="wd_rises")]}
    assert headline({**report(part), "series": [series]}) == ["Over the training of pythia, of 1 claims 1 absent."]
