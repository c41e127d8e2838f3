"""The environment in which lm-evaluation-harness runs task definitions: quiet, seeded, and without foreign code.

Owns the guard on every point where a definition becomes code or a path on disk. Unless the user trusts a definition,
only the harness's own code runs, and nothing is written to a path that the definition names; where a guarded point has
moved in another version of the harness, no definition is loaded at all. Knows nothing of benchmarks. `lm_eval` is
imported inside functions: it brings torch and Transformers with it.
"""

import contextlib
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from studies.errors import StudyError

RANDOM_SEED, NUMPY_SEED = 0, 1234
"""The harness's own defaults; some tasks shuffle their choices when they are loaded."""


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
    """The points where a definition becomes code or a path: its Python, its templates, its metrics, its data's cache.

    Each replacement appends to `refusals` and raises StudyError where it refuses.
    """
    import lm_eval
    from jinja2.sandbox import SandboxedEnvironment

    try:
        import datasets
        import evaluate
        from lm_eval import utils
        from lm_eval.tasks import _yaml_loader

        import_function, load_dataset, templates = (
            _yaml_loader._import_func_in_yml,
            datasets.load_dataset,
            utils.env,
        )
    except (ImportError, AttributeError) as error:
        raise StudyError(
            f"this version of lm-eval runs the code of definitions at unguarded points ({error}); install lm-eval "
            "0.4.13, or write trust_remote_code: true beside the tasks"
        ) from None
    own_folder = Path(lm_eval.__file__).resolve().parent

    def refuse(problem: str) -> NoReturn:
        refusals.append(f"{problem}; read it, and write trust_remote_code: true beside the tasks if you trust it")
        raise StudyError(refusals[0])

    def import_own(name: str, folder: Path) -> Callable[..., Any]:
        if not folder.resolve().is_relative_to(own_folder):
            refuse(f"the definition runs Python, {name}")
        return import_function(name, folder)

    def load_without_cache(*arguments: Any, **options: Any) -> Any:
        if "cache_dir" in options:
            refuse(f"the definition writes into a folder of its choice, {options['cache_dir']}")
        return load_dataset(*arguments, **options)

    def refuse_metric(name: str, *_: Any, **__: Any) -> NoReturn:
        refuse(f"the metric {name} is downloaded Python code")

    sandboxed = SandboxedEnvironment(undefined=templates.undefined, keep_trailing_newline=True)
    sandboxed.filters = templates.filters
    return [
        _Guard(_yaml_loader, "_import_func_in_yml", import_own),
        _Guard(datasets, "load_dataset", load_without_cache),
        _Guard(evaluate, "load", refuse_metric),
        _Guard(utils, "env", sandboxed),
    ]
