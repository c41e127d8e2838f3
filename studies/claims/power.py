"""The power that each claim of the paper will have on one model, before anything is computed.

Owns which comparisons each claim rests on, in planning's words, and which true effect its power is for. A claim that an
effect exists is given the power to be SUPPORTED where the true effect, and every contrast with a control, is twice the
margin (`FACTOR`): the margin is what is too small to matter, so an effect as large as the margin is one that nobody
needs to find, and twice the margin is as far from that as that is from 0. A claim of absence is given its power where
the true effect is 0. Earlier runs supply spreads, never effects: power for the effect that was seen says no more than
its p value (Hoenig and Heisey, The American Statistician 2001).

A claim has the product of the powers of its parts. Knows neither plans nor stores: `Design` says what will be scored,
`Assumptions` how it varies.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from studies.claims.scorecard import Margins
from studies.statistics.effects import POWER, Effect, contrast, mean_effect
from studies.statistics.power import (
    Layout,
    Spread,
    joint,
    over_sets,
    planned_effect,
    power_to_show,
    power_to_spare,
    smallest_factor,
)

FACTOR = 2.0
"""The true effect for which power is computed, in margins."""
LOW = 0.5
"""Power below which a study file is warned of."""
NO_BENCHMARK = "no such benchmark"

TREATED, MATCHED, RANDOM, BASELINE = "treated", "matched", "random", "baseline"
DIFFICULTY, SIGNFLIP, POSRELU = "difficulty", "signflip", "posrelu"
"""Roles of conditions, as in `Design.scored`."""
DIFFICULTY_RANDOM = "difficulty random"


def comparison(first: str, second: str) -> str:
    """`treated/matched`: the name of a paired comparison, as reports record its spread."""
    return f"{first}/{second}"


class Assumed(NamedTuple):
    """How a comparison is assumed to vary on a benchmark."""

    spread: Spread
    basis: str
    """`this model's run of 2026-12-01`, `another model's (pythia-1.4b) run of 2026-12-01`, `defaults`."""
    words: tuple[str, ...] = ()
    """What the defaults are: `discordance 0.06`."""
    random_sets: float | None = None
    """Standard deviation of the means over random sets of neurons; None = not known, or not asked for."""


Assumptions = Callable[[str, str], Assumed | None]
"""(benchmark, comparison) -> how it varies; None where nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a study will measure on one model."""

    layouts: Mapping[str, Layout | None]
    """{benchmark: its items}; None where they are not known before they are scored."""
    perplexity: str | None
    syntactic: tuple[str, ...]
    """Names of graded benchmarks; so too `non_syntactic`."""
    non_syntactic: tuple[str, ...]
    surprisal: tuple[str, ...]
    """Names of annotated benchmarks; their layout is that of their documents."""
    scored: Mapping[str, frozenset[str]]
    """{role: the benchmarks that its condition is scored on}; a role that no condition has is absent."""
    num_sets: Mapping[str, int] = field(default_factory=dict)
    """{`random` or `difficulty random`: number of random sets}."""

    def more_items(self, factor: int) -> "Design":
        """With so many times as many items in the same units."""
        return self._changed(lambda layout: layout.more_items(factor))

    def more_units(self, factor: int) -> "Design":
        """With so many times as many units."""
        return self._changed(lambda layout: layout.more_units(factor))

    def more_sets(self, factor: int) -> "Design":
        """With so many times as many random sets."""
        return replace(self, num_sets={role: factor * number for role, number in self.num_sets.items()})

    def _changed(self, change: Callable[[Layout], Layout]) -> "Design":
        return replace(self, layouts={name: layout and change(layout) for name, layout in self.layouts.items()})


class ClaimPower(NamedTuple):
    """The power of one claim."""

    claim: str
    power: float | None
    """In [0, 1]; None where it is not known."""
    effect: float
    """The true effect that it is for, in the claim's unit; 0 for a claim of absence."""
    benchmarks: tuple[str, ...]
    """What it rests on."""
    units: str
    """`67 paradigms of 50 items`."""
    basis: str
    """Where the spreads come from."""
    reason: str = ""
    """Why the power is not known, or 0."""
    remedy: str = ""
    """What would raise a power below 80 % to it, or that the benchmark cannot; empty where the power is not below."""


class _Unknown(Exception):
    """Why a power is not known."""


class _Hopeless(Exception):
    """Why a claim cannot be supported, whatever its items say."""


