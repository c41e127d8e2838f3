"""Names of the artifacts that steps record.

Notebooks, reviews and later runs read them back under these names, so a name never changes.
"""

NEURONS = "neurons.parquet"
"""The neuron table of a profile."""
REFERENCE = "probe.json"
"""The probe under plain Transformers, left by a profile; engines are compared with it."""
MEASURED_ON = "profile.json"
"""The text and the sample behind a neuron table."""
NEURON_SET = "neuron_set.parquet"
"""The neurons of a select or match step."""
WEIGHTS = "weights.parquet"
"""Cosine dissimilarity of every neuron's weights to the previous checkpoint."""
DENSITIES, TOKEN_PAIRS = "entangled_densities.parquet", "token_pairs.parquet"
"""The two tables of an examples step."""
NEIGHBOUR_SET = "neighbour_set.parquet"
"""The neurons of a matched control's neighbour; empty where it has none."""
NEURON_SETS = {"neurons": NEURON_SET, "neighbour": NEIGHBOUR_SET}
"""{input role of an evaluation: which of the step's neuron sets it takes}."""
MATCHING, MATCHING_CURVE = "match.json", "matching_curve.parquet"
"""The outcome of a match step's search, and every point that it evaluated."""
MATCHING_LOSSES = "matching_losses.parquet"
"""The losses on every window of everything that a match step measured."""

ENGINE_PROBE = "engine_probe"
"""Name under which the comparison of an engine with plain Transformers is recorded, on the run of the profile."""


def identity_document(step_name: str) -> str:
    """The payload that a step's id is the hash of."""
    return f"identity/{step_name}.json"


def receipt(step_name: str) -> str:
    """How an evaluation was computed, and the proof of its intervention."""
    return f"receipts/{step_name}.json"


def items_table(benchmark: str, *, noise_floor: bool = False) -> str:
    """The per-item results of a benchmark."""
    return f"{'noise_floor' if noise_floor else 'items'}/{benchmark}.parquet"
