"""Turns text requests into token sequences, each with the position from which it is scored.

Owns every tokenisation decision, because each changes the numbers: where a context ends, how a text is cut into
windows; which special tokens are added, `studies.benchmarks.special_tokens` decides. Both actors use it, so neuron
scores and ablations see the same tokens. Invariant: the model has an embedding for every token that comes out.

T scored tokens, in the order of the sequences.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from actors.hf_model import refusing_untrusted
from actors.messages.model import ModelSource
from actors.sites import SITES
from studies.benchmarks.special_tokens import SpecialTokens, Token, TokenizerMarks, marks_around, special_tokens
from studies.benchmarks.texts import Continuations, Documents, Sentences, TextItems, TextRequest, Windows
from studies.errors import StudyError, TextError

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
    left_out: Mapping[int, str] = MappingProxyType({})
    """{item, or document: why the model cannot score it}; it has no sequences."""
    kept: np.ndarray | None = None
    """[num_texts] bool: the texts of the items that were not left out; None = all."""


def load_tokenizer(model: ModelSource) -> "PreTrainedTokenizerBase":
    """The tokenizer stored beside the model's weights. Raises StudyError where it would have to run code."""
    from transformers import AutoTokenizer

    trust = model.trust_remote_code
    with refusing_untrusted(model):
        return AutoTokenizer.from_pretrained(model.path, revision=model.revision, trust_remote_code=trust)


def marks_of(tokenizer: "PreTrainedTokenizerBase") -> TokenizerMarks:
    """The special tokens that the tokenizer may put around a text."""

    def token(i: int | None) -> Token | None:
        return None if i is None else Token(i, str(tokenizer.convert_ids_to_tokens(i)))

    def tokens(ids: Sequence[int]) -> tuple[Token, ...]:
        return tuple(found for i in ids if (found := token(i)) is not None)

    before, after = marks_around(tokenizer("a")["input_ids"], _plain_ids(["a"], tokenizer)[0])
    return TokenizerMarks(
        before=tokens(before),
        after=tokens(after),
        bos=token(tokenizer.bos_token_id),
        eos=token(tokenizer.eos_token_id),
    )


def tokenise(
    request: TextRequest, tokenizer: "PreTrainedTokenizerBase", context: int, vocabulary: int
) -> TokenSequences:
    """Tokenise a request for a model with `context` positions and embeddings of `vocabulary` tokens.

    An item with a text that has nothing to score, or too many tokens for the model, is left out. Raises TextError
    where the texts belong to no items or no item is left, if a text has a token that the model does not know, or if the
    tokenizer lacks a special token that the request needs.
    """
    with _about_texts():
        marks = marks_of(tokenizer)
        special = special_tokens(request, marks)
        match request:
            case Sentences():
                sequences = _scorable(*_sentences(request, tokenizer, special), request.items, context)
            case Continuations():
                whole, problems = _continuations(request, tokenizer, special, marks.prefix)
                sequences = _scorable(_cut_to_context(whole, context), problems, request.items, context)
            case Windows():
                rows = _windows(request, tokenizer, context, special)
                sequences = TokenSequences(rows, np.ones(len(rows), dtype=np.int64))
            case Documents():
                sequences = _documents(request, tokenizer, context, special)
        _require_known(sequences.ids, tokenizer, vocabulary)
        return sequences


def windows(request: Windows, tokenizer: "PreTrainedTokenizerBase", context: int, vocabulary: int) -> np.ndarray:
    """[num_windows, window] int64 token ids; window = min(request.window, context), the stride shrunk in proportion.

    Special tokens at the start of every window take places of it, and shrink the stride likewise. The last, partial
    window is dropped. Raises TextError if the text does not fill one window, or as `tokenise`.
    """
    with _about_texts():
        rows = _windows(request, tokenizer, context, special_tokens(request, marks_of(tokenizer)))
        _require_known(rows, tokenizer, vocabulary)
        return np.stack(rows)


def num_windows(request: Windows, tokenizer: "PreTrainedTokenizerBase", context: int) -> int:
    """How many windows the text of a request has, whichever of them it uses. Raises TextError as `windows`."""
    with _about_texts():
        return len(_cut(request, tokenizer, context, special_tokens(request, marks_of(tokenizer))).begins)


