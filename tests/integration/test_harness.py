"""Tasks of lm-evaluation-harness: what is loaded, what is refused, and its own Transformers backend as the oracle.

Tiny task definitions over local rows, and LAMBADA on real weights. Skipped, with the reason, where the extra `harness`,
the data or the weights are absent.
"""

import builtins
import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from actors.messages.model import ModelSource
from studies.benchmarks.harness.lm_eval import TaskBenchmark, task_benchmark
from studies.benchmarks.harness.sandbox import harness_context
from studies.benchmarks.texts import Continuations
from studies.errors import StudyError
from tests import oracles
from tests.sources import source_of
from tests.tiers import every_third, first_tier

QUESTIONS: list[dict[str, Any]] = [
    {"question": "Is water wet?", "choices": ["yes", "no"], "gold": 0},
    {"question": "Are all cats dogs?", "choices": ["yes, all of them", "no"], "gold": 1},
    {"question": "The sky is ", "choices": ["blue", "green", "a kind of fish"], "gold": 0},
    {"question": "Two and two are", "choices": ["four", "five"], "gold": 0},
    {"question": "A stone can", "choices": ["sing", "fall", "read"], "gold": 1},
]
CLOZE = {
    "output_type": "loglikelihood",
    "doc_to_text": "{{context}}",
    "doc_to_target": "{{' ' + target}}",
    "metric_list": [{"metric": "perplexity", "aggregation": "perplexity"}, {"metric": "acc"}],
}
CLOZES = [{"text": f"the {noun} and the {noun}", "tail": f"the {noun}"} for noun in ("cat", "dog", "boat", "stone")]
TASK_FILES: dict[str, dict[str, Any]] = {
    "tiny_choices": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "tiny_bare": {  # an empty context
        "output_type": "multiple_choice",
        "doc_to_text": "",
        "target_delimiter": "",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
    },
    "tiny_cloze": {
        "output_type": "loglikelihood",
        "doc_to_text": "the",
        "doc_to_target": "{{' ' + tail}}",
        "metric_list": [{"metric": "perplexity", "aggregation": "perplexity"}, {"metric": "acc"}],
    },
    "tiny_generation": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "gold",
        "generation_kwargs": {"until": ["."]},
        "metric_list": [{"metric": "exact_match"}],
    },
}


def write_tasks(folder: Path) -> Path:
    """A folder of task definitions over rows beside them."""
    folder.mkdir(exist_ok=True)
    for name, definition in TASK_FILES.items():
        rows = CLOZES if definition["output_type"] == "loglikelihood" else QUESTIONS
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_task(folder, name, definition, folder / f"{name}.jsonl")
    return folder


def write_task(folder: Path, name: str, definition: Mapping[str, Any], rows: Path) -> None:
    """The harness's YAML of one task over local rows."""
    local = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(rows)}}, "test_split": "test"}
    (folder / f"{name}.yaml").write_text(
        yaml.safe_dump({"task": name, **local, **definition, "metadata": {"version": 1}})
    )


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    """The package `lm_eval`."""
    return pytest.importorskip("lm_eval", reason="needs the extra `harness`")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of `datasets`: the shared one may hold an earlier test's rows under the same path."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


CHOSEN = ("tiny_choices", "tiny_bare", "tiny_cloze")


def load(folder: Path, tasks: Sequence[str] = CHOSEN, **options: Any) -> TaskBenchmark:
    return task_benchmark("lm_eval", tasks, **{"items": None, "fewshot": None, "include": folder, **options})


