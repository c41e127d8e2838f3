"""The tokenizer that a GGUF file describes, as Transformers and vLLM load it.

Owns which token ids a text becomes: vocabulary and merges, how text is split before they apply, and the special tokens
in front of it and behind it. The rules, and the defaults where a file says nothing, are those of llama.cpp
(`src/llama-vocab.cpp`), which the writers of such files rely on.
Invariant: what is not reproduced raises StudyError; nothing falls back to another tokenizer.
"""

import json
from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.errors import StudyError

if TYPE_CHECKING:  # Transformers takes seconds to import
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Metadata = Mapping[str, Any]
"""{key: value} of a GGUF file's header."""

GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SINGLE_DIGITS = r"\p{N}"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+CONTRACTION"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*CONTRACTION"
    r"|NUMBER| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT_4O = _CASED.replace("CONTRACTION", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("NUMBER", r"\p{N}{1,3}")
TEKKEN = _CASED.replace("CONTRACTION", "").replace("NUMBER", r"\p{N}")

SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "gpt2", "phi-2", "olmo", "mpt", "jais", "exaone4", "trillion", "mellum"), (GPT_2,)),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), (SINGLE_DIGITS, GPT_2)
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"), (LLAMA_3,)),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), (LLAMA_3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "grok-2"), (QWEN_2,)),
    **dict.fromkeys(("gpt-4o", "llama4"), (GPT_4O,)),
    "tekken": (TEKKEN,),
}
"""{pre-tokenizer of byte-level BPE (`tokenizer.ggml.pre`): regular expressions}: each cuts the pieces of the one before
it, and every match is a piece."""

WHOLE_WORDS_FIRST = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "tekken"}
"""Pre-tokenizers of tokenizers that take a piece found in the vocabulary whole, whatever its merges are. Their texts
begin with BOS where the file does not say."""

SPECIAL = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
"""{special token: its key after `tokenizer.ggml.`}"""

SENTENCEPIECE_IDS = {"bos": 1, "eos": 2, "unk": 0}
"""Of a SentencePiece vocabulary whose file does not say."""

