"""The scorecard: one table of rules by which effects become verdicts, for every set of claims.

A claim says that effects exist (`Part`s: the effect itself, and the contrasts that set it apart from its controls), or
that others do not (`Denial`s: what is "spared"), or both. The rules, in this order:

NOT APPLICABLE  the claim has no meaning for this model, with the reason
ABSENT          the 90 % interval of an effect that the claim says exists lies inside the margin
SUPPORTED       the 95 % intervals of all effects and contrasts lie beyond 0 on the stated side, and the 90 % intervals
                of all denied effects inside the margin
CONTRADICTED    a 95 % interval lies wholly beyond 0 on the other side, or that of a denied effect beyond the margin on
                either side
UNDECIDED       everything else; it names what is missing

ABSENT comes before SUPPORTED: an effect that is too small to matter is absent even where its 95 % interval excludes 0.
A verdict uses its own intervals, uncorrected. Its p value is that of what it says: the largest of those of the claim's
parts (an intersection-union test, Berger 1982), where ABSENT that of absence, where CONTRADICTED that of the part which
contradicts. `survives_holm` says whether it is still at most 0.05 after Holm's correction over the scorecard.
Published magnitudes are shown beside a verdict and never tested.

Callers rely on: `verdicts` returns one verdict per draft, in order. Knows neither models nor what a claim says.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, TypeVar

from studies.benchmarks.measures import Measure
from studies.claims.deciding import what_would_decide, what_would_spare
from studies.statistics.comparisons import holm
from studies.statistics.effects import Direction, Effect
from studies.statistics.intervals import Interval

SIGNIFICANCE = 0.05
SIDES: tuple[Direction, Direction] = (-1, 1)


class Status(StrEnum):
    """What the evidence says about one claim on one model."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    ABSENT = "absent"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


class Unit(StrEnum):
    """What the effect of a claim is a difference of."""

    ACCURACY = "accuracy"
    LOG_PERPLEXITY = "log_perplexity"
    """Nats: the logarithm of a ratio of perplexities."""
    SURPRISAL = "surprisal"
    """Nats a token or word."""
    FRACTION = "fraction"
    """Of a layer's neurons."""
    OF_BENCHMARK = "of_benchmark"
    """Whatever the benchmark in the claim's id measures, counted so that harm is positive."""
    NUMBER = "number"
    """A number without a unit: a correlation, a distance in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """Effects that are too small to matter, by measure; part of what a claim says."""

    accuracy: float = 0.02
    log_perplexity: float = 0.02
    """Nats."""
    surprisal: float = 0.02
    """Nats a token or word."""

    def of(self, measure: Measure) -> float:
        """The margin for what a benchmark measures."""
        if measure.is_graded:
            return self.accuracy
        return self.log_perplexity if measure.is_log else self.surprisal


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
    """Signed effect with its 95 % interval; None where it was not computed."""
    contrast: Interval | None
    """Effect minus that of the control; None where the effect is itself the contrast."""
    num_items: int
    """Windows, pairs or choices that the verdict is based on."""
    detail: str
    """The numbers, or the reason for none, on one line."""
    published: str
    """What the paper found; shown beside, never tested."""
    unit: Unit
    """Of effect, contrast and margin."""
    margin: float | None = None
    """The effect that is too small to matter, in the effect's unit; None where the claim has none."""
    p_value: float | None = None
    """At most 0.05 unless it is undecided; None where nothing was tested."""
    survives_holm: bool | None = None
    """Whether the p value is at most 0.05 after Holm's correction over the scorecard; None where nothing was tested."""
    standard_error: float | None = None
    """Of the effect; None where its interval is none of sampling."""
    df: float | None = None
    """Degrees of freedom of the standard error."""


EvidenceT = TypeVar("EvidenceT")
ClaimSet = Callable[[EvidenceT], list[Verdict]]
"""A scorecard's claims: every one of them gets a verdict, whatever is missing from the evidence."""


class Claim(NamedTuple):
    """What a scorecard tests, in words."""

    statement: str
    """With `{benchmark}` where each benchmark has a verdict of its own."""
    published: str
    unit: Unit