@pytest.mark.usefixtures("harness", "cache")
def test_requests_of_all_tasks_are_one_set_of_texts(tmp_path: Path) -> None:
    benchmark = load(write_tasks(tmp_path / "tasks"))
    assert benchmark.tasks == CHOSEN and benchmark.margins and benchmark.label == "tiny_choices, tiny_bare, tiny_cloze"
    assert benchmark.choices == ("tiny_choices", "tiny_bare")
    assert [len(q.requests) for q in benchmark.questions] == [2, 2, 3, 2, 3] * 2 + [1] * 4
    contexts, continuations = benchmark.contexts, benchmark.continuations
    whole = [a + b for a, b in zip(contexts, continuations, strict=True)]
    assert whole[:2] == ["Is water wet? yes", "Is water wet? no"]
    assert (contexts[4], continuations[4]) == ("The sky is", "  blue"), "white space goes to the continuation"
    assert contexts[12] == "" and continuations[12] == "yes"
    assert whole[-4] == "the the cat"


@pytest.mark.usefixtures("harness", "cache")
def test_items_are_evenly_spaced_and_enter_the_digest(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "tasks")
    whole, some = load(folder), load(folder, items=2)
    assert [(q.task, q.document) for q in some.questions if q.task == "tiny_cloze"] == [
        ("tiny_cloze", 0),
        ("tiny_cloze", 2),
    ]
    assert [q.document for q in some.questions if q.task == "tiny_choices"] == [0, 2]
    assert whole.digest != some.digest and whole.digest == load(folder).digest


@pytest.mark.usefixtures("harness", "cache")
def test_items_and_metrics_are_the_harness_own(tmp_path: Path) -> None:
    benchmark = load(write_tasks(tmp_path / "tasks"))
    rng = np.random.default_rng(0)
    sums = -rng.gamma(2, 2, len(benchmark.contexts))
    margins = np.where(rng.random(len(sums)) < 0.5, 0.0, -1.0)
    items = benchmark.results(sums, np.ones(len(sums)), margins)
    assert items["uid"].tolist() == ["tiny_choices"] * 5 + ["tiny_bare"] * 5 + ["tiny_cloze"] * 4
    for question, item in zip(benchmark.questions, items.to_dict("records"), strict=True):
        requests = list(question.requests)
        assert item["logprobs"] == sums[requests].tolist()
        if question.task == "tiny_cloze":
            assert item["correct"] == float(margins[requests[0]] == 0)
        else:
            assert item["correct"] == float(np.argmax(sums[requests]) == QUESTIONS[question.document]["gold"])
    metrics = benchmark.metrics(items)
    assert set(metrics) == {
        "tiny_choices/accuracy",
        "tiny_choices/accuracy_norm",
        "tiny_bare/accuracy",
        "tiny_cloze/accuracy",
        "tiny_cloze/perplexity",
    }
    assert metrics["tiny_choices/accuracy"] == items["correct"][:5].mean()
    assert metrics["tiny_cloze/perplexity"] == pytest.approx(np.exp(-sums[-4:].mean()))


@pytest.mark.parametrize(
    ("options", "message"),
    every_third(
        [
            ({"tasks": ["tiny_choises"]}, "lm-eval has no task 'tiny_choises'; did you mean 'tiny_choices'?"),
            (
                {"tasks": ["tiny_generation"]},
                "lm-eval's task tiny_generation asks for generate_until, which has no log-likelihoods of given text; "
                "allowed: tasks of multiple_choice and loglikelihood",
            ),
            ({"items": 6}, "lm-eval's task tiny_choices holds 5 items; 6 were asked for"),
            ({"include": Path("/nowhere")}, "include: there is no folder /nowhere"),
        ]
    ),
)
@pytest.mark.usefixtures("harness", "cache")
def test_what_cannot_be_scored_is_one_line(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    folder = write_tasks(tmp_path / "tasks")
    with pytest.raises(StudyError) as error:
        load(folder, **options)
    assert str(error.value) == message


@pytest.mark.usefixtures("harness", "cache")
def test_data_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "tasks")
    (folder / "tiny_choices.jsonl").unlink()
    with pytest.raises(StudyError) as error:
        load(folder)
    assert re.fullmatch(r"lm-eval's task tiny_choices cannot be loaded: .*tiny_choices\.jsonl.*", str(error.value))


