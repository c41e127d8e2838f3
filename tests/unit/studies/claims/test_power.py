"""Which comparisons each claim's power rests on, what makes it unknown or 0, and what would help."""

import math
from dataclasses import replace

import pytest

from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, PERPLEXITY, SURPRISAL, TEMPLATES
from studies.claims.deciding import what_would_decide
from studies.claims.paper import DRAFTS
from studies.claims.power import FACTOR, Assumed, ClaimPower, Design, claim_powers
from studies.claims.scorecard import Claim, Margins, Part, Unit, judged, verdicts
from studies.reporting.records import verdict_record
from studies.statistics.effects import Component, Effect, contrast
from studies.statistics.power import Layout, Spread, default_spread, planned_effect, power_to_show, power_to_spare
from tests.unit.studies.claims.papers import scorecard, whole

MARGINS = Margins()
BLIMP, TSE = Layout(((50,) * 5,) * 13, MINIMAL_PAIRS), Layout(((1000,) * 16, (1000,) * 3, (1000,) * 3), TEMPLATES)
QUESTIONS, WINDOWS = Layout(((1000,),), MULTIPLE_CHOICE), Layout(((20,),), PERPLEXITY)
TEXTS = Layout(((60,),), replace(SURPRISAL, noun="documents", fewest=10))
ALL = frozenset({"perplexity", "blimp", "tse", "arc", "piqa", "surprisal"})
ROLES = ("baseline", "treated", "matched", "random", "difficulty", "difficulty random", "signflip", "posrelu")
DESIGN = Design(
    layouts={
        **{"perplexity": WINDOWS, "blimp": BLIMP, "tse": TSE, "arc": QUESTIONS, "piqa": QUESTIONS},
        "surprisal": TEXTS,
    },
    perplexity="perplexity",
    syntactic=("blimp", "tse"),
    non_syntactic=("arc", "piqa"),
    surprisal=("surprisal",),
    scored=dict.fromkeys(ROLES, ALL),
    num_sets={"random": 5, "difficulty random": 5},
)
SPREADS = {"perplexity": Spread(0.03), "surprisal": Spread(0.05)}


def assumptions(benchmark: str, pair: str) -> Assumed | None:
    layout = DESIGN.layouts[benchmark]
    assert layout is not None
    sets = 0.004 if pair.endswith("random") else None
    spread = SPREADS.get(benchmark) or default_spread(layout.measure)
    return spread and Assumed(spread, "this model's run of 2026-12-01", random_sets=sets)


def defaults(benchmark: str, pair: str) -> Assumed | None:
    layout = DESIGN.layouts[benchmark]
    assert layout is not None
    spread = default_spread(layout.measure)
    return spread and Assumed(spread, "defaults", ("discordance 0.06",))


def found(design: Design = DESIGN, claims: str = "paper", assumed=assumptions) -> dict[str, ClaimPower]:
    return {power.claim: power for power in claim_powers(claims, design, assumed, MARGINS)}


@pytest.mark.parametrize("claims", DRAFTS)
def test_every_claim_that_is_judged_by_samples_of_items_has_a_power(claims: str) -> None:
    judged_claims = {verdict.claim for verdict in scorecard(claims, whole())} - {"matched_cost", "negative_mass"}
    assert set(found(claims=claims)) == judged_claims


def test_the_claims_of_each_set() -> None:
    surprisal = ["scaffolding/surprisal", "content_spared/surprisal"]
    of_syntax = [f"{claim}/{b}" for b in ("blimp", "tse") for claim in ("syntax_loss", "syntax_spared")]
    dissociation = ["perplexity_cost", *of_syntax, "knowledge_loss", "knowledge_spared", "double_dissociation"]
    assert list(found(claims="double_dissociation")) == dissociation
    assert list(found()) == [*dissociation, "difficulty_agrees", "sign_not_magnitude", *surprisal]
    assert list(found(claims="token_surprisal")) == ["perplexity_cost", *surprisal]
    assert found(claims="training_dynamics") == {}


def test_powers_by_hand() -> None:
    size, powers = FACTOR * MARGINS.accuracy, found()
    assert size == 0.04

    def shown(benchmark: str, value: float = size) -> float:
        layout, assumed = DESIGN.layouts[benchmark], assumptions(benchmark, "")
        assert layout is not None and assumed is not None
        return power_to_show(planned_effect(value, layout, assumed.spread))

    assert powers["syntax_loss/tse"].power == pytest.approx(shown("tse") ** 2)
    spared = power_to_spare(planned_effect(0.0, BLIMP, Spread(0.06**0.5, 0.02)), MARGINS.accuracy)
    assert powers["syntax_spared/blimp"].power == pytest.approx(spared) and 0.1 < spared < 0.99
    of_tasks = planned_effect(0.04, Layout(((2000,),), MULTIPLE_CHOICE), Spread(0.06**0.5))
    assert powers["knowledge_loss"].power == pytest.approx(power_to_show(of_tasks) ** 2, abs=1e-3)
    parts = [planned_effect(0.04, layout, Spread(0.06**0.5, 0.02)) for layout in (BLIMP,)]
    parts += [planned_effect(0.04, TSE, Spread(0.06**0.5, 0.05))]
    syntax = replace(parts[0].times(0.5), components=(*parts[0].times(0.5).components, *parts[1].times(0.5).components))
    syntax = replace(syntax, value=0.04)
    assert contrast(syntax, of_tasks.times(-1)).value == pytest.approx(0.08)
    expected = power_to_show(syntax) * power_to_show(of_tasks) * power_to_show(contrast(syntax, of_tasks.times(-1)))
    assert powers["double_dissociation"].power == pytest.approx(expected, abs=2e-3)
    assert powers["perplexity_cost"].effect == FACTOR * MARGINS.log_perplexity
    assert powers["syntax_spared/tse"].effect == 0.0


