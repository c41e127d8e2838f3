"""The worker extension that runs the logits pass inside vLLM's workers.

Loaded by vLLM through `worker_extension_cls`; its methods are called by name with `collective_rpc`, plain data in and
out (bytes and lists: tensors do not cross the process boundary as such). Owns all contact with vLLM's model internals:
`worker.get_model()`, the forward context, `Attention.impl` and the activation modules. Ordinary generation on the same
engine still works, and goes through the same clamps.
"""

import copy
import functools
import logging
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from actors.ablation.clamps import Act, ClampSet, LayerClamp, Setting
from actors.ablation.condition_tree import Pass, layer_passes
from actors.ablation.logits_pass import LayerWalk, score_pack, sweep_pack
from actors.ablation.token_tree import pack_from_wire
from actors.ablation.tree_attention import Tree, attend, flex_refusal
from studies.errors import InterventionError


def exit_all_ranks_on_error(method):
    """A method in which the ranks of a tensor-parallel engine wait for each other.

    An error on one of them would leave the others waiting, and the engine with them. So it ends its process, which
    vLLM notices, after leaving word of the error for `halfwave_install`'s caller. Over several nodes Ray does that.
    """

    @functools.wraps(method)
    def run(self, *arguments):
        try:
            return method(self, *arguments)
        except Exception as error:
            parallel = self.vllm_config.parallel_config
            if parallel.world_size == 1 or parallel.distributed_executor_backend != "mp":
                raise
            try:
                with open(self._halfwave.last_words, "x") as file:
                    file.write(f"rank {self.rank}: {type(error).__name__}: {error}")
            except FileExistsError:
                pass  # another rank was first, and this one missed it
            logging.getLogger(__name__).exception("rank %d ends its process", self.rank)
            os._exit(1)

    return run


class LogitsPass:
    """Mixed into vLLM's worker class. All state lives in `self._halfwave`."""

    def halfwave_install(self, site: dict[str, Any], d_mlp: int, last_words: str) -> dict[str, Any]:
        """Hook the activations and the attention layers.

        last_words: file, not there yet, in which a rank that must end says why. Returns the number of layers found, why
        the tree route is refused ('' where it is not), and how trees attend.
        """
        from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size

        model = self.get_model()
        layers = model.get_submodule(site["vllm_layers"])
        clamps = [
            LayerClamp(
                _own_module(layer, site["vllm_activation"], site["vllm_exchange"]),
                d_mlp=d_mlp,
                gated=site["gated"],
                device=self.device,
                dtype=self.vllm_config.model_config.dtype,
                rank=get_tensor_model_parallel_rank(),
                num_ranks=get_tensor_model_parallel_world_size(),
            )
            for layer in layers
        ]
        decoder = self._halfwave = _VllmDecoder(self, ClampSet(clamps), LayerWalk(layers), last_words)
        refusal = decoder.wrap_attention()
        attention = "" if refusal else decoder.choose_attention()
        return {"layers": len(clamps), "tree_refused": refusal, "attention": attention}

    def halfwave_reload(self, path: str, revision: str | None, load_format: str) -> dict[str, tuple[list[int], float]]:
        """Put another checkpoint of the same architecture into the loaded model; hooks stay, clamps are emptied.

        Returns what was read, {tensor: (shape, sum)}. Raises InterventionError where a parameter was left out; then,
        and after any other error, the engine is good for nothing but to be closed.
        """
        from huggingface_hub import constants
        from vllm.config import set_current_vllm_config
        from vllm.transformers_utils.repo_utils import get_model_path

        config = self.vllm_config.model_config  # without a network vLLM starts from the cached snapshot's folder
        config.model = get_model_path(path, revision) if constants.HF_HUB_OFFLINE else path
        config.model_weights, config.revision = "", revision
        self.vllm_config.load_config.load_format = load_format
        with set_current_vllm_config(self.vllm_config):
            read = _load_in_place(self.get_model(), self.vllm_config)
        self._halfwave.clamps.set({}, Act())
        self._halfwave.kept.clear()
        return read

    def halfwave_set_clamps(
        self,
        neurons: dict[int, list[int]],
        kind: str,
        floor: float,
        ceiling: float,
        values: dict[int, list[float]],
    ) -> list[int]:
        """Act on exactly these neurons; returns this rank's count per layer."""
        neurons, values = ({int(layer): list(each) for layer, each in one.items()} for one in (neurons, values))
        return self._halfwave.clamps.set(neurons, Act(kind=kind, floor=floor, ceiling=ceiling), values)

    def halfwave_start_counting(self) -> None:
        self._halfwave.clamps.start_counting()

    def halfwave_stop_counting(self) -> tuple[list[int], list[int], str]:
        """(hook calls per layer, clipped pre-activations per layer, digest of the buffers read back)."""
        calls, clipped = self._halfwave.clamps.stop_counting()
        return calls, clipped, self._halfwave.clamps.digest()

    def halfwave_keep(self, condition: int) -> None:
        """Keep the clamps as they stand under this number, for `halfwave_sweep`; number 0 drops all earlier ones."""
        if condition == 0:
            self._halfwave.kept.clear()
        self._halfwave.kept[condition] = self._halfwave.clamps.settings()

    def halfwave_digests(self) -> list[str]:
        """Digests of the kept clamps, by number, read back; leaves the last of them in place."""
        digests = []
        for _, settings in sorted(self._halfwave.kept.items()):
            self._halfwave.clamps.restore(settings)
            digests.append(self._halfwave.clamps.digest())
        return digests

    @exit_all_ranks_on_error
    def halfwave_sweep(self, wire: list[bytes], walk: list[Pass], margins: bool) -> dict[int, bytes | str] | None:
        """{condition: float32 numbers of the pack's edges, or why there are none}; None as in `score`.

        margins: the edges' margins follow their log-probabilities. Raises InterventionError unless every layer's clamp
        was called as often as the walk says.
        """
        decoder, passes = self._halfwave, [Pass(*one) for one in walk]
        pack = pack_from_wire(wire)
        before = decoder.clamps.calls()

        def switch(condition: int) -> None:
            decoder.clamps.restore(decoder.kept[condition])

        found = sweep_pack(decoder, decoder.walk, pack, passes, switch, margins=margins)
        calls = [after - earlier for after, earlier in zip(decoder.clamps.calls(), before, strict=True)]
        expected = layer_passes(passes, len(calls)) if len(pack.rows) else [0] * len(calls)
        if calls != expected:
            raise InterventionError(f"the clamps were called {calls} times in one pack, expected {expected}")
        if any(one is None for one in found.values()):
            return None
        return {
            i: str(one) if isinstance(one, FloatingPointError) else one.numpy().tobytes() for i, one in found.items()
        }

    @exit_all_ranks_on_error
    def halfwave_score(self, wire: list[bytes]) -> bytes | None:
        """float32 log-probabilities of the pack's edges; None on a rank without the gathered head."""
        log_probabilities_E = score_pack(self._halfwave, pack_from_wire(wire))
        return None if log_probabilities_E is None else log_probabilities_E.numpy().tobytes()


