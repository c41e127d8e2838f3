"""Wasserstein distance of every neuron: the streaming sketch against scipy on stored activations, in one run.

The same activations for both: standard normal with a share of negative outliers, so that values beyond the calibrated
range occur. scipy sorts stored values neuron by neuron, on a sample of neurons, against a random N(0, 1) sample as the
paper does; the error is that against exact normal quantiles.

    python -m tests.bench.scores
"""

import argparse
import os
import time

import numpy as np
import scipy.stats
import torch

from actors.sketches import PreActivationSketch, RangeCalibration

BATCH = 2048
NUM_BINS = 1024


def activations(num_tokens: int, num_neurons: int):
    """Batches [BATCH, num_neurons] float32; neuron j has j/num_neurons of 2 % of its values at -30."""
    generator = torch.Generator().manual_seed(0)
    share = 0.02 * torch.arange(num_neurons) / num_neurons
    for _ in range(num_tokens // BATCH):
        values = torch.randn(BATCH, num_neurons, generator=generator)
        yield torch.where(torch.rand(BATCH, num_neurons, generator=generator) < share, values - 30, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--neurons", type=int, default=1536)
    parser.add_argument("--sample", type=int, default=100, help="neurons that scipy does")
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    sample = np.linspace(0, arguments.neurons - 1, arguments.sample).astype(int)
    calibration, stored, ours, sketch = RangeCalibration(arguments.neurons, "cpu"), [], 0.0, None
    for i, batch in enumerate(activations(arguments.tokens, arguments.neurons)):
        stored.append(batch[:, sample].double().numpy())
        started = time.perf_counter()
        if i == 0:
            calibration.update(batch)
            sketch = PreActivationSketch(calibration.ranges(NUM_BINS), "cpu")
        sketch.update(batch)
        ours += time.perf_counter() - started
    started = time.perf_counter()
    found = sketch.statistics().wasserstein_distance.numpy()
    ours += time.perf_counter() - started
    values = np.concatenate(stored)
    quantiles = scipy.stats.norm.ppf((np.arange(len(values)) + 0.5) / len(values))
    reference = np.random.default_rng(0).standard_normal(len(values))
    standardised = ((values - values.mean(0)) / values.std(0)).T.copy()
    started = time.perf_counter()
    for y in standardised:
        scipy.stats.wasserstein_distance(y, reference)
    theirs = time.perf_counter() - started
    exact = np.abs(np.sort(standardised, axis=1) - quantiles).mean(1)
    mine, peer = 1e3 * ours / arguments.neurons, 1e3 * theirs / arguments.sample
    print(
        f"{arguments.tokens} tokens: sketch {mine:.2f} ms a neuron, scipy {peer:.1f} ms a neuron: {peer / mine:.0f}x; "
        f"largest error {np.abs(found[sample] - exact).max():.1e}, outliers included"
    )


if __name__ == "__main__":
    main()