class Part(NamedTuple):
    """An effect or contrast that a claim says exists."""

    label: str
    """`accuracy over baseline`."""
    effect: Effect
    direction: Direction
    """The side of 0 on which the claim puts it."""
    is_contrast: bool = False
    """Whether it only sets the effect apart from a control: then it need not be large enough to matter."""
    rank_p_value: float | None = None
    """Decides in place of the interval where there are enough random controls to rank among."""

    @property
    def other_side(self) -> Direction:
        """The side of 0 on which it would contradict the claim."""
        return -1 if self.direction > 0 else 1

    @property
    def p_value(self) -> float:
        """At most 0.05 where the part is shown."""
        return self.effect.p_value(self.direction) if self.rank_p_value is None else self.rank_p_value

    @property
    def is_shown(self) -> bool:
        """Whether it lies beyond 0 on the stated side."""
        if self.rank_p_value is not None:
            return self.rank_p_value <= SIGNIFICANCE
        return self.effect.is_beyond(self.direction)

    @property
    def is_refuted(self) -> bool:
        """Whether its 95 % interval lies beyond 0 on the other side."""
        return self.effect.is_beyond(self.other_side)


class Denial(NamedTuple):
    """An effect that a claim says does not exist."""

    label: str
    effect: Effect

    def is_refuted(self, margin: float) -> bool:
        """Whether the effect exists: its 95 % interval lies beyond the margin, on either side."""
        return self.effect.is_beyond(+1, margin) or self.effect.is_beyond(-1, -margin)

    def p_value_against(self, margin: float) -> float:
        """Of the hypothesis that the effect is not beyond the margin, doubled."""
        beyond = [self.effect.plus(-side * margin).p_value(side) for side in SIDES]
        return min(beyond)


class Draft(NamedTuple):
    """A verdict before the claim's words and the correction over the scorecard are added."""

    claim: str
    """A key of the claim set's words, followed by `/<benchmark>` where each benchmark has a verdict of its own."""
    status: Status
    detail: str
    num_items: int
    effect: Interval | None = None
    contrast: Interval | None = None
    margin: float | None = None
    p_value: float | None = None
    standard_error: float | None = None
    df: float | None = None


def judge(parts: Sequence[Part], denials: Sequence[Denial], margin: float | None) -> tuple[Status, str]:
    """The verdict by the table of rules, and what is missing where it is UNDECIDED.

    margin: None where no size of the effect is too small to matter; then nothing is ABSENT. Claims with denials have a
    margin.
    """
    if margin is not None and any(p.effect.is_within(margin) for p in parts if not p.is_contrast):
        return Status.ABSENT, ""
    open_parts = [part for part in parts if not part.is_shown]
    open_denials = [d for d in denials if margin is None or not d.effect.is_within(margin)]
    if not open_parts and not open_denials:
        return Status.SUPPORTED, ""
    refuted = any(part.is_refuted for part in parts)
    if refuted or (margin is not None and any(denial.is_refuted(margin) for denial in denials)):
        return Status.CONTRADICTED, ""
    missing = [_missing(part) for part in open_parts]
    missing += [_outside(denial, margin) for denial in open_denials if margin is not None]
    return Status.UNDECIDED, "; ".join(missing)


def _missing(part: Part) -> str:
    """Why a part is not shown, and what would show it."""
    if part.rank_p_value is not None:
        return f"{part.label} ranks at p = {part.rank_p_value:.2g}"
    if math.isnan(part.effect.variance):
        return f"the 95 % interval of {part.label} is not known"
    return f"the 95 % interval of {part.label} includes 0 ({what_would_decide(part.effect)})"


def _outside(denial: Denial, margin: float) -> str:
    """Why a denied effect may exist, and what would show that it does not."""
    text = f"the 90 % interval of {denial.label} is not inside ±{margin:g}"
    remedy = what_would_spare(denial.effect, margin)
    return f"{text} ({remedy})" if remedy else text