def _load_in_place(model: torch.nn.Module, config: Any) -> dict[str, tuple[list[int], float]]:
    """vLLM's layerwise reload, which by itself only warns of what was not loaded, and forgets tied heads."""
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
    from vllm.model_executor.model_loader import get_model_loader, reload
    from vllm.transformers_utils.config import checkpoint_has_lm_head

    about = config.model_config
    tied = about.word_embeddings_untied_by_checkpoint or getattr(about.hf_config, "tie_word_embeddings", False)
    if tied and checkpoint_has_lm_head(about.model, revision=about.revision):
        raise InterventionError("config.json ties the head to the embeddings, but the checkpoint has both")
    # it warns of every module without weights of its own, such as a rotary embedding; what counts is checked below
    logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)
    weights, read = get_model_loader(config.load_config).get_all_weights(about, model), {}
    reload.initialize_layerwise_reload(model)
    loaded = model.load_weights(_told(weights, read))
    left_out = {name for name, module in model.named_modules() if _is_short(module)}
    reload.finalize_layerwise_reload(model, about)
    left_out |= {name for name, _ in model.named_parameters()} - loaded
    if left_out:
        raise InterventionError(f"the weights of {len(left_out)} modules were left out, of {min(left_out)} for one")
    for module in model.modules():
        # on CPU a head multiplies with a packed copy: a tied one, whose weight came by another module, has the old one
        if isinstance(getattr(module, "quant_method", None), UnquantizedEmbeddingMethod):
            module.quant_method.process_weights_after_loading(module)
    return read


