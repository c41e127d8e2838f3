"""Names of the artifacts and tables that steps record; others read them back by these names."""

NEURON_SET = "neuron_set.parquet"


NEURONS = "neurons.parquet"


WEIGHTS = "weights.parquet"


DENSITIES, TOKEN_PAIRS = "entangled_densities.parquet", "token_pairs.parquet"
