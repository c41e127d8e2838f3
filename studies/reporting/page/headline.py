"""The finding of a study in one or two sentences, from its verdicts and differences alone.

Owns the sentences. Callers rely on: nothing is said that no recorded number says; where a claim is undecided, the
smallest effect that these data could have shown is named.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from studies.claims.scorecard import Status
from studies.reporting.page.quantities import number, share
from studies.reporting.units import PERCENT, POINTS
from studies.statistics.effects import POWER, t_quantile
from studies.statistics.intervals import CONFIDENCE

_GRAMMAR = "double_dissociation"
MANY = 3
"""Models from which on each is no longer named."""


def headline(report: Mapping[str, Any]) -> list[str]:
    """The sentences; the first is the finding, others say how sure it is. One that names the study where nothing has
    been measured."""
    models: Sequence[Mapping[str, Any]] = report["models"]
    costs = [sentence for model in models for sentence in [_cost(model, named=len(models) > 1)] if sentence]
    if len(models) == 1:
        sentences = [*costs, *_grammar(models[0])]
    else:
        counted = _counts(models)
        sentences = [*(costs if len(models) <= MANY else []), *counted]
    for series in report.get("series", ()):
        sentences += _series(series)
    return sentences or [f"{report['study']}: nothing has been measured yet."]


def detectable(verdict: Mapping[str, Any]) -> float | None:
    """The smallest true effect whose 95 % interval would exclude 0 with 80 % probability; None where it is unknown.

    In the unit of the verdict; as `effects.Effect.detectable`, with Student's t of the recorded degrees of freedom.
    """
    error = verdict.get("standard_error")
    if error is None:
        return None
    df = verdict.get("df") or float("inf")
    return error * (t_quantile((1 - CONFIDENCE) / 2, df) + t_quantile(1 - POWER, df))


def _cost(model: Mapping[str, Any], *, named: bool) -> str:
    """`Clamping 450 neurons (1 %) raises perplexity by 11.2 %; as many random ones by 0.8 %.`"""
    benchmark = next((b["name"] for b in model["benchmarks"] if b["measure"]["logarithmic"]), None)
    treated = next((row for row in model["rows"] if row["part"] == "treated" and not row["spread"]), None)
    if benchmark is None or treated is None or benchmark not in treated["deltas"]:
        return ""
    rise = treated["deltas"][benchmark]["estimate"]
    of = f" of {model['label']}" if named else ""
    neurons = "the selected neurons" if treated["num_neurons"] is None else f"{treated['num_neurons']:,} neurons"
    sentence = f"Clamping {neurons} ({share(treated['fraction'])}){of} {_moves(rise)}"
    randoms = [
        row["deltas"][benchmark]["estimate"]
        for row in model["rows"]
        if row["part"] == "random" and row["reference"] == treated["condition"] and benchmark in row["deltas"]
    ]
    if randoms:
        sentence += f"; as many random ones {_moves(sum(randoms) / len(randoms), short=True)}"
    return sentence + "."


def _moves(rise: float, *, short: bool = False) -> str:
    """`raises perplexity by 11.2 %`, in short `by 0.8 %`; rise: of log-perplexity."""
    size = f"by {abs(PERCENT.read(rise)):.1f} %"
    if rise >= 0:
        return size if short else f"raises perplexity {size}"
    return f"lower it {size}" if short else f"lowers perplexity {size}"


def _grammar(model: Mapping[str, Any]) -> list[str]:
    """Whether it is grammar that goes, in words that follow from the verdict alone."""
    verdict = next((v for v in model["verdicts"] if v["claim"] == _GRAMMAR), None)
    if verdict is None:
        return _counts([model])
    status, effect = verdict["status"], verdict["effect"]
    if status == Status.SUPPORTED:
        by = number(abs(effect["estimate"]), POINTS, sign=False)
        return [
            f"It is grammar that goes: syntactic accuracy falls by {by} pp more than under a control at the same "
            "perplexity, which costs other skills more."
        ]
    if status == Status.CONTRADICTED:
        return ["It is not grammar that goes: at the same perplexity the differences point the other way."]
    if status == Status.ABSENT:
        within = number(verdict["margin"], POINTS, sign=False)
        return [
            "It is not grammar in particular that goes: at the same perplexity a difference is smaller than "
            f"{within} pp."
        ]
    if status == Status.NOT_APPLICABLE:
        return ["Whether grammar goes is not asked of this model: the clamp changes nothing in it."]
    smallest = detectable(verdict)
    if smallest is None:
        return [f"Whether it is grammar that goes is undecided: {verdict['detail']}."]
    size = number(smallest, POINTS, sign=False)
    return [
        f"Whether it is grammar that goes, these {verdict['num_items']:,} items cannot tell: effects under ±{size} pp "
        "do not show here."
    ]


def _counts(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """`Of 3 models, double_dissociation is supported in 1 and undecided in 2.`; of one model, how many claims."""
    if not any(model["verdicts"] for model in models):
        return []
    if len(models) == 1:
        return [f"Of {len(models[0]['verdicts'])} claims, {_numbers(models[0]['verdicts'])}.{_smallest(models[0])}"]
    claims = [v["claim"] for model in models for v in model["verdicts"]]
    first = _GRAMMAR if _GRAMMAR in claims else claims[0]
    found = [v for model in models for v in model["verdicts"] if v["claim"] == first]
    everything = [verdict for model in models for verdict in model["verdicts"]]
    return [
        f"Of {len(found)} models, {first.replace('_', ' ')} is {_numbers(found)}; of all {len(everything)} verdicts, "
        f"{_numbers(everything)}."
    ]


def _numbers(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """`1 is supported`... as `supported in 1, undecided in 2`."""
    counts: dict[str, int] = {}
    for status in map(str, Status):
        if number_of := sum(verdict["status"] == status for verdict in verdicts):
            counts[status] = number_of
    return ", ".join(f"{status} in {counted}" for status, counted in counts.items())


def _smallest(model: Mapping[str, Any]) -> str:
    """The smallest effect that the undecided claim nearest to a decision could have shown."""
    undecided = [v for v in model["verdicts"] if v["status"] == Status.UNDECIDED and v.get("unit") == "accuracy"]
    sizes = [size for verdict in undecided for size in [detectable(verdict)] if size is not None]
    if not sizes:
        return ""
    return f" Effects on accuracy under ±{number(min(sizes), POINTS, sign=False)}{POINTS.suffix} do not show here."


def _series(series: Mapping[str, Any]) -> list[str]:
    judged = series["verdicts"]
    return [f"Over the training of {series['label']}: {_numbers(judged)}, of {len(judged)} claims."] if judged else []