def _p_value(status: Status, parts: Sequence[Part], denials: Sequence[Denial], margin: float | None) -> float:
    """Of what a verdict says; nan where a variance is unknown."""
    if status is Status.ABSENT and margin is not None:
        absent = (part.effect for part in parts if not part.is_contrast and part.effect.is_within(margin))
        return min(effect.p_value_within(margin) for effect in absent)
    if status is Status.CONTRADICTED:
        against = [part.effect.p_value(part.other_side) for part in parts if part.is_refuted]
        against += [d.p_value_against(margin) for d in denials if margin is not None and d.is_refuted(margin)]
        return min(against)
    p_values = [part.p_value for part in parts]
    p_values += [denial.effect.p_value_within(margin) for denial in denials if margin is not None]
    return math.nan if any(map(math.isnan, p_values)) else max(p_values)


def _recorded(p_value: float) -> float | None:
    return None if math.isnan(p_value) else p_value


def judged(
    claim: str,
    parts: Sequence[Part],
    denials: Sequence[Denial] = (),
    *,
    margin: float | None,
    detail: str,
    num_items: int,
) -> Draft:
    """The draft of a claim whose effects were estimated; the first effect and the first contrast are shown."""
    status, missing = judge(parts, denials, margin)
    p_value = _recorded(_p_value(status, parts, denials, margin))
    effects = [part.effect for part in parts if not part.is_contrast] + [denial.effect for denial in denials]
    contrasts = [part.effect for part in parts if part.is_contrast]
    return Draft(
        claim,
        status,
        "; ".join(filter(None, (detail, missing))),
        num_items,
        effects[0].interval(),
        contrasts[0].interval() if contrasts else None,
        margin,
        p_value,
        effects[0].variance ** 0.5,
        effects[0].df,
    )


def undecided_after_all(draft: Draft, parts: Sequence[Part], reason: str) -> Draft:
    """A draft that the rules call decided, by parts that do not suffice for a reason of the claim's own."""
    p_value = _recorded(_p_value(Status.UNDECIDED, parts, (), draft.margin))
    return draft._replace(status=Status.UNDECIDED, p_value=p_value, detail=f"{draft.detail}; {reason}")


def undecided(claim: str, reason: str, num_items: int) -> Draft:
    """The draft of a claim that the evidence cannot decide."""
    return Draft(claim, Status.UNDECIDED, f"{reason} (n = {num_items})", num_items)


def not_applicable(
    claims: Iterable[str], reason: str = "ReLU model: the negative clamp is the identity"
) -> list[Draft]:
    """The drafts of claims that have no meaning for a model."""
    return [Draft(claim, Status.NOT_APPLICABLE, reason, 0) for claim in claims]


def verdicts(model: str, claims: Mapping[str, Claim], drafts: Sequence[Draft]) -> list[Verdict]:
    """The scorecard of one model (or training run).

    claims: the words of every claim that a draft names.
    """
    scorecard = []
    for draft in drafts:
        name, _, benchmark = draft.claim.partition("/")
        scorecard.append(
            Verdict(
                claim=draft.claim,
                statement=claims[name].statement.format(benchmark=benchmark or "a syntactic benchmark"),
                model=model,
                status=draft.status,
                effect=draft.effect,
                contrast=draft.contrast,
                num_items=draft.num_items,
                detail=draft.detail,
                published=claims[name].published,
                unit=claims[name].unit,
                margin=draft.margin,
                p_value=draft.p_value,
                standard_error=draft.standard_error,
                df=draft.df,
            )
        )
    return _corrected(scorecard)


def _corrected(scorecard: list[Verdict]) -> list[Verdict]:
    """The verdicts, each with whether it survives Holm's correction over all that were tested."""
    tested = [verdict.p_value for verdict in scorecard if verdict.p_value is not None]
    corrected = iter(holm(tested))
    return [
        verdict if verdict.p_value is None else replace(verdict, survives_holm=next(corrected) <= SIGNIFICANCE)
        for verdict in scorecard
    ]


def format_interval(interval: Interval, form: str = ".4f") -> str:
    """`+0.1200 [0.1096, 0.1305]`; `+0.1200 (no interval)` where the variance is unknown."""
    if math.isnan(interval.low):
        return f"{interval.estimate:+{form}} (no interval)"
    return f"{interval.estimate:+{form}} [{interval.low:{form}}, {interval.high:{form}}]"
