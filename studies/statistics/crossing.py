"""The fraction at which a curve of window losses crosses a target, with the interval that the windows leave.

A search for a matched control measures the losses of the same windows at every fraction that it tries. Owns the
crossing of that curve with the treated condition, and its uncertainty: windows are resampled together for all points
(Efron and Tibshirani 1993, ch. 6). As in the search, the logarithm of the rise of log-perplexity is taken to be linear
in the logarithm of the fraction between tries. Shape suffixes: W windows, K tries, R resamples.
"""

import numpy as np

from studies.statistics.effects import Component, Effect, known

RESAMPLES = 2000
LOWEST_RISE = 1e-6
"""Nats; a lower rise counts as this one, as in the search."""


def crossing(baseline_W: np.ndarray, treated_W: np.ndarray, fractions_K: np.ndarray, tries_KW: np.ndarray) -> Effect:
    """The fraction at which the mean loss equals the treated condition's; losses in nats, of the same windows.

    The variance is that of the resampled crossings. Beyond the tries the last two of them are extended; a single one
    rises in proportion to the fraction. nan variance with one window.
    """
    order = np.argsort(fractions_K, kind="stable")
    log_fractions_K = np.log(np.asarray(fractions_K, dtype=np.float64)[order])
    rises_KW = np.asarray(tries_KW, dtype=np.float64)[order] - baseline_W
    target_W = np.asarray(treated_W, dtype=np.float64) - baseline_W
    num = len(target_W)

    def of_means(rises_KR: np.ndarray, target_R: np.ndarray) -> np.ndarray:
        gaps_KR = _log_rise(rises_KR) - _log_rise(target_R)
        return np.exp([_zero(log_fractions_K, gaps_K) for gaps_K in gaps_KR.T])

    value = float(of_means(rises_KW.mean(axis=1)[:, None], target_W.mean()[None])[0])
    if num < 2:
        return Effect(value, (Component(float("nan"), 1.0, num, "windows"),))
    weights_RW = np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), size=RESAMPLES) / num
    resampled_R = of_means(rises_KW @ weights_RW.T, weights_RW @ target_W)
    variance = known(float(np.var(resampled_R, ddof=1)) * num / (num - 1), resampled_R)  # of a sample, as s^2 is
    return Effect(value, (Component(variance, num - 1, num, "windows of the search"),))


def _log_rise(rises: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(rises, LOWEST_RISE))


def _zero(x_K: np.ndarray, gaps_K: np.ndarray) -> float:
    """Where gaps first reach 0 from below, linear between the points."""
    if len(x_K) == 1:
        return float(x_K[0] - gaps_K[0])
    above = np.flatnonzero(gaps_K >= 0)
    after = int(above[0]) if len(above) else len(x_K) - 1
    after = max(after, 1)
    rise = gaps_K[after] - gaps_K[after - 1]
    slope = rise / (x_K[after] - x_K[after - 1])
    slope = max(slope, 0.1)  # a flat or falling end is extended as a slow rise, not for ever
    return float(x_K[after - 1] - gaps_K[after - 1] / slope)
