"""Small tokenizers of the kinds that models bring, trained on a few texts."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

LLAMA_3_SPLIT = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    return tokenizer


def smollm2() -> Tokenizer:
    split = pre_tokenizers.Digits(individual_digits=True)
    return byte_level(pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)]))


def llama_3() -> Tokenizer:
    split = pre_tokenizers.Split(Regex(LLAMA_3_SPLIT), behavior="isolated")
    whole = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return byte_level(whole)


def pythia() -> Tokenizer:
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def sentence_piece_bpe() -> Tokenizer:
    """As Llama 2: spaces become metaspace in the normalizer, bytes stand for what is unknown."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return tokenizer


def sentence_piece_unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


KINDS = {kind.__name__: kind for kind in (smollm2, llama_3, pythia, sentence_piece_bpe, sentence_piece_unigram)}


def trained(kind: str, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A small tokenizer of a kind, trained on these texts; the first special token stands for documents' beginnings."""
    tokenizer, special = KINDS[kind](), ["<s>", "<unk>"]
    if kind == "sentence_piece_unigram":
        trainer = trainers.UnigramTrainer(
            vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        bytes_ = [f"<0x{i:02X}>" for i in range(256)] if kind == "sentence_piece_bpe" else []
        alphabet = [] if bytes_ else pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=900, special_tokens=special + bytes_, initial_alphabet=alphabet, show_progress=False
        )
    tokenizer.train_from_iterator([text[:400] for text in texts], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")
