"""One effect in many models: a random-effects summary over families of models.

Owns the arithmetic. Sizes of one family share data, recipe and authors, so they are not independent: a family enters
the summary as one, with the unweighted mean of its models' effects. Its standard error is the mean of theirs, which is
the largest that it can be (errors of models that are scored on the same items go together). Over the families: the
variance between them by Paule and Mandel (J. Res. Nat. Bur. Stand. 1982; the iteration of DerSimonian and Kacker 2007,
as in `statsmodels`), the interval of Hartung and Knapp (Statistics in Medicine 2001; Knapp and Hartung 2003) with
Student's t on k - 1 degrees of freedom, in the modified form: their variance is never taken to be smaller than that
without the correction, so that effects that happen to agree do not shrink the interval (Röver, Knapp and Friede, BMC
Medical Research Methodology 2015). The prediction interval is for the true effect in a model of another family
(Higgins, Thompson and Spiegelhalter, J. R. Statist. Soc. A 2009, sec. 2.4): t on k - 2, sqrt(tau^2 + se^2).

Callers rely on: below `FEWEST_MODELS` models there is no summary. Knows no claim and no model.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from studies.statistics.intervals import CONFIDENCE, Interval

FEWEST_MODELS = 5
"""Models with an effect from which a summary is made."""


class ModelEffect(NamedTuple):
    """The effect in one model."""

    model: str
    family: str
    value: float
    standard_error: float
    """Above 0."""
    df: float
    """Degrees of freedom of the standard error; inf where it is known."""


class Family(NamedTuple):
    """The mean effect of the models of one family."""

    name: str
    models: tuple[str, ...]
    mean: Interval
    """With the interval for these models alone, of t on the fewest of their degrees of freedom."""
    standard_error: float


class Summary(NamedTuple):
    """What the effects say of all models."""

    families: tuple[Family, ...]
    """In the order of their first models."""
    mean: Interval
    """Over families; nan bounds with a single one."""
    prediction: Interval
    """For the true effect in a model of another family; nan bounds with fewer than three."""
    tau: float
    """Standard deviation of the true effects of families; nan with a single one."""

    @property
    def num_models(self) -> int:
        """Models that the summary is over."""
        return sum(len(family.models) for family in self.families)


def summarise(effects: Sequence[ModelEffect]) -> Summary | None:
    """The summary over families; None with fewer than `FEWEST_MODELS` models.

    Raises ValueError for an effect or a standard error that is not finite, or a standard error that is not positive.
    """
    if len(effects) < FEWEST_MODELS:
        return None
    for effect in effects:
        if not (math.isfinite(effect.value) and 0 < effect.standard_error < math.inf):
            raise ValueError(f"{effect.model} has effect {effect.value} with standard error {effect.standard_error}")
    by_name: dict[str, list[ModelEffect]] = {}
    for effect in effects:
        by_name.setdefault(effect.family, []).append(effect)
    families = tuple(_family(name, members) for name, members in by_name.items())
    values = np.array([family.mean.estimate for family in families])
    variances = np.array([family.standard_error**2 for family in families])
    if len(families) == 1:
        alone = Interval(float(values[0]), math.nan, math.nan)
        return Summary(families, alone, alone, math.nan)
    return Summary(families, *random_effects(values, variances))


def random_effects(values: np.ndarray, variances: np.ndarray) -> tuple[Interval, Interval, float]:
    """(mean with its interval, with the prediction interval, tau) of independent effects ([k], k of at least 2).

    Paule and Mandel's tau^2, modified Hartung-Knapp interval; see the module.
    """
    from statsmodels.stats.meta_analysis import combine_effects

    k = len(values)
    # in units of the smallest variance: the iteration has no scale of its own to stop by
    scale = float(variances.min())
    with np.errstate(divide="ignore"):  # of a ratio that is not used, where all effects are equal
        combined = combine_effects(values / scale**0.5, variances / scale, method_re="iterated", maxiter=500)
    tau2, mean = float(combined.tau2) * scale, float(combined.mean_effect_re) * scale**0.5
    factor = max(1.0, float(combined.scale_hksj_re))  # Hartung and Knapp's q, at least 1
    error = (factor * float(combined.var_eff_w_re) * scale) ** 0.5
    interval = _interval(mean, error, k - 1)
    prediction = _interval(mean, math.sqrt(tau2 + error**2), k - 2)
    return interval, prediction, math.sqrt(tau2)


def _family(name: str, members: Sequence[ModelEffect]) -> Family:
    mean = float(np.mean([member.value for member in members]))
    error = float(np.mean([member.standard_error for member in members]))
    interval = _interval(mean, error, min(member.df for member in members))
    return Family(name, tuple(member.model for member in members), interval, error)


def _interval(mean: float, error: float, df: float) -> Interval:
    """Of Student's t; nan bounds without degrees of freedom."""
    half = float(scipy.stats.t.isf((1 - CONFIDENCE) / 2, df)) * error if df > 0 else math.nan
    return Interval(mean, mean - half, mean + half)
