"""Text requests -> token sequences and the position from which each is scored.

Owns every tokenisation decision, because they change the numbers: which special tokens are added, where a context ends,
how a text is cut into windows. Both actors use it, so scores and ablations see the same tokens.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from actors.hf_model import trusted_alone
from actors.messages import ModelSource
from studies.benchmarks.texts import Continuations, Documents, Sentences, TextRequest, Windows
from studies.errors import StudyError


class TokenSpans(NamedTuple):
    """Where scored tokens lie; T of them, in the order of the sequences."""

    document_T: np.ndarray
    start_T: np.ndarray
    end_T: np.ndarray
    """Characters [start, end) of the document; empty for white space, and for the rest of a character's bytes."""


class TokenSequences(NamedTuple):
    """What the logits pass scores."""

    ids: list[np.ndarray]
    score_from: np.ndarray
    """[num_sequences] first scored position, at least 1."""
    num_cut: int = 0
    """Sequences whose context lost its beginning, because the model has too few positions."""
    spans: TokenSpans | None = None
    """Of documents."""


def load_tokenizer(model: ModelSource):
    """The Transformers tokenizer beside the model's weights."""
    from transformers import AutoTokenizer

    trust = model.trust_remote_code
    with trusted_alone(model):
        return AutoTokenizer.from_pretrained(model.path, revision=model.revision, trust_remote_code=trust)


def tokenise(request: TextRequest, tokenizer, context: int) -> TokenSequences:
    """Tokenise a request for a model with `context` positions. Raises StudyError when something cannot be scored."""
    match request:
        case Sentences():
            sequences = _sentences(request, tokenizer)
        case Continuations():
            sequences = _fitted(_continuations(request, tokenizer), context)
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


def windows(request: Windows, tokenizer, context: int) -> np.ndarray:
    """[num_windows, window] token ids; the window is min(field, the model's context). Raises StudyError when empty."""
    # Special tokens at the very start only: some tokenizers add one at the end too, which is not text.
    ids = np.array(tokenizer(request.text, add_special_tokens=False, verbose=False)["input_ids"], dtype=np.int64)
    if (start := leading_special(tokenizer)) is not None:
        ids = np.concatenate([[start], ids])
    ids = ids[: request.num_tokens]
    window = min(request.window, context)
    stride = max(1, request.stride * window // request.window)
    if len(ids) < window:
        raise StudyError(f"the corpus has {len(ids)} tokens, fewer than one window of {window}")
    return np.stack([ids[start : start + window] for start in range(0, len(ids) - window + 1, stride)])


def leading_special(tokenizer) -> int | None:
    """The special token that the tokenizer puts in front of a text, or None."""
    with_special = tokenizer("a")["input_ids"]
    without = tokenizer("a", add_special_tokens=False)["input_ids"]
    return with_special[0] if with_special[: len(without)] != without else None


def _stand_in(tokenizer) -> int | None:
    """What stands for an empty context: BOS or, where there is none, EOS."""
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


def _documents(request: Documents, tokenizer, context: int) -> TokenSequences:
    """Windows over every document, each token scored in the first that reaches it; and the tokens' places."""
    if not tokenizer.is_fast:
        raise StudyError("tokens with their places in the text need a tokenizer.json (a `fast` tokenizer)")
    first = leading_special(tokenizer)
    first = _stand_in(tokenizer) if first is None else first
    if first is None:
        raise StudyError("the tokenizer has neither BOS nor EOS to stand in front of a document")
    encoded = tokenizer(list(request.texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    window = min(request.window, context)
    stride = max(1, request.stride * window // request.window)
    sequences, score_from, spans = [], [], []
    for i, (text, ids, offsets) in enumerate(
        zip(request.texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ):
        whole, done = np.array([first, *ids], dtype=np.int64), 1
        try:
            places = character_spans(text, offsets)
        except ValueError as error:
            raise StudyError(f"document {i}: {error}") from None
        spans.append(np.column_stack([np.full(len(ids), i), places]))
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
    """[num_tokens, 2] characters [start, end) of each token, white space at its ends left out.

    Every character of the text is in exactly one span or is white space: tokenizers give a character that is split into
    bytes to all of its tokens; here the first has it, and the spans of the others are empty; and they leave out marks
    that they compose with the character before, to which they go here. Raises ValueError for any other left out.
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
    """Whether a normalising tokenizer makes one character of these, and tells the place of the first alone."""
    return len(text) > 1 and len(unicodedata.normalize("NFC", text)) == 1


def _fitted(sequences: TokenSequences, context: int) -> TokenSequences:
    """Contexts cut on the left to the model's positions, as lm-eval does; what is scored is never cut."""
    ids, score_from, num_cut = list(sequences.ids), sequences.score_from.copy(), 0
    for i, whole in enumerate(ids):
        excess = len(whole) - context
        if 0 < excess < score_from[i]:
            ids[i], num_cut = whole[excess:], num_cut + 1
            score_from[i] -= excess
    return TokenSequences(ids, score_from, num_cut)


def _sentences(request: Sentences, tokenizer) -> TokenSequences:
    encoded = tokenizer(list(request.texts))["input_ids"]
    for i, ids in enumerate(encoded):
        if len(ids) < 2:
            raise StudyError(f"item {i} {request.texts[i]!r} has {len(ids)} tokens; at least 2 are needed to score one")
    return TokenSequences([np.array(ids, dtype=np.int64) for ids in encoded], np.ones(len(encoded), dtype=np.int64))


def _continuations(request: Continuations, tokenizer) -> TokenSequences:
    """The whole text is tokenised once; the context's own token count marks the split, as lm-eval does.

    A context without tokens becomes the tokenizer's BOS or, where there is none, EOS: likewise.
    """
    wholes = [a + b for a, b in zip(request.contexts, request.continuations, strict=True)]
    whole_ids = tokenizer(wholes)["input_ids"]
    context_ids = tokenizer(list(request.contexts))["input_ids"]
    for i, ids in enumerate(context_ids):
        if not ids:
            prefix = _stand_in(tokenizer)
            if prefix is None:
                raise StudyError(
                    f"item {i} has an empty context, and the tokenizer neither BOS nor EOS to stand for it"
                )
            whole_ids[i], context_ids[i] = [prefix, *whole_ids[i]], [prefix]
    score_from = np.array([max(1, len(ids)) for ids in context_ids], dtype=np.int64)
    for i, ids in enumerate(whole_ids):
        if score_from[i] >= len(ids):
            raise StudyError(f"item {i} {wholes[i]!r}: no token of the continuation is left to score")
    return TokenSequences([np.array(ids, dtype=np.int64) for ids in whole_ids], score_from)
