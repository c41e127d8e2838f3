"""An edited task definition is graded anew: its YAML, its Python, and what that imports."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.benchmarks.harness.lm_eval import TaskBenchmark, task_benchmark
from tests import oracles
from tests.integration import made_up
from tests.integration.made_up import numbers, run, write_study
from tests.tiers import every_third

pytest.importorskip("lm_eval", reason="needs the extra `harness`")

YAML = """\
task: graded
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
process_docs: !function grading.process_docs
process_results: !function grading.process_results
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""
PYTHON = """\
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
from graded_helper import score

def ask(doc):
    return doc | {"question": doc["question"] + "?"}

def process_docs(docs):
    return docs.map(ask)

def process_results(doc, results):
    sums = [result[0] for result in results]
    return {"acc": score(float(sums.index(max(sums)) == doc["gold"]))}
"""
HELPER = "def score(value):\n    return value\n"


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one task that is graded by Python of its own."""
    folder = tmp_path / "tasks"
    rows = [{"question": f"question {i}", "choices": ["a cat", "dogs"], "gold": i % 2} for i in range(6)]
    folder.mkdir()
    made_up.write_jsonl(folder / "rows.jsonl", rows)
    (folder / "graded.yaml").write_text(YAML.format(rows=folder / "rows.jsonl"))
    (folder / "grading.py").write_text(PYTHON)
    (folder / "graded_helper.py").write_text(HELPER)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return folder


def loaded(folder: Path) -> TaskBenchmark:
    options: dict[str, Any] = {"items": None, "fewshot": None, "include": folder, "trust_remote_code": True}
    return task_benchmark("lm_eval", ["graded"], **options)


def accuracy(benchmark: TaskBenchmark) -> float:
    """Of a model that always prefers the first choice."""
    sums = np.tile([-1.0, -2.0], len(benchmark.questions))
    return benchmark.metrics(benchmark.results(sums, np.ones(len(sums))))["graded/accuracy"]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    every_third(
        [
            ("graded_helper.py", "return value", "return value / 2", 0.25),
            ("grading.py", "float(sums", "0.25 * float(sums", 0.125),
            ("graded.yaml", "aggregation: mean", "aggregation: median", 1.0),
        ]
    ),
)
def test_an_edit_changes_the_digest_and_the_score(tasks: Path, file: str, old: str, new: str, expected: float) -> None:
    before = loaded(tasks)
    assert accuracy(before) == 0.5 and loaded(tasks).digest == before.digest
    edit(tasks / file, old, new)
    after = loaded(tasks)
    assert after.digest != before.digest and after.contexts == before.contexts
    assert accuracy(after) == expected


@pytest.mark.long
def test_documents_are_made_by_the_edited_code(tasks: Path) -> None:
    """`datasets` knows a function by its name and may serve what an earlier version of it made."""
    assert loaded(tasks).contexts[0] == "question 0?"
    edit(tasks / "grading.py", '+ "?"', '+ "!"')
    assert loaded(tasks).contexts[0] == "question 0!"


STUDY = """\
study: graded
models:
  - {{path: {root}/llama}}
profile: {{corpus: {root}/text.txt, tokens: 4000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate:
  - lm_eval: {{tasks: [graded], include: {root}/tasks, trust_remote_code: true}}
noise_floor: false
"""


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("no_process_outlives_its_driver", "tasks")
def test_a_study_grades_an_edited_task_again_and_an_unchanged_one_not(tmp_path: Path) -> None:
    oracles.make_model(tmp_path / "llama", "llama")
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=2)
    study, workdir = write_study(tmp_path, "study.yaml", STUDY), tmp_path / "work"

    def computed() -> int:
        done = run(study, workdir, "--trust-study")
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"^(\d+) steps? computed", done.stdout, re.M)
        assert found, done.stdout
        return int(found[1])

    first, again = computed(), computed()
    assert first > 0 and again == 0
    before = numbers(workdir, "graded")["graded/accuracy"]
    edit(tmp_path / "tasks" / "grading.py", "float(sums", "0.25 * float(sums")
    assert 0 < computed() < first, "the profile stays, the evaluations are computed again"
    assert (numbers(workdir, "graded")["graded/accuracy"] == before / 4).all() and (before > 0).any()
