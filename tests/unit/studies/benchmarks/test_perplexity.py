"""Perplexity from window losses."""

import math

import numpy as np
import pytest

from studies.benchmarks.corpora import Corpus
from studies.benchmarks.perplexity import PerplexityBenchmark


def test_perplexity_is_the_exponential_of_the_mean_of_window_means() -> None:
    benchmark = PerplexityBenchmark(corpus=Corpus(label="c", text="t", source="s"), window=4, num_tokens=None)
    items = benchmark.results(np.array([-6.0, -4.0]), np.array([3, 1]))
    assert items["nll"].tolist() == [2.0, 4.0] and items["window"].tolist() == [0, 1]
    assert items["num_tokens"].tolist() == [3, 1]
    assert benchmark.metrics(items) == {"perplexity": pytest.approx(math.exp(3.0))}  # not exp(10 / 4)
    assert benchmark.digest == benchmark.corpus.digest
