"""Multiple choice and the harness's own tasks against lm-evaluation-harness itself, item by item, on real weights.

The harness's Transformers backend reads the same local files through task definitions written here, so neither prompts
nor scoring are ours. Skipped, with the reason, where the data or the weights are absent.
"""

import dataclasses
import itertools
import json
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import yaml

from actors.messages import EvaluateRequest, Intervention, ModelSource, Scored
from studies.benchmarks.lm_eval import TaskBenchmark, task_benchmark
from studies.benchmarks.multiple_choice import TASKS, multiple_choice
from studies.benchmarks.texts import Continuations
from studies.errors import StudyError
from tests import oracles
from tests.sources import source_of

ITEMS = 30
NEARLY_TIED = 0.01
"""nats; log-probabilities move by less than that with the batches they stand in."""


def sciq_choices(doc: dict) -> list[str]:
    """distractor1, distractor2, distractor3, correct_answer, as the harness's task has them."""
    turned = int(doc["id"].rsplit("-", 1)[1]) % 4
    original = doc["choices"][-turned:] + doc["choices"][:-turned] if turned else doc["choices"]
    return original[1:] + original[:1]


PLAIN = {"doc_to_text": "{{context}}", "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}"}
DEFINITIONS = {
    "boolq": {"doc_to_text": "{{context}}", "doc_to_choice": ["no", "yes"], "doc_to_target": "{{1 - gold}}"},
    "sciq": {
        "doc_to_text": "{{raw.support.lstrip()}}\n{{context}}",
        "doc_to_choice": sciq_choices,
        "doc_to_target": 3,
    },
    "winogrande": {
        "doc_to_text": lambda doc: int(doc["raw"]["answer"]) - 1,
        "doc_to_target": lambda doc: doc["raw"]["sentence"].split("_")[1].strip(),
        "doc_to_choice": lambda doc: [
            doc["raw"]["sentence"].split("_")[0] + doc["raw"][option] for option in ("option1", "option2")
        ],
    },
}


def by_the_harness(model: str, root: Path) -> dict[str, list[list[float]]]:
    """{task: [log-probability of every choice] of every item}, by lm-eval's Transformers backend."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    tasks = [
        {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"validation": str(root / "mc" / f"{name}.jsonl")}},
            "validation_split": "validation",
            "output_type": "multiple_choice",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
            **DEFINITIONS.get(name, PLAIN),
        }
        for name in TASKS
    ]
    harness = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=16)
    found = lm_eval.simple_evaluate(model=harness, tasks=tasks, log_samples=True, bootstrap_iters=0)
    return {
        name: [
            [float(resp[0]) for resp in sample["filtered_resps"]]
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]
        for name, samples in found["samples"].items()
    }


def by_halfwave(source: ModelSource, benchmarks: dict) -> dict[str, np.ndarray]:
    """{task: log-probability of every choice, item after item}, in the engine's process."""
    from actors.ablation.actor import AblationActor

    actor, sums = AblationActor(source), {}
    for name, benchmark in benchmarks.items():
        texts = Continuations(contexts=benchmark.contexts, continuations=benchmark.continuations)
        request = EvaluateRequest(benchmark=name, texts=texts, interventions={name: Intervention()})
        sums |= {m.step: m.sums for m in actor.evaluate(request) if isinstance(m, Scored)}
    actor.close()
    return sums


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_predictions_are_the_harness_own(smollm2, data_root, tmp_path):
    pytest.importorskip("lm_eval", reason="needs the extra `harness`")
    (tmp_path / "mc").mkdir()
    for name in TASKS:
        with (data_root / "mc" / f"{name}.jsonl").open() as rows:
            (tmp_path / "mc" / f"{name}.jsonl").write_text("".join(itertools.islice(rows, ITEMS)))
    benchmarks = {name: multiple_choice(name, tmp_path, None) for name in TASKS}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        ours = executor.submit(by_halfwave, source_of(smollm2), benchmarks).result()
        theirs = executor.submit(by_the_harness, str(smollm2), tmp_path).result()
    asked = differing = 0
    for name, benchmark in benchmarks.items():
        items = benchmark.results(ours[name], np.ones(len(ours[name])))
        assert len(items) == len(theirs[name]) == ITEMS
        for item, mine, expected in zip(benchmark.items, items["logprobs"], theirs[name], strict=True):
            np.testing.assert_allclose(mine, expected, atol=NEARLY_TIED, err_msg=f"{name} {item.id}")
            lengths = [len(choice) for choice in item.choices]
            for scale in (np.ones(len(lengths)), np.array(lengths)):
                asked += 1
                chosen, wanted = np.argmax(mine / scale), np.argmax(expected / scale)
                if chosen != wanted:
                    differing += 1
                    tie = abs((np.array(expected) / scale)[chosen] - (np.array(expected) / scale)[wanted])
                    assert tie < NEARLY_TIED, f"{name} {item.id}: {mine} against {expected}"
    assert asked == 2 * ITEMS * len(TASKS) and differing <= 0.005 * asked


