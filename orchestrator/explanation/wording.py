"""What a user calls a parameter of a step: where the study file says it, as far as a step can tell.

`params.fraction` of a selection for the condition `wasserstein` is `wasserstein.fraction`. Owns these names alone.
"""

from typing import NamedTuple

from orchestrator.steps.evaluate import NOISE_FLOOR_STEP
from orchestrator.steps.step import BASELINE

OF_MODEL = ("dtype", "engine", "route")
"""Parameters that stand beside the name of a model."""
OF_MATCH = ("within", "within_rise", "evaluations")
"""Those in the `match` block of a condition."""


class Named(NamedTuple):
    """The step that a parameter is of."""

    kind: str
    name: str
    model: str
    condition: str
    reference: str = ""
    """The condition that a matched control is matched to; empty where it is not known."""

    @property
    def base(self) -> str:
        """The condition without its layers, doses and seed, as the study file has it."""
        return self.condition.partition("/")[0]


def parameter(place: str, step: Named) -> str:
    """The name of a place in a step's payload: `wasserstein.fraction`, `SmolLM2.dtype`, `profile.tokens`."""
    if place == "version":
        return f"Halfwave's version of `{step.kind}`"
    if place == "model":
        return f"the files of {step.model}"
    key = place.removeprefix("params.")
    if key.partition(".")[0] in OF_MODEL:
        return f"{step.model}.{key}"
    match step.kind:
        case "select":
            return f"{step.base}.{key}"
        case "match":
            return _of_match(key, step)
        case "evaluate":
            return _of_evaluation(key, step)
        case "weights" if key == "before":
            return "the files of the previous checkpoint"
    return f"profile.{key}"


def _of_match(key: str, step: Named) -> str:
    first, dot, rest = key.partition(".")
    if first == "treated_clamp":
        return f"{step.reference or step.base + '.match.perplexity_of'}.clamp{dot}{rest}"
    return f"{step.base}.match.{key}" if first in OF_MATCH else f"{step.base}.{key}"


def _of_evaluation(key: str, step: Named) -> str:
    benchmark = step.name.partition(".")[2]
    if key == "digest":
        return f"the texts of {benchmark}"
    if key.partition(".")[0] == "clamp" and step.base != BASELINE:
        return f"{step.base}.{key}"
    if step.name.startswith(f"{NOISE_FLOOR_STEP}."):
        return f"noise_floor of {benchmark}: {key}"
    return f"{benchmark}.{key}"
