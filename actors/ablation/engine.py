"""The vLLM engine of an ablation actor: its options, the versions behind it."""

import os

from actors.hf_model import trusted_alone
from actors.messages import (
    DTYPE_BYTES,
    ModelSource,
)

FLAT_TOKENS = 2064
"""Longest sequence of the flat route: the presets' window and a few; `engine: {max_model_len: ...}` raises it."""


def _start_engine(model: ModelSource):
    """A vLLM engine in this process: eager, no prefix cache, the smallest KV cache that the flat probe needs."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if model.threads is not None:
        # Several engines may share a CPU machine: vLLM must not bind each of them to all cores.
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        os.environ["OMP_NUM_THREADS"] = str(max(1, model.threads // model.tensor_parallel))
    if not model.over_nodes:
        _stay_on_this_machine()
    from vllm import LLM

    # The KV cache serves the flat route only: one sequence of the longest window, keys and values of every head.
    length = min(model.context, FLAT_TOKENS)
    cache_bytes = int(1.25 * 2 * model.num_layers * model.d_model * DTYPE_BYTES[model.dtype] * length)
    options = {
        "model": model.path,
        "revision": model.revision,
        "tokenizer_revision": model.revision,
        "load_format": _load_format(model),
        "dtype": model.dtype,
        "max_model_len": length,
        "tensor_parallel_size": model.tensor_parallel,
        "distributed_executor_backend": "ray" if model.over_nodes else "mp" if model.tensor_parallel > 1 else "uni",
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "kv_cache_memory_bytes": max(256 * 2**20, cache_bytes),
        "worker_extension_cls": "actors.ablation.vllm_worker.LogitsPass",
        "trust_remote_code": model.trust_remote_code,
        "disable_log_stats": True,
        "seed": 0,
    }
    if model.gpu_share < 1:
        options["gpu_memory_utilization"] = 0.9 * model.gpu_share
    with trusted_alone(model):
        return LLM(**{**options, **model.engine})


def _load_format(model: ModelSource) -> str:
    """vLLM's word for the resolved weights; its `hf` takes .bin files, without their code, where nothing else is."""
    return "hf" if model.pickled else "safetensors"


def _stay_on_this_machine() -> None:
    """An engine and its workers meet on one machine: by themselves vLLM, Gloo and NCCL would listen on its network."""
    os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")
    if os.path.isdir("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")


def _versions() -> dict[str, str]:
    import torch
    import vllm

    return {"vllm": vllm.__version__, "torch": torch.__version__}