# -- the harness's own task definitions ------------------------------------------------------------------------------

QUESTIONS = [
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
TASK_FILES = {
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


def write_task(folder: Path, name: str, definition: dict, rows: Path) -> None:
    """The harness's YAML of one task over local rows."""
    local = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(rows)}}, "test_split": "test"}
    (folder / f"{name}.yaml").write_text(
        yaml.safe_dump({"task": name, **local, **definition, "metadata": {"version": 1}})
    )


@pytest.fixture(scope="module")
def harness():
    return pytest.importorskip("lm_eval", reason="needs the extra `harness`")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Rows of an earlier test under the same path would be taken from the cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


CHOSEN = ("tiny_choices", "tiny_bare", "tiny_cloze")


def of_folder(folder: Path, tasks=CHOSEN, **options) -> TaskBenchmark:
    return task_benchmark("lm_eval", tasks, **{"items": None, "fewshot": None, "include": folder, **options})


def test_requests_of_all_tasks_are_one_set_of_texts(harness, cache, tmp_path):
    found = of_folder(write_tasks(tmp_path / "tasks"))
    assert found.tasks == CHOSEN and found.margins and found.label == "tiny_choices, tiny_bare, tiny_cloze"
    assert [len(q.requests) for q in found.questions] == [2, 2, 3, 2, 3] * 2 + [1] * 4
    whole = [a + b for a, b in zip(found.contexts, found.continuations, strict=True)]
    assert whole[:2] == ["Is water wet? yes", "Is water wet? no"]
    assert found.contexts[4] == "The sky is" and found.continuations[4] == "  blue", (
        "white space goes to the continuation"
    )
    assert found.contexts[12] == "" and found.continuations[12] == "yes"
    assert whole[-4] == "the the cat"


def test_items_are_evenly_spaced_and_enter_the_digest(harness, cache, tmp_path):
    folder = write_tasks(tmp_path / "tasks")
    whole, some = of_folder(folder), of_folder(folder, items=2)
    assert [(q.task, q.document) for q in some.questions if q.task == "tiny_cloze"] == [
        ("tiny_cloze", 0),
        ("tiny_cloze", 2),
    ]
    assert [q.document for q in some.questions if q.task == "tiny_choices"] == [0, 2]
    assert whole.digest != some.digest and whole.digest == of_folder(folder).digest


def test_items_and_metrics_are_the_harness_own(harness, cache, tmp_path):
    found = of_folder(write_tasks(tmp_path / "tasks"))
    rng = np.random.default_rng(0)
    sums = -rng.gamma(2, 2, len(found.contexts))
    margins = np.where(rng.random(len(sums)) < 0.5, 0.0, -1.0)
    items = found.results(sums, np.ones(len(sums)), margins)
    assert items["uid"].tolist() == ["tiny_choices"] * 5 + ["tiny_bare"] * 5 + ["tiny_cloze"] * 4
    for question, item in zip(found.questions, items.to_dict("records"), strict=True):
        asked = list(question.requests)
        assert item["logprobs"] == sums[asked].tolist()
        if question.task == "tiny_cloze":
            assert item["correct"] == float(margins[asked[0]] == 0)
        else:
            assert item["correct"] == float(np.argmax(sums[asked]) == QUESTIONS[question.document]["gold"])
    metrics = found.metrics(items)
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
    [
        ({"tasks": ["tiny_choises"]}, "lm-eval has no task 'tiny_choises'; did you mean 'tiny_choices'?"),
        (
            {"tasks": ["tiny_generation"]},
            "lm-eval's task tiny_generation asks for generate_until, which has no log-likelihoods of given text",
        ),
        ({"items": 6}, "lm-eval's task tiny_choices holds 5 items; 6 were asked for"),
        ({"include": Path("/nowhere")}, "include: there is no folder /nowhere"),
    ],
)
def test_what_cannot_be_scored_is_one_line(harness, cache, tmp_path, options, message):
    folder = write_tasks(tmp_path / "tasks")
    with pytest.raises(StudyError, match=re.escape(message)) as caught:
        of_folder(folder, **options)
    assert len(str(caught.value).splitlines()) == 1


