"""examples: a closer look at the neurons with the highest Wasserstein distance.

Runs on a score actor after the profile: the density of each neuron's pre-activations, and pairs of tokens with similar
inputs that the neuron sends to distant outputs below zero.
"""

from collections.abc import Sequence

import pandas as pd

from actors.messages.scoring import Examples, ExamplesRequest
from orchestrator.steps import profile
from orchestrator.steps.artifacts import DENSITIES, TOKEN_PAIRS
from orchestrator.steps.kind import Draft, ModelStepKind, PlannedModel, Request, StepContext
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Role, Step

MAX_TOKENS = 16_384
"""Tokens of the scoring text that the step reads, at most."""
PAIRS, CANDIDATES, CONTEXT, BINS = 10, 3000, 24, 120
"""Pairs per neuron, tokens among which they are searched, tokens of context shown before each, and bins of a density.
Part of the kind's version."""


class ExampleNeurons(ModelStepKind[Examples]):
    """Densities and split token pairs of the most entangled neurons."""

    name, version, role = "examples", 1, Role.SCORE

    def draft(self, model: PlannedModel) -> Draft | None:
        """The parameters of the profile that matter here, and the number of neurons; None where no one asks for any."""
        spec = model.spec.profile
        if not spec.examples:
            return None
        of_profile = profile.params(spec, corpus=model.corpus, dtype=model.dtype)
        kept = ("corpus", "dtype", "window", "stride", "skip_first", "bos", "seed")
        params = {name: of_profile[name] for name in kept}
        params |= {"tokens": min(of_profile["tokens"], MAX_TOKENS), "neurons": spec.examples}
        return Draft(params, {"profile": model.profile}, work=min(model.tokens, MAX_TOKENS))

    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        """The neurons to examine, and the text."""
        (step,) = steps
        params, neurons = step.params, context.neuron_table(step.inputs["profile"])
        highest = neurons.nlargest(params["neurons"], "wasserstein_distance")
        texts = profile.windows(params, context.corpus)
        message = ExamplesRequest(
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
        return Request("examples", message)

    def result(self, step: Step, answer: Examples, context: StepContext) -> StepResult:  # noqa: ARG002
        """The two tables."""
        frames = {DENSITIES: pd.DataFrame(answer.densities), TOKEN_PAIRS: pd.DataFrame(answer.pairs)}
        return StepResult({}, frames, {"examples.json": {"tokens": answer.num_tokens, "seconds": answer.seconds}})


KIND = ExampleNeurons()
