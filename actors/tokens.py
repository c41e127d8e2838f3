"""Turns text requests into token sequences, each with the position from which it is scored.

Owns every tokenisation decision, because each changes the numbers: which special tokens are added, where a context
ends, how a text is cut into windows. Both actors use it, so neuron scores and ablations see the same tokens.

T scored tokens, in the order of the sequences.
"""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from actors.hf_model import refusing_untrusted
from actors.messages.model import ModelSource
from studies.benchmarks.texts import Continuations, Documents, Sentences, TextRequest, Windows
from studies.errors import StudyError

if TYPE_CHECKING:  # Transformers takes seconds to import
    from transformers import PreTrainedTokenizerBase


class TokenSpans(NamedTuple):
    """The character spans of scored tokens."""

    document_T: np.ndarray
    """int32 index of the document."""
    start_T: np.ndarray
    end_T: np.ndarray
    """int32; the token covers characters [start, end) of the document. The span is empty for white space, and for all
    but the first of the tokens that share one character."""


class TokenSequences(NamedTuple):
    """Token sequences, ready to be scored."""

    ids: list[np.ndarray]
    """int64 token ids of each sequence."""
    score_from: np.ndarray
    """[num_sequences] int64 first scored position, at least 1."""
    num_cut: int = 0
    """Sequences whose context lost its beginning, because the model has too few positions."""
    spans: TokenSpans | None = None
    """Of the scored tokens; for `Documents` only."""


def load_tokenizer(model: ModelSource) -> "PreTrainedTokenizerBase":
    """The tokenizer stored beside the model's weights. Raises StudyError where it would have to run code."""
    from transformers import AutoTokenizer

    trust = model.trust_remote_code
    with refusing_untrusted(model):
        return AutoTokenizer.from_pretrained(model.path, revision=model.revision, trust_remote_code=trust)


def tokenise(request: TextRequest, tokenizer: "PreTrainedTokenizerBase", context: int) -> TokenSequences:
    """Tokenise a request for a model with `context` positions.

    Raises StudyError if a text has nothing to score, or too many tokens for the model.
    """
    match request:
        case Sentences():
            sequences = _sentences(request, tokenizer)
        case Continuations():
            sequences = _cut_to_context(_continuations(request, tokenizer), context)
        case Windows():
            ids = windows(request, tokenizer, context)
            sequences = TokenSequences(list(ids), np.ones(len(ids), dtype=np.int64))
        case Documents():
            sequences = _documents(request, tokenizer, context)
    longest = max(map(len, sequences.ids))
    if longest > context:
        i = next(i for i, ids in enumerate(sequences.ids) if len(ids) == longest)
        raise StudyError(f"item {i} has {longest} tokens; the model has positions for {context}")
    return sequences


