"""Wasserstein distance of every neuron: the streaming sketch against scipy on stored activations.

Both get the same standard normal values with some negative outliers, so that values beyond the calibrated range occur.
scipy compares stored values, neuron by neuron, with a random N(0, 1) sample, as the paper does; the sketch's error is
measured against exact normal quantiles.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.stats

from tests.bench.engines import peak_gibibytes

BATCH = 2048
NUM_BINS = 1024


def activations(num_tokens: int, num_neurons: int) -> Iterator[Any]:
    """Batches [BATCH, num_neurons] float32; in neuron j a fraction 0.02 j / num_neurons is shifted by -30."""
    import torch

    generator = torch.Generator().manual_seed(0)
    share = 0.02 * torch.arange(num_neurons) / num_neurons
    for _ in range(num_tokens // BATCH):
        values = torch.randn(BATCH, num_neurons, generator=generator)
        yield torch.where(torch.rand(BATCH, num_neurons, generator=generator) < share, values - 30, values)


def sketch(num_tokens: int, num_neurons: int, threads: int, sample: np.ndarray) -> dict[str, Any]:
    """Stream the activations through a sketch; the values of the neurons in `sample` are stored for `compare`."""
    import torch

    from actors.scoring.histograms import RangeCalibration
    from actors.scoring.sketches import PreActivationSketch

    torch.set_num_threads(threads)
    calibration, stored, seconds, streaming = RangeCalibration(num_neurons, "cpu"), [], 0.0, None
    for batch in activations(num_tokens, num_neurons):
        stored.append(batch[:, sample].numpy().copy())
        started = time.perf_counter()
        if streaming is None:
            calibration.update(batch)
            streaming = PreActivationSketch(calibration.ranges(NUM_BINS), "cpu")
        streaming.update(batch)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    distances = streaming.statistics().wasserstein_distance.numpy()
    seconds += time.perf_counter() - started
    return {"seconds": seconds, "distances": distances, "stored": stored, "peak_gibibytes": peak_gibibytes()}


def compare(num_tokens: int, num_neurons: int, num_sampled: int, rounds: int, threads: int) -> dict[str, Any]:
    """Milliseconds a neuron of sketch and scipy, and the sketch's largest error over the sampled neurons."""
    sample = np.linspace(0, num_neurons - 1, num_sampled).astype(int)
    runs = [sketch(num_tokens, num_neurons, threads, sample) for _ in range(rounds)]
    values = np.concatenate(runs[0]["stored"]).astype(float)
    quantiles = scipy.stats.norm.ppf((np.arange(len(values)) + 0.5) / len(values))
    reference = np.random.default_rng(0).standard_normal(len(values))
    standardised = ((values - values.mean(0)) / values.std(0)).T.copy()
    theirs = []
    for _ in range(rounds):
        started = time.perf_counter()
        for y in standardised:
            scipy.stats.wasserstein_distance(y, reference)
        theirs.append(1e3 * (time.perf_counter() - started) / num_sampled)
    ours = [1e3 * run["seconds"] / num_neurons for run in runs]
    exact = np.abs(np.sort(standardised, axis=1) - quantiles).mean(1)
    return {
        "tokens": num_tokens,
        "milliseconds": statistics.median(ours),
        "scipy_milliseconds": statistics.median(theirs),
        "ratios": [peer / mine for peer, mine in zip(theirs, ours, strict=True)],
        "largest_error": float(np.abs(runs[0]["distances"][sample] - exact).max()),
    }


def peak(num_tokens: int, num_neurons: int, threads: int) -> float:
    """Peak memory in GiB of a process that does nothing but sketch."""
    return sketch(num_tokens, num_neurons, threads, np.arange(0))["peak_gibibytes"]
