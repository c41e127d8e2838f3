"""What the harness's samples become. The harness itself is in `tests/integration/test_harness.py`."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from studies.benchmarks.harness.lm_eval import Answers, Question, Sample, TaskBenchmark, task_benchmark
from tests.unit.studies.benchmarks.files import study_error

QUESTIONS = (
    Question("pick", 0, (0, 1)),
    Question("pick", 4, (2, 3)),
    Question("cloze", 0, (4,)),
    Question("cloze", 1, (5,)),
    Question("mutual", 0, (6, 7, 8, 9)),
)
SUMS = np.array([-1.0, -2.0, -4.0, -3.0, -5.0, -6.0, -2.0, -1.0, 0.0, -9.0])
MARGINS = np.array([0.0, -1.0, -1.0, 0.0, 0.0, -2.0, -1.0, -1.0, -1.0, -1.0])


class Evaluator:
    """Stands for the harness: samples that do not depend on the answers, which it keeps."""

    def __init__(self, samples: Mapping[str, list[Sample]]) -> None:
        self.samples = samples
        self.answers: list[Answers] = []

    def __call__(self, answers: Answers) -> Mapping[str, list[Sample]]:
        self.answers.append(answers)
        return self.samples


def sample(target: Any, **metrics: Any) -> Sample:
    return {"target": target, "metrics": list(metrics), **metrics}


def task_benchmark_of(evaluator: Evaluator) -> TaskBenchmark:
    mean = {"acc": np.mean, "exact match, 0-1": np.mean, "never seen": np.mean}
    return TaskBenchmark(
        name="lm_eval",
        label="three tasks",
        tasks=("pick", "cloze", "mutual"),
        choices=("pick",),
        is_syntactic=False,
        contexts=("c",) * len(SUMS),
        continuations=(" d",) * len(SUMS),
        questions=QUESTIONS,
        margins=True,
        digest="d",
        evaluate=evaluator,
        aggregations={"pick": mean, "cloze": mean, "mutual": mean},
    )


SAMPLES = {
    "pick": [sample(0, acc=1.0), sample([0, 1], acc=0.5)],
    "cloze": [sample(" d", **{"exact match, 0-1": True}), sample(" d", **{"exact match, 0-1": np.float64(0)})],
    "mutual": [sample(1, acc_mutual_info=0.0, f1=(1, 0))],
}


def test_samples_become_one_row_a_question() -> None:
    evaluator = Evaluator(SAMPLES)
    items = task_benchmark_of(evaluator).results(SUMS, np.ones(len(SUMS)), MARGINS)
    assert items["uid"].tolist() == ["pick", "pick", "cloze", "cloze", "mutual"]
    assert items["pair"].tolist() == [0, 4, 0, 1, 0]
    assert items["logprobs"].tolist() == [[-1, -2], [-4, -3], [-5], [-6], [-2, -1, 0, -9]]
    assert items["predicted"].tolist() == [0, 1, 0, 0, 1], "the second half of the mutual requests has no context"
    # `acc`; the likeliest choice among several targets; greedy or not, of one request; the likeliest choice.
    assert items["correct"].tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]
    assert items["acc"].dropna().tolist() == [1.0, 0.5] and items["f1"].dropna().tolist() == [[1.0, 0.0]]
    (answers,) = evaluator.answers
    assert answers.sums.tolist() == SUMS.tolist() and answers.greedy.tolist() == (MARGINS == 0).tolist()


def test_without_margins_nothing_is_greedy() -> None:
    evaluator = Evaluator(SAMPLES)
    items = task_benchmark_of(evaluator).results(SUMS, np.ones(len(SUMS)))
    assert not evaluator.answers[0].greedy.any() and items["correct"].tolist() == [1.0, 1.0, 0.0, 0.0, 1.0]


def test_metrics_are_aggregated_by_task_under_names_that_mlflow_allows() -> None:
    benchmark = task_benchmark_of(Evaluator(SAMPLES))
    metrics = benchmark.metrics(benchmark.results(SUMS, np.ones(len(SUMS)), MARGINS))
    assert metrics == {"pick/accuracy": 0.75, "cloze/exact match_ 0-1": 0.5}


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    message = study_error(lambda: task_benchmark("lm_eval", ["arc_easy"], items=None, fewshot=None, include=None))
    assert message == "lm_eval needs the extra: pip install 'halfwave[harness]'"
