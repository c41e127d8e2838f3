"""The mean accuracy of a condition's multiple-choice benchmarks, on the run of every condition."""

import numpy as np

from orchestrator.planning.conditions import NOISE_FLOOR
from orchestrator.review.findings import Findings
from orchestrator.review.recorded import ReviewStep, adopt_or_make, broken_runs
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import review_id

METRIC, SUMMARY = "multiple_choice/mean_accuracy", "summary.json"


def record_mean_accuracies(findings: Findings) -> None:
    """Record `multiple_choice/mean_accuracy` for every condition that has finished all of two or more such tasks."""
    plan, outcome = findings.plan, findings.outcome
    tasks = {benchmark.name: benchmark.choices for benchmark in plan.study.benchmarks if benchmark.choices}
    if sum(map(len, tasks.values())) < 2:
        return
    means: dict[str, float] = {}
    steps: list[ReviewStep] = []
    for (_, condition), evaluations in plan.evaluations.items():
        ids = [evaluations[name] for name in tasks if name in evaluations]
        complete = len(ids) == len(tasks) and all(step in outcome.committed for step in ids)
        if condition == NOISE_FLOOR or not complete:
            continue
        accuracies = [
            metrics[f"{task}/accuracy"]
            for metrics, of_benchmark in zip(
                (outcome.committed[id_].metrics for id_ in ids), tasks.values(), strict=True
            )
            for task in of_benchmark
            if f"{task}/accuracy" in metrics
        ]
        if accuracies:
            step = ReviewStep(review_id("summary", {}, ids, outcome.committed), "summary", plan.runs[ids[0]])
            means[step.id] = float(np.mean(accuracies))
            steps.append(step)

    def make(step: ReviewStep) -> StepResult:
        metrics = {METRIC: means[step.id]}
        return StepResult(metrics, {}, {SUMMARY: metrics})

    adopt_or_make(findings, steps, make, summary=SUMMARY, broken=broken_runs(plan, outcome))
