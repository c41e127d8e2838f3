"""Which special tokens each kind of text gets: the one place that decides it.

Knows a tokenizer only by its special tokens, so that actors, which have the tokenizer, and planning, which may have its
files, decide alike. Refuses to know how a text is tokenised: that belongs to `actors.tokens`, which puts the tokens
around a text. What is decided here stands in every receipt and in the report.

| text          | in front of it                                           | behind it                    |
|---------------|----------------------------------------------------------|------------------------------|
| sentence      | what the tokenizer puts there                            | what it puts there: scored   |
| context       | what the tokenizer puts there; BOS, else EOS, if it is empty | nothing                  |
| window        | as the field `bos` says                                  | nothing                      |
| document      | as for windows; at its own start BOS, else EOS, if that would be nothing | nothing      |
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, assert_never

from studies.benchmarks.texts import Bos, Continuations, Documents, Sentences, TextRequest, Windows
from studies.errors import StudyError

Kind = Literal["sentences", "choices", "windows", "documents"]
"""The four kinds of text, as users know them; `choices` are the contexts of `Continuations`."""


class Token(NamedTuple):
    """A special token."""

    id: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerMarks:
    """The special tokens of a tokenizer that may stand around a text."""

    before: tuple[Token, ...] = ()
    """What it puts in front of a text."""
    after: tuple[Token, ...] = ()
    """What it puts behind a text."""
    bos: Token | None = None
    eos: Token | None = None

    @property
    def prefix(self) -> Token | None:
        """The token that stands for an empty context, as in lm-eval: BOS or, in its absence, EOS."""
        return self.bos or self.eos


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """The special tokens that one kind of text gets."""

    kind: Kind
    first: tuple[Token, ...] = ()
    """In front of each sentence, context or document; of windows, at the start of the whole text."""
    later: tuple[Token, ...] = ()
    """At the start of every later window of a text or document."""
    last: tuple[Token, ...] = ()
    """Behind each sentence, where they are scored like the sentence's own tokens."""
    missing_bos: str = ""
    """The token with which the model's training texts begin, where these texts get no special token at all."""


def marks_around(with_special: Sequence[int], plain: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """(ids before, ids behind) that a tokenizer adds to a text; both arguments are the ids of the same text.

    Raises StudyError where the text has no tokens of its own, or others among special tokens.
    """
    if not plain:
        raise StudyError("the tokenizer has no token for a plain text, which would show where it adds special tokens")
    for start in range(len(with_special) - len(plain) + 1):
        stop = start + len(plain)
        if list(with_special[start:stop]) == list(plain):
            return with_special[:start], with_special[stop:]
    raise StudyError("the tokenizer splits a text differently when it adds special tokens to it")


def special_tokens(request: TextRequest, marks: TokenizerMarks, trained_with: Collection[str] = ()) -> SpecialTokens:
    """What the texts of a request get from a tokenizer.

    trained_with: tokens that begin the training texts of the model's family, if they are its BOS (`actors.sites`).
    Raises StudyError where the tokenizer lacks the token that the request needs.
    """
    added = _decided(request, marks)
    if marks.bos and marks.bos.text in trained_with and not added.first:
        return replace(added, missing_bos=marks.bos.text)
    return added


def _decided(request: TextRequest, marks: TokenizerMarks) -> SpecialTokens:
    match request:
        case Sentences():
            return SpecialTokens(kind="sentences", first=marks.before, last=marks.after)
        case Continuations():
            return SpecialTokens(kind="choices", first=marks.before)
        case Windows(bos=bos):
            return SpecialTokens(kind="windows", first=_first(bos, marks), later=_later(bos, marks))
        case Documents(bos=bos):
            first = _first(bos, marks)
            if not first and bos != "none":
                if marks.prefix is None:
                    raise StudyError(
                        "the tokenizer has neither BOS nor EOS to put in front of a document; write bos: none to leave "
                        "the first token of every document unscored"
                    )
                first = (marks.prefix,)
            return SpecialTokens(kind="documents", first=first, later=_later(bos, marks))
    assert_never(request)


def _first(bos: Bos, marks: TokenizerMarks) -> tuple[Token, ...]:
    """What stands at the very start."""
    return _later(bos, marks) if bos != "first" else marks.before


def _later(bos: Bos, marks: TokenizerMarks) -> tuple[Token, ...]:
    """What stands at the start of a later window."""
    match bos:
        case "tokenizer":
            return marks.before
        case "every_window":
            if marks.before:
                return marks.before
            if marks.bos is None:
                raise StudyError("bos: every_window needs a tokenizer with BOS, and this one has none")
            return (marks.bos,)
        case "first" | "none":
            return ()
    assert_never(bos)