def _told(
    weights: Iterable[tuple[str, torch.Tensor]], read: dict[str, tuple[list[int], float]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights as they come, written down in `read`."""
    for name, tensor in weights:
        read[name] = list(tensor.shape), float(tensor.sum(dtype=torch.float64))
        yield name, tensor


def _is_short(module: torch.nn.Module) -> bool:
    """Whether a reload, not yet finalised, has too little for the module. Vocabularies are padded, or tied."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
    from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

    found = get_layerwise_info(module)
    if not found.can_load() or isinstance(module, VocabParallelEmbedding):
        return False
    return found.load_numel < sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _own_module(layer: torch.nn.Module, path: str, exchange: str) -> torch.nn.Module:
    """The layer's activation, made its own: vLLM's registry hands ONE instance to all layers (Gemma, GPT-2, OPT).

    exchange: name of the activation that the checkpoint was trained with where vLLM runs another; '' = keep vLLM's.
    """
    from vllm.model_executor.layers.activation import get_act_fn

    parent, _, name = path.rpartition(".")
    owner = layer.get_submodule(parent)
    module = copy.deepcopy(get_act_fn(exchange) if exchange else getattr(owner, name))
    setattr(owner, name, module)
    return module


class _VllmDecoder:
    """vLLM's loaded model as `logits_pass.Decoder`."""

    def __init__(self, worker: Any, clamps: ClampSet, walk: LayerWalk, last_words: str):
        self._model = worker.get_model()
        self._config = worker.vllm_config
        self.clamps, self.walk, self.last_words = clamps, walk, last_words
        self.kept: dict[int, list[Setting]] = {}
        self.device = worker.device
        self.vocabulary = worker.vllm_config.model_config.get_vocab_size()
        self.flex = False

    def hidden(self, ids_N: torch.Tensor, tree: Tree) -> torch.Tensor:
        from vllm.forward_context import set_forward_context

        context = set_forward_context(tree, self._config, num_tokens=len(ids_N), slot_mapping={}, skip_compiled=True)
        with context:
            return self._model(ids_N, tree.depth_N)

    def logits(self, hidden_R: torch.Tensor) -> torch.Tensor | None:
        return self._model.compute_logits(hidden_R)

    def wrap_attention(self) -> str:
        """Let every attention layer attend over a `Tree` when the context carries one; '' or why that cannot be."""
        from vllm.model_executor.layers.attention import Attention

        context = self._config.compilation_config.static_forward_context
        for name, layer in context.items():
            refusal = _tree_refusal(layer, Attention)
            if refusal:
                return f"{name}: {refusal}"
        if self._config.parallel_config.pipeline_parallel_size > 1:
            return "pipeline parallelism"
        for layer in context.values():
            layer.impl.forward = functools.partial(_forward, layer.impl.forward, layer.impl.scale, _slopes(layer))
        return ""

    def choose_attention(self) -> str:
        """Take FlexAttention where it proves itself for every shape of head; says what was chosen and why."""
        layers = self._config.compilation_config.static_forward_context.values()
        dtype = self._config.model_config.dtype
        shapes = sorted({(one.num_heads, one.num_kv_heads, one.head_size, _slopes(one)) for one in layers})
        refusals = filter(None, (flex_refusal(self.device, *heads, dtype, slopes) for *heads, slopes in shapes))
        refusal = next(refusals, "")
        self.flex = not refusal
        return f"block attention ({refusal})" if refusal else "FlexAttention"


def _slopes(layer: Any) -> tuple[float, ...]:
    """ALiBi's, one a head of this rank; () without ALiBi."""
    slopes = getattr(layer.impl, "alibi_slopes", None)
    return () if slopes is None else tuple(torch.as_tensor(slopes).tolist())


def _tree_refusal(layer: Any, attention_class: type) -> str:
    if not isinstance(layer, attention_class):
        return f"{type(layer).__name__} is not plain attention"
    if getattr(layer.impl, "sinks", None) is not None:
        return "attention sinks"
    if getattr(layer.impl, "use_alibi_sqrt", False):
        return "ALiBi of square roots"
    if getattr(layer.impl, "logits_soft_cap", None):
        return "soft-capped attention logits"
    return ""


def _forward(original, scale, slopes, layer, query, key, value, kv_cache, attn_metadata, output=None, *rest, **named):
    """In place of `impl.forward`: attend over the pack itself and leave the KV cache alone, or delegate."""
    if not isinstance(attn_metadata, Tree):
        return original(layer, query, key, value, kv_cache, attn_metadata, output, *rest, **named)
    rule = {"tree": attn_metadata, "window": layer.sliding_window, "slopes": slopes}
    output.copy_(attend(query, key, value, scale=scale, **rule))
    return output
