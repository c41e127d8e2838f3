"""What an engine asks of a GPU, judged by vLLM's own code on a machine without one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from actors.ablation import engine
from actors.ablation.engine import Engine
from actors.messages.model import ModelSource
from actors.messages.stream import EngineDied
from actors.sites import SITES
from studies.errors import StudyError
from tests import oracles
from tests.integration.test_families import TOLERANCE, ablate, forest, oracle_sums
from tests.processes import one_process
from tests.sources import source_of
from tests.startup.sitecustomize import CHANGES, STARTUP

GIB = 2**30
NEED = 3 * GIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracles.make_model(tmp_path_factory.mktemp("models") / "llama", "llama")


@pytest.fixture(scope="module")
def call() -> Iterator[Callable[..., Any]]:
    """One process for all engines of one rank."""
    with one_process(timeout=200) as call:
        yield call


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A process whose engine's second rank is ill."""
    monkeypatch.setenv("PYTHONPATH", STARTUP)
    monkeypatch.setenv(CHANGES, "ill_second_rank")
    with one_process(timeout=200) as call:
        yield call


def open_with_free(source: ModelSource, free: float) -> Any:
    """Open an engine whose GPU has so many of its 80 GiB free; returns vLLM's configuration of it, or the error."""
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.utils import request_memory

    options, init_device = engine._gpu_options, CPUWorker.init_device
    gpu = SimpleNamespace(is_cuda_alike=lambda: True, get_device_total_memory=lambda: 80 * GIB)

    def options_on_gpu(*arguments: Any) -> dict[str, object]:
        with mock.patch("vllm.platforms.current_platform", gpu):
            return options(*arguments)

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


@pytest.mark.long
def test_an_engine_asks_for_what_it_needs(folder: Path, call: Callable[..., Any]) -> None:
    """By vLLM's default it would ask for 92 % of the GPU, and 76 of its 80 GiB belong to others."""
    opened = call(open_with_free, source_of(folder, gpu_bytes=NEED), 4)
    assert opened == {"tokens": 1024, "sequences": 64, "share": 3 / 80, "autotune": False}


def test_a_full_gpu_is_an_engine_lost_not_a_step_failed(folder: Path, call: Callable[..., Any]) -> None:
    error = call(open_with_free, source_of(folder, gpu_bytes=NEED), 2)
    assert isinstance(error, EngineDied)
    assert str(error).startswith("llama: Free memory on device cuda:0 (2.0/80.0 GiB)")


def not_started(source: ModelSource) -> Exception:
    """The error of an engine that cannot start."""
    try:
        Engine(source).close()
    except Exception as error:
        return type(error)(str(error))
    raise AssertionError("it started")


@pytest.mark.long
def test_a_rank_that_cannot_start_says_why_and_is_no_lost_actor(folder: Path, own_process: Callable[..., Any]) -> None:
    """vLLM itself says only that a worker process failed."""
    error = own_process(not_started, source_of(folder, tensor_parallel=2))
    assert (type(error), str(error)) == (RuntimeError, "RuntimeError: the driver is too old")


@pytest.mark.long
def test_a_window_that_is_cut_into_steps_has_the_same_log_probabilities(folder: Path, call: Callable[..., Any]) -> None:
    """On a GPU vLLM's own requests take at most 1,024 tokens a step."""
    texts, names = forest(count=8), ("baseline", "negative")
    cut = source_of(folder, route="flat", engine={"max_num_batched_tokens": 16, "max_num_seqs": 4})
    outcome = call(ablate, cut, texts, names)
    assert outcome["route"] == "flat"
    for name, expected in oracle_sums(folder, texts, names).items():
        np.testing.assert_allclose(outcome["sums"][name], expected, atol=TOLERANCE, rtol=0)


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
        "model.layers.1.self_attn.attn: the KV cache is fp8_e4m3, the model float32"
    )
