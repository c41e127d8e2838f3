"""The examples of the documentation, as code that tests run."""

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

from studies.benchmarks.protocol import Benchmark


def documented_benchmark(folder: Path) -> ModuleType:
    """The benchmark in the docstring of `Benchmark`, saved as a file of the folder and imported from there."""
    path = folder / "last_words.py"
    path.write_text(inspect.cleandoc(inspect.cleandoc(Benchmark.__doc__ or "").split("::\n", 1)[1]))
    spec = importlib.util.spec_from_file_location("last_words", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
