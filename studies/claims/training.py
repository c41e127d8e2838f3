"""The scorecard of a training: which of the paper's claims on dynamics hold for a series of checkpoints.

The same rule as `claims`: a verdict is never left out, and says what it rests on. A series is one training, so its
checkpoints are no independent sample; intervals over neurons and items say how sure the change itself is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from studies.claims.paper import Claim, Frames, Status, Verdict, rule, shown, verdict
from studies.neurons.selection import NeuronSet, rows_of
from studies.statistics import training as dynamics

WD, ROW = "wasserstein_distance", "pre_activation"
NO_COHORT = "no condition that applies to the model selects top neurons"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEvidence:
    """Everything measured over one series; mappings by training step hold the checkpoints that finished."""

    series: str
    relu: bool
    neurons: Mapping[int, pd.DataFrame]
    """Neuron tables."""
    weights: Mapping[int, pd.DataFrame]
    """Cosine dissimilarities to the checkpoint before."""
    before: Mapping[int, int]
    """{step of every checkpoint but the first: the step of the one before}."""
    cohort: NeuronSet | None
    """The treated neurons, chosen at one checkpoint."""
    randoms: Mapping[str, NeuronSet]
    baseline: Mapping[int, Frames]
    treated: Mapping[int, Frames]
    random_items: Mapping[str, Mapping[int, Frames]]
    syntactic: tuple[str, ...]


_CLAIMS = {
    "wd_rises": Claim(
        "The cohort's Wasserstein distance rises over training, and more than that of as many random neurons.",
        "WD of the cohort rises fast within the first 25k steps of Pythia's training.",
    ),
    "weights_settle": Claim(
        "The cohort's weights move less per training step at the end than at the beginning.",
        "After the first 25k steps the neurons' weights settle.",
    ),
    "wd_tracks_syntax": Claim(
        "Over the checkpoints the cohort's median Wasserstein distance and accuracy on {benchmark} rise together.",
        "WD tracks TSE accuracy over training.",
    ),
    "ablation_grows": Claim(
        "The cohort's negative clamp costs more on {benchmark} at the last checkpoint than at the first, also over as"
        " many random neurons for every seed.",
        "The same cohort's ablation grows more harmful over training.",
    ),
}


def training_dynamics(evidence: TrainingEvidence) -> list[Verdict]:
    """Verdicts on wd_rises, weights_settle, wd_tracks_syntax and ablation_grows (per benchmark)."""
    syntactic = evidence.syntactic
    tracks = {f"wd_tracks_syntax/{name}": name for name in syntactic} or {"wd_tracks_syntax": ""}
    grows = {f"ablation_grows/{name}": name for name in ("perplexity", *syntactic)}
    return [
        _wd_rises(evidence),
        _weights_settle(evidence),
        *(_tracks(evidence, name, benchmark) for name, benchmark in tracks.items()),
        *(_grows(evidence, name, benchmark) for name, benchmark in grows.items()),
    ]


SERIES_CLAIM_SETS: Mapping[str, Callable[[TrainingEvidence], list[Verdict]]] = {"training_dynamics": training_dynamics}


def _wd_rises(evidence: TrainingEvidence) -> Verdict:
    name, steps = "wd_rises", sorted(evidence.neurons)
    if (problem := _lacks(evidence, steps)) or not evidence.randoms:
        return _undecided(evidence, name, problem or "no random control", len(steps))
    first, last = steps[0], steps[-1]
    effect = dynamics.gain(evidence.neurons, evidence.cohort, WD, first, last)
    over = {
        random: dynamics.gain_difference(evidence.neurons, evidence.cohort, neurons, WD, first, last)
        for random, neurons in evidence.randoms.items()
    }
    weakest = min(over, key=lambda random: over[random].low)
    detail = (
        f"mean WD {shown(effect)} from step {first:,} to step {last:,}; {shown(over[weakest])} over {weakest}, the"
        f" weakest of {len(over)} random controls; {_early(evidence, steps)}"
    )
    status = rule(+1, effect, over[weakest])
    return _verdict(evidence, name, status, effect, over[weakest], evidence.cohort.count, detail)


def _early(evidence: TrainingEvidence, steps: list[int]) -> str:
    """When half of the rise was reached."""
    means = {step: rows_of(evidence.neurons[step], evidence.cohort)[WD].mean() for step in steps}
    last = means[steps[-1]]
    half = (means[steps[0]] + last) / 2
    reached = [step for step in steps if (means[step] - half) * (last - half) >= 0]
    return f"half of it by step {reached[0]:,}"


def _weights_settle(evidence: TrainingEvidence) -> Verdict:
    name, before = "weights_settle", evidence.before
    missing = [step for step in before if step not in evidence.weights]
    problem = "" if evidence.cohort is not None else NO_COHORT
    problem = problem or (f"no weights compared at step {missing[0]:,}" if missing else "")
    if not problem and len(before) < 2:
        problem = "at least three checkpoints are needed"
    if problem:
        return _undecided(evidence, name, problem, len(before) + 1)
    effect = dynamics.settling(evidence.weights, before, evidence.cohort, ROW)
    first, last = min(before), max(before)
    detail = (
        f"cosine dissimilarity per step {shown(effect, '.3g')} more between steps {before[first]:,} and {first:,} than"
        f" between {before[last]:,} and {last:,}"
    )
    return _verdict(evidence, name, rule(+1, effect), effect, None, evidence.cohort.count, detail)


def _tracks(evidence: TrainingEvidence, name: str, benchmark: str) -> Verdict:
    steps = _profiled(evidence, benchmark)
    problem = "no syntactic benchmark" if not benchmark else _lacks(evidence, steps)
    if not problem and len(steps) < dynamics.MIN_CHECKPOINTS:
        problem = f"too few checkpoints, at least {dynamics.MIN_CHECKPOINTS} needed"
    if problem:
        return _undecided(evidence, name, problem, len(steps))
    found = wd_correlation(evidence, benchmark, evidence.cohort)
    detail = (
        f"Pearson correlation {shown(found.pearson)}, Spearman {found.spearman:+.2f} over {found.num_checkpoints}"
        " checkpoints of one training"
    )
    status = rule(+1, found.pearson) if found.pearson.low == found.pearson.low else Status.NOT_DECIDABLE
    return _verdict(evidence, name, status, found.pearson, None, found.num_checkpoints, detail)


def wd_and_accuracy(evidence: TrainingEvidence, benchmark: str, neurons: NeuronSet) -> list[tuple[int, float, float]]:
    """(training step, these neurons' median WD, the baseline's accuracy) of every checkpoint that has both."""
    tables = {step: evidence.neurons[step] for step in _profiled(evidence, benchmark)}
    medians = {step: float(rows_of(table, neurons)[WD].median()) for step, table in tables.items()}
    accuracy = {step: float(evidence.baseline[step][benchmark]["correct"].mean()) for step in tables}
    return [(step, medians[step], accuracy[step]) for step in tables]


def wd_correlation(evidence: TrainingEvidence, benchmark: str, neurons: NeuronSet) -> dynamics.Correlation:
    """Over checkpoints, of these neurons' median WD with the baseline's accuracy."""
    points = wd_and_accuracy(evidence, benchmark, neurons)
    return dynamics.correlation([wd for _, wd, _ in points], [accuracy for _, _, accuracy in points])


def _profiled(evidence: TrainingEvidence, benchmark: str) -> list[int]:
    """The checkpoints that have both a neuron table and the baseline on a benchmark."""
    return [step for step in sorted(evidence.neurons) if benchmark in evidence.baseline.get(step, {})]


def _grows(evidence: TrainingEvidence, name: str, benchmark: str) -> Verdict:
    if evidence.relu:
        reason = "ReLU model: the negative clamp is the identity"
        return _verdict(evidence, name, Status.NOT_APPLICABLE, None, None, 0, reason)
    baseline, treated = (_of_benchmark(frames, benchmark) for frames in (evidence.baseline, evidence.treated))
    steps = sorted(set(baseline) & set(treated))
    controls = {random: _of_benchmark(frames, benchmark) for random, frames in evidence.random_items.items()}
    problem = f"no {benchmark} items at two checkpoints" if len(steps) < 2 else "" if controls else "no random control"
    for random, frames in controls.items() if not problem else ():
        if absent := [step for step in (steps[0], steps[-1]) if step not in frames]:
            problem = f"no {benchmark} items of {random} at step {absent[0]:,}"
    if problem:
        return _undecided(evidence, name, problem, len(steps))
    found = dynamics.growth(baseline, treated)
    over = {random: dynamics.growth_over(treated, frames, steps[0], steps[-1]) for random, frames in controls.items()}
    weakest = min(over, key=lambda random: over[random].low)
    trend = "" if found.trend.p_value != found.trend.p_value else f", Page's trend p = {found.trend.p_value:.2g}"
    detail = (
        f"its cost changes by {shown(found.difference)} from step {steps[0]:,} to step {steps[-1]:,}{trend} over"
        f" {len(steps)} checkpoints; {shown(over[weakest])} over {weakest}, the weakest of {len(over)} random controls"
    )
    status = rule(+1, found.difference, over[weakest])
    return _verdict(evidence, name, status, found.difference, over[weakest], found.num_items, detail)


def _of_benchmark(frames: Mapping[int, Frames], benchmark: str) -> dict[int, pd.DataFrame]:
    return {step: of_step[benchmark] for step, of_step in frames.items() if benchmark in of_step}


def _lacks(evidence: TrainingEvidence, steps: list[int]) -> str:
    if evidence.cohort is None:
        return NO_COHORT
    return "" if len(steps) >= 2 else "fewer than two checkpoints were profiled"


def _undecided(evidence: TrainingEvidence, name: str, problem: str, num_items: int) -> Verdict:
    detail = f"{problem} (n = {num_items})"
    return _verdict(evidence, name, Status.NOT_DECIDABLE, None, None, num_items, detail)


def _verdict(evidence: TrainingEvidence, name: str, *found: Any) -> Verdict:
    return verdict(_CLAIMS, evidence.series, name, *found)
