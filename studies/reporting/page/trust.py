"""Why the numbers may be trusted: receipts of interventions, engines against Transformers, noise, matches, failures.

Owns what is summed up of each. An evaluation without a receipt is counted and named, never left out.
"""

from typing import NamedTuple

from studies.reporting.page.content import Content, Proof
from studies.reporting.page.quantities import NOTHING, share, signed
from studies.reporting.text import special_token_lines


class Engine(NamedTuple):
    """The evaluations of one model that one engine computed."""

    model: str
    engine: str
    routes: str
    num_evaluations: int
    clamps: str
    """In how many of the clamped evaluations the engine confirmed the neurons, and in how many of these the clamp
    changed nothing on the probe's texts."""
    difference: str
    """Largest difference to Transformers, with its tolerance."""


class Matched(NamedTuple):
    """How near a matched control came."""

    model: str
    condition: str
    fraction: str
    error: str
    """The realised matching error: perplexity of the control against its target."""


def engines(content: Content) -> list[Engine]:
    """One line a model and engine."""
    groups: dict[tuple[str, str], list[Proof]] = {}
    for proof in content.proofs:
        groups.setdefault((proof.model, proof.engine), []).append(proof)
    return [_engine(model, engine, proofs) for (model, engine), proofs in groups.items()]


def _engine(model: str, engine: str, proofs: list[Proof]) -> Engine:
    clamped = [proof for proof in proofs if proof.num_neurons]
    confirmed = [proof for proof in clamped if proof.layers_confirmed]
    idle = sum(proof.clipped_fraction == 0 for proof in confirmed)
    compared = [proof for proof in proofs if proof.difference is not None and proof.tolerance is not None]
    worst = max(compared, key=lambda proof: proof.difference or 0.0, default=None)
    return Engine(
        model,
        engine,
        ", ".join(sorted({proof.route for proof in proofs})),
        len(proofs),
        f"{len(confirmed)} of {len(clamped)}" + (f", {idle} of them without a change on the probe" if idle else ""),
        NOTHING if worst is None else f"{worst.difference:.1e} nats (tolerance {worst.tolerance:.1e})",
    )


def matches(content: Content) -> list[Matched]:
    """One line a matched control."""
    found = []
    for match in content.matches:
        error = match.why_unmatched or NOTHING
        if match.target and match.reached:
            error = (
                f"{match.reached:.3f} for {match.target:.3f} ({signed(100 * (match.reached / match.target - 1), 2)} %)"
            )
        found.append(Matched(match.model, match.condition, share(match.fraction), error))
    return found


def noise(content: Content) -> list[str]:
    """One line a model on how far another pack plan alone moves its baseline, and which effects are within that."""
    lines = []
    for model in content.report["models"]:
        if model["noise"]:
            lines.append(f"{model['label']}: {model['noise']}")
        within = model.get("within_noise", ())
        if within:
            named = ", ".join(f"{entry['condition']} on {entry['benchmark']}" for entry in within)
            lines.append(f"{model['label']}: effects no larger than this noise: {named}.")
    return lines


def remarks(content: Content) -> list[str]:
    """What a reader must know before believing a number: comparisons not made, controls that moved, special tokens."""
    lines = []
    for model in content.report["models"]:
        label = model["label"]
        for entry in model.get("not_compared", ()):
            lines.append(
                f"{label}: {entry['condition']} is not compared with {entry['against']} on {entry['benchmark']}: "
                f"computed with {entry['computed_with']}, the other with {entry['other_with']}."
            )
        lines += [
            f"{label}: {entry['condition']} is no longer matched to {entry['reference']}: perplexity "
            f"{entry['perplexity']:.3f}, target {entry['treated']:.3f}."
            for entry in model.get("no_longer_matched", ())
        ]
        unmatched = model.get("unmatched", {}).items()  # reports of earlier versions do not say it
        lines += [f"{label}: {condition} cannot be matched: {why}." for condition, why in unmatched]
        lines += [f"{label}: {line}." for line in special_token_lines(model.get("special_tokens", {}))]
    return lines
