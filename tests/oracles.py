"""Oracles: raw hooks on plain Transformers models. They import nothing of ours, so they cannot share a mistake.

Also builds the tiny random models of every family from their configs, with a tokenizer, as local folders.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 320

# model_type -> (config class, config fields, path of layers, path of the projection in a layer)
FAMILIES = {
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


def make_tokenizer(folder: Path) -> None:
    """A word-free byte-level tokenizer with VOCABULARY entries and a BOS that it puts in front of every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{symbol: i + 2 for i, symbol in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)


def make_model(folder: Path, family: str, *, seed: int = 0, **fields) -> Path:
    """A tiny random model of a family, saved as a folder; weights large enough that clamps matter."""
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


def load(folder: Path):
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

    values: {layer: one a neuron}, for `negative_mean` and `ceilings`.
    """

    def __init__(self, model, neurons, kind="clamp", floor=-torch.inf, ceiling=torch.inf, values=None):
        family = model.config.model_type
        _, _, layers, projection = FAMILIES[family]
        behind = kind in ("posrelu", "signflip")
        path = ACTIVATIONS.get(family, "mlp.act_fn") if behind else projection
        self.handles = []
        for layer, indices in neurons.items():
            module = model.get_submodule(layers)[layer].get_submodule(path)
            columns = torch.tensor(list(indices), dtype=torch.long)
            own = torch.tensor(values[layer], dtype=torch.float32) if values else None

            def hook(module, arguments, output, columns=columns, own=own):
                output = output.clone()
                chosen, before = output[..., columns], arguments[0][..., columns] if behind else None
                output[..., columns] = {
                    "clamp": lambda: chosen.clamp(floor, ceiling),
                    "ceilings": lambda: torch.minimum(chosen, own),
                    "negative_mean": lambda: torch.where(chosen < 0, own, chosen),
                    "posrelu": lambda: torch.where(before > 0, before, chosen),
                    "signflip": lambda: chosen.abs(),
                }[kind]()
                return output

            self.handles.append(module.register_forward_hook(hook))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def token_log_probabilities(model, ids: list[int]) -> torch.Tensor:
    """[len(ids) - 1] log p of every token after the first, one sequence at a time, no padding."""
    logits = model(torch.tensor([ids])).logits[0, :-1].float()
    return logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]


@torch.no_grad()
def pre_activations(model, ids: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """([x of every layer], [a of every layer]) of the pre-activation projection, each [tokens, width]."""
    _, _, layers, projection = FAMILIES[model.config.model_type]
    inputs, outputs = [], []

    def hook(module, arguments, output):
        inputs.append(arguments[0].reshape(-1, arguments[0].shape[-1]).clone())
        outputs.append(output.reshape(-1, output.shape[-1]).clone())

    handles = [layer.get_submodule(projection).register_forward_hook(hook) for layer in model.get_submodule(layers)]
    model(ids)
    for handle in handles:
        handle.remove()
    return inputs, outputs
