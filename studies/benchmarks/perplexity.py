"""Perplexity of a corpus: the windows to score, and per-window losses from log-probabilities.

Perplexity is exp of the mean of the window losses, each the mean over the window's tokens but its first (Kong et al.,
arXiv 2509.24198: the protocol of the paper). Where a corpus comes from belongs to `studies.benchmarks.corpora`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from studies.benchmarks.annotation import Annotation
from studies.benchmarks.corpora import Corpus, corpus_name, load_corpus
from studies.benchmarks.measures import PERPLEXITY, Measure
from studies.benchmarks.options import Count, StudySettings, Text, Window
from studies.benchmarks.texts import Bos, Windows

JOINER = "\n\n"
"""Text between the rows of a corpus, as in the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityOptions:
    """Perplexity of a text."""

    corpus: Text = "wikitext2"
    """`wikitext2`, `embedded`, or the path of a text file."""
    split: Literal["train", "validation", "test"] = "validation"
    """The part of `wikitext2` or `embedded`."""
    tokens: Count | None = None
    """Tokens from the start of the text; without it, the whole text."""
    window: Window = 2048
    """Tokens of each window; windows do not overlap."""
    bos: Bos | None = None
    """Which windows begin with the beginning-of-sequence token; without it, the preset decides."""
    measure: ClassVar[Measure] = PERPLEXITY

    def load(self, name: str, study: StudySettings) -> "PerplexityBenchmark":
        corpus = corpus_name(self.corpus, study.path)
        text = load_corpus(corpus, split=self.split, joiner=JOINER, root=study.data_root)
        bos = self.bos or study.bos
        return PerplexityBenchmark(name=name, corpus=text, window=self.window, num_tokens=self.tokens, bos=bos)


def perplexity(sums: np.ndarray, counts: np.ndarray) -> float:
    """exp of the mean over windows of each window's mean negative log-likelihood.

    sums: [num_windows] log-probabilities in nats; counts: [num_windows] scored tokens.
    """
    return PERPLEXITY.summary(np.mean(-sums / counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityBenchmark:
    """A corpus cut into non-overlapping windows. Members as in `Benchmark`."""

    corpus: Corpus
    window: int
    """Tokens."""
    num_tokens: int | None
    """Tokens from the start of the corpus; None = all."""
    bos: Bos = "tokenizer"
    name: str = "perplexity"
    measure: ClassVar[Measure] = PERPLEXITY
    is_syntactic: ClassVar[bool | None] = None
    scoring_version: ClassVar[int] = 1
    choices: ClassVar[tuple[str, ...]] = ()
    annotation: ClassVar[Annotation | None] = None

    @property
    def label(self) -> str:
        return f"perplexity ({self.corpus.label})"

    @property
    def headlines(self) -> tuple[str, ...]:
        return ("perplexity",)

    @property
    def metric_prefixes(self) -> tuple[str, ...]:
        return ("perplexity",)

    @property
    def digest(self) -> str:
        """sha256 of the text; window, tokens and BOS are in `identity_params`."""
        return self.corpus.digest

    @property
    def request(self) -> Windows:
        return Windows(
            text=self.corpus.text, window=self.window, stride=self.window, num_tokens=self.num_tokens, bos=self.bos
        )

    @property
    def estimated_tokens(self) -> float:
        return self.request.estimated_tokens

    @property
    def item_texts(self) -> pd.DataFrame | None:
        return None

    @property
    def identity_params(self) -> Mapping[str, int | str | None]:
        return {"window": self.window, "tokens": self.num_tokens, "bos": self.bos}

    @property
    def noise_floor_nodes(self) -> int:
        """Two windows per pack instead of one."""
        return 2 * self.window

    def results(
        self,
        sums: np.ndarray,
        counts: np.ndarray,
        margins: np.ndarray | None = None,  # noqa: ARG002
        tokens: Mapping[str, np.ndarray] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Columns window, nll (mean over the window's scored tokens, nats) and num_tokens, one row per window."""
        return pd.DataFrame({"window": np.arange(len(sums)), "nll": -sums / counts, "num_tokens": counts})

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`perplexity`."""
        return {"perplexity": self.measure.summary(items["nll"].mean())}
