"""Which files grade the answers to tasks. That their edits reach a study is in `tests/integration/test_harness.py`."""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studies.benchmarks.harness.task_sources import forget_modules, grading_code

pytest.importorskip("lm_eval", reason="needs the extra `harness`")

FILES = {
    "tasks/mine.yaml": "task: mine\ninclude: [base/common.yaml]\nprocess_results: !function grading.process_results\n",
    "tasks/base/common.yaml": "include: ../../shared/deeper.yaml\nmetric_list: [{metric: acc, aggregation: mean}]\n",
    "tasks/base/beside.py": "x = 1\n",
    "tasks/group.yaml": "group: both\ntask: [mine, {task: other, num_fewshot: 1}]\n",
    "tasks/other.yaml": "task: other\n",
    "tasks/grading.py": "import task_sources_alone, numpy\nfrom task_sources_package.deep import x\n",
    "tasks/sub/helper.py": "x = 1\n",
    "tasks/.hidden/site.py": "x = 1\n",
    "tasks/notes.md": "notes\n",
    "shared/deeper.yaml": "doc_to_text: a\n",
    "shared/beside_deeper.py": "x = 1\n",
    "task_sources_alone.py": "x = 1\n",
    "task_sources_package/__init__.py": "",
    "task_sources_package/deep.py": "from .deeper import x\n",
    "task_sources_package/deeper.py": "x = 1\n",
}
TASK = SimpleNamespace(config=SimpleNamespace(process_results=None, metric_list=None))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of tasks, with modules above it that its Python has imported."""
    for name, text in FILES.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "root")
    for name in ("task_sources_alone", "task_sources_package.deep"):
        importlib.import_module(name)
    yield tmp_path / "root"
    for name in [name for name in sys.modules if name.startswith("task_sources_")]:
        del sys.modules[name]


def code(root: Path, *names: str) -> dict[str, Any]:
    folder = root / "tasks"
    yaml_files = {name: folder / f"{name}.yaml" for name in names or ("mine",)}
    return grading_code(dict.fromkeys(yaml_files, TASK), yaml_files, folder)


OF_MINE = set(FILES) - {"tasks/group.yaml", "tasks/other.yaml", "tasks/.hidden/site.py", "tasks/notes.md"}


@pytest.mark.parametrize("edited", FILES)
def test_an_edit_counts_where_it_can_grade(root: Path, edited: str) -> None:
    before = code(root)
    (root / edited).write_text(FILES[edited] + "\n# edited\n")
    assert (code(root) != before) == (edited in OF_MINE)


def test_the_digest_does_not_depend_on_the_place_of_the_folder(root: Path, tmp_path: Path) -> None:
    before = code(root)
    names = {name.removeprefix("tasks/") if name.startswith("tasks/") else Path(name).name for name in OF_MINE}
    assert {name for name, _ in before["sources"]} == names
    shutil.copytree(root, tmp_path / "copy")
    assert code(tmp_path / "copy") == before and set(before) == {"sources"}


def test_a_group_counts_with_its_tasks(root: Path) -> None:
    folder = root / "tasks"
    yaml_files = {"both": folder / "group.yaml", "mine": folder / "mine.yaml", "other": folder / "other.yaml"}
    found = {name for name, _ in grading_code({"mine": TASK, "other": TASK}, yaml_files, folder)["sources"]}
    assert {"group.yaml", "mine.yaml", "other.yaml", "base/common.yaml"} <= found


def test_a_new_python_file_counts(root: Path) -> None:
    before = code(root)
    (root / "tasks" / "new.py").write_text("")
    assert code(root) != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tasks/mine.yaml", "task: mine\ninclude: {harness}/tasks/hellaswag/hellaswag.yaml\n"),
        ("tasks/grading.py", "from lm_eval.api.metrics import mean\n"),
    ],
)
def test_code_of_the_harness_counts_by_its_version(root: Path, name: str, text: str) -> None:
    import lm_eval

    assert "lm_eval" not in code(root)
    (root / name).write_text(text.format(harness=Path(lm_eval.__file__).parent))
    found = code(root)
    assert found["lm_eval"] == lm_eval.__version__ and "hellaswag.yaml" not in {name for name, _ in found["sources"]}


def stock(**config: Any) -> Any:
    """A task of the harness's own class, with this of its configuration."""
    from lm_eval.api.task import ConfigurableTask

    task = object.__new__(ConfigurableTask)
    vars(task)["_config"] = SimpleNamespace(**{"process_results": None, "metric_list": None, **config})
    return task


class OwnClass:
    config = SimpleNamespace(process_results=None, metric_list=None)


def grade() -> None:
    pass


STOCK: dict[str, tuple[Callable[[], Any], bool]] = {
    "plain": (stock, False),
    "metrics by name": (lambda: stock(metric_list=[{"metric": "acc", "aggregation": "mean"}]), False),
    "own results": (lambda: stock(process_results=grade), True),
    "own aggregation": (lambda: stock(metric_list=[{"metric": "acc", "aggregation": grade}]), True),
    "own metric": (lambda: stock(metric_list=[{"metric": grade}]), True),
    "own class": (OwnClass, True),
}


@pytest.mark.parametrize("kind", STOCK)
@pytest.mark.parametrize("has_folder", [False, True])
def test_the_harness_own_tasks_carry_its_version_only_where_they_grade(root: Path, kind: str, has_folder: bool) -> None:
    import lm_eval

    make, carries = STOCK[kind]
    yaml = Path(lm_eval.__file__).parent / "tasks" / "hellaswag" / "hellaswag.yaml"
    found = grading_code({"hellaswag": make()}, {"hellaswag": yaml}, root / "tasks" if has_folder else None)
    assert found == ({"lm_eval": lm_eval.__version__} if carries else {})


def test_an_edited_module_of_the_folder_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root / "tasks" / "base")
    assert importlib.import_module("beside").x == 1
    (root / "tasks" / "base" / "beside.py").write_text("x = 1234\n")
    forget_modules(root / "tasks")
    importlib.invalidate_caches()
    assert importlib.import_module("beside").x == 1234
    assert "task_sources_alone" in sys.modules, "a module of another folder stays"