def special_tokens_of(request: TextRequest, tokenizer: "PreTrainedTokenizerBase", family: str) -> SpecialTokens:
    """What the texts of a request get; family: of the model. Raises TextError as `tokenise`."""
    with _about_texts():
        return special_tokens(request, marks_of(tokenizer), SITES[family].trained_with)


@contextmanager
def _about_texts() -> Iterator[None]:
    """A StudyError becomes a TextError: what is wrong lies between the texts and the tokenizer."""
    try:
        yield
    except TextError:
        raise
    except StudyError as error:
        raise TextError(str(error)) from None


def _scorable(
    sequences: TokenSequences, problems: Mapping[int, str], items: TextItems | None, context: int
) -> TokenSequences:
    """The sequences of the items that the model can score, of which every text has something to score and fits.

    problems: {text: why it has nothing to score}. Raises TextError as `tokenise`.
    """
    problems = dict(problems)
    for i, ids in enumerate(sequences.ids):
        if len(ids) > context:
            problems[i] = f"has {len(ids)} tokens; the model has positions for {context}"
    if not problems:
        return sequences
    first = min(problems)
    if items is None:
        raise TextError(f"item {first} {problems[first]}")
    left_out = {items.of_texts[i]: problems[i] for i in sorted(problems, reverse=True)}
    kept = np.array([item not in left_out for item in items.of_texts])
    if not kept.any():
        place = items.places[items.of_texts[first]]
        raise TextError(f"none of the {len(items.places)} items can be scored: {place} {problems[first]}")
    scored = [sequences.ids[i] for i in np.flatnonzero(kept)]
    return sequences._replace(ids=scored, score_from=sequences.score_from[kept], left_out=left_out, kept=kept)


def _ids(tokens: Sequence[Token]) -> list[int]:
    return [token.id for token in tokens]


def _plain_ids(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """The token ids of each text, without special tokens around it."""
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]


def _require_known(sequences: Sequence[np.ndarray], tokenizer: "PreTrainedTokenizerBase", vocabulary: int) -> None:
    """Raise TextError at a token without an embedding; engines pad their embeddings and would compute with it."""
    for i, ids in enumerate(sequences):
        if (unknown := ids[ids >= vocabulary]).size:
            token = int(unknown[0])
            raise TextError(
                f"item {i} has the token {tokenizer.convert_ids_to_tokens(token)!r} with the id {token}; the model has "
                f"embeddings for {vocabulary} tokens: is the tokenizer another model's?"
            )


class _Cut(NamedTuple):
    """A text cut into windows."""

    ids: np.ndarray
    """Tokens of the text, without those at the start of every window."""
    start: np.ndarray
    """Special tokens at the start of every window."""
    room: int
    """Tokens of the text in a window."""
    begins: range
    """Where each window begins in `ids`."""


def _windows(
    request: Windows, tokenizer: "PreTrainedTokenizerBase", context: int, special: SpecialTokens
) -> list[np.ndarray]:
    cut = _cut(request, tokenizer, context, special)
    chosen = range(len(cut.begins)) if request.only is None else request.only
    if beyond := [i for i in chosen if i >= len(cut.begins)]:
        raise TextError(f"the corpus has {len(cut.begins)} windows; there is no window {beyond[0]}")
    begins = (cut.begins[i] for i in chosen)
    return [np.concatenate([cut.start, cut.ids[i : i + cut.room]]) for i in begins]


