"""examples: a closer look at the neurons with the highest Wasserstein distance.

Runs on a score actor after the profile: the density of each neuron's pre-activations, and pairs of tokens with similar
inputs that the neuron sends to distant outputs below zero.
"""

from typing import Any

import pandas as pd

from actors.messages import Examples, ExamplesRequest
from orchestrator.steps import profile
from orchestrator.steps.artifacts import DENSITIES, TOKEN_PAIRS
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Step
from orchestrator.study_file.spec import ProfileSpec
from studies.benchmarks.corpora import Corpus

MAX_TOKENS = 16_384
"""Tokens of the scoring text that the step reads, at most."""
PAIRS, CANDIDATES, CONTEXT, BINS = 10, 3000, 24, 120
"""Pairs per neuron, tokens among which they are searched, tokens of context shown before each, and bins of a density.
Part of the kind's version."""


def params(spec: ProfileSpec, *, corpus: str, dtype: str) -> dict[str, Any]:
    """The science parameters: those of the profile that matter here, and the number of neurons."""
    of_profile = profile.params(spec, corpus=corpus, dtype=dtype)
    shared = {name: of_profile[name] for name in ("corpus", "dtype", "window", "stride", "skip_first", "seed")}
    return {**shared, "tokens": min(of_profile["tokens"], MAX_TOKENS), "neurons": spec.examples}


def request(step: Step, corpus: Corpus, neurons: pd.DataFrame) -> ExamplesRequest:
    """The request to the score actor; `neurons` is the neuron table of the profile."""
    params = step.params
    highest = neurons.nlargest(params["neurons"], "wasserstein_distance")
    texts = profile.windows(params, corpus)
    return ExamplesRequest(
        step=step.id,
        texts=texts,
        skip_first=params["skip_first"],
        neurons={int(layer): tuple(sorted(map(int, rows["neuron"]))) for layer, rows in highest.groupby("layer")},
        pairs_per_neuron=PAIRS,
        candidates=CANDIDATES,
        context_tokens=CONTEXT,
        num_bins=BINS,
        seed=params["seed"],
        batch_windows=profile.batch_windows(texts),
    )


def result(answer: Examples) -> StepResult:
    """The two tables."""
    frames = {DENSITIES: pd.DataFrame(answer.densities), TOKEN_PAIRS: pd.DataFrame(answer.pairs)}
    return StepResult({}, frames, {"examples.json": {"tokens": answer.num_tokens, "seconds": answer.seconds}})
