"""The excess on some parts of speech over that on others, as an effect over documents, and beside words that are alike.

The words of a document are not independent, so documents are the units: a class's mean is the ratio of two sums over
documents, and its variance that of the linearised ratio (Cochran, Sampling Techniques, 1977, sec. 6.4 and 11.12). The
adjusted contrast is a regression with standard errors clustered by document (`statsmodels`; Liang and Zeger 1986). Both
read `Excess.items`. Shape suffixes: D documents, N items.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from studies.statistics.effects import Component, Effect, known
from studies.statistics.excess_surprisal import CONTENT, SCAFFOLDING
from studies.statistics.intervals import Interval
from studies.statistics.random_controls import OverRandoms, over_random_effects

NOUN = "documents"
_WORD = re.compile(r"\w+|[^\w\s]")


class Linearised(NamedTuple):
    """An estimate, and what each document adds to it."""

    value: float
    influences_D: np.ndarray
    """Their mean is 0; their variance over D is that of the estimate."""

    @property
    def effect(self) -> Effect:
        """The estimate with its variance over documents; unknown with one document or no item."""
        num = len(self.influences_D)
        variance = float((self.influences_D**2).sum() / (num * (num - 1))) if num > 1 else float("nan")
        scale = np.array([self.value])
        return Effect(self.value, (Component(known(variance, scale), max(num - 1, 1), num, NOUN),))


def class_mean(items: pd.DataFrame, classes: Sequence[str] = CONTENT) -> Linearised:
    """Mean excess on these parts of speech, nats an item."""
    codes = pd.factorize(items["document"])[0]
    num = int(codes.max()) + 1
    chosen = items["upos"].isin(classes).to_numpy()
    sums_D = np.bincount(codes[chosen], weights=items["excess"].to_numpy(np.float64)[chosen], minlength=num)
    counts_D = np.bincount(codes[chosen], minlength=num)
    total = counts_D.sum()
    if not total:
        return Linearised(float("nan"), np.full(num, np.nan))
    mean = float(sums_D.sum() / total)
    return Linearised(mean, (sums_D - mean * counts_D) * num / total)


def class_contrast(items: pd.DataFrame) -> Linearised:
    """Mean excess on `SCAFFOLDING` minus that on `CONTENT`."""
    high, low = class_mean(items, SCAFFOLDING), class_mean(items, CONTENT)
    return Linearised(high.value - low.value, high.influences_D - low.influences_D)


def contrast_over_randoms(by_set: Mapping[str, pd.DataFrame]) -> OverRandoms:
    """`class_contrast` with random controls in the baseline's place; by_set: the excess over each of them."""
    contrasts = {name: class_contrast(items) for name, items in by_set.items()}
    mean = Linearised(
        float(np.mean([contrast.value for contrast in contrasts.values()])),
        np.mean([contrast.influences_D for contrast in contrasts.values()], axis=0),
    )
    return over_random_effects({name: contrast.effect for name, contrast in contrasts.items()}, mean.effect)


class Adjusted(NamedTuple):
    """The contrast between items of equal log frequency, position and baseline surprisal."""

    interval: Interval
    """95 %, nats."""
    overlap: float
    """How alike the two classes are in these, in [0, 1]: the area that their distributions share."""


def adjusted_contrast(
    items: pd.DataFrame, words: pd.DataFrame, texts: Sequence[str], frequencies: Mapping[str, int]
) -> Adjusted | None:
    """Least squares of the excess on the class, log frequency, log position and the control's surprisal.

    items, words: as `Excess.items` and the annotation's; texts: the documents; frequencies: how often each word stands
    in the corpus of the profile (`word_frequencies`). None with fewer than two documents of both classes, or where the
    class follows from the other variables.
    """
    import statsmodels.api as sm

    position = items.groupby("document").cumcount().to_numpy()
    kept = items["upos"].isin((*SCAFFOLDING, *CONTENT)).to_numpy()
    chosen = items[kept]
    is_scaffolding = chosen["upos"].isin(SCAFFOLDING).to_numpy(np.float64)
    if chosen["document"].nunique() < 2 or not 0 < is_scaffolding.mean() < 1:
        return None
    rows = chosen["word"].to_numpy()
    places = zip(chosen["document"], words["start"].to_numpy()[rows], words["end"].to_numpy()[rows], strict=True)
    counts = [frequencies.get(texts[document][start:end].lower(), 0) for document, start, end in places]
    others = pd.DataFrame(
        {
            "log_frequency": np.log1p(np.array(counts, dtype=np.float64)),
            "log_position": np.log1p(position[kept]),
            "surprisal": chosen["surprisal"].to_numpy(np.float64),
        }
    )
    others = others.loc[:, others.nunique() > 1]
    design = sm.add_constant(others.assign(scaffolding=is_scaffolding), has_constant="add").to_numpy(np.float64)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    groups = pd.factorize(chosen["document"])[0]
    fitted = sm.OLS(chosen["excess"].to_numpy(np.float64), design).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    low, high = fitted.conf_int()[-1]
    predicted = sm.OLS(is_scaffolding, design[:, :-1]).fit().fittedvalues
    interval = Interval(float(fitted.params[-1]), float(low), float(high))
    return Adjusted(interval, _overlap(predicted[is_scaffolding == 1], predicted[is_scaffolding == 0]))


def word_frequencies(text: str) -> Counter[str]:
    """{word or punctuation mark in lower case: how often it stands in a text}."""
    return Counter(match.group().lower() for match in _WORD.finditer(text))


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """The area that two densities share (Weitzman 1970), from histograms of 20 bins."""
    edges = np.linspace(min(first.min(), second.min()), max(first.max(), second.max()), 21)
    shares = [np.histogram(values, bins=edges)[0] / len(values) for values in (first, second)]
    return float(np.minimum(*shares).sum())
