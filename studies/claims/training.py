"""The paper's claims on a training run: what each says, and how a series of checkpoints decides it.

The rules are the scorecard's: no claim is left out, and a verdict says what it rests on. A series is one training run:
intervals are over layers, checkpoints or items of this run, and do not say how another training would go.

Neurons that are selected at a checkpoint have there, by the selection alone, a score above what they have elsewhere
(regression to the mean). `wd_rises` therefore follows two cohorts, and is contradicted only where the one that the
selection favours falls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from studies.claims.scorecard import (
    Claim,
    ClaimSet,
    Draft,
    Margins,
    Part,
    Status,
    Unit,
    Verdict,
    format_interval,
    judged,
    not_applicable,
    undecided,
    undecided_after_all,
    verdicts,
)
from studies.neurons.selection import NeuronSet, rows_of, top_like
from studies.statistics import cohorts, training
from studies.statistics.cohorts import OverOthers
from studies.statistics.effects import Direction, effect
from studies.statistics.items import BenchmarkItems, Items, item_changes
from studies.statistics.random_controls import over_randoms

WD, ROW = "wasserstein_distance", "pre_activation"
"""Columns of the neuron table and of the weight table: the distance, and the row of the gate or up projection."""
NO_COHORT = "no condition that applies to the model selects top neurons"
ONE_LAYER = "the neurons of one layer are trained together; at least two layers are needed"
MIN_CHECKPOINTS = 20
"""Fewest checkpoints over which a correlation can decide a claim."""


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
    score: str = WD
    """The column of the neuron table by which they were chosen."""
    selected_at: int
    """The step of the checkpoint at which they were chosen."""
    baseline: Mapping[int, BenchmarkItems]
    treated: Mapping[int, BenchmarkItems]
    """Negative clamp of the cohort."""
    random_items: Mapping[str, Mapping[int, BenchmarkItems]]
    """Negative clamp of as many random neurons, by condition name, one per seed."""
    perplexity: str
    """Name of the perplexity benchmark; a study without one has no items of this name."""
    syntactic: tuple[str, ...]
    """Names of graded benchmarks."""
    margins: Margins = field(default_factory=Margins)
    """Changes of a cost that are too small to matter."""


_CLAIMS = {
    "wd_rises": Claim(
        "The Wasserstein distance of the neurons that are top at the last checkpoint, and of those that are top at the"
        " first trained one, rises up to the last, and more than that of the other neurons of their layers.",
        "WD of the cohort rises fast within the first 25k steps of Pythia's training.",
        Unit.NUMBER,
    ),
    "weights_settle": Claim(
        "The cohort's weights turn less in a late stretch of training than in an early one of the same length, and slow"
        " down more than those of the other neurons of its layers.",
        "After the first 25k steps the neurons' weights settle.",
        Unit.NUMBER,
    ),
    "wd_tracks_syntax": Claim(
        "From checkpoint to checkpoint the cohort's median Wasserstein distance, and its lead over the other neurons,"
        " change together with accuracy on {benchmark}.",
        "WD tracks TSE accuracy over training.",
        Unit.NUMBER,
    ),
    "ablation_grows": Claim(
        "The cohort's negative clamp costs more on {benchmark} at the last checkpoint than at the first, also over the"
        " mean of as many random neurons.",
        "The same cohort's ablation grows more harmful over training.",
        Unit.OF_BENCHMARK,
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
    """Two cohorts of as many neurons a layer, by the same score: at the last checkpoint, and at the first trained one.

    Noise around a fixed level lifts the late one from first to last and lowers the early one from there on, so both
    must rise. The early checkpoint is the first with a step above 0: before training a ranking by score is chance.
    """
    claim, steps, cohort = "wd_rises", sorted(evidence.neurons), evidence.cohort
    if cohort is None:
        return undecided(claim, NO_COHORT, len(steps))
    trained = [step for step in steps[:-1] if step > 0]
    if problem := _rise_problem(evidence, cohort, steps, trained):
        return undecided(claim, problem, len(steps))
    first, early, last = steps[0], trained[0], steps[-1]
    tops = {step: _top_at(evidence, cohort, step) for step in (early, last)}
    after = evidence.neurons[last]
    late_rise, early_rise = (
        cohorts.rise(evidence.neurons[start], after, tops[chosen_at], WD)
        for start, chosen_at in ((first, last), (early, early))
    )
    favoured = _parts("the rise of the neurons that are top at the end", late_rise)
    parts = [*favoured, *_parts(f"the rise of the neurons that are top at step {early:,}", early_rise)]
    detail = (
        f"mean WD of the {cohort.count:,} neurons that are top at step {last:,}: {_over(late_rise)} from step"
        f" {first:,}, half of it by step {_half_risen(evidence, tops[last], steps):,}; of those that are top at step"
        f" {early:,}: {_over(early_rise)} from there; t intervals over {len(cohort.indices)} layers"
    )
    draft = judged(claim, parts, margin=None, detail=detail, num_items=cohort.count)
    reason = "the early cohort falls back, as any selection of extremes does"
    return _unless_refuted(draft, parts, any(part.is_refuted for part in favoured), reason)


def _rise_problem(evidence: TrainingEvidence, cohort: NeuronSet, steps: list[int], trained: list[int]) -> str:
    """Why the rise cannot be judged; empty where it can."""
    if len(steps) < 2:
        return "fewer than two checkpoints were profiled"
    if not trained:
        return "no trained checkpoint before the last was profiled, at which an early cohort could be chosen"
    if len(cohort.indices) < 2:
        return ONE_LAYER
    broken = [step for step in (trained[0], steps[-1]) if not np.isfinite(evidence.neurons[step][evidence.score]).all()]
    return f"{evidence.score} is not finite for every neuron at step {broken[0]:,}" if broken else ""


def _top_at(evidence: TrainingEvidence, cohort: NeuronSet, step: int) -> NeuronSet:
    """As many neurons a layer as the cohort has, with the highest score at one checkpoint."""
    counts = {layer: len(chosen) for layer, chosen in cohort.indices.items()}
    return top_like(evidence.neurons[step], score=evidence.score, counts=counts)


def _half_risen(evidence: TrainingEvidence, cohort: NeuronSet, steps: list[int]) -> int:
    """The first step at which the cohort's mean WD has covered half of its way from first to last."""
    tables = {step: evidence.neurons[step] for step in steps}
    means = {step: table[WD][cohorts.is_member(table, cohort)].mean() for step, table in tables.items()}
    last = means[steps[-1]]
    half = (means[steps[0]] + last) / 2
    return next(step for step in steps if (means[step] - half) * (last - half) >= 0)


