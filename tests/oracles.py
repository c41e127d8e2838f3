"""Oracles: raw hooks on plain Transformers models. They import nothing of ours, so they cannot share a mistake.

Also builds a tiny random model of every family from its config, with a tokenizer, as a local folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 320

FAMILIES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "llama": ("LlamaConfig", {"num_key_value_heads": 2}, "model.layers", "mlp.gate_proj"),
    "mistral": ("MistralConfig", {"num_key_value_heads": 2, "sliding_window": 8}, "model.layers", "mlp.gate_proj"),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2}, "model.layers", "mlp.gate_proj"),
    "qwen3": ("Qwen3Config", {"num_key_value_heads": 2, "head_dim": 32}, "model.layers", "mlp.gate_proj"),
    "gemma3_text": (
        "Gemma3TextConfig",
        {
            "num_key_value_heads": 2,
            "head_dim": 32,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 32,
        },
        "model.layers",
        "mlp.gate_proj",
    ),
    "gpt_neox": ("GPTNeoXConfig", {}, "gpt_neox.layers", "mlp.dense_h_to_4h"),
    "opt": (
        "OPTConfig",
        {"ffn_dim": 256, "word_embed_proj_dim": 128, "activation_function": "relu"},
        "model.decoder.layers",
        "fc1",
    ),
    "gpt2": (
        "GPT2Config",
        {"n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 128, "n_inner": 256},
        "transformer.h",
        "mlp.c_fc",
    ),
    "phi": ("PhiConfig", {}, "model.layers", "mlp.fc1"),
    "olmo2": ("Olmo2Config", {"num_key_value_heads": 2}, "model.layers", "mlp.gate_proj"),
    "bloom": (
        "BloomConfig",
        {"num_attention_heads": 2, "hidden_size": 64, "seq_length": 128},
        "transformer.h",
        "mlp.dense_h_to_4h",
    ),
}
"""{model_type: (config class, config fields, path of the layers, path of the projection in a layer)}."""


def make_tokenizer(folder: Path, template: str = "<s> $A") -> None:
    """Save a byte-level tokenizer without merges; template: what it puts around a text, of `<s>` and `</s>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{symbol: i + 2 for i, symbol in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)


def make_model(folder: Path, family: str, *, seed: int = 0, **fields: Any) -> Path:
    """Save a tiny random model of a family, with weights large enough that clamps matter; returns `folder`."""
    import transformers

    name, special, _, _ = FAMILIES[family]
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "initializer_range": 0.08,
    }
    config = getattr(transformers, name)(**{**common, **special, **fields})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):  # zero-initialised biases would hide a missing one
                parameter.normal_(0, 0.1)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return folder


def load(folder: Path) -> PreTrainedModel:
    """The plain Transformers model in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


ACTIVATIONS = {
    "gpt_neox": "mlp.act",
    "opt": "activation_fn",
    "gpt2": "mlp.act",
    "phi": "mlp.activation_fn",
    "bloom": "mlp.gelu_impl",
}
"""Path of the activation in a layer; `mlp.act_fn` elsewhere."""


class RawIntervention:
    """What the paper's controls do to some neurons, by raw forward hooks on the projection or the activation.

    neurons: {layer: indices}; values: {layer: one per neuron}, for `negative_mean` and `magnitude_matched`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        neurons: Mapping[int, Sequence[int]],
        kind: str = "clamp",
        floor: float = -torch.inf,
        ceiling: float = torch.inf,
        values: Mapping[int, Sequence[float]] | None = None,
    ):
        family = model.config.model_type
        _, _, layers, projection = FAMILIES[family]
        after = kind in ("posrelu", "signflip")
        path = ACTIVATIONS.get(family, "mlp.act_fn") if after else projection
        self.handles = []
        for layer, indices in neurons.items():
            module = model.get_submodule(layers)[layer].get_submodule(path)
            columns = torch.tensor(list(indices), dtype=torch.long)
            own = torch.tensor(values[layer], dtype=torch.float32) if values else None

            def hook(
                module: nn.Module,
                arguments: tuple[Tensor, ...],
                output: Tensor,
                columns: Tensor = columns,
                own: Tensor | None = own,
            ) -> Tensor:
                output = output.clone()
                chosen, before = output[..., columns], arguments[0][..., columns] if after else None
                output[..., columns] = {
                    "clamp": lambda: chosen.clamp(floor, ceiling),
                    "magnitude_matched": lambda: torch.minimum(chosen, own),
                    "negative_mean": lambda: torch.where(chosen < 0, own, chosen),
                    "posrelu": lambda: torch.where(before > 0, before, chosen),
                    "signflip": lambda: chosen.abs(),
                }[kind]()
                return output

            self.handles.append(module.register_forward_hook(hook))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def token_log_probabilities(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """[len(ids) - 1] float32 log p of every token after the first, one sequence at a time, without padding."""
    logits = model(torch.tensor([ids])).logits[0, :-1].float()
    return logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]


@torch.no_grad()
def pre_activations(model: PreTrainedModel, ids: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """([inputs of every layer], [outputs of every layer]) of the pre-activation projection, [tokens, width] each."""
    _, _, layers, projection = FAMILIES[model.config.model_type]
    inputs, outputs = [], []

    def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        inputs.append(arguments[0].reshape(-1, arguments[0].shape[-1]).clone())
        outputs.append(output.reshape(-1, output.shape[-1]).clone())

    handles = [layer.get_submodule(projection).register_forward_hook(hook) for layer in model.get_submodule(layers)]
    model(ids)
    for handle in handles:
        handle.remove()
    return inputs, outputs
