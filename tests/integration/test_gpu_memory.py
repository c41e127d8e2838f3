"""What an engine asks of a GPU, judged by vLLM's own code on a machine without one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from actors.ablation import engine
from actors.ablation.engine import Engine
from actors.messages.model import ModelSource
from actors.messages.stream import EngineDied
from actors.sites import SITES
from studies.errors import StudyError
from tests import oracles
from tests.processes import one_process
from tests.sources import source_of

GIB = 2**30
NEED = 3 * GIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracles.make_model(tmp_path_factory.mktemp("models") / "llama", "llama")


@pytest.fixture
def call() -> Iterator[Callable[..., Any]]:
    with one_process(timeout=200) as call:
        yield call


def open_with_free(source: ModelSource, free: float) -> Any:
    """Open an engine whose GPU has so many of its 80 GiB free; returns vLLM's configuration of it, or the error."""
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.utils import request_memory

    options, init_device = engine._gpu_options, CPUWorker.init_device
    gpu = SimpleNamespace(is_cuda_alike=lambda: True, get_device_total_memory=lambda: 80 * GIB)

    def options_on_gpu(source: ModelSource) -> dict[str, object]:
        with mock.patch("vllm.platforms.current_platform", gpu):
            return options(source)

    def init_gpu(worker: Any) -> None:
        snapshot = SimpleNamespace(total_memory=80 * GIB, free_memory=int(free * GIB), device_="cuda:0")
        request_memory(snapshot, worker.cache_config)  # type: ignore[arg-type]
        init_device(worker)

    with (
        mock.patch.object(engine, "_gpu_options", options_on_gpu),
        mock.patch.object(CPUWorker, "init_device", init_gpu),
    ):
        try:
            opened = Engine(source)
        except EngineDied as error:
            return error
    config = opened._llm.llm_engine.vllm_config
    opened.close()
    scheduler, cache, kernels = config.scheduler_config, config.cache_config, config.kernel_config
    return {
        "tokens": scheduler.max_num_batched_tokens,
        "sequences": scheduler.max_num_seqs,
        "share": cache.gpu_memory_utilization,
        "autotune": kernels.enable_flashinfer_autotune,
    }


def test_an_engine_asks_for_what_it_needs(folder: Path, call: Callable[..., Any]) -> None:
    """By vLLM's default it would ask for 92 % of the GPU, and 76 of its 80 GiB belong to others."""
    opened = call(open_with_free, source_of(folder, gpu_bytes=NEED), 4)
    assert opened == {"tokens": 1024, "sequences": 64, "share": 3 / 80, "autotune": False}


def test_a_full_gpu_is_an_engine_lost_not_a_step_failed(folder: Path, call: Callable[..., Any]) -> None:
    error = call(open_with_free, source_of(folder, gpu_bytes=NEED), 2)
    assert isinstance(error, EngineDied)
    assert str(error).startswith("llama: no free memory: Free memory on device cuda:0 (2.0/80.0 GiB)")


def quantised(source: ModelSource) -> str:
    """Why the hooks refuse an engine, after a layer of it was told that its queries are quantised."""
    opened = Engine(source)
    context = opened._llm.llm_engine.vllm_config.compilation_config.static_forward_context
    layer = context["model.layers.1.self_attn.attn"]
    try:
        for name, value in (("query_quant", object()), ("kv_cache_dtype", "fp8_e4m3")):
            with mock.patch.object(layer, name, value), pytest.raises(StudyError) as refused:
                opened.install_hooks(SITES[source.family], source.num_layers, source.d_mlp)
    finally:
        opened.close()
    return str(refused.value)


def test_quantised_attention_is_refused_by_name(folder: Path, call: Callable[..., Any]) -> None:
    assert call(quantised, source_of(folder)).startswith(
        "model.layers.1.self_attn.attn: the KV cache is quantised (fp8_e4m3)"
    )
