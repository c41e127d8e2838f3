"""lm-evaluation-harness's tasks asked of our model, which stands behind `lm_eval.api.model.LM`.

The tasks' own definitions make prompts, choices and metrics, and the harness's own evaluator runs them: once with an LM
that writes down what it is asked, then for every condition with one that answers from what an actor computed. All
requests of a benchmark's tasks are one set of texts, so they share one token forest. Owns all contact with `lm_eval`
(the extra `harness`), which is imported inside functions: it brings torch and Transformers with it.
"""

import contextlib
import functools
import hashlib
import io
import json
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from studies.benchmarks.sampling import evenly
from studies.errors import StudyError, did_you_mean

METRICS = {"acc": "accuracy", "acc_norm": "accuracy_norm"}
"""{the harness's name of a metric: ours}; every other metric keeps its name."""

ANSWERED = ("multiple_choice", "loglikelihood")
"""Kinds of tasks that log-probabilities of given text can answer."""

SEED, FEWSHOT_SEED = 0, 1234
"""The harness's own defaults; some tasks shuffle their choices when they are loaded."""


class Question(NamedTuple):
    """One document of a task."""

    task: str
    document: int
    """Its number in the task's evaluation split."""
    requests: tuple[int, ...]
    """Places of its requests among the benchmark's texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBenchmark:
    """Tasks of the harness as one benchmark, ready to be scored."""

    name: str
    label: str
    tasks: tuple[str, ...]
    choices: tuple[str, ...]
    """Those of the tasks that are multiple choice; none where they are of grammar."""
    syntactic: bool
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    questions: tuple[Question, ...]
    margins: bool
    """Whether a task asks if greedy decoding would produce the continuation."""
    digest: str
    """sha256 of the requests and targets, and of the tasks' versions and metrics."""
    answer: Callable[["Answers"], Mapping[str, list[dict[str, Any]]]] = field(repr=False)
    """The harness's evaluator: what the model answers -> {task: what became of each document}."""
    aggregations: Mapping[str, Mapping[str, Callable]] = field(repr=False)
    """{task: {metric: how the harness makes one number of the documents' values}}."""

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metrics that stand for the whole; a task need not have it."""
        return tuple(f"{task}/accuracy" for task in self.tasks)

    def results(self, sums: np.ndarray, counts: np.ndarray, margins: np.ndarray | None = None) -> pd.DataFrame:
        """Per-item results: uid (the task), pair (the document), logprobs (nats, one a request), predicted, correct.

        After these stand the harness's own metrics of the document, under its names. correct is `acc` where the task
        has it and it is 0 or 1, else whether the likeliest choice is a target, or, of a single request, whether it is
        greedy.
        """
        greedy = np.zeros(len(sums), dtype=bool) if margins is None else margins == 0
        samples = self.answer(Answers(sums, greedy))
        left = {task: iter(of_task) for task, of_task in samples.items()}
        rows = []
        for question in self.questions:
            sample = next(left[question.task])
            asked = list(question.requests)
            choices = sums[asked[: len(asked) // 2] if "acc_mutual_info" in sample["metrics"] else asked]
            predicted = int(np.argmax(choices))
            right = sample.get("acc")
            if right not in (0, 1):
                single = len(choices) == 1
                right = greedy[asked[0]] if single else predicted in np.atleast_1d(sample["target"])
            row = {"uid": question.task, "pair": question.document, "logprobs": sums[asked].tolist()}
            row |= {"predicted": predicted, "correct": float(right)}
            rows.append(row | {name: _plain(sample[name]) for name in sample["metrics"]})
        return pd.DataFrame(rows)

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`<task>/accuracy`, `<task>/accuracy_norm`, `<task>/<metric>`, aggregated as the harness does."""
        found = {}
        for task, of_task in items.groupby("uid", sort=False):
            for metric, aggregate in self.aggregations[task].items():
                values = of_task[metric].dropna().tolist() if metric in of_task else []
                if values:
                    name = re.sub(r"[^\w. -]", "_", METRICS.get(metric, metric))
                    found[f"{task}/{name}"] = float(aggregate(values))
        return found


