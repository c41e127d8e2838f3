"""Tiny GGUF files, written as llama.cpp's converters write them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter
from tokenizers import pre_tokenizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
WIDTH, HIDDEN, HEADS, CONTEXT = 32, 64, 4, 128

MERGES = ["t h", "th e", "Ġ the", "Ġ a", "Ã ³", "Ġ Ġ", "Ċ Ċ", "1 2", "12 3"]
BYTE_LEVEL: dict[str, Any] = {
    "model": "gpt2",
    "pre": "gpt-2",
    "tokens": [
        *("<unk>", "<bos>", "<eos>", "<pad>", "<｜begin▁of▁text｜>", "<think>"),
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        *(merge.replace(" ", "") for merge in MERGES),
        "unmerged",
    ],
    "token_type": [CONTROL] * 5 + [USER_DEFINED] + [NORMAL] * (256 + len(MERGES) + 1),
    "merges": MERGES,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "unknown_token_id": 0,
    "padding_token_id": 3,
}
PIECES = ["▁", *"abcdehknotx", "th", "the", "▁the", "▁a", "▁▁", "ab"]
SENTENCEPIECE: dict[str, Any] = {
    "model": "llama",
    "pre": "default",
    "tokens": ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *PIECES, "<turn>"],
    "scores": [0.0] * 259 + [-float(i) for i in range(len(PIECES))] + [0.0],
    "token_type": [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(PIECES) + [USER_DEFINED],
}


def write_gguf(
    path: Path,
    tokenizer: Mapping[str, Any],
    *,
    architecture: str = "llama",
    without: str | None = None,
    extra: str | None = None,
    **header: Any,
) -> Path:
    """A random model of one layer in float32.

    without, extra: names of a tensor to leave out and of one to add. header: further keys, with double underscores for
    dots.
    """
    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(WIDTH // HEADS)
    writer.add_value_length(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    for key, value in {**{f"tokenizer.ggml.{key}": value for key, value in tokenizer.items()}, **header}.items():
        _add(writer, key.replace("__", "."), value)
    shapes = _shapes(architecture, len(tokenizer["tokens"])) | ({extra: (WIDTH,)} if extra else {})
    for name, shape in shapes.items():
        if name == without:
            continue
        writer.add_tensor(name, rng.normal(0, 0.1, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _shapes(architecture: str, num_tokens: int) -> dict[str, tuple[int, ...]]:
    block = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    block |= {"ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN)}
    norms = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
    if architecture == "gemma3":
        norms |= {"post_attention_norm": (WIDTH,), "post_ffw_norm": (WIDTH,)}
        norms |= {"attn_q_norm": (WIDTH // HEADS,), "attn_k_norm": (WIDTH // HEADS,)}
    biases = {f"blk.0.attn_{name}.bias": (WIDTH,) for name in ("q", "k", "v")} if architecture == "qwen2" else {}
    layers = biases | {f"blk.0.{name}.weight": shape for name, shape in {**block, **norms}.items()}
    return {"token_embd.weight": (num_tokens, WIDTH), "output_norm.weight": (WIDTH,), **layers}
