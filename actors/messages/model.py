"""What an actor loads, and how an ablation actor computes its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Route(StrEnum):
    """How log-probabilities were computed."""

    TREE = "tree"
    """The logits pass over packed token trees inside vLLM."""
    FLAT = "flat"
    """Ordinary vLLM requests with `prompt_logprobs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """One resolved model, exactly as actors load it."""

    label: str
    path: str
    """Local folder with config, weights and tokenizer, or the name of a hub repository, pinned by `revision`."""
    revision: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """{file that loading reads: its sha256, or git's id of a hub file outside of LFS}; loading refuses other content.
    Empty where nobody has pinned any."""
    family: str
    num_layers: int
    d_mlp: int
    d_model: int
    context: int
    vocabulary: int
    """Tokens that the model has embeddings for."""
    dtype: str = "float32"
    tensor_parallel: int = 1
    threads: int | None = None
    """CPU threads of the actor; None leaves the number to the libraries (GPU machines)."""
    gpu_bytes: int = 0
    """Memory that an engine takes of each of its GPUs; 0 = unknown."""
    over_nodes: bool = False
    """Whether its tensor-parallel ranks run on several nodes, in the placement group of the actor."""
    trust_remote_code: bool = False
    pickled: bool = False
    """Whether the weights are `pytorch_model*.bin`; otherwise only safetensors are loaded."""
    route: str = "auto"
    """`auto`: the tree, or flat with the reason recorded; `tree`: the tree or an error; `flat`: always flat."""
    engine: Mapping[str, object] = field(default_factory=dict)
    """Extra vLLM engine arguments from the study file."""


DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number."""
LOADED_WEIGHTS = 1.2
"""Memory that loaded weights take, by their size; measured on a CPU."""
GPU_RUNTIME_BYTES = 2**30
"""A process's share of a GPU beside its tensors: CUDA's context, libraries' workspaces, what the allocator cannot use.
A guess, unmeasured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """How an ablation actor computes its numbers; enters every comparability key."""

    route: Route
    route_reason: str
    """Why the tree route was not taken; empty on the tree route."""
    attention: str
    """The attention kernel of the tree route, with the reason for it; '' on the flat route."""
    device: str
    """vLLM's device type: `cpu` or `cuda`."""
    dtype: str
    versions: Mapping[str, str]
    """{package: version}."""
    probe_difference: float
    """Largest |tree - flat| log-probability of one token in the comparison at start-up, in nats; nan where the flat
    route is taken, which has nothing to compare."""
    probe_tolerance: float
    """The largest difference that is accepted, in nats; infinite in 16 bits, where single tokens say nothing."""
    probe_mean: float
    """The same difference as a mean over the probe's tokens."""
    probe_mean_tolerance: float
    """The largest mean that is accepted, in nats."""
    probe_accepted: str = ""
    """Why a larger difference is accepted; '' where it is within the tolerance, or nothing was compared."""
    max_nodes: int
    """Default pack size."""
    reload_refused: str = ""
    """Why every checkpoint gets an engine of its own; '' as long as weights are exchanged in place."""
