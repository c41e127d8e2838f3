"""The paper's claims on a training run: what each says, and how a series of checkpoints decides it.

The rule is the scorecard's: no claim is left out, and a verdict says what it is based on. A series is one training run,
so its checkpoints are not an independent sample; intervals over neurons and items say how certain the change itself is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from studies.claims.scorecard import (
    Claim,
    ClaimSet,
    Draft,
    Status,
    Verdict,
    format_interval,
    judge,
    not_applicable,
    undecided,
    verdicts,
    weakest,
)
from studies.neurons.selection import NeuronSet, rows_of
from studies.statistics import training
from studies.statistics.items import BenchmarkItems, Items

WD, ROW = "wasserstein_distance", "pre_activation"
"""Columns of the neuron table and of the weight table: the score, and the row of the gate or up projection."""
NO_COHORT = "no condition that applies to the model selects top neurons"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEvidence:
    """Everything measured over one series; mappings by training step hold the checkpoints that finished."""

    series: str
    relu: bool
    """Whether the model's activation is ReLU."""
    neurons: Mapping[int, pd.DataFrame]
    """Neuron tables."""
    weights: Mapping[int, pd.DataFrame]
    """Cosine dissimilarities to the checkpoint before."""
    before: Mapping[int, int]
    """{step of every checkpoint but the first: the step of the one before}."""
    cohort: NeuronSet | None
    """The treated neurons, chosen at one checkpoint."""
    randoms: Mapping[str, NeuronSet]
    """As many random neurons, by condition name, one per seed."""
    baseline: Mapping[int, BenchmarkItems]
    treated: Mapping[int, BenchmarkItems]
    """Negative clamp of the cohort."""
    random_items: Mapping[str, Mapping[int, BenchmarkItems]]
    """Negative clamp of each of `randoms`."""
    perplexity: str
    """Name of the perplexity benchmark; a study without one has no items of this name."""
    syntactic: tuple[str, ...]
    """Names of graded benchmarks."""


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
    """Verdicts on wd_rises, weights_settle, wd_tracks_syntax and ablation_grows (the last two per benchmark)."""
    syntactic = evidence.syntactic
    tracks = {f"wd_tracks_syntax/{name}": name for name in syntactic} or {"wd_tracks_syntax": ""}
    grows = {f"ablation_grows/{name}": name for name in (evidence.perplexity, *syntactic)}
    drafts = [
        _wd_rises(evidence),
        _weights_settle(evidence),
        *(_wd_tracks_syntax(evidence, claim, benchmark) for claim, benchmark in tracks.items()),
        *(not_applicable(grows) if evidence.relu else _ablation_grows_on(evidence, grows)),
    ]
    return verdicts(evidence.series, _CLAIMS, drafts)


SERIES_CLAIM_SETS: Mapping[str, ClaimSet[TrainingEvidence]] = {"training_dynamics": training_dynamics}


def _wd_rises(evidence: TrainingEvidence) -> Draft:
    claim, steps, cohort = "wd_rises", sorted(evidence.neurons), evidence.cohort
    if cohort is None:
        return undecided(claim, NO_COHORT, len(steps))
    if problem := _too_few(steps) or ("" if evidence.randoms else "no random control"):
        return undecided(claim, problem, len(steps))
    first, last = steps[0], steps[-1]
    effect = training.gain(evidence.neurons, cohort, WD, first, last)
    over_randoms = {
        random: training.gain_difference(evidence.neurons, cohort, neurons, WD, first, last)
        for random, neurons in evidence.randoms.items()
    }
    control, contrast = weakest(over_randoms)
    detail = (
        f"mean WD {format_interval(effect)} from step {first:,} to step {last:,}; {format_interval(contrast)} over"
        f" {control}, the weakest of {len(over_randoms)} random controls; half of it by step"
        f" {_half_risen(evidence, cohort, steps):,}"
    )
    return Draft(claim, judge(+1, effect, contrast), detail, cohort.count, effect, contrast)


def _half_risen(evidence: TrainingEvidence, cohort: NeuronSet, steps: list[int]) -> int:
    """The first step at which the cohort's mean WD has covered half of its way from first to last."""
    means = {step: rows_of(evidence.neurons[step], cohort)[WD].mean() for step in steps}
    last = means[steps[-1]]
    half = (means[steps[0]] + last) / 2
    return next(step for step in steps if (means[step] - half) * (last - half) >= 0)


def _weights_settle(evidence: TrainingEvidence) -> Draft:
    claim, before, cohort = "weights_settle", evidence.before, evidence.cohort
    num_checkpoints = len(before) + 1
    if cohort is None:
        return undecided(claim, NO_COHORT, num_checkpoints)
    if missing := [step for step in before if step not in evidence.weights]:
        return undecided(claim, f"no weights compared at step {missing[0]:,}", num_checkpoints)
    if len(before) < 2:
        return undecided(claim, "at least three checkpoints are needed", num_checkpoints)
    effect = training.settling(evidence.weights, before, cohort, ROW)
    first, last = min(before), max(before)
    detail = (
        f"cosine dissimilarity per step {format_interval(effect, '.3g')} more between steps {before[first]:,} and"
        f" {first:,} than between {before[last]:,} and {last:,}"
    )
    return Draft(claim, judge(+1, effect), detail, cohort.count, effect)