def _weights_settle(evidence: TrainingEvidence) -> Draft:
    """log(early / late) of the cosine dissimilarity d over two stretches of the same length, and its lead.

    d(g) between checkpoints g steps apart does not grow with g for noise around a fixed point, grows as g for diffusion
    and as g^2 for a steady drift. d / g therefore falls by itself where checkpoints get sparser, while at equal g
    log(d_early / d_late) has mean 0 under each of them. Where the late stretch is longer (by at most a tenth), that
    works against the claim in the cohort itself, and what it could add to the lead, 2 log(g_late / g_early), is taken
    off. A learning rate that decays slows all neurons by the same factor and makes no lead.
    """
    claim, before, cohort = "weights_settle", evidence.before, evidence.cohort
    num_checkpoints = len(before) + 1
    if cohort is None:
        return undecided(claim, NO_COHORT, num_checkpoints)
    if problem := _settling_problem(evidence, cohort):
        return undecided(claim, problem, num_checkpoints)
    pair = cohorts.comparable_stretches(before, evidence.weights)
    if pair is None:
        return undecided(claim, _nothing_comparable(evidence), num_checkpoints)
    early, late = pair.early, pair.late
    settling = cohorts.settling(evidence.weights[early.end], evidence.weights[late.end], cohort, ROW)
    if not np.isfinite([settling.own.value, settling.lead.value]).all():
        return undecided(claim, f"a layer's weights did not move between {early} or {late}", num_checkpoints)
    lead = settling.lead.plus(-pair.slack)
    parts = _parts("log(early / late) of the dissimilarity", OverOthers(settling.own, lead))
    longer = f", {pair.slack:.2f} taken off as the late stretch is longer" if pair.slack else ""
    detail = (
        f"log(early / late) of the cosine dissimilarity {format_interval(settling.own.interval())}, a factor of"
        f" {np.exp(settling.own.value):.2f}, between {early} against {late}; {format_interval(lead.interval())} more"
        f" than of the other neurons of the layers{longer}; t intervals over {len(cohort.indices)} layers"
    )
    draft = judged(claim, parts, margin=None, detail=detail, num_items=cohort.count)
    is_refuted = any(part.is_beyond(-1, -pair.slack) for part in settling)
    return _unless_refuted(draft, parts, is_refuted, "the late stretch is longer, which alone could make that")


