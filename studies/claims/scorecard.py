"""The scorecard: one rule by which effects and contrasts become verdicts, for every set of claims.

The rule: a claim HOLDS when the 95 % bootstrap interval of its signed effect excludes 0 in the stated direction AND the
interval of its contrast with the control does; otherwise it DOES_NOT_HOLD. It is NOT_DECIDABLE, with n and the reason,
when a control or a benchmark is missing, values are not finite, or items are too few, and NOT_APPLICABLE to a ReLU
model, where the negative clamp is the identity. Published magnitudes are shown beside a verdict and never tested.

Callers rely on: `verdicts` returns one verdict per draft, in order, and McNemar p values are shown Holm-corrected over
all tests of the scorecard and decide nothing. Knows neither models nor what a claim says.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeVar

from studies.statistics.comparisons import McNemar, holm
from studies.statistics.intervals import Interval


class Status(StrEnum):
    """What the evidence says about one claim on one model."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_DECIDABLE = "not decidable"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One row of the scorecard."""

    claim: str
    """Short id, unique on a scorecard: "perplexity_cost", "syntax_loss/blimp"."""
    statement: str
    """What is tested, in one sentence."""
    model: str
    status: Status
    effect: Interval | None
    """Signed effect; None where it was not computed."""
    contrast: Interval | None
    """Effect minus that of the control (the weakest of several); None where the effect is itself the contrast."""
    num_items: int
    """Windows, pairs or choices that the verdict is based on."""
    detail: str
    """The numbers, or the reason for none, on one line."""
    published: str
    """What the paper found; shown beside, never tested."""


EvidenceT = TypeVar("EvidenceT")
ClaimSet = Callable[[EvidenceT], list[Verdict]]
"""A scorecard's claims: every one of them gets a verdict, whatever is missing from the evidence."""


class Claim(NamedTuple):
    """What a scorecard tests, in words."""

    statement: str
    """With `{benchmark}` where each benchmark has a verdict of its own."""
    published: str


class Draft(NamedTuple):
    """A verdict before the claim's words and the corrected p values of its McNemar tests are added."""

    claim: str
    """A key of the claim set's words, followed by `/<benchmark>` where each benchmark has a verdict of its own."""
    status: Status
    detail: str
    num_items: int
    effect: Interval | None = None
    contrast: Interval | None = None
    tests: Mapping[str, McNemar] = {}


def judge(direction: int, *intervals: Interval | None) -> Status:
    """HOLDS where every interval lies wholly on the stated side (+1 or -1) of 0; None is skipped."""
    sides = [direction * bound > 0 for interval in intervals if interval is not None for bound in interval]
    return Status.HOLDS if all(sides) else Status.DOES_NOT_HOLD


def weakest(contrasts: Mapping[str, Interval]) -> tuple[str, Interval]:
    """The control that the effect exceeds least, by the contrast's lower bound, and that contrast."""
    control = min(contrasts, key=lambda name: contrasts[name].low)
    return control, contrasts[control]


def undecided(claim: str, reason: str, num_items: int) -> Draft:
    """The draft of a claim that the evidence cannot decide."""
    return Draft(claim, Status.NOT_DECIDABLE, f"{reason} (n = {num_items})", num_items)


def not_applicable(claims: Iterable[str]) -> list[Draft]:
    """The drafts of claims about a ReLU model, where the negative clamp is the identity."""
    reason = "ReLU model: the negative clamp is the identity"
    return [Draft(claim, Status.NOT_APPLICABLE, reason, 0) for claim in claims]


def verdicts(model: str, claims: Mapping[str, Claim], drafts: Sequence[Draft]) -> list[Verdict]:
    """The scorecard of one model (or training run); the McNemar tests of all drafts are corrected as one family.

    claims: the words of every claim that a draft names.
    """
    corrected = iter(holm([test.p_value for draft in drafts for test in draft.tests.values()]))
    scorecard = []
    for draft in drafts:
        name, _, benchmark = draft.claim.partition("/")
        notes = [
            f"{label} p = {next(corrected):.2g} (lost {test.num_lost}, gained {test.num_gained},"
            f" ties dropped {test.num_dropped_ties})"
            for label, test in draft.tests.items()
        ]
        scorecard.append(
            Verdict(
                claim=draft.claim,
                statement=claims[name].statement.format(benchmark=benchmark or "a syntactic benchmark"),
                model=model,
                status=draft.status,
                effect=draft.effect,
                contrast=draft.contrast,
                num_items=draft.num_items,
                detail=f"{draft.detail}; McNemar (Holm) {', '.join(notes)}" if notes else draft.detail,
                published=claims[name].published,
            )
        )
    return scorecard


def format_interval(interval: Interval, form: str = ".4f") -> str:
    """`+0.1200 [0.1096, 0.1305]`."""
    return f"{interval.estimate:+{form}} [{interval.low:{form}}, {interval.high:{form}}]"
