"""The matched control: how well it matches, and results interpolated to exactly the treated perplexity."""

import numpy as np
import pytest

from studies.claims.evidence import Evidence
from studies.claims.matched import MatchedControl
from studies.claims.scorecard import Status, Verdict
from studies.statistics.effects import effect
from tests.unit.studies.claims.papers import MATCHED, evidence, items_of, scorecard
from tests.unit.studies.statistics.frames import altered


def control(given: Evidence) -> MatchedControl:
    """The matched control of this evidence."""
    assert given.matched is not None
    return MatchedControl(given, given.matched)


def between(treated: float, accepted: float, neighbour: float) -> Evidence:
    """Log-perplexities of the treated condition and of both ends; the neighbour costs more of everything."""
    return evidence(
        treated={"log_perplexity": treated},
        matched={"log_perplexity": accepted},
        neighbour=items_of(**{**MATCHED, "log_perplexity": neighbour, "blimp": 0.7, "arc_easy": 0.4}),
    )


def syntax(given: Evidence) -> Verdict:
    """syntax_loss on blimp."""
    return next(verdict for verdict in scorecard("double_dissociation", given) if verdict.claim == "syntax_loss/blimp")


def test_without_a_neighbour_the_accepted_fraction_stands() -> None:
    given = evidence()
    found = control(given)
    assert not found.problem
    assert found.over(given.baseline, ("blimp",)) == effect(given.matched["blimp"], given.baseline["blimp"])


def test_results_are_interpolated_by_the_mean_losses() -> None:
    given = between(3.2, 3.15, 3.35)
    found = control(given)
    share = (given.treated["perplexity"].values.mean() - given.matched["perplexity"].values.mean()) / (
        given.neighbour["perplexity"].values.mean() - given.matched["perplexity"].values.mean()
    )
    assert share == pytest.approx(0.25, abs=0.01)
    expected = (1 - share) * given.matched["blimp"].values + share * given.neighbour["blimp"].values
    assert not found.problem
    over = found.over(given.baseline, ("blimp",))
    assert over.value == pytest.approx(expected.mean() - 0.8)
    assert "interpolated between -0.0025 at the matched fraction and -0.1000 at its neighbour" in over.notes


def test_that_the_place_between_is_uncertain_is_a_source_of_variance() -> None:
    given = between(3.2, 3.15, 3.35)
    rng = np.random.default_rng(0)
    for items in (given.treated, given.matched, given.neighbour):
        items["perplexity"] = altered(
            items["perplexity"], nll=items["perplexity"].table["nll"] + 0.02 * rng.normal(size=20)
        )
    found = control(given)
    over = found.over(given.baseline, ("blimp",))
    *_, of_match = over.components
    assert over.basis.endswith("20 windows of the match")
    low, high = (effect(end["blimp"], given.baseline["blimp"]).value for end in (given.matched, given.neighbour))
    difference = given.treated["perplexity"].values - given.matched["perplexity"].values
    gap = given.neighbour["perplexity"].values - given.matched["perplexity"].values
    share = difference.mean() / gap.mean()
    by_delta = np.var(difference - share * gap, ddof=1) / 20 / gap.mean() ** 2
    assert of_match.variance == pytest.approx(by_delta * (high - low) ** 2) and of_match.df == 19


def test_a_target_outside_both_ends_is_no_match() -> None:
    given = between(3.5, 3.15, 3.35)
    assert "not bracketed by its neighbour (t = 1.75)" in control(given).quality
    assert syntax(given).status is Status.UNDECIDED and "does not match: " in syntax(given).detail


@pytest.mark.parametrize("why", ["", "none found: no neuron is left to add or take away"])
def test_a_control_that_is_not_close_needs_a_neighbour(why: str) -> None:
    given = evidence(matched={"log_perplexity": 3.15}, why_no_neighbour=why)
    for verdict in scorecard("double_dissociation", given):
        if verdict.claim.startswith(("syntax", "knowledge_loss", "double")):
            assert verdict.status is Status.UNDECIDED and "the control does not match: " in verdict.detail
            assert (f"a neighbour was {why}" in verdict.detail) is bool(why)


def test_a_neighbour_that_was_not_scored_costs_the_claims_on_that_benchmark_alone() -> None:
    given = between(3.2, 3.15, 3.35)
    del given.neighbour["blimp"]
    verdicts = {verdict.claim: verdict for verdict in scorecard("double_dissociation", given)}
    assert verdicts["syntax_loss/blimp"].detail == "no blimp items of matched/neighbour (n = 400)"
    assert verdicts["syntax_loss/tse"].effect is not None and verdicts["knowledge_loss"].effect is not None
    del given.neighbour["perplexity"]
    assert "does not match" in syntax(given).detail or "no blimp items" in syntax(given).detail


def test_the_claims_use_the_interpolated_control() -> None:
    far = between(3.2, 3.05, 3.2001)  # all of the way to the neighbour, whose syntax suffers more
    verdict = syntax(far)
    assert verdict.status is Status.SUPPORTED
    assert verdict.contrast.estimate == pytest.approx(-0.1, abs=0.005)
    assert "interpolated between" in verdict.detail


def test_the_match_is_judged_on_windows_that_the_search_did_not_use() -> None:
    given = evidence(searched_windows=frozenset(range(1, 20, 2)))
    assert control(given).quality.endswith("on 10 windows that the search did not use)")
    assert control(evidence()).quality.endswith("on 20 windows that the search did not use)")
    assert control(evidence(searched_windows=None)).quality.endswith("on 20 windows that the search used)")
    nowhere = evidence(searched_windows=frozenset(range(20)))
    assert control(nowhere).quality == "perplexity match not checked" and control(nowhere).problem
