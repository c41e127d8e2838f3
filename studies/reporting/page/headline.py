"""The finding of a study in a few sentences, from its verdicts and differences alone.

Owns the sentences. Callers rely on: nothing is said that no recorded number says: a change is called a rise or a fall
only where its 95 % interval excludes 0, and what a verdict says of one half of a claim is not said of the other; where
claims are undecided, the smallest effect that these data would show is named if it is known.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from studies.claims.scorecard import Status
from studies.reporting.page.quantities import interval, number, share
from studies.reporting.units import LARGE_RISE, PERCENT, POINTS, Unit, of_verdict
from studies.statistics.effects import Component, Effect

_GRAMMAR, _MATCHED = "double_dissociation", "matched_cost"
_STATUSES = frozenset(map(str, Status))
MANY = 3
"""Models up to which each has a sentence of its own."""


def headline(report: Mapping[str, Any]) -> list[str]:
    """The sentences; the first is the finding, others say how sure it is."""
    models: Sequence[Mapping[str, Any]] = report["models"]
    judged = [verdict for part in (*models, *report.get("series", ())) for verdict in part["verdicts"]]
    if any(verdict["status"] not in _STATUSES for verdict in judged):
        return [f"{report['study']} was judged by the rules of an earlier version; run it again for its finding."]
    told = [sentence for model in models for sentence in [_cost(model, named=len(models) > 1)] if sentence]
    if len(models) == 1 and (ordinary := _ordinary(models[0])):
        told.append(ordinary)
    sentences = told if len(models) <= MANY else []
    sentences += _grammar(models[0]) if len(models) == 1 else _counts(models)
    for series in report.get("series", ()):
        sentences += _series(series)
    if not any(row["cells"] for model in models for row in model["rows"]) and not sentences:
        return [f"{report['study']}: nothing has been measured yet."]
    return sentences or [f"{report['study']} judges no claims; what each condition costs stands below."]


def _effect(verdict: Mapping[str, Any]) -> Effect | None:
    """The effect that a verdict records, with its standard error; None where it has none."""
    error, recorded = verdict.get("standard_error"), verdict["effect"]
    if error is None or recorded is None:
        return None
    spread = Component(error**2, verdict.get("df") or math.inf, verdict["num_items"], "items")
    return Effect(recorded["estimate"], (spread,))


def detectable(verdict: Mapping[str, Any]) -> float | None:
    """The smallest true effect that would be shown with 80 % probability (`Effect.detectable`), in the verdict's unit.

    None where it is unknown.
    """
    found = _effect(verdict)
    return None if found is None else found.detectable()


def _cost(model: Mapping[str, Any], *, named: bool) -> str:
    """`Clamping 450 neurons (1 % of each layer) raises perplexity by 11.2 %; as many random ones change it by +0.8 %.`

    Empty where the model has no treated condition or no perplexity.
    """
    benchmark = next((b["name"] for b in model["benchmarks"] if b["measure"]["logarithmic"]), None)
    rows = {row["condition"]: row for row in model["rows"]}
    treated = rows.get(model["roles"]["conditions"].get("treated", ""))
    if benchmark is None or treated is None or benchmark not in treated["deltas"]:
        return ""
    of = f" of {model['label']}" if named else ""
    neurons = "the selected neurons" if treated["num_neurons"] is None else f"{treated['num_neurons']:,} neurons"
    part = "" if treated["fraction"] is None else f" ({share(treated['fraction'])} of each layer)"
    sentence = f"Clamping {neurons}{part}{of} {_moves(treated['deltas'][benchmark])}"
    names = model["roles"]["randoms"].get("random", ())
    randoms = [rows[name]["deltas"][benchmark]["estimate"] for name in names if benchmark in rows[name]["deltas"]]
    if randoms:
        mean = sum(randoms) / len(randoms)
        sentence += f"; as many random ones change it by {number(mean, PERCENT)} %"
    return sentence + "."


def _ordinary(model: Mapping[str, Any]) -> str:
    """`Ordinary neurons cost as much only from 8.9 % of each layer on.`; empty where that is not shown."""
    verdict = next((v for v in model["verdicts"] if v["claim"] == _MATCHED and v["status"] == Status.SUPPORTED), None)
    treated = model["roles"]["conditions"].get("treated", "")
    fraction = next((row["fraction"] for row in model["rows"] if row["condition"] == treated), None)
    if verdict is None or verdict["effect"] is None or fraction is None:
        return ""
    reached = share(fraction + verdict["effect"]["estimate"])
    return f"Ordinary neurons cost as much only from {reached} of each layer on."


def _moves(rise: Mapping[str, Any]) -> str:
    """`raises perplexity by 11.2 %`, `multiplies perplexity by 12`; where its interval includes 0, or is not known,
    `changes perplexity by +0.4 % [−0.2, +1.0]`. rise: of log-perplexity."""
    estimate = rise["estimate"]
    if not _excludes_0(rise):
        return f"changes perplexity by {interval(rise, PERCENT)}"
    if PERCENT.read(estimate) > LARGE_RISE:
        return f"multiplies perplexity by {math.exp(min(estimate, 700.0)):,.3g}"
    return f"{'raises' if estimate > 0 else 'lowers'} perplexity by {abs(PERCENT.read(estimate)):.1f} %"


def _grammar(model: Mapping[str, Any]) -> list[str]:
    """Whether it is grammar that goes; of one model without that claim, how its claims stand."""
    verdict = next((v for v in model["verdicts"] if v["claim"] == _GRAMMAR), None)
    if verdict is None:
        return _counts([model])
    status = verdict["status"]
    if status == Status.NOT_APPLICABLE:
        return ["Whether grammar goes is not asked of this model: the clamp changes nothing in it."]
    if status == Status.SUPPORTED:
        return [f"It is grammar that goes: {_syntax(verdict)}, which costs other skills more."]
    known = f"{_syntax(verdict)}; " if verdict["effect"] else ""
    if status == Status.CONTRADICTED:
        return [_sentence(f"{known}the double dissociation is contradicted.")]
    within = number(verdict["margin"], POINTS, sign=False)
    if status == Status.ABSENT:
        found = _effect(verdict)
        if found is not None and found.is_within(verdict["margin"]):
            return [
                "It is not grammar in particular that goes: at the same perplexity the difference in syntactic"
                f" accuracy is smaller than {within} pp."
            ]
        return [_sentence(f"{known}the double dissociation is absent: its other half is smaller than {within} pp.")]
    return [_undecided(verdict)]


def _undecided(verdict: Mapping[str, Any]) -> str:
    smallest = detectable(verdict)
    if smallest is None:
        return f"Whether it is grammar that goes is undecided: {verdict['detail']}."
    if _excludes_0(verdict["effect"]):
        return _sentence(f"{_syntax(verdict)}; whether that is a double dissociation these data cannot tell.")
    size = number(smallest, POINTS, sign=False)
    return (
        f"Whether it is grammar that goes, these {verdict['num_items']:,} items cannot tell: effects on syntax under "
        f"±{size} pp do not show here."
    )


def _syntax(verdict: Mapping[str, Any]) -> str:
    """Its first half: `syntactic accuracy is 2.5 pp lower than under a control at the same perplexity`."""
    effect = verdict["effect"]
    control = "under a control at the same perplexity"
    if not _excludes_0(effect):
        return f"syntactic accuracy differs by {interval(effect, POINTS)} from that {control}"
    by = number(abs(effect["estimate"]), POINTS, sign=False)
    return f"syntactic accuracy is {by} pp {'lower' if effect['estimate'] < 0 else 'higher'} than {control}"


def _excludes_0(effect: Mapping[str, Any]) -> bool:
    low, high = effect["low"], effect["high"]
    return low is not None and high is not None and not low <= 0 <= high


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _counts(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """`Of 7 claims 2 are supported and 5 undecided.`, and the smallest effects that undecided ones would show."""
    everything = [verdict for model in models for verdict in model["verdicts"]]
    if not everything:
        return []
    smallest = _smallest(models)
    if len(models) == 1:
        return [f"Of {len(everything)} claims {_numbers(everything)}.", *smallest]
    claims = [verdict["claim"] for verdict in everything]
    first = _GRAMMAR if _GRAMMAR in claims else claims[0]
    found = [verdict for verdict in everything if verdict["claim"] == first]
    told = f"The claim {first.replace('_', ' ')} on {len(found)} models: {_numbers(found)}; of all {len(everything)}"
    return [f"{told} verdicts {_numbers(everything)}.", *smallest]


def _numbers(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """`2 supported, 5 undecided`, in the order of the rules."""
    counts = {status: sum(v["status"] == status for v in verdicts) for status in map(str, Status)}
    return ", ".join(f"{counted} {status}" for status, counted in counts.items() if counted)


def _smallest(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """By unit, the smallest effect that the undecided claim nearest to a decision would have shown."""
    sizes: dict[Unit, float] = {}
    for model in models:
        measures = {benchmark["name"]: benchmark["measure"] for benchmark in model["benchmarks"]}
        for verdict in model["verdicts"]:
            size = detectable(verdict)
            if verdict["status"] == Status.UNDECIDED and size is not None:
                unit = of_verdict(verdict, measures)
                sizes[unit] = min(size, sizes.get(unit, math.inf))
    told = [f"±{number(size, unit, sign=False)}{unit.suffix} ({unit.quantity})" for unit, size in sizes.items()]
    return [f"What is undecided would show from {', '.join(told)} on."] if told else []


def _series(series: Mapping[str, Any]) -> list[str]:
    judged = series["verdicts"]
    return [f"Over the training of {series['label']}, of {len(judged)} claims {_numbers(judged)}."] if judged else []
