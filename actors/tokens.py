"""Text requests -> token sequences and the position from which each is scored.

Owns every tokenisation decision, because they change the numbers: which special tokens are added, where a context ends,
how a text is cut into windows. Both actors use it, so scores and ablations see the same tokens.
"""

from typing import NamedTuple

import numpy as np

from actors.messages import Continuations, ModelSource, Sentences, TextRequest, Windows
from studies.errors import StudyError


class TokenSequences(NamedTuple):
    """What the logits pass scores."""

    ids: list[np.ndarray]
    score_from: np.ndarray
    """[num_sequences] first scored position, at least 1."""
    num_cut: int = 0
    """Sequences whose context lost its beginning, because the model has too few positions."""


def load_tokenizer(model: ModelSource):
    """The Transformers tokenizer beside the model's weights."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model.path, revision=model.revision, trust_remote_code=model.trust_remote_code)


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
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    for i, ids in enumerate(context_ids):
        if not ids:
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
