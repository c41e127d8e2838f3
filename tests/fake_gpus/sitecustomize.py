"""vLLM's CPU platform takes Ray's GPUs for its devices, in every process that has this folder on its PYTHONPATH.

So an engine's ranks run on several nodes of a cluster as on GPUs: in bundles of the actor's placement group, under
Ray's executor. Python imports this module at its start; vLLM's is changed as it is imported.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PLATFORM = "vllm.platforms.cpu"


class Changed(MetaPathFinder):
    """Finds the one module, once, and has it changed after it was run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != PLATFORM:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            module.CpuPlatform.ray_device_key = "GPU"

        spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Changed())
