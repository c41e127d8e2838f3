"""Applies an intervention and proves it: the receipt that every result carries.

Owns the checks between what was requested and what happened on the device. Fails closed: an intervention whose checks
fail is an InterventionError, never a result. Knows nothing of what is scored under it.
"""

from collections.abc import Mapping

from actors.ablation.logits_pass import NOT_FINITE
from actors.ablation.routes import RoutedModel
from actors.messages.ablation import Intervention, Receipt
from actors.messages.model import Route
from studies.errors import InterventionError


def apply(model: RoutedModel, intervention: Intervention) -> Receipt:
    """Set the clamps, forward the probe under them, and return the proof. The clamps stay in force.

    Raises InterventionError if a neuron does not exist or is repeated, if a rank did not place exactly the requested
    neurons, if a layer's hook was not called once per forward pass, if the intervention changed nothing, or if
    log-probabilities under it are not finite.
    """
    label, engine = model.source.label, model.engine
    neurons = {int(layer): [int(j) for j in indices] for layer, indices in intervention.neurons.items()}
    _check_indices(model, neurons)
    values = {int(layer): [float(value) for value in own] for layer, own in intervention.values.items()}
    per_rank = engine.call("halfwave_set_clamps", neurons, intervention.clamp.payload, values)
    placed = [sum(counts) for counts in zip(*per_rank, strict=True)]
    requested = [len(neurons.get(layer, ())) for layer in range(model.source.num_layers)]
    if placed != requested:
        raise InterventionError(f"{label}: asked for {requested} neurons per layer, placed {placed}")
    engine.call("halfwave_start_counting")
    try:
        model.log_probabilities(model.probe)
    except Exception as error:
        if NOT_FINITE not in str(error):  # of another process comes the text alone
            raise
        raise InterventionError(f"{label}: in the probe under {intervention.clamp.display} {error}") from error
    reports = engine.call("halfwave_stop_counting")
    for calls, _, _ in reports:
        _check_calls(model, calls)
    clipped = sum(sum(counts) for _, counts, _ in reports)
    if intervention.num_neurons and not clipped:
        raise InterventionError(
            f"{label}: the intervention ({intervention.clamp.display}) on {intervention.num_neurons} neurons "
            f"changed nothing in {model.probe.num_nodes} probe tokens"
        )
    return Receipt(
        layers_matched=len(placed),
        neurons_per_layer=tuple(placed),
        digest=":".join(digest for _, _, digest in reports),
        probe_tokens=model.num_probe_tokens,
        clipped_fraction=clipped / max(1, intervention.num_neurons * model.num_probe_tokens),
    )


def _check_calls(model: RoutedModel, calls: list[int]) -> None:
    """calls: number of calls of each layer's hook on one rank, while the probe was forwarded."""
    # vLLM decides how many forward passes flat requests take: there all layers must agree
    expected = len(model.probe.packs) if model.facts.route is Route.TREE else max(calls)
    wrong = [layer for layer, count in enumerate(calls) if count != expected or not count]
    if wrong:
        raise InterventionError(
            f"{model.source.label}: the clamp of layer {wrong[0]} was called {calls[wrong[0]]} times "
            f"in the probe, expected {max(expected, 1)}"
        )


def _check_indices(model: RoutedModel, neurons: Mapping[int, list[int]]) -> None:
    label, num_layers, d_mlp = model.source.label, model.source.num_layers, model.source.d_mlp
    for layer, indices in neurons.items():
        if not 0 <= layer < num_layers:
            raise InterventionError(f"{label} has no layer {layer} (0 to {num_layers - 1})")
        outside = [j for j in indices if not 0 <= j < d_mlp]
        if outside:
            raise InterventionError(f"{label} layer {layer}: neuron {outside[0]} is outside 0..{d_mlp - 1}")
        if len(set(indices)) != len(indices):
            raise InterventionError(f"{label} layer {layer}: a neuron is repeated")