def test_data_that_cannot_be_had_is_one_line(harness, cache, tmp_path):
    folder = write_tasks(tmp_path / "tasks")
    (folder / "tiny_choices.jsonl").unlink()
    with pytest.raises(StudyError, match="lm-eval's task tiny_choices cannot be loaded: ") as caught:
        of_folder(folder)
    assert len(str(caught.value).splitlines()) == 1


PYTHON = "def process_docs(docs):\n    from pathlib import Path\n    Path({marker!r}).touch()\n    return docs\n"
UNTRUSTED = {
    "a function of its own": ("process_docs: !function code.process_docs", "runs Python, code.process_docs"),
    "one of the standard library": ("process_docs: !function subprocess.check_output", "runs Python, subprocess."),
    "one under another name of the tag": ("process_docs: !<!function> code.process_docs", "runs Python, code."),
    "a file it includes": ("include: ../elsewhere.yaml", "runs Python, code.process_docs"),
    "a metric that is fetched": (
        "metric_list: [{{metric: '{root}/metric.py', aggregation: mean, higher_is_better: true}}]",
        "the metric .*metric.py is Python that is fetched",
    ),
    "a template": (
        "doc_to_text: \"{{{{ ''.__class__.__mro__[1].__subclasses__() }}}}\"",
        "access to attribute '__class__' of 'str' object is unsafe",
    ),
    "a cache": ("dataset_kwargs: {{data_files: {{test: '{rows}'}}, cache_dir: '{root}/ran'}}", "writes into a folder"),
}


