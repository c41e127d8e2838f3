"""One vLLM engine in this process, with `vllm_worker` loaded into its workers: started, called, shut down.

Owns the options and the environment of an ablation engine (eager, no prefix cache, the smallest KV cache that the flat
route needs, reachable from this machine only), calls to its workers, and prompt log-probabilities by ordinary requests.
Knows nothing of packs and clamps. Invariant: a call returns what every rank returned, or raises the error of the rank
that failed first; `EngineDied` stands for a worker process that ended without one.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from actors.ablation import coverage, vllm_loader
from actors.ablation.coverage import Account
from actors.ablation.memory import FlatBounds, flat_bounds
from actors.hf_model import refusing_untrusted
from actors.messages.model import ModelSource
from actors.messages.stream import EngineDied
from actors.sites import Site
from studies.errors import InterventionError, StudyError, first_line

LAST_WORDS = "HALFWAVE_LAST_WORDS"
"""Environment variable with the path of a file in which a rank that ends its process writes why."""
FULL_GPU = "Free memory on device"
"""In vLLM's error where another process holds the memory of a GPU: another try may succeed."""
MOST_OF_A_GPU = 0.92
"""The largest share of a GPU's memory that an engine asks for: vLLM's default."""


class Hooks(NamedTuple):
    """What installing the hooks reports about the model."""

    tree_refused: str
    """Why the tree route is impossible; '' if it is possible."""
    attention: str
    """The attention kernel of the tree route, with the reason for it."""