class Answers(NamedTuple):
    """What the model says to all requests of a benchmark."""

    sums: np.ndarray
    """[num_requests] log-probabilities of the continuations, nats."""
    greedy: np.ndarray
    """[num_requests] bool."""


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
    """Load tasks by the names the harness knows, or that a folder of its YAML definitions (`include`) gives.

    items: keep so many documents of each task, evenly spaced; fewshot: examples in the prompt, None = the task's own;
    trust_remote_code: whether code may run that is not the harness's own. Raises StudyError for a missing extra,
    unknown tasks, tasks without log-likelihoods, code that is not trusted and data that cannot be had.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise StudyError("lm_eval needs the extra: pip install 'halfwave[harness]'") from None
    if include is not None and not include.is_dir():
        raise StudyError(f"include: there is no folder {include}")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    undisturbed = functools.partial(_undisturbed, trust_remote_code)
    with undisturbed():
        manager = TaskManager(include_path=include)
    for task in tasks:
        if task not in manager.all_tasks:
            near = did_you_mean(task, manager.all_tasks, listed="`lm-eval ls tasks`")
            raise StudyError(f"lm-eval has no task {task!r}{near}")
    loaded = {}
    for task in tasks:
        try:
            with undisturbed():
                loaded |= manager.load([task])["tasks"]
        except StudyError as error:
            raise StudyError(f"lm-eval's task {task}: {error}") from None
        except Exception as error:  # data sets come over many transports, each with errors of its own
            raise StudyError(f"lm-eval's task {task} cannot be loaded: {_first_line(error)}") from error
    for task, definition in loaded.items():
        if definition.OUTPUT_TYPE not in ANSWERED:
            raise StudyError(
                f"lm-eval's task {task} asks for {definition.OUTPUT_TYPE}, which has no log-likelihoods of given text; "
                f"allowed: tasks of {' and '.join(ANSWERED)}"
            )
        definition.set_fewshot_seed(FEWSHOT_SEED)
        if fewshot is not None or definition.get_config("num_fewshot") is None:
            definition.set_config(key="num_fewshot", value=fewshot or 0)
    try:
        documents = {task: _evenly(len(definition.eval_docs), items, task) for task, definition in loaded.items()}
        return _benchmark(name, loaded, documents, items is not None, syntactic, undisturbed)
    except StudyError:
        raise
    except Exception as error:  # tasks run code of their own on every document
        raise StudyError(f"lm-eval's tasks {', '.join(loaded)} cannot be asked: {_first_line(error)}") from error


def _benchmark(
    name: str,
    loaded: Mapping[str, Any],
    documents: Mapping[str, list[int]],
    some: bool,
    syntactic: bool,
    undisturbed: Callable[[], contextlib.AbstractContextManager],
) -> TaskBenchmark:
    def answer(answers: Answers | None, asked: list) -> dict[str, list[dict[str, Any]]]:
        from lm_eval.evaluator import evaluate

        lm, chosen = _lm(answers, asked), dict(documents) if some else None
        with undisturbed():
            found = evaluate(lm, {"tasks": dict(loaded)}, samples=chosen, bootstrap_iters=0)["samples"]
        # One filter's samples of each document: those of log-likelihood tasks do not change what is answered.
        return {task: _first_filter(found[task]) for task in loaded}

    asked: list = []
    samples = answer(None, asked)
    _require_gradable(samples)
    requests: dict[tuple[str, int], list[int]] = {}
    for place, instance in enumerate(asked):
        requests.setdefault((instance.task_name, instance.doc_id), []).append(place)
    questions = [
        Question(task, document, tuple(requests[task, i]))
        for task, chosen in documents.items()
        for i, document in enumerate(chosen)
    ]
    texts = [_split(*instance.args) for instance in asked]
    facts = {
        "requests": texts,
        "documents": [[(one["doc_hash"], one["target_hash"]) for one in samples[task]] for task in loaded],
        "versions": {task: str(definition.VERSION) for task, definition in loaded.items()},
        "metrics": {task: sorted(definition.aggregation()) for task, definition in loaded.items()},
    }
    return TaskBenchmark(
        name=name,
        label=", ".join(loaded) if len(loaded) < 4 else f"{len(loaded)} tasks of lm-eval",
        tasks=tuple(loaded),
        choices=tuple(task for task, one in loaded.items() if one.OUTPUT_TYPE == "multiple_choice" and not syntactic),
        syntactic=syntactic,
        contexts=tuple(context for context, _ in texts),
        continuations=tuple(continuation for _, continuation in texts),
        questions=tuple(questions),
        margins=any(map(_asks_for_greedy, loaded.values())),
        digest=hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
        answer=lambda answers: answer(answers, []),
        aggregations={task: definition.aggregation() for task, definition in loaded.items()},
    )


def _lm(answers: Answers | None, asked: list):
    """Our model behind the harness's interface; without answers it only writes down what it is asked."""
    from lm_eval.api.model import LM

    class Model(LM):
        def loglikelihood(self, requests: list) -> list[tuple[float, bool]]:
            first = len(asked)
            asked.extend(requests)
            if answers is None:
                return [(0.0, False)] * len(requests)
            rows = slice(first, len(asked))
            return list(zip(answers.sums[rows].tolist(), answers.greedy[rows].tolist(), strict=True))

        def loglikelihood_rolling(self, requests: list) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: list) -> list[str]:
            raise NotImplementedError

    return Model()


