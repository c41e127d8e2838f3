"""The mean accuracy of a condition's multiple-choice benchmarks, on the run of every condition."""

import numpy as np

from orchestrator.planning.conditions import NOISE_FLOOR
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.record import Record
from orchestrator.review.findings import broken_runs
from orchestrator.steps.step import review_id
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.lm_eval import TaskBenchmark


def record_mean_accuracies(plan: Plan, outcome: Outcome, record: Record) -> None:
    """`multiple_choice/mean_accuracy` on the run of every condition that has finished two or more such benchmarks."""
    tasks = {b.name: b.choices for b in plan.study.benchmarks if isinstance(b, ChoiceBenchmark | TaskBenchmark)}
    tasks = {name: of_benchmark for name, of_benchmark in tasks.items() if of_benchmark}
    if sum(map(len, tasks.values())) < 2:
        return
    summaries: dict[str, list[str]] = {}
    for (_, condition), evaluations in plan.evaluations.items():
        ids = [evaluations[name] for name in tasks if name in evaluations]
        complete = len(ids) == len(tasks) and all(step in outcome.committed for step in ids)
        if condition != NOISE_FLOOR and complete:
            summaries[review_id("summary", {}, ids)] = ids
    known = record.intact(list(summaries))
    broken = broken_runs(plan, outcome)
    for step_id, ids in summaries.items():
        found = [outcome.committed[step].metrics for step in ids]
        accuracies = [
            metrics[f"{task}/accuracy"]
            for metrics, of_benchmark in zip(found, tasks.values(), strict=True)
            for task in of_benchmark
            if f"{task}/accuracy" in metrics
        ]
        if not accuracies:
            continue
        metrics = {"multiple_choice/mean_accuracy": float(np.mean(accuracies))}
        for key in plan.runs[ids[0]]:
            if step_id in known:
                record.adopt(key, known[step_id])
            else:
                record.commit(key, step_id, "summary", metrics=metrics, frames={}, documents={"summary.json": metrics})
            record.finish(key, "FAILED" if key.name in broken else "FINISHED")