def windows(request: Windows, tokenizer: "PreTrainedTokenizerBase", context: int) -> np.ndarray:
    """[num_windows, window] int64 token ids; window = min(request.window, context), the stride shrunk in proportion.

    The last, partial window is dropped. Raises StudyError if the text does not fill one window.
    """
    # A special token at the very start only: some tokenizers append one at the end as well, which is not text.
    ids = np.array(tokenizer(request.text, add_special_tokens=False, verbose=False)["input_ids"], dtype=np.int64)
    if (leading := _leading_special_token(tokenizer)) is not None:
        ids = np.concatenate([[leading], ids])
    ids = ids[: request.num_tokens]
    window = min(request.window, context)
    stride = max(1, request.stride * window // request.window)
    if len(ids) < window:
        raise StudyError(f"the corpus has {len(ids)} tokens, fewer than one window of {window}")
    return np.stack([ids[start : start + window] for start in range(0, len(ids) - window + 1, stride)])


def _leading_special_token(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The special token that the tokenizer puts in front of a text, or None."""
    with_special = tokenizer("a")["input_ids"]
    without = tokenizer("a", add_special_tokens=False)["input_ids"]
    return with_special[0] if with_special[: len(without)] != without else None


def _empty_context_token(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The token that replaces an empty context: BOS or, in its absence, EOS."""
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


def _documents(request: Documents, tokenizer: "PreTrainedTokenizerBase", context: int) -> TokenSequences:
    """Windows over every document, in which each token is scored once: in the first window that reaches it."""
    if not tokenizer.is_fast:
        raise StudyError("locating tokens in the text needs a tokenizer.json (a `fast` tokenizer)")
    leading = _leading_special_token(tokenizer)
    leading = _empty_context_token(tokenizer) if leading is None else leading
    if leading is None:
        raise StudyError("the tokenizer has neither BOS nor EOS to put in front of a document")
    encoded = tokenizer(list(request.texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    window = min(request.window, context)
    stride = max(1, request.stride * window // request.window)
    sequences, score_from, spans = [], [], []
    for i, (text, ids, offsets) in enumerate(
        zip(request.texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ):
        whole, done = np.array([leading, *ids], dtype=np.int64), 1
        try:
            covered = character_spans(text, offsets)
        except ValueError as error:
            raise StudyError(f"document {i}: {error}") from None
        spans.append(np.column_stack([np.full(len(ids), i), covered]))
        while done < len(whole):
            stop = min(len(whole), done + (stride if done > 1 else window - 1))
            begin = max(0, stop - window)
            sequences.append(whole[begin:stop])
            score_from.append(done - begin)
            done = stop
    if not sequences:
        raise StudyError("the documents have no tokens")
    columns = np.concatenate(spans).astype(np.int32).T
    return TokenSequences(sequences, np.array(score_from, dtype=np.int64), spans=TokenSpans(*columns))


def character_spans(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """[num_tokens, 2] int64 characters [start, end) of each token, without white space at its ends.

    offsets: the tokenizer's own. Every character of the text ends up in exactly one span or is white space. Tokenizers
    report a character that is split into bytes for each of its tokens; here the first token gets it, and the spans of
    the others are empty. They report no token for a combining mark that they compose with the character before it; here
    the mark goes to that character's token. Raises ValueError if any other character has no token.
    """
    spans, reached = np.empty((len(offsets), 2), dtype=np.int64), 0
    for i, (start, end) in enumerate(offsets):
        start, end = max(start, reached), max(end, reached)
        if start < end and i and _composed(text[max(0, reached - 1) : start]):
            spans[i - 1, 1] = reached = start
        if (left_out := text[reached:start].strip()) and start < end:
            raise ValueError(f"no token covers {left_out[:20]!r} at character {reached}")
        inside = text[start:end]
        bare = inside.strip()
        first = start + (len(inside) - len(inside.lstrip()) if bare else len(inside))
        spans[i] = first, first + len(bare)
        reached = end
    if len(spans) and _composed(text[max(0, reached - 1) :]):
        spans[-1, 1] = reached = len(text)
    if left_out := text[reached:].strip():
        raise ValueError(f"no token covers {left_out[:20]!r} at character {reached}")
    return spans


def _composed(text: str) -> bool:
    """Whether a normalising tokenizer composes these into one character, whose offsets are those of the first alone."""
    return len(text) > 1 and len(unicodedata.normalize("NFC", text)) == 1


def _cut_to_context(sequences: TokenSequences, context: int) -> TokenSequences:
    """Contexts cut on the left until the sequence fits the model, as in lm-eval; scored tokens are never cut."""
    ids, score_from, num_cut = list(sequences.ids), sequences.score_from.copy(), 0
    for i, whole in enumerate(ids):
        excess = len(whole) - context
        if 0 < excess < score_from[i]:
            ids[i], num_cut = whole[excess:], num_cut + 1
            score_from[i] -= excess
    return TokenSequences(ids, score_from, num_cut)


def _sentences(request: Sentences, tokenizer: "PreTrainedTokenizerBase") -> TokenSequences:
    encoded = tokenizer(list(request.texts))["input_ids"]
    for i, ids in enumerate(encoded):
        if len(ids) < 2:
            raise StudyError(f"item {i} {request.texts[i]!r} has {len(ids)} tokens; at least 2 are needed to score one")
    return TokenSequences([np.array(ids, dtype=np.int64) for ids in encoded], np.ones(len(encoded), dtype=np.int64))


def _continuations(request: Continuations, tokenizer: "PreTrainedTokenizerBase") -> TokenSequences:
    """Context and continuation tokenised as one text, split after as many tokens as the context has on its own.

    A context without tokens is replaced by BOS or, in its absence, by EOS. Both are as in lm-eval.
    """
    wholes = [a + b for a, b in zip(request.contexts, request.continuations, strict=True)]
    whole_ids = tokenizer(wholes)["input_ids"]
    context_ids = tokenizer(list(request.contexts))["input_ids"]
    for i, ids in enumerate(context_ids):
        if not ids:
            prefix = _empty_context_token(tokenizer)
            if prefix is None:
                raise StudyError(f"item {i} has an empty context, and the tokenizer has no BOS or EOS to replace it")
            whole_ids[i], context_ids[i] = [prefix, *whole_ids[i]], [prefix]
    score_from = np.array([max(1, len(ids)) for ids in context_ids], dtype=np.int64)
    for i, ids in enumerate(whole_ids):
        if score_from[i] >= len(ids):
            raise StudyError(f"item {i} {wholes[i]!r}: no token of the continuation is left to score")
    return TokenSequences([np.array(ids, dtype=np.int64) for ids in whole_ids], score_from)