def _asks_for_greedy(definition: Any) -> bool:
    own = callable(getattr(definition.config, "process_results", None))
    return definition.OUTPUT_TYPE == "loglikelihood" or "exact_match" in definition.aggregation() or own


def _plain(value: Any) -> float | list[float]:
    """A document's metric: a number, or the target and prediction that F1 and Matthews' correlation aggregate."""
    return float(value) if np.isscalar(value) else [float(one) for one in value]


def _require_gradable(samples: Mapping[str, list[dict[str, Any]]]) -> None:
    """Every document must be right or wrong, and its metrics numbers."""
    for task, (first, *_) in samples.items():
        if "acc" not in first["metrics"] and len(first["arguments"]) > 1 and isinstance(first["target"], str):
            raise StudyError(f"lm-eval's task {task} has neither accuracy nor a choice by number as its target")
        for metric in first["metrics"]:
            try:
                _plain(first[metric])
            except (TypeError, ValueError):
                kind = type(first[metric]).__name__
                raise StudyError(f"lm-eval's task {task}: {metric} is no number of a document but {kind}") from None


def _split(context: str, continuation: str) -> tuple[str, str]:
    """White space at the end of a context belongs to the continuation, as in the harness's own models."""
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation


def _first_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in samples if one["filter"] == samples[0]["filter"]]


def _evenly(count: int, items: int | None, task: str) -> list[int]:
    if items is not None and items > count:
        raise StudyError(f"lm-eval's task {task} holds {count} items; {items} were asked for")
    return evenly(count, items or count)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextlib.contextmanager
def _undisturbed(trust_remote_code: bool):
    """For this while only: no progress bars (the harness and `datasets` draw one a task), the harness's seeds, and no
    code but its own unless trusted."""
    states = random.getstate(), np.random.get_state()
    random.seed(SEED)
    np.random.seed(FEWSHOT_SEED)
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            _sandbox() if not trust_remote_code else contextlib.nullcontext(),
        ):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def _sandbox():
    """Nothing but the harness's own code runs, and nothing is written where a definition says.

    It stands at the points where a definition becomes code or a place: Python that it names, its templates, metrics
    fetched by name, the cache of its data. Where one of them has moved, nothing passes.
    """
    import lm_eval
    from jinja2.sandbox import SandboxedEnvironment

    try:
        import datasets
        import evaluate
        from lm_eval import utils
        from lm_eval.tasks import _yaml_loader

        imported, load_dataset, templates = _yaml_loader._import_func_in_yml, datasets.load_dataset, utils.env
    except (ImportError, AttributeError) as error:
        raise StudyError(
            f"this lm-eval runs its definitions' code at places not guarded ({error}); install lm-eval 0.4.13, "
            "or write trust_remote_code: true beside the tasks"
        ) from None
    own, refused = Path(lm_eval.__file__).resolve().parent, []

    def refuse(problem: str) -> None:
        refused.append(f"{problem}; read it, and write trust_remote_code: true beside the tasks if you trust it")
        raise StudyError(refused[0])

    def import_own(name: str, folder: Path) -> Callable:
        if not folder.resolve().is_relative_to(own):
            refuse(f"the definition runs Python, {name}")
        return imported(name, folder)

    def load_here(*arguments, **options):
        if "cache_dir" in options:
            refuse(f"the definition writes into a folder of its choice, {options['cache_dir']}")
        return load_dataset(*arguments, **options)

    sandboxed = SandboxedEnvironment(undefined=templates.undefined, keep_trailing_newline=True)
    sandboxed.filters = templates.filters
    points = [
        (_yaml_loader, "_import_func_in_yml", import_own),
        (datasets, "load_dataset", load_here),
        (evaluate, "load", lambda name, *rest, **options: refuse(f"the metric {name} is Python that is fetched")),
        (utils, "env", sandboxed),
    ]
    before = [getattr(module, name) for module, name, _ in points]
    for module, name, ours in points:
        setattr(module, name, ours)
    try:
        yield
    except Exception:
        if refused:
            raise StudyError(refused[0]) from None
        raise
    finally:
        for (module, name, _), its in zip(points, before, strict=True):
            setattr(module, name, its)
    if refused:  # the harness logs the error and goes on
        raise StudyError(refused[0])