@pytest.mark.parametrize(("extra", "message"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_a_definition_runs_no_code_unless_the_file_says_so(harness, cache, tmp_path, extra, message):
    folder, marker = write_tasks(tmp_path / "tasks"), tmp_path / "ran"
    code = PYTHON.format(marker=str(marker))
    for place in (folder / "code.py", tmp_path / "code.py", tmp_path / "metric.py"):
        place.write_text(code)
    (tmp_path / "elsewhere.yaml").write_text("process_docs: !function code.process_docs\n")
    definition = folder / "tiny_choices.yaml"
    extra = extra.format(root=tmp_path, rows=folder / "tiny_choices.jsonl")
    kept = {key: value for key, value in yaml.safe_load(definition.read_text()).items() if not extra.startswith(key)}
    definition.write_text(f"{yaml.safe_dump(kept)}{extra}\n")
    with pytest.raises(StudyError, match=message) as caught:
        of_folder(folder, tasks=["tiny_choices"])
    assert "\n" not in str(caught.value) and not marker.exists()


def test_a_definition_that_is_trusted_runs_its_code(harness, cache, tmp_path):
    folder, marker = write_tasks(tmp_path / "tasks"), tmp_path / "ran"
    (folder / "code.py").write_text(PYTHON.format(marker=str(marker)))
    with (folder / "tiny_choices.yaml").open("a") as definition:
        definition.write("process_docs: !function code.process_docs\n")
    assert of_folder(folder, tasks=["tiny_choices"], trust_remote_code=True).tasks == ("tiny_choices",)
    assert marker.exists()


def test_the_harness_own_code_needs_no_trust(harness, cache, tmp_path):
    from lm_eval.tasks import _yaml_loader

    from studies.benchmarks.lm_eval import _undisturbed

    own = Path(harness.__file__).parent / "tasks" / "hellaswag"
    before = vars(_yaml_loader)["_import_func_in_yml"]
    with _undisturbed(trust_remote_code=False):
        assert _yaml_loader.load_yaml(own / "hellaswag.yaml")["process_docs"].__name__ == "process_docs"
    assert _yaml_loader._import_func_in_yml is before


def test_a_missing_extra_is_one_line(monkeypatch):
    import builtins

    original = builtins.__import__

    def refuse(name, *arguments, **named):
        if name.startswith("lm_eval"):
            raise ImportError(name)
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(StudyError, match=r"lm_eval needs the extra: pip install 'halfwave\[harness\]'"):
        task_benchmark("lm_eval", ["arc_easy"], items=None, fewshot=None, include=None)


def scored(source: ModelSource, contexts: tuple, continuations: tuple, route: str) -> dict:
    """In the engine's process: the numbers of all requests."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(dataclasses.replace(source, route=route))
    texts = Continuations(contexts=contexts, continuations=continuations, margins=True)
    request = EvaluateRequest(benchmark="lm_eval", texts=texts, interventions={"base": Intervention()}, max_nodes=60)
    (found,) = [m for m in actor.evaluate(request) if isinstance(m, Scored)]
    actor.close()
    return {"sums": found.sums, "counts": found.counts, "margins": found.margins}


def asked_of_the_harness(model: str, tasks: list[str], include: str) -> tuple[dict, dict]:
    """(samples by task, metrics by task) of lm-eval's Transformers backend."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    backend = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=8)
    manager = TaskManager(include_path=include)
    found = lm_eval.simple_evaluate(
        model=backend, tasks=tasks, task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    return found["samples"], found["results"]


@pytest.mark.timeout(600)
@pytest.mark.long
@pytest.mark.parametrize("route", ["tree", "flat"])
def test_a_model_behind_the_interface_answers_as_the_harness_backend_does(harness, cache, tmp_path, route):
    folder, model = write_tasks(tmp_path / "tasks"), oracles.make_model(tmp_path / "llama", "llama")
    benchmark = of_folder(folder)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        texts = benchmark.contexts, benchmark.continuations
        ours = executor.submit(scored, source_of(model), *texts, route).result()
        samples, results = executor.submit(asked_of_the_harness, str(model), list(CHOSEN), str(folder)).result()
    items = benchmark.results(ours["sums"], ours["counts"], ours["margins"])
    for task in CHOSEN:
        theirs = sorted(samples[task], key=lambda sample: sample["doc_id"])
        mine = items[items["uid"] == task]
        for sample, logprobs in zip(theirs, mine["logprobs"], strict=True):
            np.testing.assert_allclose(logprobs, [float(one[0]) for one in sample["filtered_resps"]], atol=1e-3)
        assert [sample["acc"] for sample in theirs] == mine["correct"].tolist()
    found = benchmark.metrics(items)
    assert found["tiny_cloze/perplexity"] == pytest.approx(results["tiny_cloze"]["perplexity,none"], rel=1e-3)
    assert found["tiny_choices/accuracy_norm"] == pytest.approx(results["tiny_choices"]["acc_norm,none"])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_lambada_is_the_harness_own(harness, cache, smollm2, data_root, tmp_path):
    with (data_root / "cloze" / "lambada_openai.jsonl").open() as rows:
        (tmp_path / "rows.jsonl").write_text("".join(itertools.islice(rows, 60)))
    write_task(tmp_path, "local_lambada", CLOZE, tmp_path / "rows.jsonl")
    benchmark = of_folder(tmp_path, ["local_lambada"])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        texts = benchmark.contexts, benchmark.continuations
        ours = executor.submit(scored, source_of(smollm2), *texts, "tree").result()
        _, results = executor.submit(asked_of_the_harness, str(smollm2), ["local_lambada"], str(tmp_path)).result()
    found = benchmark.metrics(benchmark.results(ours["sums"], ours["counts"], ours["margins"]))
    theirs = results["local_lambada"]
    assert found["local_lambada/accuracy"] == pytest.approx(theirs["acc,none"], abs=1e-9)
    assert found["local_lambada/perplexity"] == pytest.approx(theirs["perplexity,none"], rel=1e-3)
    assert 0.1 < found["local_lambada/accuracy"] < 0.9
