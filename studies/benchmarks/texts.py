"""What is scored: the four kinds of text that a benchmark can ask log-probabilities of.

Plain frozen data, without tokens: how a kind is tokenised, and from which position on it is scored, belongs to the
actors. Benchmarks make these requests; actors answer them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """Whole texts with the tokenizer's own special tokens; every token after the first is scored."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """log p(continuation | context); the text is context + continuation, the split is by tokens of the context."""

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    """Each begins with its own white space."""
    margins: bool = False
    """Whether to tell, too, how far each continuation is from the one that greedy decoding produces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """One text, tokenised once (special tokens at the very start only), cut into windows.

    All tokens of a window but its first are scored.
    """

    text: str
    window: int
    stride: int
    num_tokens: int | None = None
    """Use only this many tokens from the start; None = all. The last partial window is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Whole documents of any length, every token of which is scored once, and told with its place in the text.

    In front of each stands the tokenizer's own special token, else BOS or EOS, so that the first token is scored too.
    Later windows begin with tokens that earlier ones scored.
    """

    texts: tuple[str, ...]
    window: int
    stride: int
    """Tokens that a later window scores, at most window - 1; the rest of it is context."""


TextRequest = Sentences | Continuations | Windows | Documents