class _Tests:
    """The estimates of one model's claims, as they are planned."""

    def __init__(self, design: Design, assumptions: Assumptions) -> None:
        self._design, self._assumptions = design, assumptions
        self._bases: dict[str, dict[str, None]] = {}
        self._layouts: dict[str, set[str]] = {}

    @property
    def basis(self) -> str:
        """Where the spreads come from; the defaults with their values."""
        bases = {basis: f" ({', '.join(words)})" if words else "" for basis, words in self._bases.items()}
        return " and ".join(basis + words for basis, words in bases.items())

    @property
    def units(self) -> str:
        """What the estimates are made from."""
        each = [f"{len(of)} times {layout}" if len(of) > 1 else layout for layout, of in self._layouts.items()]
        *others, last = each or [""]
        return f"{', '.join(others)} and {last}" if others else last

    def effect(self, value: float, benchmarks: Sequence[str], first: str, second: str) -> Effect:
        """The mean over benchmarks of a paired comparison."""
        if not benchmarks:
            raise _Unknown(NO_BENCHMARK)
        layouts = [self._layout(benchmark, first, second) for benchmark in benchmarks]
        fewest = max(layout.measure.fewest for layout in layouts)
        if sum(layout.num_items for layout in layouts) < fewest:
            raise _Hopeless(f"too few {layouts[0].measure.noun}, at least {fewest} needed")
        pair = comparison(first, second)
        return mean_effect(
            [
                planned_effect(value, layout, self._assumed(benchmark, pair).spread)
                for benchmark, layout in zip(benchmarks, layouts, strict=True)
            ]
        )

    def over_randoms(self, value: float, benchmark: str, treated: str, randoms: str) -> Effect:
        """A condition over the mean of its random controls."""
        effect = self.effect(value, (benchmark,), treated, randoms)
        number = self._design.num_sets.get(randoms, 0)
        if number < 2:
            raise _Hopeless("one random set does not show how such sets vary")
        sets = self._assumed(benchmark, comparison(treated, randoms)).random_sets
        if sets is None:
            raise _Unknown("no earlier run shows how random sets vary")
        return over_sets(effect, sets, number)

    def need(self, benchmark: str, *roles: str) -> None:
        """Give up where a benchmark is not scored under one of these roles."""
        for role in roles:
            if benchmark not in self._design.scored.get(role, ()):
                raise _Unknown(f"no {role} condition on {benchmark}")

    def _layout(self, benchmark: str, *roles: str) -> Layout:
        self.need(benchmark, *roles)
        layout = self._design.layouts[benchmark]
        if layout is None:
            raise _Unknown(f"the items of {benchmark} are not known before they are scored")
        self._layouts.setdefault(str(layout), set()).add(benchmark)
        return layout

    def _assumed(self, benchmark: str, pair: str) -> Assumed:
        assumed = self._assumptions(benchmark, pair)
        layout = self._design.layouts[benchmark]
        if assumed is None:
            raise _Unknown(f"no earlier run shows how {layout.measure.units if layout else benchmark} vary")
        self._bases.setdefault(assumed.basis, {}).update(dict.fromkeys(assumed.words))
        return assumed


def claim_powers(claims: str, design: Design, assumptions: Assumptions, margins: Margins) -> list[ClaimPower]:
    """The power of every claim of a set that rests on samples of items; none for other sets of claims."""
    return [
        _with_remedy(claim, power, design, assumptions, margins)
        for claim in _claims(claims, design)
        for power in [_power(claim, design, assumptions, margins)]
    ]


def _claims(claims: str, design: Design) -> list[str]:
    """Names of the claims of a set, as on its scorecard."""
    syntax = [f"{claim}/{b}" for b in design.syntactic for claim in ("syntax_loss", "syntax_spared")]
    dissociation = ["perplexity_cost", *syntax, "knowledge_loss", "knowledge_spared", "double_dissociation"]
    scaffolding = [f"{claim}/{b}" for b in design.surprisal for claim in ("scaffolding", "content_spared")]
    return {
        "double_dissociation": dissociation,
        "paper": [*dissociation, "difficulty_agrees", "sign_not_magnitude", *scaffolding],
        "token_surprisal": ["perplexity_cost", *scaffolding],
    }.get(claims, [])


def _power(claim: str, design: Design, assumptions: Assumptions, margins: Margins) -> ClaimPower:
    name, _, benchmark = claim.partition("/")
    perplexity = (design.perplexity,) if design.perplexity else ()
    benchmarks, margin = {
        "perplexity_cost": (perplexity, margins.log_perplexity),
        "difficulty_agrees": (perplexity, margins.log_perplexity),
        "knowledge_loss": (design.non_syntactic, margins.accuracy),
        "knowledge_spared": (design.non_syntactic, margins.accuracy),
        "double_dissociation": ((*design.syntactic, *design.non_syntactic), margins.accuracy),
        "sign_not_magnitude": (design.syntactic, margins.accuracy),
        "scaffolding": ((benchmark,), margins.surprisal),
        "content_spared": ((benchmark,), margins.surprisal),
    }.get(name, ((benchmark,), margins.accuracy))
    tests, effect = (
        _Tests(design, assumptions),
        0.0 if name.endswith("_spared") else FACTOR * margin,
    )
    power, reason = None, ""
    try:
        power = joint(_parts(name, benchmarks, tests, design, margin))
    except _Unknown as unknown:
        reason = str(unknown)
    except _Hopeless as hopeless:
        power, reason = 0.0, str(hopeless)
    return ClaimPower(claim, power, effect, benchmarks, tests.units, tests.basis, reason)