def _cut(request: Windows, tokenizer: "PreTrainedTokenizerBase", context: int, special: SpecialTokens) -> _Cut:
    ids = np.array([*_ids(special.first), *_plain_ids([request.text], tokenizer)[0]], dtype=np.int64)
    ids, window = ids[: request.num_tokens], _window(request, context, special)
    if len(ids) < window:
        raise TextError(f"the corpus has {len(ids)} tokens, fewer than one window of {window}")
    start = np.array(_ids(special.later), dtype=np.int64)
    # Where later windows begin with special tokens, the first begins with the same.
    ids, room = ids[len(start) :], window - len(start)
    stride = max(1, request.stride * room // request.window)
    return _Cut(ids, start, room, range(0, len(ids) - room + 1, stride))


def _window(request: Windows | Documents, context: int, special: SpecialTokens) -> int:
    """The length of a window of a model with `context` positions."""
    window = min(request.window, context)
    if window <= (num_special := max(len(special.first), len(special.later))):
        raise TextError(f"a window of {window} has no room for text beside {num_special} special tokens")
    return window


def _documents(
    request: Documents, tokenizer: "PreTrainedTokenizerBase", context: int, special: SpecialTokens
) -> TokenSequences:
    """Windows over every document, in which each token is scored once: in the first window that reaches it."""
    if not tokenizer.is_fast:
        raise TextError("locating tokens in the text needs a tokenizer.json (a `fast` tokenizer)")
    encoded = tokenizer(list(request.texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    window, start = _window(request, context, special), _ids(special.later)
    stride = max(1, min(request.stride * window // request.window, window - len(start)))
    sequences, score_from, spans, left_out = [], [], [], {}
    for i, (text, ids, offsets) in enumerate(
        zip(request.texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ):
        try:
            covered = character_spans(text, offsets)
        except ValueError as error:
            left_out[i] = f"has text without a token: {error}"
            continue
        first = _ids(special.first)
        whole, done = np.array([*first, *ids], dtype=np.int64), max(1, len(first))
        spans.append(np.column_stack([np.full(len(ids), i), covered])[done - len(first) :])
        while done < len(whole):
            stop = min(len(whole), window if done <= max(1, len(first)) else done + stride)
            begin = max(0, stop - window)
            head = start if begin else []
            begin += len(head)
            sequences.append(np.array([*head, *whole[begin:stop]], dtype=np.int64))
            score_from.append(len(head) + done - begin)
            done = stop
    if not sequences:
        why = "".join(f": document {i} {reason}" for i, reason in list(left_out.items())[:1])
        raise TextError(f"the documents have no tokens to score{why}")
    columns = np.concatenate(spans).astype(np.int32).T
    starts = np.array(score_from, dtype=np.int64)
    return TokenSequences(sequences, starts, spans=TokenSpans(*columns), left_out=left_out)


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


def _sentences(
    request: Sentences, tokenizer: "PreTrainedTokenizerBase", special: SpecialTokens
) -> tuple[TokenSequences, dict[int, str]]:
    """A sequence for each text, and {text: why it has nothing to score}."""
    first, last = _ids(special.first), _ids(special.last)
    sequences = [np.array([*first, *ids, *last], dtype=np.int64) for ids in _plain_ids(request.texts, tokenizer)]
    problems = {
        i: f"{text!r} has {len(ids)} tokens; at least 2 are needed to score one"
        for i, (text, ids) in enumerate(zip(request.texts, sequences, strict=True))
        if len(ids) < 2
    }
    return TokenSequences(sequences, np.ones(len(sequences), dtype=np.int64)), problems


def _continuations(
    request: Continuations, tokenizer: "PreTrainedTokenizerBase", special: SpecialTokens, prefix: Token | None
) -> tuple[TokenSequences, dict[int, str]]:
    """Contexts and continuations as `lm_eval.api.model.TemplateLM` encodes them, without what follows a text.

    White space at the end of a context moves to the continuation. The context's tokens are those of the context alone;
    the continuation's are what follows as many tokens of the two as one text, also where a token spans the join. A text
    that itself begins with BOS gets no special tokens. prefix: replaces a context without tokens. Returns a sequence
    for each text, and {text: why it has nothing to score}.
    """
    bare = [context.rstrip() for context in request.contexts]
    wholes = [a + b for a, b in zip(request.contexts, request.continuations, strict=True)]
    sequences, score_from, problems = [], [], {}
    for i, (text, whole, alone) in enumerate(
        zip(wholes, _plain_ids(wholes, tokenizer), _plain_ids(bare, tokenizer), strict=True)
    ):
        written = prefix is not None and bare[i].startswith(prefix.text)
        before = [] if written else _ids(special.first)
        context, continuation = [*before, *alone], whole[len(alone) :]
        if not request.contexts[i] or not context:
            if prefix is None:
                problems[i] = "has an empty context, and the tokenizer has no BOS or EOS to replace it"
            context = [] if prefix is None else [prefix.id]
            continuation = whole[1:] if context and whole[:1] == context else whole
        if not continuation:
            problems.setdefault(i, f"{text!r}: no token of the continuation is left to score")
        sequences.append(np.array([*context, *continuation], dtype=np.int64))
        score_from.append(len(context))
    return TokenSequences(sequences, np.array(score_from, dtype=np.int64)), problems