PYTHON = "def process_docs(docs):\n    from pathlib import Path\n    Path({marker!r}).touch()\n    return docs\n"
TRUST = "read it, and if you trust it write trust_remote_code: true beside the tasks and run with --trust-study"
RUNS_PYTHON = f"lm-eval's task tiny_choices: the definition runs Python, {{}}; {TRUST}"
UNTRUSTED = {
    "a function of its own": ("process_docs: !function code.process_docs", RUNS_PYTHON.format("code.process_docs")),
    "one of the standard library": (
        "process_docs: !function subprocess.check_output",
        RUNS_PYTHON.format("subprocess.check_output"),
    ),
    "one under another name of the tag": (
        "process_docs: !<!function> code.process_docs",
        RUNS_PYTHON.format("code.process_docs"),
    ),
    "a file it includes": ("include: ../elsewhere.yaml", RUNS_PYTHON.format("code.process_docs")),
    "a metric that is fetched": (
        "metric_list: [{{metric: '{root}/metric.py', aggregation: mean, higher_is_better: true}}]",
        f"lm-eval's task tiny_choices: the metric {{root}}/metric.py is downloaded Python code; {TRUST}",
    ),
    "a template": (
        "doc_to_text: \"{{{{ ''.__class__.__mro__[1].__subclasses__() }}}}\"",
        "lm-eval's task tiny_choices cannot be loaded: access to attribute '__class__' of 'str' object is unsafe.",
    ),
    "a cache": (
        "dataset_kwargs: {{data_files: {{test: '{rows}'}}, cache_dir: '{root}/ran'}}",
        f"lm-eval's task tiny_choices: the definition writes into a folder of its choice, {{root}}/ran; {TRUST}",
    ),
}


@pytest.mark.parametrize("name", first_tier(UNTRUSTED, ["a cache", "a template"]))
@pytest.mark.usefixtures("harness", "cache")
def test_a_definition_runs_no_code_unless_the_file_says_so(tmp_path: Path, name: str) -> None:
    extra, message = UNTRUSTED[name]
    folder, marker = write_tasks(tmp_path / "tasks"), tmp_path / "ran"
    code = PYTHON.format(marker=str(marker))
    for place in (folder / "code.py", tmp_path / "code.py", tmp_path / "metric.py"):
        place.write_text(code)
    (tmp_path / "elsewhere.yaml").write_text("process_docs: !function code.process_docs\n")
    definition = folder / "tiny_choices.yaml"
    extra = extra.format(root=tmp_path, rows=folder / "tiny_choices.jsonl")
    kept = {key: value for key, value in yaml.safe_load(definition.read_text()).items() if not extra.startswith(key)}
    definition.write_text(f"{yaml.safe_dump(kept)}{extra}\n")
    with pytest.raises(StudyError) as error:
        load(folder, tasks=["tiny_choices"])
    assert str(error.value) == message.format(root=tmp_path) and not marker.exists()


@pytest.mark.usefixtures("harness", "cache")
def test_a_definition_that_is_trusted_runs_its_code(tmp_path: Path) -> None:
    folder, marker = write_tasks(tmp_path / "tasks"), tmp_path / "ran"
    (folder / "code.py").write_text(PYTHON.format(marker=str(marker)))
    with (folder / "tiny_choices.yaml").open("a") as definition:
        definition.write("process_docs: !function code.process_docs\n")
    assert load(folder, tasks=["tiny_choices"], trust_remote_code=True).tasks == ("tiny_choices",)
    assert marker.exists()


def test_the_harness_own_code_needs_no_trust(harness: ModuleType) -> None:
    from lm_eval.tasks import _yaml_loader

    own = Path(harness.__file__ or "").parent / "tasks" / "hellaswag"
    before = vars(_yaml_loader)["_import_func_in_yml"]
    with harness_context(trust_remote_code=False):
        assert _yaml_loader.load_yaml(own / "hellaswag.yaml")["process_docs"].__name__ == "process_docs"
    assert _yaml_loader._import_func_in_yml is before


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *arguments: Any, **named: Any) -> ModuleType:
        if name.startswith("lm_eval"):
            raise ImportError(name)
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(StudyError) as error:
        task_benchmark("lm_eval", ["arc_easy"], items=None, fewshot=None, include=None)
    assert str(error.value) == "lm_eval needs the extra: pip install 'halfwave[harness]'"


