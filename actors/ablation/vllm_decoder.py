"""vLLM's loaded model as the decoder of the logits pass: its forward pass, its head, and its attention over a tree.

Owns the forward context and the replacement of every `Attention.impl.forward`. One per worker process, and of one
thread. Ordinary requests pass through the replaced attention unchanged.

N nodes of a pack, R rows with edges, d d_model.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from actors.ablation.clamps import ClampSet, Setting
from actors.ablation.logits_pass import LayerWalk
from actors.ablation.tree_attention import Tree, attend, flex_refusal
from studies.errors import InterventionError, StudyError


class _AttentionImpl(Protocol):
    """The members of `vllm.v1.attention.backend.AttentionImpl` that are used here."""

    scale: float
    forward: Callable[..., Tensor]


class _AttentionLayer(Protocol):
    """The members of `vllm.model_executor.layers.attention.Attention` that are used here."""

    impl: _AttentionImpl
    num_heads: int
    """Of this rank."""
    num_kv_heads: int
    head_size: int
    sliding_window: int | None


class VllmDecoder:
    """vLLM's loaded model as a `logits_pass.Decoder`."""

    def __init__(
        self,
        model: nn.Module,
        config: Any,  # a vllm.config.VllmConfig; vllm is imported in functions only
        device: torch.device,
        clamps: ClampSet,
        walk: LayerWalk,
    ):
        self._model: Any = model  # a module that also has vLLM's `compute_logits`
        self._config = config
        self.device = device
        self.clamps, self.walk = clamps, walk
        self.kept: dict[int, list[Setting]] = {}
        """{number of a condition: its clamps}."""
        self._thread = threading.get_ident()
        self.vocabulary: int = config.model_config.get_vocab_size()
        self.flex = False

    def enter_pass(self) -> None:
        """To be called before the first operation of a pass. Raises InterventionError in another thread.

        vLLM makes a CUDA stream of its own for the thread that first asks for one. If that happened in the middle of a
        pass, its operations would be on two streams that do not wait for each other, and a clamp could come too late.
        """
        from vllm.utils.torch_utils import current_stream

        if threading.get_ident() != self._thread:
            raise InterventionError("a pass runs in another thread than the one that opened the engine")
        current_stream()

    def hidden(self, ids_N: Tensor, tree: Tree) -> Tensor:
        from vllm.forward_context import set_forward_context

        context = set_forward_context(tree, self._config, num_tokens=len(ids_N), slot_mapping={}, skip_compiled=True)
        with context:
            return self._model(ids_N, tree.depth_N)

    def logits(self, hidden_Rd: Tensor) -> Tensor | None:
        return self._model.compute_logits(hidden_Rd)

    def refuse_quantised_attention(self) -> None:
        """Raises StudyError, with the layer's name, where keys, values or queries have fewer bits than the model."""
        full = ("auto", str(self._config.model_config.dtype).removeprefix("torch."))
        for name, layer in self._attention_layers().items():
            cache, query = getattr(layer, "kv_cache_dtype", "auto"), getattr(layer, "query_quant", None)
            if cache not in full or query is not None:
                what = "queries are quantised" if cache in full else f"the KV cache is {cache}"
                raise StudyError(
                    f"{name}: {what}, the model {full[1]}; the tree route does not compute such attention, so the two "
                    "routes would be two models: leave kv_cache_dtype out"
                )

    def wrap_attention(self) -> str:
        """Make every attention layer attend over the `Tree` in the forward context, if any; '' or why it cannot."""
        from vllm.model_executor.layers.attention import Attention

        for name, layer in self._attention_layers().items():
            refusal = _tree_refusal(layer, Attention)
            if refusal:
                return f"{name}: {refusal}"
        if self._config.parallel_config.pipeline_parallel_size > 1:
            return "pipeline parallelism"
        for layer in self._attention_layers().values():
            layer.impl.forward = functools.partial(_forward, layer.impl.forward, layer.impl.scale, _slopes(layer))
        return ""

    def choose_attention(self) -> str:
        """Use FlexAttention if block attention agrees for every head shape; returns the choice and the reason."""
        layers = self._attention_layers().values()
        dtype = self._config.model_config.dtype
        shapes = {
            (layer.num_heads, layer.num_kv_heads, layer.head_size, _slopes(layer), layer.sliding_window)
            for layer in layers
        }
        refusals = (
            flex_refusal(self.device, num_heads, num_kv_heads, head_size, dtype, slopes, window)
            for num_heads, num_kv_heads, head_size, slopes, window in sorted(shapes, key=str)
        )
        refusal = next(filter(None, refusals), "")
        self.flex = not refusal
        return f"block attention ({refusal})" if refusal else "FlexAttention"

    def _attention_layers(self) -> dict[str, _AttentionLayer]:
        """{name: layer} of all that vLLM registers as attention; `_tree_refusal` refuses other kinds."""
        return self._config.compilation_config.static_forward_context


def _slopes(layer: _AttentionLayer) -> tuple[float, ...]:
    """The slopes of ALiBi, one per head of this rank; () without ALiBi."""
    slopes = getattr(layer.impl, "alibi_slopes", None)
    return () if slopes is None else tuple(torch.as_tensor(slopes).tolist())


def _tree_refusal(layer: _AttentionLayer, attention_class: type) -> str:
    """Why a layer cannot attend over a tree; '' if it can."""
    if not isinstance(layer, attention_class):
        return f"{type(layer).__name__} is not plain attention"
    if getattr(layer.impl, "sinks", None) is not None:
        return "attention sinks"
    if getattr(layer.impl, "use_alibi_sqrt", False):
        return "ALiBi of square roots"
    if getattr(layer.impl, "logits_soft_cap", None):
        return "soft-capped attention logits"
    return ""


def _forward(  # noqa: PLR0913 - vLLM sets the signature of `AttentionImpl.forward`, from `layer` on
    original: Callable[..., Tensor],
    scale: float,
    slopes: tuple[float, ...],
    layer: _AttentionLayer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kv_cache: Tensor,
    attn_metadata: object,
    output: Tensor,
    *scales: Tensor | None,
    **named_scales: Tensor | None,
) -> Tensor:
    """Replaces `impl.forward`: attends over the pack itself and leaves the KV cache alone, or delegates to `original`.

    attn_metadata: a `Tree` during the logits pass, vLLM's own metadata otherwise.
    """
    if not isinstance(attn_metadata, Tree):
        return original(layer, query, key, value, kv_cache, attn_metadata, output, *scales, **named_scales)
    window = layer.sliding_window
    output.copy_(attend(query, key, value, scale=scale, tree=attn_metadata, window=window, slopes=slopes))
    return output
