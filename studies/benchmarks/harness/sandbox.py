"""The environment in which lm-evaluation-harness runs task definitions: quiet, seeded, and without foreign code.

Owns the guard on every point where a definition becomes code or a path on disk. Unless the user trusts a definition,
only the harness's own code runs, and nothing is written to a path that the definition names; where a guarded point has
moved in another version of the harness, no definition is loaded at all. Knows nothing of benchmarks. `lm_eval` is
imported inside functions: it brings torch and Transformers with it.
"""

import contextlib
import io
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from studies.errors import StudyError
from studies.files import require_ordinary

RANDOM_SEED, NUMPY_SEED = 0, 1234
"""The harness's own defaults; some tasks shuffle their choices when they are loaded."""

MAX_DEFINITION = 2**22
"""Bytes of a YAML definition."""
FORMATS = {"json", "csv", "text", "parquet", "arrow"}
"""Builders of `datasets` that read files as data; others connect to databases or call functions."""
REACHING = ("token", "use_auth_token", "storage_options", "download_config", "builder_cls")
"""Options of `datasets` with which a definition would use credentials of this machine, or give its own."""
MAX_MADE = 2**20
"""Characters, items or bits that a template may make at once."""
_WIDE = re.compile(r"%[^a-zA-Z%]*(\d{5}|\*)")
"""A format of `%` that pads its value to any width."""
REMEDY = "read it, and if you trust it write trust_remote_code: true beside the tasks and run with --trust-study"


class _Guard(NamedTuple):
    """A module's attribute, and what replaces it."""

    module: Any
    name: str
    replacement: Any


@contextlib.contextmanager
def harness_context(trust_remote_code: bool) -> Iterator[None]:
    """Inside: no progress bars (the harness and `datasets` draw one per task), the harness's seeds, no documents from
    an earlier run, and a sandbox.

    trust_remote_code: leave the sandbox out. Restores the state of both random generators. Raises StudyError where a
    definition wants to run code of its own.
    """
    states = random.getstate(), np.random.get_state()
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            _no_stored_documents(),
            contextlib.nullcontext() if trust_remote_code else _sandbox(),
        ):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def _no_stored_documents() -> Iterator[None]:
    """`datasets` stores what a function makes of documents by its name, and serves it after the function is edited."""
    import datasets

    was_enabled = datasets.is_caching_enabled()
    datasets.disable_caching()
    try:
        yield
    finally:
        if was_enabled:
            datasets.enable_caching()


@contextlib.contextmanager
def _sandbox() -> Iterator[None]:
    """Replaces every guarded point; raises the first refusal, even if the harness has swallowed it."""
    refusals: list[str] = []
    guards = _guards(refusals)
    originals = [getattr(module, name) for module, name, _ in guards]
    for module, name, replacement in guards:
        setattr(module, name, replacement)
    try:
        yield
    except Exception:
        if refusals:
            raise StudyError(refusals[0]) from None
        raise
    finally:
        for (module, name, _), original in zip(guards, originals, strict=True):
            setattr(module, name, original)
    if refusals:  # the harness logs some errors and goes on
        raise StudyError(refusals[0])