def score(
    source: ModelSource, contexts: tuple[str, ...], continuations: tuple[str, ...], route: str
) -> dict[str, np.ndarray]:
    """{sums, counts, margins} of all requests, in the engine's process."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(dataclasses.replace(source, route=route))
    texts = Continuations(contexts=contexts, continuations=continuations, margins=True)
    request = EvaluateRequest(benchmark="lm_eval", texts=texts, interventions={"base": Intervention()}, max_nodes=60)
    (scored,) = [m for m in actor.evaluate(request) if isinstance(m, Scored)]
    actor.close()
    return {"sums": scored.sums, "counts": scored.counts, "margins": scored.margins}


def harness_results(model: str, tasks: list[str], include: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(samples by task, metrics by task) of lm-eval's Transformers backend."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    backend = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=8)
    manager = TaskManager(include_path=include)
    evaluated = lm_eval.simple_evaluate(
        model=backend, tasks=tasks, task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    return evaluated["samples"], evaluated["results"]


@pytest.mark.timeout(600)
@pytest.mark.long
@pytest.mark.parametrize("route", ["tree", "flat"])
@pytest.mark.usefixtures("harness", "cache")
def test_a_model_behind_the_interface_answers_as_the_harness_backend_does(tmp_path: Path, route: str) -> None:
    folder, model = write_tasks(tmp_path / "tasks"), oracles.make_model(tmp_path / "llama", "llama")
    benchmark = load(folder)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        texts = benchmark.contexts, benchmark.continuations
        ours = executor.submit(score, source_of(model), *texts, route).result()
        samples, results = executor.submit(harness_results, str(model), list(CHOSEN), str(folder)).result()
    items = benchmark.results(ours["sums"], ours["counts"], ours["margins"])
    for task in CHOSEN:
        theirs = sorted(samples[task], key=lambda sample: sample["doc_id"])
        mine = items[items["uid"] == task]
        for sample, logprobs in zip(theirs, mine["logprobs"], strict=True):
            np.testing.assert_allclose(
                logprobs, [float(response[0]) for response in sample["filtered_resps"]], atol=1e-3
            )
        assert [sample["acc"] for sample in theirs] == mine["correct"].tolist()
    metrics = benchmark.metrics(items)
    assert metrics["tiny_cloze/perplexity"] == pytest.approx(results["tiny_cloze"]["perplexity,none"], rel=1e-3)
    assert metrics["tiny_choices/accuracy_norm"] == pytest.approx(results["tiny_choices"]["acc_norm,none"])


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("harness", "cache")
def test_lambada_is_the_harness_own(smollm2: Path, data_root: Path, tmp_path: Path) -> None:
    with (data_root / "cloze" / "lambada_openai.jsonl").open() as rows:
        (tmp_path / "rows.jsonl").write_text("".join(itertools.islice(rows, 60)))
    write_task(tmp_path, "local_lambada", CLOZE, tmp_path / "rows.jsonl")
    benchmark = load(tmp_path, ["local_lambada"])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        texts = benchmark.contexts, benchmark.continuations
        ours = executor.submit(score, source_of(smollm2), *texts, "tree").result()
        _, results = executor.submit(harness_results, str(smollm2), ["local_lambada"], str(tmp_path)).result()
    metrics = benchmark.metrics(benchmark.results(ours["sums"], ours["counts"], ours["margins"]))
    theirs = results["local_lambada"]
    assert metrics["local_lambada/accuracy"] == pytest.approx(theirs["acc,none"], abs=1e-9)
    assert metrics["local_lambada/perplexity"] == pytest.approx(theirs["perplexity,none"], rel=1e-3)
    assert 0.1 < metrics["local_lambada/accuracy"] < 0.9
