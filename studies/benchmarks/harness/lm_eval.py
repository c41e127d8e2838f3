"""lm-evaluation-harness's tasks as one benchmark, with our model behind `lm_eval.api.model.LM`.

The tasks' own definitions make prompts, choices and metrics, and the harness's own evaluator runs them: once with an LM
that only collects requests, then for every condition with an LM that answers from what an actor computed. All requests
of a benchmark's tasks are one set of texts, so they share one token forest. Owns, with `sandbox` and `task_sources`
beside it, all contact with `lm_eval` (the extra `harness`), which is imported inside functions: it brings torch and
Transformers with it.
"""

import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from annotated_types import Ge, Le, MinLen

from studies.benchmarks.annotation import Annotation
from studies.benchmarks.harness.samples import Sample, first_filter, gold, metric_value, readable, require_gradable
from studies.benchmarks.harness.sandbox import harness_context
from studies.benchmarks.harness.task_sources import forget_modules, grading_code, has_own_results
from studies.benchmarks.hub import about_to_ask
from studies.benchmarks.measures import TASKS, Measure
from studies.benchmarks.options import Count, Name, StudySettings, Text
from studies.benchmarks.protocol import NOISE_FLOOR_NODES
from studies.benchmarks.rows import evenly
from studies.benchmarks.texts import Continuations, TextItems
from studies.errors import StudyError, did_you_mean, first_line

METRICS = {"acc": "accuracy", "acc_norm": "accuracy_norm"}
"""{the harness's name of a metric: ours}; every other metric keeps its name."""

OUTPUT_TYPES = ("multiple_choice", "loglikelihood")
"""Types of task that need only log-probabilities of given text."""

FEWSHOT_SEED = 1234
"""The harness's own default."""

Definition = Any
"""A task of the harness, which has no types: `lm_eval.api.task.Task`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalOptions:
    """Tasks of lm-evaluation-harness, as one benchmark."""

    tasks: Annotated[tuple[Text, ...], MinLen(1)]
    """Names of tasks, as `lm_eval` knows them."""
    items: Count | None = None
    """Items of each task; without it, all."""
    fewshot: Annotated[int, Ge(0), Le(100)] | None = None
    """Examples in front of each item; without it, as the task says."""
    include: Text | None = None
    """A folder with task definitions of your own; they and the folder's Python enter the identity of the results."""
    trust_remote_code: bool = False
    """Whether those definitions may run Python: `!function`, templates without a sandbox, downloaded metrics; needs
    `--trust-study`."""
    syntactic: bool = False
    """Whether the tasks test grammar, as BLiMP does: decides on which side of the claims they count."""
    name: Name = "lm_eval"
    """The name of its metrics and files; two of them need two names."""
    measure: ClassVar[Measure] = TASKS

    def load(self, name: str, study: StudySettings) -> "TaskBenchmark":
        return task_benchmark(
            name,
            self.tasks,
            items=self.items,
            fewshot=self.fewshot,
            include=study.path(self.include) if self.include else None,
            syntactic=self.syntactic,
            trust_remote_code=self.trust_remote_code,
        )


class Question(NamedTuple):
    """One document of a task."""

    task: str
    document: int
    """Its number in the task's evaluation split."""
    requests: tuple[int, ...]
    """Indices of its requests among the benchmark's texts."""
    gold: int | None = None
    """The number of the right choice; None where the task has no single one."""