def _settling_problem(evidence: TrainingEvidence, cohort: NeuronSet) -> str:
    """Why no two stretches can be compared, whatever their lengths; empty where they can."""
    if len(evidence.before) < 2:
        return "at least three checkpoints are needed"
    if not evidence.weights:
        return "no weights compared"
    return ONE_LAYER if len(cohort.indices) < 2 else ""


def _nothing_comparable(evidence: TrainingEvidence) -> str:
    """Why the study has no two comparable stretches, and which checkpoint would make them."""
    before = evidence.before
    if cohorts.comparable_stretches(before, before):
        missing = next(step for step in before if step not in evidence.weights)
        return f"no weights compared at step {missing:,}"
    found = "no stretch of the second half of training is as long as one of the first half"
    last = max(before)
    lengths = [end - start for end, start in before.items() if end <= (min(before.values()) + last) / 2]
    fitting = [length for length in lengths if length < last - before[last]]
    return f"{found}; add a checkpoint at step {last - max(fitting):,}" if fitting else found


def _wd_tracks_syntax(evidence: TrainingEvidence, claim: str, benchmark: str) -> Draft:
    """`benchmark` is empty where the study has no syntactic benchmark."""
    steps, cohort = _profiled(evidence, benchmark), evidence.cohort
    if not benchmark:
        return undecided(claim, "no syntactic benchmark", len(steps))
    if cohort is None:
        return undecided(claim, NO_COHORT, len(steps))
    if len(steps) < MIN_CHECKPOINTS:
        levels = wd_correlation(evidence, benchmark, cohort)
        scatter = (
            f"; their scatter: Pearson {levels.pearson.estimate:+.2f}, Spearman {levels.spearman:+.2f} of the levels,"
            " which any two quantities have that rise over training"
            if np.isfinite(levels.spearman)
            else ""
        )
        return undecided(claim, f"fewer than {MIN_CHECKPOINTS} checkpoints{scatter}", len(steps))
    accuracy = [float(evidence.baseline[step][benchmark].values.mean()) for step in steps]
    medians = [cohorts.medians(evidence.neurons[step], cohort, WD) for step in steps]
    own = cohorts.tracking([median for median, _ in medians], accuracy)
    lead = cohorts.tracking([median - others for median, others in medians], accuracy)
    if not np.isfinite([own.value, lead.value]).all():
        return undecided(claim, "WD, its lead or accuracy does not vary beside its trend", len(steps))
    parts = _parts("Fisher's z of the correlation with median WD", OverOthers(own, lead))
    correlations = [cohorts.as_correlation(part.interval()) for part in (own, lead)]
    detail = (
        f"partial correlation of first differences, given their trend, {format_interval(correlations[0], '.2f')} with"
        f" accuracy ({own.notes[0]}), {format_interval(correlations[1], '.2f')} of the cohort's lead over the other"
        f" neurons ({lead.notes[0]}), over {len(steps)} checkpoints of one training"
    )
    draft = judged(claim, parts, margin=None, detail=detail, num_items=len(steps))
    return draft._replace(effect=correlations[0], contrast=correlations[1])