def _parts(name: str, benchmarks: tuple[str, ...], tests: _Tests, design: Design, margin: float) -> list[float]:
    """The powers of a claim's parts."""
    size = FACTOR * margin
    match name:
        case "perplexity_cost" | "difficulty_agrees" | "scaffolding":
            if not benchmarks:
                raise _Unknown(NO_BENCHMARK)
            first, randoms = (DIFFICULTY, DIFFICULTY_RANDOM) if name == "difficulty_agrees" else (TREATED, RANDOM)
            effects = [
                tests.effect(size, benchmarks, first, BASELINE),
                tests.over_randoms(size, benchmarks[0], first, randoms),
            ]
            if name == "scaffolding":
                tests.need(benchmarks[0], MATCHED)  # no report shows its spread, which is taken to be the baseline's
                effects.append(effects[0])
        case "syntax_loss":
            effects = [tests.effect(size, benchmarks, TREATED, other) for other in (BASELINE, MATCHED)]
        case "knowledge_loss":
            pairs = ((MATCHED, BASELINE), (TREATED, MATCHED))  # as far apart from either side
            effects = [tests.effect(size, benchmarks, first, second) for first, second in pairs]
        case "double_dissociation":
            syntax = tests.effect(-size, design.syntactic, TREATED, MATCHED)
            rest = tests.effect(size, design.non_syntactic, TREATED, MATCHED)
            effects = [syntax, rest, contrast(syntax, rest)]
        case "sign_not_magnitude":
            spared = tests.effect(0.0, benchmarks, POSRELU, BASELINE)
            shown = power_to_show(tests.effect(size, benchmarks, SIGNFLIP, BASELINE))
            return [shown, power_to_spare(spared, margin)]
        case _:  # syntax_spared, knowledge_spared, content_spared
            first = MATCHED if name == "syntax_spared" else TREATED
            return [power_to_spare(tests.effect(0.0, benchmarks, first, BASELINE), margin)]
    return [power_to_show(effect) for effect in effects]


def _with_remedy(
    claim: str, found: ClaimPower, design: Design, assumptions: Assumptions, margins: Margins
) -> ClaimPower:
    """With the smallest change of one kind that gives 80 %: of items, then of random sets, then of units."""
    if found.power is None or found.power >= POWER:
        return found
    layouts = [layout for name in found.benchmarks if (layout := design.layouts[name])]
    in_units = [layout for layout in layouts if layout.measure.unit is not None]
    changes: dict[str, Callable[[int], Design]] = {_or(layout.measure.noun for layout in layouts): design.more_items}
    if claim.startswith(_OVER_RANDOMS):
        changes["random sets"] = design.more_sets
    if in_units:
        changes[_or(layout.measure.units for layout in in_units)] = design.more_units
    for noun, change in changes.items():
        factor = _factor(claim, change, assumptions, margins)
        if factor is not None and (change != design.more_units or all(_has(layout, factor) for layout in in_units)):
            return found._replace(remedy=f"about {factor} times as many {noun} would give 80 %")
    if found.reason:  # it says what is missing
        return found
    sizes = (max(layout.num_units, layout.measure.most_units) for layout in in_units)
    has = " and ".join(f"{size:g} {layout.measure.units}" for size, layout in zip(sizes, in_units, strict=True))
    if not has:
        return found._replace(remedy="more items would not give 80 %")
    these = "this benchmark has" if len(layouts) == 1 else "these benchmarks have"
    return found._replace(remedy=f"{these} {has}, which cannot give 80 %")


def _factor(claim: str, change: Callable[[int], Design], assumptions: Assumptions, margins: Margins) -> int | None:
    """How many times as much of something gives the claim 80 %; None where no reasonable number does."""

    def power(factor: int) -> float:
        return _power(claim, change(factor), assumptions, margins).power or 0.0

    return smallest_factor(power)


def _has(layout: Layout, factor: int) -> bool:
    """Whether its benchmark has so many times as many units."""
    return factor * layout.num_units <= layout.measure.most_units


_OVER_RANDOMS = ("perplexity_cost", "difficulty_agrees", "scaffolding")
"""Claims with a contrast over random sets of neurons."""


def _or(nouns: Iterable[str]) -> str:
    return "/".join(dict.fromkeys(nouns))