class Answers(NamedTuple):
    """A model's answers to all requests of a benchmark."""

    sums: np.ndarray
    """[num_requests] log-probabilities of the continuations, nats."""
    greedy: np.ndarray
    """[num_requests] bool: whether greedy decoding produces the continuation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBenchmark:
    """Tasks of the harness as one benchmark. Members as in `Benchmark`."""

    name: str
    label: str
    tasks: tuple[str, ...]
    choices: tuple[str, ...]
    """The multiple-choice tasks; none where the tasks test grammar."""
    is_syntactic: bool
    contexts: tuple[str, ...]
    """[num_requests] contexts."""
    continuations: tuple[str, ...]
    """[num_requests] continuations."""
    questions: tuple[Question, ...]
    margins: bool
    """Whether a task asks if greedy decoding produces the continuation."""
    digest: str
    """sha256 of the requests and targets, of the tasks' versions and metrics, and of what else grades the answers."""
    evaluate: Callable[[Answers], Mapping[str, list[Sample]]] = field(repr=False)
    """The harness's evaluator: a model's answers -> {task: a sample for each document}."""
    aggregations: Mapping[str, Mapping[str, Callable[[list[Any]], Any]]] = field(repr=False)
    """{task: {metric: how the harness aggregates the documents' values}}."""
    identity_params: ClassVar[Mapping[str, int | str | None]] = {}
    measure: ClassVar[Measure] = TASKS
    scoring_version: ClassVar[int] = 1
    noise_floor_nodes: ClassVar[int] = NOISE_FLOOR_NODES
    annotation: ClassVar[Annotation | None] = None

    @property
    def headlines(self) -> tuple[str, ...]:
        """One metric per task; a task may lack it."""
        return tuple(f"{task}/accuracy" for task in self.tasks)

    @property
    def metric_prefixes(self) -> tuple[str, ...]:
        return self.tasks

    @property
    def request(self) -> Continuations:
        of_texts = [0] * len(self.contexts)
        for i, question in enumerate(self.questions):
            for text in question.requests:
                of_texts[text] = i
        places = tuple(f"{question.task}, document {question.document}" for question in self.questions)
        items = TextItems(of_texts=tuple(of_texts), places=places)
        return Continuations(
            contexts=self.contexts, continuations=self.continuations, margins=self.margins, items=items
        )

    @property
    def estimated_tokens(self) -> float:
        return self.request.estimated_tokens

    @property
    def item_texts(self) -> pd.DataFrame | None:
        """gold is missing where a task has no single right choice."""
        rows = []
        for question in self.questions:
            requests = [(self.contexts[i], self.continuations[i]) for i in question.requests]
            rows.append((question.task, question.document, *readable(requests), question.gold))
        texts = pd.DataFrame(rows, columns=["uid", "pair", "context", "choices", "gold"])
        return texts.astype({"gold": "Int64"})

    def results(
        self,
        sums: np.ndarray,
        counts: np.ndarray,  # noqa: ARG002
        margins: np.ndarray | None = None,
        tokens: Mapping[str, np.ndarray] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Columns uid (the task), pair (the document), logprobs (nats, one per request), predicted and correct.

        The harness's own metrics of the document follow, under its names. correct is `acc` where the task has it and it
        is 0 or 1; else whether the likeliest choice is a target or, for a single request, whether it is greedy.
        """
        greedy = np.zeros(len(sums), dtype=bool) if margins is None else margins == 0
        # The harness grades every document: those that are left out, whose sums are nan, with a number in their place.
        answers = Answers(np.nan_to_num(sums), greedy)
        samples = {task: iter(of_task) for task, of_task in self.evaluate(answers).items()}
        rows = []
        for question in self.questions:
            sample = next(samples[question.task])
            requests = list(question.requests)
            choices = sums[requests[: len(requests) // 2] if "acc_mutual_info" in sample["metrics"] else requests]
            predicted = int(np.argmax(choices))
            correct = sample.get("acc")
            if correct not in (0, 1):
                single = len(choices) == 1
                correct = greedy[requests[0]] if single else predicted in np.atleast_1d(sample["target"])
            row = {"uid": question.task, "pair": question.document, "logprobs": sums[requests].tolist()}
            row |= {"predicted": predicted, "correct": float(correct)}
            rows.append(row | {metric: metric_value(sample[metric]) for metric in sample["metrics"]})
        return pd.DataFrame(rows)

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`<task>/accuracy`, `<task>/accuracy_norm`, `<task>/<metric>`, aggregated as the harness does."""
        metrics = {}
        for task, of_task in items.groupby("uid", sort=False):
            for metric, aggregate in self.aggregations[task].items():
                values = of_task[metric].dropna().tolist() if metric in of_task else []
                if values:
                    name = re.sub(r"[^\w. -]", "_", METRICS.get(metric, metric))
                    metrics[f"{task}/{name}"] = float(aggregate(values))
        return metrics


def task_benchmark(
    name: str,
    tasks: Sequence[str],
    *,
    items: int | None,
    fewshot: int | None,
    include: Path | None,
    syntactic: bool = False,
    trust_remote_code: bool = False,
) -> TaskBenchmark:
    """Load tasks by the names that the harness knows, or that a folder of its YAML definitions (`include`) gives.

    items: keep this many documents of each task, evenly spaced; None = all. fewshot: examples in the prompt; None = the
    task's own number. trust_remote_code: whether code other than the harness's own may run. Raises StudyError for a
    missing extra, unknown tasks, tasks without log-likelihoods, untrusted code, and data that cannot be loaded.
    """
    about_to_ask()
    sandboxed = functools.partial(harness_context, trust_remote_code)
    definitions, code = _load(tasks, include, sandboxed)
    for task, definition in definitions.items():
        if definition.OUTPUT_TYPE not in OUTPUT_TYPES:
            raise StudyError(
                f"lm-eval's task {task} asks for {definition.OUTPUT_TYPE}, which has no log-likelihoods of given text; "
                f"allowed: tasks of {' and '.join(OUTPUT_TYPES)}"
            )
        definition.set_fewshot_seed(FEWSHOT_SEED)
        if fewshot is not None or definition.get_config("num_fewshot") is None:
            definition.set_config(key="num_fewshot", value=fewshot or 0)
    try:
        with sandboxed():
            available = {task: len(definition.eval_docs) for task, definition in definitions.items()}
        documents = {task: _documents(available[task], items, task) for task in definitions}
        harness = _Harness(definitions, documents, items is not None, sandboxed)
        return _benchmark(name, harness, code, syntactic=syntactic)
    except StudyError:
        raise
    except Exception as error:  # tasks run code of their own on every document
        raise StudyError(f"lm-eval's tasks {', '.join(definitions)} cannot be run: {first_line(error)}") from error


def _load(
    tasks: Sequence[str], include: Path | None, sandboxed: Callable[[], AbstractContextManager[None]]
) -> tuple[dict[str, Definition], dict[str, Any]]:
    """{task: its definition}, and what of their code enters the digest; a group's name loads all its tasks."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise StudyError("lm_eval needs the extra: pip install 'halfwave[harness]'") from None
    if include is not None and not include.is_dir():
        raise StudyError(f"include: there is no folder {include}")
    if include is not None:
        forget_modules(include)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with sandboxed():
        manager = TaskManager(include_path=include)
    for task in tasks:
        if task not in manager.all_tasks:
            near = did_you_mean(task, manager.all_tasks, listed="`lm-eval ls tasks`")
            raise StudyError(f"lm-eval has no task {task!r}{near}")
    loaded: dict[str, Definition] = {}
    names = set(tasks)
    for task in tasks:
        try:
            with sandboxed():
                found = manager.load([task])
            loaded |= found["tasks"]
            names |= {*found["tasks"], *found["groups"]}
        except StudyError as error:
            raise StudyError(f"lm-eval's task {task}: {error}") from None
        except Exception as error:  # data sets come over many transports, each with errors of its own
            raise StudyError(f"lm-eval's task {task} cannot be loaded: {first_line(error)}") from error
    entries = (manager.task_index.get(name) for name in sorted(names))
    yaml_files = {entry.name: entry.yaml_path for entry in entries if entry and entry.yaml_path}
    return loaded, grading_code(loaded, yaml_files, include)


class _Harness(NamedTuple):
    """The harness's evaluator over loaded tasks."""

    definitions: Mapping[str, Definition]
    documents: Mapping[str, list[int]]
    """{task: numbers of its documents}."""
    is_partial: bool
    """Whether documents were left out."""
    sandboxed: Callable[[], AbstractContextManager[None]]

    def evaluate(self, answers: Answers | None, instances: list[Any]) -> dict[str, list[Sample]]:
        """{task: a sample for each document}; `instances` collects the requests, in the order of the answers."""
        from lm_eval.evaluator import evaluate

        lm, chosen = _lm(answers, instances), dict(self.documents) if self.is_partial else None
        with self.sandboxed():
            evaluated = evaluate(lm, {"tasks": dict(self.definitions)}, samples=chosen, bootstrap_iters=0)
        # One filter's samples for each document: the filters of log-likelihood tasks do not change the answers.
        return {task: first_filter(evaluated["samples"][task]) for task in self.definitions}


def _benchmark(name: str, harness: _Harness, code: Mapping[str, Any], *, syntactic: bool) -> TaskBenchmark:
    definitions = harness.definitions
    instances: list[Any] = []
    samples = harness.evaluate(None, instances)
    require_gradable(samples)
    requests: dict[tuple[str, int], list[int]] = {}
    for index, instance in enumerate(instances):
        requests.setdefault((instance.task_name, instance.doc_id), []).append(index)
    questions = tuple(
        Question(task, document, tuple(requests[task, i]), gold(samples[task][i]["target"], len(requests[task, i])))
        for task, chosen in harness.documents.items()
        for i, document in enumerate(chosen)
    )
    texts = [_split(*instance.args) for instance in instances]
    hashed = {
        "requests": texts,
        "documents": [
            [(sample["doc_hash"], sample["target_hash"]) for sample in samples[task]] for task in definitions
        ],
        "versions": {task: str(definition.VERSION) for task, definition in definitions.items()},
        "metrics": {task: sorted(definition.aggregation()) for task, definition in definitions.items()},
        **code,
    }
    multiple_choice = tuple(t for t, definition in definitions.items() if definition.OUTPUT_TYPE == "multiple_choice")
    return TaskBenchmark(
        name=name,
        label=", ".join(definitions) if len(definitions) < 4 else f"{len(definitions)} tasks of lm-eval",
        tasks=tuple(definitions),
        choices=() if syntactic else multiple_choice,
        is_syntactic=syntactic,
        contexts=tuple(context for context, _ in texts),
        continuations=tuple(continuation for _, continuation in texts),
        questions=questions,
        margins=any(map(_needs_greedy, definitions.values())),
        digest=hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest(),
        evaluate=lambda answers: harness.evaluate(answers, []),
        aggregations={task: definition.aggregation() for task, definition in definitions.items()},
    )


def _lm(answers: Answers | None, instances: list[Any]) -> Any:
    """An `LM` of the harness that stands for our model; without answers it only collects requests in `instances`."""
    from lm_eval.api.model import LM

    class Model(LM):
        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            first = len(instances)
            instances.extend(requests)
            if answers is None:
                return [(0.0, False)] * len(requests)
            rows = slice(first, len(instances))
            return list(zip(answers.sums[rows].tolist(), answers.greedy[rows].tolist(), strict=True))

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: list[Any]) -> list[str]:
            raise NotImplementedError

    return Model()


def _needs_greedy(definition: Definition) -> bool:
    """Whether a task may use the answer `is_greedy`."""
    return (
        definition.OUTPUT_TYPE == "loglikelihood"
        or "exact_match" in definition.aggregation()
        or has_own_results(definition)
    )


def _split(context: str, continuation: str) -> tuple[str, str]:
    """White space at the end of a context belongs to the continuation, as in the harness's own models."""
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation


def _documents(available: int, wanted: int | None, task: str) -> list[int]:
    if wanted is not None and wanted > available:
        raise StudyError(f"lm-eval's task {task} holds {available} items; {wanted} were asked for")
    return evenly(available, wanted or available)
