"""What a study file may say of vLLM's engine: three classes of options, told apart by name.

Allowed are sizes, memory and named backends, each with a type. Never allowed are the options whose other values would
lose the clamp or the placement, and tokens. Whatever is in neither list is for a study that its user trusts on the
command line (`trust`): options of vLLM import Python by name, read and write files and reach servers, and a newer vLLM
may add such ones.
Which options there are, and which backends, the source of the installed vLLM says; it is read, never imported.
Invariant: an option that nobody has thought of is not allowed.
"""

import ast
import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import InitErrorDetails

from orchestrator.study_file.fields import Number, Strict

Option = str | int | Number | bool | list[Any] | dict[str, Any]
"""A value of an engine option."""
_Size = Annotated[int, Field(ge=1, le=2**53, strict=True)]
_Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
_Backend = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class AllowedOptions(Strict, extra="allow"):
    """The options that every study file may set. The others pass here and are judged by name."""

    # sizes
    block_size: _Size = 1
    max_model_len: _Size = 1
    max_num_batched_tokens: _Size = 1
    max_num_scheduled_tokens: _Size = 1
    max_num_seqs: _Size = 1
    max_num_active_seqs: _Size = 1
    max_logprobs: _Size = 1
    max_parallel_loading_workers: _Size = 1
    mamba_block_size: _Size = 1
    long_prefill_token_threshold: _Count = 1
    safetensors_prefetch_num_threads: _Size = 1
    safetensors_prefetch_block_size: _Size = 1
    # memory
    gpu_memory_utilization: Annotated[Number, Field(gt=0, le=1)] = 1
    kv_cache_memory_bytes: _Size = 1
    num_gpu_blocks_override: _Size = 1
    cpu_offload_gb: Annotated[Number, Field(ge=0)] = 1
    offload_group_size: _Count = 1
    offload_num_in_group: _Size = 1
    offload_prefetch_step: _Count = 1
    # named backends
    all2all_backend: _Backend = ""
    attention_backend: _Backend = ""
    kv_cache_dtype: Literal["auto", "float16", "bfloat16"] = "auto"
    """Keys and values of a few bits make the flat route another model than the tree route, which has no cache."""
    linear_backend: _Backend = ""
    mamba_cache_dtype: _Backend = ""
    mamba_ssm_cache_dtype: _Backend = ""
    model_impl: _Backend = ""
    moe_backend: _Backend = ""
    safetensors_load_strategy: _Backend = ""


ALLOWED = frozenset(AllowedOptions.model_fields)

_BACKENDS = {
    "all2all_backend": "All2AllBackend",
    "attention_backend": "AttentionBackendEnum",
    "linear_backend": "LinearBackend",
    "mamba_cache_dtype": "MambaDType",
    "mamba_ssm_cache_dtype": "MambaDType",
    "model_impl": "ModelImpl",
    "moe_backend": "MoEBackend",
    "safetensors_load_strategy": "SafetensorsLoadStrategy",
}
"""{option: vLLM's name for the type that lists its values}."""

OUR_ENGINE_OPTIONS = {
    "config_format",
    "distributed_executor_backend",
    "download_dir",
    "dtype",
    "enable_prefix_caching",
    "enforce_eager",
    "hf_config_path",
    "io_processor_plugin",
    "load_format",
    "logits_processors",
    "model",
    "model_loader_extra_config",
    "pipeline_parallel_size",
    "quantization",
    "revision",
    "tensor_parallel_size",
    "tokenizer",
    "tokenizer_mode",
    "tokenizer_revision",
    "trust_remote_code",
    "worker_cls",
    "worker_extension_cls",
}
"""Engine options that no study file may set, trusted or not: they have a field of their own here, or an intervention
could silently be absent without our value, or they load other code or weights, or they write files elsewhere."""

NEVER = {
    **{
        option: f"engine option {option!r} is set by Halfwave and cannot be changed"
        for option in sorted(OUR_ENGINE_OPTIONS)
    },
    "hf_token": "a study file is recorded and must not hold a token; set HF_TOKEN in the environment",
}
"""{option that is refused: why}."""


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """The options as they are. Raises ValidationError at an option with a wrong type, or that is never allowed."""
    AllowedOptions.model_validate(options)
    refused = {option: ValueError(NEVER[option]) for option in options if option in NEVER}
    for option, value in options.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            refused.setdefault(option, ValueError("every number in it must be finite"))
    if refused:
        raise ValidationError.from_exception_data(
            "engine",
            [
                InitErrorDetails(type="value_error", loc=(option,), input=options[option], ctx={"error": error})
                for option, error in refused.items()
            ],
        )
    return options


EngineOptions = Annotated[dict[str, Option], AfterValidator(_checked)]
"""{engine option: its value}, typed where it is allowed, without those that never are."""


def unknown_value(option: str, value: Any) -> list[str]:
    """The backends that an allowed option can name, where the installed vLLM has none of this name; else empty."""
    kind = _BACKENDS.get(option)
    names = installed_values(kind) if kind else []
    return [] if {str(value), str(value).upper()}.intersection(names) else names


# -- the installed vLLM ----------------------------------------------------------------------------------------------


@functools.cache
def installed_options() -> frozenset[str]:
    """Names of the options of the installed vLLM; empty where there is none, or where its source is another."""
    for node in _classes("engine/arg_utils.py"):
        if node.name == "EngineArgs":
            fields = (part.target for part in node.body if isinstance(part, ast.AnnAssign))
            return frozenset(target.id for target in fields if isinstance(target, ast.Name))
    return frozenset()


@functools.cache
def installed_values(kind: str) -> list[str]:
    """The names that a type of the installed vLLM lists, a Literal or an enumeration; empty where it is not found."""
    for source in ("config/*.py", "v1/attention/backends/registry.py"):
        for path in sorted(_vllm().glob(source)) if _vllm() != Path() else ():
            for node in _tree(path).body:
                names = list(_names(node, kind))
                if names:
                    return names
    return []


def _names(node: ast.stmt, kind: str) -> Iterator[str]:
    """The names in `kind = Literal[...]` or `class kind(Enum)`."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as literal) if name == kind:
            yield from (str(part.value) for part in ast.walk(literal) if isinstance(part, ast.Constant))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Subscript() as literal) if name == kind:
            yield from (str(part.value) for part in ast.walk(literal) if isinstance(part, ast.Constant))
        case ast.ClassDef(name=name, body=body) if name == kind:
            assigned = (part.targets[0] for part in body if isinstance(part, ast.Assign))
            yield from (target.id for target in assigned if isinstance(target, ast.Name))


def _classes(source: str) -> Iterator[ast.ClassDef]:
    path = _vllm() / source
    if _vllm() != Path() and path.is_file():
        yield from (node for node in _tree(path).body if isinstance(node, ast.ClassDef))


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


@functools.cache
def _vllm() -> Path:
    """The folder of the installed vLLM; `Path()` where there is none."""
    try:
        spec = importlib.util.find_spec("vllm")
    except (ImportError, ValueError):
        return Path()
    return Path(spec.origin).parent if spec is not None and spec.origin else Path()
