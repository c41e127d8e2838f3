"""The claim on doses: every verdict, its reasons, and how often chance alone supports it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from studies.claims.dose import CLAIMS, FIRST, DoseEvidence, Doses, dose_drafts
from studies.claims.scorecard import Draft, Status, Verdict, verdicts
from tests.unit.studies.claims.rates import assert_rarely_supported
from tests.unit.studies.statistics.frames import windows

DOSES = (0.01, 0.02, 0.05, 0.1, 0.2)
NUM_WINDOWS = 16
BASE = np.linspace(2.5, 3.5, NUM_WINDOWS)
SEEDS = ("random/seed=0", "random/seed=1", "random/seed=2")

Curve = Callable[[float], float]
"""Fraction to rise of log-perplexity."""


def line(slope: float) -> Curve:
    return lambda fraction: slope * fraction


def doses(curve: Curve, seed: int = 0, noise: float = 0.01, fractions: tuple[float, ...] = DOSES) -> Doses:
    """Perplexity at every dose."""
    rng = np.random.default_rng(seed)
    return {
        fraction: {"perplexity": windows(BASE + curve(fraction) + rng.normal(0, noise, NUM_WINDOWS))}
        for fraction in fractions
    }


def randoms(curve: Curve, **options: Any) -> Mapping[str, Doses]:
    return {name: doses(curve, seed=1 + i, **options) for i, name in enumerate(SEEDS)}


def evidence(**changes: Any) -> DoseEvidence:
    """Twice the perplexity at 2.3 % of top neurons and 14 % of random ones, with `changes` to the fields."""
    fields: dict[str, Any] = {
        "model": "m",
        "relu": False,
        "perplexity": "perplexity",
        "baseline": {"perplexity": windows(BASE)},
        "treated": doses(line(30)),
        "randoms": randoms(line(5)),
    }
    return DoseEvidence(**{**fields, **changes})


def verdict(**changes: Any) -> Verdict:
    given = evidence(**changes)
    (found,) = verdicts(given.model, CLAIMS, dose_drafts(given, asked=True))
    return found


def test_a_model_as_in_the_paper_doubles_first_under_the_treatment() -> None:
    found = verdict()
    assert (found.claim, found.status, found.margin) == (FIRST, Status.SUPPORTED, 0.02)
    assert found.effect is not None and found.contrast is None and found.num_items == NUM_WINDOWS
    assert found.effect.estimate == pytest.approx(np.log(2) * (1 - 5 / 30), abs=0.02)
    assert "perplexity doubles at the fraction 0.023" in found.detail and "times as many" in found.detail
    assert "and at 0.1" in found.detail and "\n" not in found.detail


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"randoms": randoms(line(0.5))}, Status.SUPPORTED, "at more than 0.2 for the mean of 3 random controls"),
        ({"randoms": randoms(line(0.5))}, Status.SUPPORTED, ", at least 8.6"),
        ({"treated": doses(line(5)), "randoms": randoms(line(30))}, Status.CONTRADICTED, ", 0.16"),
        ({"treated": doses(line(0.5)), "randoms": randoms(line(30))}, Status.CONTRADICTED, "fraction more than 0.2"),
        ({"randoms": randoms(line(30))}, Status.ABSENT, ""),
        ({"randoms": randoms(line(29), noise=0.1)}, Status.UNDECIDED, "includes 0"),
        ({"treated": doses(line(1)), "randoms": randoms(line(1))}, Status.UNDECIDED, "doubles neither for top nor for"),
        ({"randoms": {SEEDS[0]: doses(line(5))}}, Status.UNDECIDED, "one random set does not show"),
        ({"randoms": {}}, Status.UNDECIDED, "no random control of as many neurons"),
        ({"treated": None}, Status.UNDECIDED, "no condition puts the negative clamp on several fractions"),
        ({"baseline": {}}, Status.UNDECIDED, "no perplexity items of baseline"),
        (
            {"treated": {fraction: {} for fraction in DOSES}},
            Status.UNDECIDED,
            "no dose at which all have perplexity items",
        ),
        ({"relu": True, "treated": {}}, Status.NOT_APPLICABLE, "ReLU"),
    ],
)
def test_every_verdict_and_what_it_says(changes: dict[str, Any], status: Status, reason: str) -> None:
    found = verdict(**changes)
    assert (found.status, reason in found.detail) == (status, True), found.detail


def test_between_two_doses_the_treated_curve_must_lie_above_at_both() -> None:
    """On straight lines the treated curve doubles first, though it lies lower at the dose before."""
    at_ends = {0.1: (0.2, 0.5), 0.2: (1.5, 0.75)}
    treated, random = (lambda f, i=i: at_ends[f][i] if f in at_ends else 0.0 for i in (0, 1))
    found = verdict(treated=doses(treated), randoms=randoms(random))
    assert found.status is Status.UNDECIDED and "random controls at the fraction 0.1 -0." in found.detail
    assert found.detail.endswith("; the curves cross between two doses, more doses between them would decide")
    assert found.effect is not None and found.effect.low > 0, "on straight lines"
    above = {0.1: (0.5, 0.2), 0.2: (1.5, 0.75)}
    treated, random = (lambda f, i=i: above[f][i] if f in above else 0.0 for i in (0, 1))
    assert verdict(treated=doses(treated), randoms=randoms(random)).status is Status.SUPPORTED


def test_a_dose_that_has_not_finished_is_left_out_of_all_curves() -> None:
    treated = {**doses(line(30)), 0.2: {}}
    found = verdict(treated=treated)
    assert found.status is Status.SUPPORTED and "1 of 5 doses have not finished" in found.detail
    assert "more than 0.1" in found.detail


def test_a_study_without_doses_has_no_such_draft() -> None:
    bare = evidence(treated=None)
    assert dose_drafts(bare) == [] and [draft.claim for draft in dose_drafts(bare, asked=True)] == [FIRST]


FEW = (0.02, 0.05, 0.1)
AT_REST = {"perplexity": windows(BASE)}


def by_chance(slope: float, rng: np.random.Generator) -> Draft:
    """Curves of one slope; sets of neurons vary, windows more so, and the same windows are more or less sensitive."""
    sensitive = 1 + rng.normal(0, 0.15, NUM_WINDOWS)

    def curve(own_slope: float) -> Doses:
        own = sensitive + rng.normal(0, 0.1, NUM_WINDOWS)
        return {fraction: {"perplexity": windows(BASE + own_slope * fraction * own)} for fraction in FEW}

    treated = curve(slope * (1 + rng.normal(0, 0.03)))
    by_set = {name: curve(slope * (1 + rng.normal(0, 0.03))) for name in SEEDS}
    given = DoseEvidence(
        model="m", relu=False, perplexity="perplexity", baseline=AT_REST, treated=treated, randoms=by_set
    )
    return dose_drafts(given)[0]


@pytest.fixture
def _without_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interval is shown only, and slow."""
    monkeypatch.setattr("studies.claims.dose.doubling_fraction", lambda *_: (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("_without_bootstrap")
def test_equal_curves_are_rarely_in_order() -> None:
    assert_rarely_supported(lambda rng: by_chance(10.0, rng), 200)


@pytest.mark.long
@pytest.mark.usefixtures("_without_bootstrap")
@pytest.mark.parametrize("slope", [10.0, 13.8], ids=["between doses", "at a dose"])
def test_equal_curves_are_rarely_in_order_in_2000_studies(slope: float) -> None:
    assert_rarely_supported(lambda rng: by_chance(slope, rng), 2000)