def wd_and_accuracy(evidence: TrainingEvidence, benchmark: str, neurons: NeuronSet) -> list[tuple[int, float, float]]:
    """(training step, these neurons' median WD, the baseline's accuracy) of every checkpoint that has both."""
    tables = {step: evidence.neurons[step] for step in _profiled(evidence, benchmark)}
    medians = {step: float(rows_of(table, neurons)[WD].median()) for step, table in tables.items()}
    accuracy = {step: float(evidence.baseline[step][benchmark].values.mean()) for step in tables}
    return [(step, medians[step], accuracy[step]) for step in tables]


def wd_correlation(evidence: TrainingEvidence, benchmark: str, neurons: NeuronSet) -> training.Correlation:
    """Correlation, over checkpoints, of these neurons' median WD with the baseline's accuracy: a description."""
    points = wd_and_accuracy(evidence, benchmark, neurons)
    return training.correlation([wd for _, wd, _ in points], [accuracy for _, _, accuracy in points])


def _profiled(evidence: TrainingEvidence, benchmark: str) -> list[int]:
    """The checkpoints that have both a neuron table and the baseline on a benchmark."""
    return [step for step in sorted(evidence.neurons) if benchmark in evidence.baseline.get(step, {})]


def _ablation_grows_on(evidence: TrainingEvidence, benchmarks: Mapping[str, str]) -> list[Draft]:
    """benchmarks: {claim: benchmark}."""
    return [_ablation_grows(evidence, claim, benchmark) for claim, benchmark in benchmarks.items()]


def _ablation_grows(evidence: TrainingEvidence, claim: str, benchmark: str) -> Draft:
    """The change, from first to last checkpoint and item by item, of what the clamp makes worse."""
    baseline, treated = (_on(benchmark, items) for items in (evidence.baseline, evidence.treated))
    steps = sorted(set(baseline) & set(treated))
    controls = {random: _on(benchmark, items) for random, items in evidence.random_items.items()}
    if problem := _growth_problem(benchmark, steps, controls):
        return undecided(claim, problem, len(steps))
    first, last = steps[0], steps[-1]

    def changes(items: Mapping[int, Items]) -> Items:
        return item_changes(items[last], items[first])

    measure, changed = baseline[first].measure, changes(treated)
    harm: Direction = -1 if measure.higher_is_better else 1
    growth = effect(changed, changes(baseline)).times(harm)
    over = over_randoms(changed, {random: changes(control) for random, control in controls.items()})
    lead = over.effect.times(harm)
    parts = [
        Part("the growth of the cost", growth, +1),
        Part("that over random neurons", lead, +1, is_contrast=True, rank_p_value=over.rank_p_value(harm)),
    ]
    favoured = ", which alone favours a higher cost there" if evidence.selected_at == last else ""
    detail = (
        f"its cost grows by {format_interval(growth.interval())} from step {first:,} to step {last:,}, by"
        f" {format_interval(lead.interval())} more than that of random neurons ({lead.basis}); selected at step"
        f" {evidence.selected_at:,}{favoured}"
    )
    notes = dict.fromkeys((*growth.notes, *lead.notes))
    margin = evidence.margins.of(measure)
    return judged(claim, parts, margin=margin, detail="; ".join([detail, *notes]), num_items=len(changed))


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


def _parts(label: str, found: OverOthers) -> list[Part]:
    """An effect on the cohort and its lead over other neurons, both said to be above 0."""
    return [Part(label, found.own, +1), Part(f"{label}, over other neurons", found.lead, +1, is_contrast=True)]


def _over(found: OverOthers) -> str:
    return f"{format_interval(found.own.interval())}, {format_interval(found.lead.interval())} over other neurons"


def _unless_refuted(draft: Draft, parts: Sequence[Part], is_refuted: bool, reason: str) -> Draft:
    """A contradicted claim as undecided where what contradicts it is only what the design makes by itself."""
    if draft.status is not Status.CONTRADICTED or is_refuted:
        return draft
    return undecided_after_all(draft, parts, reason)
