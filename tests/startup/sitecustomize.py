"""Changes modules of vLLM as they are imported, in every process that has this folder on its PYTHONPATH.

Python imports this module at its start. The variable `CHANGES` names what is changed, so that the workers of an engine,
which are processes of their own, are changed as well.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

CHANGES, NOTED = "VLLM_CHANGED_BY_TESTS", "VLLM_NOTED_BY_TESTS"
STARTUP = os.path.dirname(__file__)
Change = Callable[[ModuleType], AbstractContextManager[None]]
"""Around the import of a module."""


@contextmanager
def ray_gpus(platform: ModuleType) -> Iterator[None]:
    """The CPU platform takes Ray's GPUs for its devices: an engine's ranks run on several nodes as on GPUs."""
    yield
    platform.CpuPlatform.ray_device_key = "GPU"


@contextmanager
def interpreted_triton(importing: ModuleType) -> Iterator[None]:
    """vLLM finds a Triton with a backend for CPUs; with TRITON_INTERPRET=1 its kernels need none."""
    from triton.backends import backends

    backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True))  # type: ignore[assignment]
    try:
        yield
    finally:
        del backends["cpu"]


@contextmanager
def triton_attention(platform: ModuleType) -> Iterator[None]:
    """The CPU platform attends through vLLM's Triton kernels; `platform.chosen` holds their path once they are."""
    import torch

    yield
    platform.chosen = []

    def chosen(*_: Any, **__: Any) -> str:
        from vllm.v1.attention.backends.registry import AttentionBackendEnum

        platform.chosen.append(AttentionBackendEnum.TRITON_ATTN.get_path())
        return platform.chosen[-1]

    platform.CpuPlatform.get_attn_backend_cls = chosen
    torch.cuda.get_device_capability = lambda *_: (9, 0)


@contextmanager
def gpu_full_at_first(workers: ModuleType) -> Iterator[None]:
    """The first engine finds its GPU full, by vLLM's own check; a file beside `NOTED` says that it did."""
    yield
    noted = os.environ[NOTED]

    def be_full(worker: Any) -> None:
        from vllm.v1.worker.utils import request_memory

        if not os.path.exists(f"{noted}-{worker.rank}"):
            open(f"{noted}-{worker.rank}", "x").close()
            free = SimpleNamespace(total_memory=80 * 2**30, free_memory=2**30, device_="cuda:0")
            request_memory(free, worker.cache_config)  # type: ignore[arg-type]

    _before_init_device(workers, be_full)


@contextmanager
def ill_second_rank(workers: ModuleType) -> Iterator[None]:
    """The second rank of an engine does not start."""
    yield

    def be_ill(worker: Any) -> None:
        if worker.rank == 1:
            raise RuntimeError("the driver is too old")

    _before_init_device(workers, be_ill)


def _before_init_device(workers: ModuleType, act: Callable[[Any], None]) -> None:
    """Have each worker of vLLM do this before it takes its device."""
    init_device = workers.CPUWorker.init_device

    def act_and_init(worker: Any) -> None:
        act(worker)
        init_device(worker)

    workers.CPUWorker.init_device = act_and_init


@contextmanager
def noted_v2_runner(runners: ModuleType) -> Iterator[None]:
    """Each process in which vLLM's V2 runner is made leaves a file beside `NOTED`."""
    yield
    init = runners.GPUModelRunner.__init__

    def init_and_note(runner: Any, *arguments: Any, **named: Any) -> None:
        open(f"{os.environ[NOTED]}-{os.getpid()}", "x").close()
        init(runner, *arguments, **named)

    runners.GPUModelRunner.__init__ = init_and_note


MODULES: dict[str, tuple[Change, ...]] = {
    "vllm.platforms.cpu": (ray_gpus, triton_attention),
    "vllm.triton_utils.importing": (interpreted_triton,),
    "vllm.v1.worker.cpu_worker": (gpu_full_at_first, ill_second_rank),
    "vllm.v1.worker.gpu.model_runner": (noted_v2_runner,),
}


class Changed(MetaPathFinder):
    """Finds these modules, each once, and has them imported within their changes."""

    def __init__(self, wanted: set[str]) -> None:
        self._left = {
            module: chosen
            for module, changes in MODULES.items()
            if (chosen := [change for change in changes if change.__name__ in wanted])
        }

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        changes = self._left.pop(fullname, None)
        if changes is None:
            return None
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def run_within_changes(module: ModuleType) -> None:
            with ExitStack() as stack:
                for change in changes:
                    stack.enter_context(change(module))
                run(module)

        spec.loader.exec_module = run_within_changes  # type: ignore[method-assign]
        return spec


if __name__ == "sitecustomize" and os.environ.get(CHANGES):  # not where a test imports it
    sys.meta_path.insert(0, Changed(set(os.environ[CHANGES].split(","))))
