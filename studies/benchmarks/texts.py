"""The four kinds of text request: the texts whose log-probabilities a benchmark needs.

Plain frozen data, made by benchmarks and answered by actors. Refuses to know tokens: which special tokens a kind gets
belongs to `special_tokens`; how it is tokenised, and from which position on it is scored, to `actors.tokens`. Here
tokens are only estimated, from the number of characters.
"""

from dataclasses import dataclass
from typing import Literal

CHARACTERS_PER_TOKEN = 4.5
"""Typical of English text under current tokenizers; only estimates of work and time depend on it."""

Bos = Literal["tokenizer", "first", "every_window", "none"]
"""Where the beginning-of-sequence token stands in windows.

`tokenizer`: every window begins as the tokenizer begins a text, with BOS or without. `first`: only the whole text, or
document, begins so. `every_window`: every window begins with BOS, also where the tokenizer adds none of its own.
`none`: no window does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextItems:
    """The items, one a row of `Benchmark.results`, that the texts of a request belong to.

    With it an item of which the model cannot score a text is left out and counted; without it that is an error.
    """

    of_texts: tuple[int, ...]
    """The item of each text."""
    places: tuple[str, ...]
    """Where each item comes from, for messages: file and line, or its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """Whole texts with the tokenizer's own special tokens, before and behind; every token after the first is scored."""

    texts: tuple[str, ...]
    items: TextItems | None = None

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens."""
        return sum(map(len, self.texts)) / CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """log p(continuation | context), tokenised as in lm-eval.

    The context is tokenised alone; the continuation is what the tokens of context + continuation hold after as many
    tokens. White space at the end of a context belongs to the continuation.
    """

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    """As many as contexts; each begins with its own white space."""
    margins: bool = False
    """Whether to return, too, how far each continuation is from the one that greedy decoding produces."""
    items: TextItems | None = None

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens; a context shared by several continuations counts once for each."""
        return (sum(map(len, self.contexts)) + sum(map(len, self.continuations))) / CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """One text, tokenised once, cut into windows.

    All tokens of a window but its first are scored. A special token at the start of every window takes one of its
    places, so that a window holds one token of the text less, and the next one begins that much earlier.
    """

    text: str
    window: int
    """Tokens."""
    stride: int
    """Tokens from the start of one window to the start of the next."""
    num_tokens: int | None = None
    """Use only this many tokens from the start; None = all. The last partial window is dropped. Special tokens at the
    very start count, those of later windows do not: they are no tokens of the text."""
    bos: Bos = "tokenizer"
    only: range | None = None
    """Use only the windows with these numbers, counted from 0 at the start of the text; None = all. What a window holds
    does not depend on which others are used."""

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens, at most `num_tokens`; overlap between windows is not counted."""
        total = len(self.text) / CHARACTERS_PER_TOKEN
        chosen = total if self.only is None else len(self.only) * self.window
        return min(total, chosen, self.num_tokens or total)

    @property
    def num_shared(self) -> int:
        """How many later windows may share tokens with a window: 0 unless they overlap."""
        return 0 if self.stride >= self.window else -(-self.window // self.stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Whole documents of any length; every token is scored once and returned with its place in the text.

    The tokenizer's own special token, else BOS or EOS, precedes each document, so that its first token is scored too;
    with `bos: none` nothing does, and the first token is not scored. Later windows of a document begin with the special
    token, where `bos` says so, and with tokens that earlier windows scored.
    """

    texts: tuple[str, ...]
    window: int
    """Tokens."""
    stride: int
    """Tokens that a later window scores, at most window - 1; the rest of it is context."""
    bos: Bos = "tokenizer"

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens; the context of later windows is not counted."""
        return sum(map(len, self.texts)) / CHARACTERS_PER_TOKEN


TextRequest = Sentences | Continuations | Windows | Documents