def test_what_a_power_is_of_in_words() -> None:
    powers = found()
    assert powers["syntax_loss/blimp"].units == "65 paradigms of 50 items"
    assert powers["knowledge_loss"].units == "2 times 1,000 items"
    assert powers["sign_not_magnitude"].units == "65 paradigms of 50 items and 22 templates of 1,000 items"
    assert powers["perplexity_cost"].basis == "this model's run of 2026-12-01"
    assert found(assumed=defaults)["syntax_loss/tse"].basis == "defaults (discordance 0.06)"


def test_what_is_not_known_is_said_in_words() -> None:
    powers = found(assumed=defaults)
    windows = powers["perplexity_cost"]
    assert (windows.power, windows.reason) == (None, "no earlier run shows how windows vary")
    assert powers["scaffolding/surprisal"].reason == "no earlier run shows how documents vary"
    unmatched = replace(DESIGN, scored={**DESIGN.scored, "matched": frozenset({"perplexity"})})
    loss = found(unmatched)["syntax_loss/blimp"]
    assert (loss.power, loss.reason, loss.remedy) == (None, "no matched condition on blimp", "")
    assert found(replace(DESIGN, syntactic=()))["double_dissociation"].reason == "no such benchmark"
    unseen = found(replace(DESIGN, layouts={**DESIGN.layouts, "blimp": None}))["syntax_loss/blimp"]
    assert unseen.reason == "the items of blimp are not known before they are scored"


def test_what_cannot_be_supported_has_no_power() -> None:
    alone = found(replace(DESIGN, num_sets={"random": 1, "difficulty random": 5}))
    assert (alone["perplexity_cost"].power, alone["perplexity_cost"].reason) == (
        0.0,
        "one random set does not show how such sets vary",
    )
    assert alone["perplexity_cost"].remedy.endswith("times as many random sets would give 80 %")
    assert alone["difficulty_agrees"].power
    few = found(replace(DESIGN, layouts={**DESIGN.layouts, "perplexity": Layout(((5,),), PERPLEXITY)}))
    assert few["perplexity_cost"].power == 0.0
    assert few["perplexity_cost"].reason == "too few windows, at least 6 needed"


def test_what_would_help() -> None:
    powers = found()
    assert powers["syntax_loss/blimp"].remedy == "", "it has 80 %"
    assert powers["syntax_loss/tse"].remedy == "this benchmark has 22 templates, which cannot give 80 %"
    few = Layout(((100,) * 5,), replace(TEMPLATES, most_units=100))
    of_few = found(replace(DESIGN, layouts={**DESIGN.layouts, "tse": few}))["syntax_loss/tse"]
    factor = int(of_few.remedy.removeprefix("about ").split()[0])
    assert of_few.remedy == f"about {factor} times as many templates would give 80 %"
    helped = found(replace(DESIGN, layouts={**DESIGN.layouts, "tse": few.more_units(factor)}))
    assert (helped["syntax_loss/tse"].power or 0) >= 0.8
    capped = Layout(((100,) * 5,), replace(TEMPLATES, most_units=6))
    capped_remedy = found(replace(DESIGN, layouts={**DESIGN.layouts, "tse": capped}))["syntax_loss/tse"].remedy
    assert capped_remedy == "this benchmark has 6 templates, which cannot give 80 %"
    questions = Layout(((150,),), MULTIPLE_CHOICE)
    of_questions = found(replace(DESIGN, layouts={**DESIGN.layouts, "arc": questions, "piqa": questions}))
    assert of_questions["knowledge_spared"].remedy.endswith("times as many items would give 80 %")


def test_an_undecided_claim_is_not_sent_for_more_units_than_there_are() -> None:
    def decides(most: float) -> str:
        templates = Component(0.02**2, 10, 5, "templates", can_grow=True, most=most)
        return what_would_decide(Effect(0.03, (templates,)))

    assert decides(math.inf).endswith("; about 22 templates would decide 0.03")
    assert decides(22).endswith("; about 22 templates would decide 0.03")
    assert decides(21).endswith("; 0.03 cannot be decided with these 5 templates")
    endless = Effect(0.03, (Component(1.0, 10, 5, "templates", can_grow=False), Component(1.0, 9, 9, "random sets")))
    assert what_would_decide(endless).endswith("; 0.03 cannot be decided with these 5 templates")


def test_a_verdict_keeps_the_standard_error_of_its_effect() -> None:
    effect = Effect(0.1, (Component(0.02**2, 12.0, 40, "windows"),))
    draft = judged("c", [Part("a cost", effect, 1)], margin=0.02, detail="", num_items=40)
    (verdict,) = verdicts("m", {"c": Claim("It costs.", "It cost them.", Unit.NUMBER)}, [draft])
    assert (verdict.standard_error, verdict.df) == (pytest.approx(0.02), pytest.approx(12.0))
    record = verdict_record(verdict)
    assert (record["standard_error"], record["df"]) == (pytest.approx(0.02), pytest.approx(12.0))
    exact = replace(verdict, df=math.inf)
    assert verdict_record(exact)["df"] is None
    assert verdict_record(replace(verdict, standard_error=math.nan))["standard_error"] is None
