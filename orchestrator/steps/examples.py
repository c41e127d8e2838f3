"""examples: a closer look at the most split neurons of a profile."""

import pandas as pd

from actors.messages import Examples, ExamplesRequest
from orchestrator.steps.artifacts import DENSITIES, TOKEN_PAIRS
from orchestrator.steps.profile import _batch_windows, _windows
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Step
from studies.benchmarks.corpora import Corpus

EXAMPLE_PAIRS, EXAMPLE_CANDIDATES, EXAMPLE_CONTEXT, EXAMPLE_BINS = 10, 3000, 24, 120
"""Of an examples step, whose version they belong to: token pairs a neuron, tokens to find them in, tokens of text in
front of each, bins of a density."""


def examples_request(step: Step, corpus: Corpus, neurons: pd.DataFrame) -> ExamplesRequest:
    """What an examples step asks of a score actor: the neurons with the highest Wasserstein distance of all."""
    params = step.payload["params"]
    entangled = neurons.nlargest(params["neurons"], "wasserstein_distance")
    texts = _windows(params, corpus)
    return ExamplesRequest(
        step=step.id,
        texts=texts,
        skip_first=params["skip_first"],
        neurons={int(i): tuple(sorted(map(int, one["neuron"]))) for i, one in entangled.groupby("layer")},
        pairs_per_neuron=EXAMPLE_PAIRS,
        candidates=EXAMPLE_CANDIDATES,
        context_tokens=EXAMPLE_CONTEXT,
        num_bins=EXAMPLE_BINS,
        seed=params["seed"],
        batch_windows=_batch_windows(texts),
    )


def of_examples(result: Examples) -> StepResult:
    frames = {DENSITIES: pd.DataFrame(result.densities), TOKEN_PAIRS: pd.DataFrame(result.pairs)}
    return StepResult({}, frames, {"examples.json": {"tokens": result.num_tokens, "seconds": result.seconds}})