def _wd_tracks_syntax(evidence: TrainingEvidence, claim: str, benchmark: str) -> Draft:
    """`benchmark` is empty where the study has no syntactic benchmark."""
    steps, cohort = _profiled(evidence, benchmark), evidence.cohort
    if not benchmark:
        return undecided(claim, "no syntactic benchmark", len(steps))
    if cohort is None:
        return undecided(claim, NO_COHORT, len(steps))
    problem = _too_few(steps)
    if not problem and len(steps) < training.MIN_CHECKPOINTS:
        problem = f"too few checkpoints, at least {training.MIN_CHECKPOINTS} needed"
    if problem:
        return undecided(claim, problem, len(steps))
    correlation = wd_correlation(evidence, benchmark, cohort)
    pearson, num_checkpoints = correlation.pearson, correlation.num_checkpoints
    detail = (
        f"Pearson correlation {format_interval(pearson)}, Spearman {correlation.spearman:+.2f} over {num_checkpoints}"
        " checkpoints of one training"
    )
    has_interval = pearson.low == pearson.low  # nan where one of the two does not vary
    status = judge(+1, pearson) if has_interval else Status.NOT_DECIDABLE
    return Draft(claim, status, detail, num_checkpoints, pearson)


def wd_and_accuracy(evidence: TrainingEvidence, benchmark: str, neurons: NeuronSet) -> list[tuple[int, float, float]]:
    """(training step, these neurons' median WD, the baseline's accuracy) of every checkpoint that has both."""
    tables = {step: evidence.neurons[step] for step in _profiled(evidence, benchmark)}
    medians = {step: float(rows_of(table, neurons)[WD].median()) for step, table in tables.items()}
    accuracy = {step: float(evidence.baseline[step][benchmark].values.mean()) for step in tables}
    return [(step, medians[step], accuracy[step]) for step in tables]


def wd_correlation(evidence: TrainingEvidence, benchmark: str, neurons: NeuronSet) -> training.Correlation:
    """Correlation, over checkpoints, of these neurons' median WD with the baseline's accuracy."""
    points = wd_and_accuracy(evidence, benchmark, neurons)
    return training.correlation([wd for _, wd, _ in points], [accuracy for _, _, accuracy in points])


def _profiled(evidence: TrainingEvidence, benchmark: str) -> list[int]:
    """The checkpoints that have both a neuron table and the baseline on a benchmark."""
    return [step for step in sorted(evidence.neurons) if benchmark in evidence.baseline.get(step, {})]


def _ablation_grows_on(evidence: TrainingEvidence, benchmarks: Mapping[str, str]) -> list[Draft]:
    """benchmarks: {claim: benchmark}."""
    return [_ablation_grows(evidence, claim, benchmark) for claim, benchmark in benchmarks.items()]


def _ablation_grows(evidence: TrainingEvidence, claim: str, benchmark: str) -> Draft:
    baseline, treated = (_on(benchmark, items) for items in (evidence.baseline, evidence.treated))
    steps = sorted(set(baseline) & set(treated))
    controls = {random: _on(benchmark, items) for random, items in evidence.random_items.items()}
    if problem := _growth_problem(benchmark, steps, controls):
        return undecided(claim, problem, len(steps))
    growth = training.growth(baseline, treated)
    over_randoms = {
        random: training.growth_over(treated, control, steps[0], steps[-1]) for random, control in controls.items()
    }
    control, contrast = weakest(over_randoms)
    is_tested = growth.trend.p_value == growth.trend.p_value  # nan with too few blocks or checkpoints
    trend = f", Page's trend p = {growth.trend.p_value:.2g}" if is_tested else ""
    detail = (
        f"its cost changes by {format_interval(growth.difference)} from step {steps[0]:,} to step {steps[-1]:,}{trend}"
        f" over {len(steps)} checkpoints; {format_interval(contrast)} over {control}, the weakest of"
        f" {len(over_randoms)} random controls"
    )
    status = judge(+1, growth.difference, contrast)
    return Draft(claim, status, detail, growth.num_items, growth.difference, contrast)


def _growth_problem(benchmark: str, steps: list[int], controls: Mapping[str, Mapping[int, Items]]) -> str:
    """Why the growth of the cost cannot be judged; empty where it can."""
    if len(steps) < 2:
        return f"no {benchmark} items at two checkpoints"
    if not controls:
        return "no random control"
    unscored = {
        random: absent[0]
        for random, control in controls.items()
        if (absent := [step for step in (steps[0], steps[-1]) if step not in control])
    }
    if not unscored:
        return ""
    random, step = unscored.popitem()
    return f"no {benchmark} items of {random} at step {step:,}"


def _on(benchmark: str, items: Mapping[int, BenchmarkItems]) -> dict[int, Items]:
    """{training step: items} of one benchmark, where there are any."""
    return {step: by_benchmark[benchmark] for step, by_benchmark in items.items() if benchmark in by_benchmark}


def _too_few(steps: list[int]) -> str:
    return "" if len(steps) >= 2 else "fewer than two checkpoints were profiled"