class Engine:
    """A started engine. Its worker processes live until `close`."""

    def __init__(self, source: ModelSource):
        """Raises StudyError unless every tensor of the checkpoint is accounted for, EngineDied where a GPU is full."""
        self._label = source.label
        self._last_words = os.path.join(tempfile.gettempdir(), f"halfwave-{uuid.uuid4().hex}.txt")
        os.environ[LAST_WORDS] = self._last_words
        try:
            self._llm: Any = _start_vllm(source)  # a vllm.LLM; vllm is imported in functions only
        except Exception as error:
            if why := self._why_not_started(error):
                raise why from error
            raise
        try:
            self._check_account(source)
        except BaseException:
            self.close()
            raise

    def _why_not_started(self, error: Exception) -> Exception | None:
        """The error of the rank that failed first, EngineDied where another process fills its GPU; None = vLLM's own.

        vLLM's own says only that a worker failed (multiprocessing), or holds the worker's trace (Ray).
        """
        said = self._said()
        cause = said or f"{getattr(error, 'cause', None) or error}"
        if FULL_GPU in cause:
            return EngineDied(f"{self._label}: {first_line(cause[cause.index(FULL_GPU) :])}")
        return RuntimeError(said) if said else None

    def _said(self) -> str:
        """What a rank that ended has written; '' where none has."""
        if not os.path.exists(self._last_words):
            return ""
        with open(self._last_words, encoding="utf-8") as file:
            return file.read()

    @property
    def device(self) -> str:
        """vLLM's device type, `cpu` or `cuda`."""
        return self._llm.llm_engine.vllm_config.device_config.device_type

    def install_hooks(self, site: Site, num_layers: int, d_mlp: int) -> Hooks:
        """Hook the activations and attention layers. Raises InterventionError if their number is not `num_layers`."""
        report = self.call("halfwave_install", dataclasses.asdict(site), d_mlp)[0]
        if report["layers"] != num_layers:
            raise InterventionError(f"{self._label}: {report['layers']} layers hooked, config.json says {num_layers}")
        return Hooks(report["tree_refused"], report["attention"])

    def reload(self, source: ModelSource) -> dict[str, tuple[list[int], float]]:
        """Load another checkpoint into the running model; returns {tensor of the checkpoint: (shape, sum)}.

        Raises StudyError unless every tensor is accounted for. After any error the engine must not be used again.
        """
        read = self.call("halfwave_reload", source.path, source.revision, load_format(source))[0]
        self._check_account(source)
        return read

    def _check_account(self, source: ModelSource) -> None:
        """Raises StudyError if a tensor of the checkpoint, or a parameter of the model, was left out in loading."""
        if problem := coverage.problem([Account(*fields) for fields in self.call("halfwave_account")]):
            raise StudyError(f"{source.label}: {problem}")

    def verify_files(self, source: ModelSource) -> None:
        """Every rank compares the files on its own node, which it has read, with the source.

        Raises StudyError for one that differs. An actor whose ranks are all on its own node knows without asking.
        """
        problems = self.call("halfwave_verify_files", dataclasses.asdict(source))
        if problem := next(filter(None, problems), ""):
            raise StudyError(problem)

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of `vllm_worker.LogitsPass` on all ranks; returns one result per rank.

        Raises EngineDied if a worker process ended without an error of its own.
        """
        try:
            return self._llm.collective_rpc(method, args=arguments)
        except Exception as error:
            if not getattr(self._llm.llm_engine.model_executor, "is_failed", False):
                raise
            if said := self._said():
                raise RuntimeError(said) from error
            raise EngineDied(f"{self._label}: a worker process of the engine is gone: {error}") from error

    def call_head(self, method: str, *arguments: Any) -> Any:
        """As `call`, but returns only the result of the rank that holds the gathered head; the others return None."""
        return next(result for result in self.call(method, *arguments) if result is not None)

    def prompt_log_probabilities(self, sequences: Sequence[np.ndarray], num_top: int) -> list[list[dict[int, float]]]:
        """For every token of every sequence {token: log-probability in nats}: of itself and of the `num_top` likeliest.

        By ordinary requests with `prompt_logprobs`. Empty for a sequence's first token, which has no probability.
        """
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=ids.tolist()) for ids in sequences],
            SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=num_top, detokenize=False),
            use_tqdm=False,
        )
        return [
            [{token: entry.logprob for token, entry in (entries or {}).items()} for entries in output.prompt_logprobs]
            for output in outputs
        ]

    def vllm_configured(self) -> AbstractContextManager[None]:
        """A context in which vLLM's configuration is this engine's.

        vLLM's Transformers backend decorates Transformers' own classes, which then require it.
        """
        from vllm.config import set_current_vllm_config

        return set_current_vllm_config(self._llm.llm_engine.vllm_config)

    def close(self) -> None:
        """Shut the engine and its worker processes down. Closing it again does nothing."""
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._last_words)


def _start_vllm(source: ModelSource) -> Any:
    """A `vllm.LLM` in this process: eager, no prefix cache, the smallest KV cache that the flat probe needs."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if source.threads is not None:
        # Several engines may share a CPU machine: vLLM must not bind each of them to all cores.
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        os.environ["OMP_NUM_THREADS"] = str(max(1, source.threads // source.tensor_parallel))
    if source.dtype == "float32":
        # without it Triton's kernels round float32 to TF32
        os.environ.setdefault("TRITON_F32_DEFAULT", "ieee")
    if not source.over_nodes:
        stay_on_this_machine()
    from vllm import LLM

    flat = flat_bounds(source, source.dtype, source.tensor_parallel, source.engine)
    options: dict[str, object] = {
        "model": source.path,
        "revision": source.revision,
        "tokenizer_revision": source.revision,
        "load_format": load_format(source),
        "config_format": "hf",  # else a repository with params.json is configured by it, not by config.json
        "tokenizer_mode": "hf",
        "dtype": source.dtype,
        "max_model_len": flat.length,
        "tensor_parallel_size": source.tensor_parallel,
        "distributed_executor_backend": "ray" if source.over_nodes else "mp" if source.tensor_parallel > 1 else "uni",
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "kv_cache_memory_bytes": flat.cache_bytes,
        "worker_extension_cls": "actors.ablation.vllm_worker.LogitsPass",
        "trust_remote_code": source.trust_remote_code,
        "disable_log_stats": True,
        "seed": 0,
    }
    with refusing_untrusted(source):
        return LLM(**{**options, **_gpu_options(source, flat), **source.engine})


def _gpu_options(source: ModelSource, flat: FlatBounds) -> dict[str, object]:
    """What bounds an engine on a GPU; empty on a CPU. By default vLLM refuses a GPU of which 8 % are taken."""
    from vllm.platforms import current_platform

    if not current_platform.is_cuda_alike():
        return {}
    options: dict[str, object] = {"max_num_batched_tokens": flat.batch, "max_num_seqs": flat.sequences}
    if "kernel_config" not in source.engine:  # vLLM allows the one or the other
        options["enable_flashinfer_autotune"] = False  # it tries kernels for steps of sizes that never come
    if source.gpu_bytes:
        share = source.gpu_bytes / current_platform.get_device_total_memory()
        options["gpu_memory_utilization"] = min(share, MOST_OF_A_GPU)
    return options


def load_format(source: ModelSource) -> str:
    """The load format of the resolved weights. `hf` reads .bin files, without code, where there are no safetensors."""
    return vllm_loader.PREFIX + ("hf" if source.pickled else "safetensors")


def stay_on_this_machine() -> None:
    """Connect the engine and its workers over the loopback: by default vLLM, Gloo and NCCL listen on the network."""
    os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")
    if os.path.isdir("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")


def versions() -> dict[str, str]:
    """Versions of the packages on which an ablation engine's numbers depend."""
    import torch
    import vllm

    return {"vllm": vllm.__version__, "torch": torch.__version__}


@functools.cache
def code_digest() -> str:
    """sha256 of the modules that make log-probabilities out of an engine: those of this package."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()
