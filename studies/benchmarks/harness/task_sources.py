"""What grades the answers to lm-evaluation-harness's tasks, beside the names of its metrics.

A score depends on more than on requests and targets: the YAML of a task names its metrics and how they are aggregated,
and Python of its own may grade every answer. Owns which files those are. For tasks of a folder (`include`): the YAML of
the tasks and groups with all that it includes; every Python file of the folder and beside one of those YAML files; and
what these import from outside of installed packages. For the harness's own files, its version, and only where they
grade or aggregate in Python.

Not followed: an import of a module outside of the folder that has not run when the tasks are loaded, and a file that
the tasks' Python opens itself. Rows need no mention: requests and targets are made from them.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

LEFT_OUT = ("__pycache__", "site-packages", "dist-packages")
"""Names of folders whose Python belongs to nobody or to an installed package."""

_FOLDERS: set[Path] = set()
"""The folders of tasks that this process has loaded."""

INSTALLED = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def grading_code(definitions: Mapping[str, Any], yaml_files: Mapping[str, Path], folder: Path | None) -> dict[str, Any]:
    """What enters the digest of a benchmark for the code of its tasks; empty for most tasks of the harness.

    definitions: {task: the loaded task}. yaml_files: {task or group: its definition}. folder: the `include` of the
    study file. Files are named within it, others without their folders, so that the digest does not depend on places.
    """
    import lm_eval

    harness = Path(lm_eval.__file__).resolve().parent
    own = {name: path.resolve() for name, path in yaml_files.items() if not path.resolve().is_relative_to(harness)}
    stock = [definition for task, definition in definitions.items() if task in yaml_files.keys() - own.keys()]
    uses_harness = any(map(_has_own_grading, stock))
    code: dict[str, Any] = {}
    if own:
        assert folder is not None, "a definition comes from the harness or from this folder"
        folder = folder.resolve()
        files = _files(own.values(), folder, harness)
        uses_harness = uses_harness or any(path.is_relative_to(harness) for path in files)
        code["sources"] = sorted(
            (
                path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name,
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in files
            if not path.is_relative_to(harness)
        )
    if uses_harness:
        code["lm_eval"] = lm_eval.__version__
    return code


def has_own_results(definition: Any) -> bool:
    """Whether a loaded task brings a `process_results` of its own."""
    return callable(getattr(definition.config, "process_results", None))


def _has_own_grading(definition: Any) -> bool:
    """Whether a loaded task brings Python of its own that grades documents or aggregates their values."""
    from lm_eval.api.task import ConfigurableTask

    metrics = getattr(definition.config, "metric_list", None) or []
    has_own_metric = any(callable(metric.get(key)) for metric in metrics for key in ("metric", "aggregation"))
    return has_own_results(definition) or has_own_metric or type(definition) is not ConfigurableTask


def forget_modules(folder: Path) -> None:
    """Make the next import of a module from a folder of tasks read its file.

    What is in memory may be the file before an edit, or one of the same name from the folder of other tasks.
    """
    _FOLDERS.add(folder.resolve())
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or _is_installed(Path(file)):
            continue
        if any(Path(file).resolve().is_relative_to(one) for one in _FOLDERS):
            del sys.modules[name]


def _files(definitions: Iterable[Path], folder: Path, harness: Path) -> set[Path]:
    """The files behind YAML definitions of a folder; those of the harness are not followed further."""

    def imported(path: Path) -> Iterable[Path]:
        return () if path.is_relative_to(harness) else _imported(path, harness)

    chain = _reached(definitions, _included)
    beside = {path for yaml in chain if not yaml.is_relative_to(harness) for path in yaml.parent.glob("*.py")}
    return chain | _reached(beside.union(_python_files(folder)), imported)


def _included(path: Path) -> list[Path]:
    """The YAML files that a YAML file of the harness's kind includes itself."""
    from lm_eval.tasks._yaml_loader import load_yaml

    included = load_yaml(path, resolve_func=False, recursive=False).get("include", [])
    return [(path.parent / one).resolve() for one in (included if isinstance(included, list) else [included])]


def _reached(roots: Iterable[Path], following: Callable[[Path], Iterable[Path]]) -> set[Path]:
    """The roots, and whatever follows from them."""
    reached: set[Path] = set()
    waiting = list(roots)
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting.extend(following(path))
    return reached


def _python_files(folder: Path) -> Iterator[Path]:
    """Python files in a folder and below, without environments and hidden folders."""
    for path in folder.rglob("*.py"):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part in LEFT_OUT for part in inside):
            yield path.resolve()


def _imported(path: Path, harness: Path) -> set[Path]:
    """Files of the modules that a Python file imports, without those of installed packages other than the harness.

    Looks only at modules that are loaded, so it runs no code. A package counts whole.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # the harness cannot import it either
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    found = {file for name in names for file in _module_files(name.partition(".")[0])}
    return {file for file in found if file.is_relative_to(harness) or not _is_installed(file)}


def _module_files(name: str) -> Iterator[Path]:
    """The Python files of a loaded top-level module or package."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if isinstance(file, str) and _is_installed(Path(file)):
        yield Path(file).resolve()
    elif folders := getattr(module, "__path__", None):
        for folder in folders:
            yield from _python_files(Path(folder))
    elif isinstance(file, str) and file.endswith(".py"):
        yield Path(file).resolve()


def _is_installed(file: Path) -> bool:
    file = file.resolve()
    return any(part in LEFT_OUT for part in file.parts) or any(map(file.is_relative_to, INSTALLED))
