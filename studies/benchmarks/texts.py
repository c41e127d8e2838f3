"""The four kinds of text request: the texts whose log-probabilities a benchmark needs.

Plain frozen data, made by benchmarks and answered by actors. Refuses to know tokens: how a kind is tokenised, and from
which position on it is scored, belongs to `actors.tokens`. Here tokens are only estimated, from the number of
characters.
"""

from dataclasses import dataclass

CHARACTERS_PER_TOKEN = 4.5
"""Typical of English text under current tokenizers; only estimates of work and time depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """Whole texts with the tokenizer's own special tokens; every token after the first is scored."""

    texts: tuple[str, ...]

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens."""
        return sum(map(len, self.texts)) / CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """log p(continuation | context). The tokens are those of context + continuation, split after the context's."""

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    """As many as contexts; each begins with its own white space."""
    margins: bool = False
    """Whether to return, too, how far each continuation is from the one that greedy decoding produces."""

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens; a context shared by several continuations counts once for each."""
        return (sum(map(len, self.contexts)) + sum(map(len, self.continuations))) / CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """One text, tokenised once (special tokens at the very start only), cut into windows.

    All tokens of a window but its first are scored.
    """

    text: str
    window: int
    """Tokens."""
    stride: int
    """Tokens from the start of one window to the start of the next."""
    num_tokens: int | None = None
    """Use only this many tokens from the start; None = all. The last partial window is dropped."""

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens, at most `num_tokens`; overlap between windows is not counted."""
        total = len(self.text) / CHARACTERS_PER_TOKEN
        return min(total, self.num_tokens or total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Whole documents of any length; every token is scored once and returned with its place in the text.

    The tokenizer's own special token, else BOS or EOS, precedes each document, so that its first token is scored too.
    Later windows of a document begin with tokens that earlier windows scored.
    """

    texts: tuple[str, ...]
    window: int
    """Tokens."""
    stride: int
    """Tokens that a later window scores, at most window - 1; the rest of it is context."""

    @property
    def estimated_tokens(self) -> float:
        """Estimated number of tokens; the context of later windows is not counted."""
        return sum(map(len, self.texts)) / CHARACTERS_PER_TOKEN


TextRequest = Sentences | Continuations | Windows | Documents
