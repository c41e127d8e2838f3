"""Multiple choice against lm-evaluation-harness itself, item by item, on real weights.

The harness's Transformers backend reads the same local files through task definitions written here, so neither prompts
nor scoring are ours. Skipped, with the reason, where the data or the weights are absent.
"""

import itertools
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from actors.messages.model import ModelSource
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.multiple_choice import TASKS, multiple_choice
from tests.sources import source_of

ITEMS = 30
NEARLY_TIED = 0.01
"""nats; log-probabilities move by less than that with the batches they stand in."""


def sciq_choices(doc: dict[str, Any]) -> list[str]:
    """distractor1, distractor2, distractor3, correct_answer, as the harness's task has them."""
    rotation = int(doc["id"].rsplit("-", 1)[1]) % 4
    original = doc["choices"][-rotation:] + doc["choices"][:-rotation] if rotation else doc["choices"]
    return original[1:] + original[:1]


PLAIN = {"doc_to_text": "{{context}}", "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}"}
DEFINITIONS: dict[str, dict[str, Any]] = {
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


def harness_log_probabilities(model: str, root: Path) -> dict[str, list[list[float]]]:
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
    evaluated = lm_eval.simple_evaluate(model=harness, tasks=tasks, log_samples=True, bootstrap_iters=0)
    return {
        name: [
            [float(resp[0]) for resp in sample["filtered_resps"]]
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]
        for name, samples in evaluated["samples"].items()
    }


def halfwave_log_probabilities(source: ModelSource, benchmarks: Mapping[str, ChoiceBenchmark]) -> dict[str, np.ndarray]:
    """{task: log-probability of every choice, item after item}, in the engine's process."""
    from actors.ablation.actor import AblationActor

    actor, sums = AblationActor(source), {}
    for name, benchmark in benchmarks.items():
        request = EvaluateRequest(benchmark=name, texts=benchmark.request, interventions={name: Intervention()})
        sums |= {m.step: m.sums for m in actor.evaluate(request) if isinstance(m, Scored)}
    actor.close()
    return sums


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_predictions_are_the_harness_own(smollm2: Path, data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `harness`")
    (tmp_path / "mc").mkdir()
    for name in TASKS:
        with (data_root / "mc" / f"{name}.jsonl").open() as rows:
            (tmp_path / "mc" / f"{name}.jsonl").write_text("".join(itertools.islice(rows, ITEMS)))
    benchmarks = {name: multiple_choice(name, tmp_path, None) for name in TASKS}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        ours = executor.submit(halfwave_log_probabilities, source_of(smollm2), benchmarks).result()
        theirs = executor.submit(harness_log_probabilities, str(smollm2), tmp_path).result()
    num_predictions = num_different = 0
    for name, benchmark in benchmarks.items():
        items = benchmark.results(ours[name], np.ones(len(ours[name])))
        assert len(items) == len(theirs[name]) == ITEMS
        for item, mine, expected in zip(benchmark.items, items["logprobs"], theirs[name], strict=True):
            np.testing.assert_allclose(mine, expected, atol=NEARLY_TIED, err_msg=f"{name} {item.id}")
            lengths = [len(choice) for choice in item.choices]
            for scale in (np.ones(len(lengths)), np.array(lengths)):
                num_predictions += 1
                chosen, wanted = np.argmax(mine / scale), np.argmax(expected / scale)
                if chosen != wanted:
                    num_different += 1
                    tie = abs((np.array(expected) / scale)[chosen] - (np.array(expected) / scale)[wanted])
                    assert tie < NEARLY_TIED, f"{name} {item.id}: {mine} against {expected}"
    assert num_predictions == 2 * ITEMS * len(TASKS) and num_different <= 0.005 * num_predictions