def _guards(refusals: list[str]) -> list[_Guard]:
    """The points where a definition becomes code or a path: its Python, templates, prompts, metrics and data.

    Each replacement appends to `refusals` and raises StudyError where it refuses.
    """
    import lm_eval

    found = _points()
    yaml = found.yaml_loader.yaml
    own_folder = Path(lm_eval.__file__).resolve().parent

    def refuse(problem: str) -> NoReturn:
        refusals.append(f"{problem}; {REMEDY}")
        raise StudyError(refusals[0])

    def import_own(name: str, folder: Path) -> Callable[..., Any]:
        if not folder.resolve().is_relative_to(own_folder):
            refuse(f"the definition runs Python, {name}")
        return found.import_function(name, folder)

    def load_data(path: str, *arguments: Any, **options: Any) -> Any:
        if "cache_dir" in options:
            refuse(f"the definition writes into a folder of its choice, {options['cache_dir']}")
        if problem := _unsafe_source(path, options):
            refuse(problem)
        return found.load_dataset(path, *arguments, **options)

    def load_yaml(path: str | Path, **options: Any) -> Any:
        require_ordinary(Path(path).expanduser(), MAX_DEFINITION)
        return found.load_yaml(path, **options)

    def refuse_metric(name: str, *_: Any, **__: Any) -> NoReturn:
        refuse(f"the metric {name} is downloaded Python code")

    def refuse_prompt(name: str, *_: Any, **__: Any) -> NoReturn:
        refuse(f"the definition takes its prompt from elsewhere, {name}")

    return [
        _Guard(found.yaml_loader, "_import_func_in_yml", import_own),
        _Guard(found.yaml_loader, "_Base", getattr(yaml, "CSafeLoader", yaml.SafeLoader)),  # C, where there is one
        *(_Guard(module, "load_yaml", load_yaml) for module in found.yaml_readers),
        _Guard(found.task, "get_prompt", refuse_prompt),
        _Guard(found.datasets, "load_dataset", load_data),
        _Guard(found.evaluate, "load", refuse_metric),
        _Guard(found.utils, "env", _sandboxed(found.utils.env)),
    ]


def _points() -> SimpleNamespace:
    """The guarded modules, and what is called behind the guards. Raises StudyError where one of them has moved."""
    try:
        import datasets
        import evaluate
        from lm_eval import utils
        from lm_eval.api import task
        from lm_eval.tasks import _factory, _index, _yaml_loader, manager

        readers = (_yaml_loader, _index, _factory, manager)
        needed = ((_yaml_loader, "_Base"), (task, "get_prompt"), (evaluate, "load"), (utils, "env"))
        for module, name in (*needed, *((module, "load_yaml") for module in readers)):
            getattr(module, name)
        return SimpleNamespace(
            datasets=datasets,
            evaluate=evaluate,
            utils=utils,
            task=task,
            yaml_loader=_yaml_loader,
            yaml_readers=readers,
            import_function=_yaml_loader._import_func_in_yml,
            load_yaml=_yaml_loader.load_yaml,
            load_dataset=datasets.load_dataset,
        )
    except (ImportError, AttributeError) as error:
        raise StudyError(
            f"this version of lm-eval runs the code of definitions at unguarded points ({error}); install lm-eval "
            "0.4.13, or write trust_remote_code: true beside the tasks and run with --trust-study"
        ) from None


def _unsafe_source(path: str, options: Mapping[str, Any]) -> str:
    """Why data must not be loaded from there for a definition that is not trusted; empty where it may.

    Raises StudyError for a file that may never end.
    """
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    if path in _PACKAGED_DATASETS_MODULES and path not in FORMATS:
        return f"the definition reads its data with {path}, not with one of {', '.join(sorted(FORMATS))}"
    for option in REACHING:
        if option in options:
            return f"the definition gives its data set the option {option}"
    for file in (str(path), *_texts(options.get("data_files")), *_texts(options.get("data_dir"))):
        scheme = file.partition("://")[0] if "://" in file else ""
        if "::" in file or scheme not in ("", "file", "hf"):
            return f"the definition reads its data from {file}, with credentials of this machine"
        local = Path(file.removeprefix("file://"))
        if not scheme or scheme == "file":
            for one in (local, *(local.rglob("*") if os.path.isdir(local) else ())):
                require_ordinary(one)
    return ""


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value of YAML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _sandboxed(templates: Any) -> Any:
    """A sandbox in place of the harness's environment of templates, which cannot fill the memory by multiplying."""
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import SandboxedEnvironment

    class Bounded(SandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**", "%"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if _is_too_much(operator, left, right):
                raise SecurityError(f"a template may not make so much with {operator}")
            return super().call_binop(context, operator, left, right)

    environment = Bounded(undefined=templates.undefined, keep_trailing_newline=True)
    environment.filters = templates.filters
    return environment


def _is_too_much(operator: str, left: Any, right: Any) -> bool:
    """Whether the result of an operation could be larger than any text of a task."""
    if operator == "%":
        return isinstance(left, str | bytes) and _WIDE.search(str(left)) is not None
    if operator == "**":
        return isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_MADE
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | bytes | list | tuple) and isinstance(times, int):
            return len(many) * times > MAX_MADE
    return False