PROBES = (
    "In 2009, it wasn't 4½ km² -- 1 234 567 (naïve) tests…\n\n  12\tYes!\r\n",
    "def f(x):\n    return x  # ΑΒΓ 中文 🙂 don't",
)
"""Texts that the saved tokenizer must cut as intended."""


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`, as far as it decides how text is cut."""

    CONTROL = 3
    USER_DEFINED = 4


def special_token_ids(metadata: Metadata) -> dict[str, int]:
    """{bos, eos, unk, pad: token id}, without those that the vocabulary lacks.

    Raises StudyError for an id outside of the vocabulary.
    """
    num_tokens = len(_tokens(metadata))
    defaults = SENTENCEPIECE_IDS if _kind(metadata) == "llama" else {}
    ids: dict[str, int] = {}
    for name, key in SPECIAL.items():
        token = metadata.get(f"tokenizer.ggml.{key}")
        if token is None:
            token = defaults.get(name)
        elif not 0 <= token < num_tokens:
            raise StudyError(f"tokenizer.ggml.{key} is {token}; the vocabulary has {num_tokens} tokens")
        if token is not None and token < num_tokens:
            ids[name] = int(token)
    return ids


def save_tokenizer(gguf: Path, metadata: Metadata, target: Path) -> None:
    """Write the tokenizer of a GGUF file into a folder that holds the config of its model.

    Raises StudyError where the file asks for something that the folder would not say, or that Transformers would not
    take from it.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokens, ids = _tokens(metadata), special_token_ids(metadata)
    _require_carried(metadata)
    backend = _sentencepiece(gguf, metadata) if _kind(metadata) == "llama" else _byte_level(metadata)
    ends = {name: _is_added(name, metadata, ids) for name in ("bos", "eos")}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=metadata.get("tokenizer.chat_template"),
        **{f"{name}_token": tokens[token] for name, token in ids.items()},
        **{f"add_{name}_token": added for name, added in ends.items()},
    )
    tokenizer.save_pretrained(target)
    config = target / "tokenizer_config.json"  # Transformers leaves to tokenizer.json what other loaders read here
    stated = json.loads(config.read_text(encoding="utf-8"))
    stated |= {f"add_{name}_token": added for name, added in ends.items()}
    config.write_text(json.dumps(stated, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    saved = AutoTokenizer.from_pretrained(target, trust_remote_code=False)
    _require_saved(saved, backend, ids, ends)


def _kind(metadata: Metadata) -> str:
    """`gpt2` (byte-level BPE) or `llama` (SentencePiece BPE)."""
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise StudyError(f"tokenizer.ggml.model is {kind!r}; supported: gpt2 (byte-level BPE), llama (SentencePiece)")
    return str(kind)


def _tokens(metadata: Metadata) -> list[str]:
    tokens: list[str] = metadata.get("tokenizer.ggml.tokens", [])
    if not tokens:
        raise StudyError("the file holds no vocabulary (tokenizer.ggml.tokens)")
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise StudyError(f"tokenizer.ggml.tokens holds {twice[0]!r} twice, so one of its ids could never occur")
    return tokens


def _is_added(name: str, metadata: Metadata, ids: Mapping[str, int]) -> bool:
    """Whether BOS is put in front of every text, or EOS behind it."""
    by_default = name == "bos" and (_kind(metadata) == "llama" or metadata["tokenizer.ggml.pre"] in WHOLE_WORDS_FIRST)
    added = bool(metadata.get(f"tokenizer.ggml.add_{name}_token", by_default))
    if added and name not in ids:
        raise StudyError(f"every text gets the token {name.upper()}, but tokenizer.ggml.{SPECIAL[name]} is missing")
    return added


def _require_carried(metadata: Metadata) -> None:
    if metadata.get("tokenizer.ggml.add_sep_token"):
        raise StudyError("tokenizer.ggml.add_sep_token is true; a causal model's folder cannot say so")
    pre = metadata.get("tokenizer.ggml.pre")
    if _kind(metadata) == "gpt2" and pre not in SPLITS:
        found = "missing" if pre is None else repr(pre)
        raise StudyError(f"tokenizer.ggml.pre is {found}; supported pre-tokenizers: {', '.join(sorted(SPLITS))}")


def _byte_level(metadata: Metadata) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokens, pre = _tokens(metadata), metadata["tokenizer.ggml.pre"]
    merges = [(first, second) for first, _, second in (merge.partition(" ") for merge in _merges(metadata))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre in WHOLE_WORDS_FIRST))
    splits = [pre_tokenizers.Split(Regex(split), behavior="isolated") for split in SPLITS[pre]]
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_only])
    tokenizer.decoder = decoders.ByteLevel()
    _mark(tokenizer, metadata)
    return tokenizer


def _merges(metadata: Metadata) -> list[str]:
    merges: list[str] | None = metadata.get("tokenizer.ggml.merges")
    if merges is None:
        raise StudyError("the file holds no merges (tokenizer.ggml.merges), without which byte-level BPE cuts nothing")
    return merges


def _sentencepiece(gguf: Path, metadata: Metadata) -> "Tokenizer":
    """Vocabulary and merges as Transformers derives them from the scores; spaces as the file says."""
    from tokenizers import decoders, normalizers
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    tokenizer: Tokenizer = loaded.backend_tokenizer
    has_prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    prefix = [normalizers.Prepend("▁")] if has_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    strip = [decoders.Strip(" ", 1, 0)] if has_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    _mark(tokenizer, metadata)
    return tokenizer


def _mark(tokenizer: "Tokenizer", metadata: Metadata) -> None:
    """Let the tokens that the file calls control or user-defined stay whole wherever they occur in a text."""
    from tokenizers import AddedToken

    types = metadata.get("tokenizer.ggml.token_type", [])
    tokens = [one for one in zip(_tokens(metadata), types, strict=False) if tokenizer.token_to_id(one[0]) is not None]
    for wanted, special in ((TokenType.CONTROL, True), (TokenType.USER_DEFINED, False)):
        added = [AddedToken(token, normalized=False, special=special) for token, kind in tokens if kind == wanted]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)


def _require_saved(
    saved: "PreTrainedTokenizerBase", backend: "Tokenizer", ids: Mapping[str, int], ends: Mapping[str, bool]
) -> None:
    """Raises StudyError unless the saved folder is loaded as the tokenizer that was meant."""
    for name, token in ids.items():
        if (found := getattr(saved, f"{name}_token_id")) != token:
            raise StudyError(f"the token {name.upper()} is {token} in the file and {found} in the folder")
    before = [ids["bos"]] if ends["bos"] else []
    after = [ids["eos"]] if ends["eos"] else []
    for probe in PROBES:
        wanted = [*before, *backend.encode(probe, add_special_tokens=False).ids, *after]
        if (found := saved(probe)["input_ids"]) != wanted:
            raise StudyError(
                f"Transformers loads the tokenizer of the folder as {type(saved).__name__}, which cuts {probe!r} "
                f"into {found} in place of {wanted}"
            )
