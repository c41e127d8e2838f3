"""Perplexity of a corpus: windows to score, and per-window results from log-probabilities.

exp of the mean of the window losses, each the mean over the window's tokens but its first: the paper's protocol.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from studies.benchmarks.corpora import Corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityBenchmark:
    """A corpus cut into windows, ready to be scored."""

    corpus: Corpus
    window: int
    num_tokens: int | None
    name: str = "perplexity"

    @property
    def label(self) -> str:
        return f"perplexity ({self.corpus.label})"

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metric that stands for the whole."""
        return ("perplexity",)

    @property
    def digest(self) -> str:
        """Digest of the text; window and tokens are parameters of the step."""
        return self.corpus.digest

    def results(self, sums: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
        """Per-window results: window, nll (mean over the window's scored tokens, nats), num_tokens."""
        return pd.DataFrame({"window": np.arange(len(sums)), "nll": -sums / counts, "num_tokens": counts})

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`perplexity`."""
        return {"perplexity": float(np.exp(items["nll"].mean()))}
