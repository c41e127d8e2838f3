"""What a reviewer asks of every condition: paired differences by phenomenon, corrected tests, effect sizes, seeds.

Two conditions are compared item by item; intervals are bootstrapped over items and again over whole paradigms or
templates (are they a sample of all there could be?), McNemar's p values are Holm-corrected over the phenomena of a
benchmark. Tests and corrections are statsmodels' and scipy's. Works on item frames as `dissociation` does; knows
nothing of models.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from studies.neurons.layer_groups import ALL
from studies.statistics.intervals import (
    accuracy_difference,
    holm,
    log_perplexity_difference,
    mcnemar,
    pool,
    surprisal_difference,
)

COLUMNS = (
    "condition",
    "against",
    "benchmark",
    "phenomenon",
    "num_items",
    "difference",
    "low",
    "high",
    "low_clustered",
    "high_clustered",
    "num_lost",
    "num_gained",
    "num_dropped_ties",
    "p_value",
    "p_holm",
    "effect_size",
)
"""Difference: of accuracy, or of log-perplexity or surprisal in nats; effect size: Cohen's h, or d of the paired
differences."""

MIN_CLUSTERS = 5
"""With fewer paradigms or templates an interval over them says nothing."""


def compare(
    treated: Mapping[str, pd.DataFrame], control: Mapping[str, pd.DataFrame], *, condition: str, against: str
) -> pd.DataFrame:
    """Treated minus control on every benchmark and phenomenon that both have: columns `COLUMNS`.

    The phenomenon `all` holds a whole benchmark; p values are corrected over the others of their benchmark together.
    Raises ValueError when a benchmark's items differ between the two.
    """
    rows = []
    for benchmark in treated:
        if benchmark not in control:
            continue
        of_benchmark = [
            {"phenomenon": phenomenon, **_comparison(a, b)}
            for phenomenon, a, b in _parts(treated[benchmark], control[benchmark])
        ]
        parts = of_benchmark[1:]
        for part, corrected in zip(parts, holm([part["p_value"] for part in parts]), strict=True):
            part["p_holm"] = corrected
        rows += [{"condition": condition, "against": against, "benchmark": benchmark, **one} for one in of_benchmark]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _parts(treated: pd.DataFrame, control: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    yield ALL, treated, control
    if "phenomenon" in treated and treated["phenomenon"].nunique() > 1:
        for phenomenon in sorted(treated["phenomenon"].unique()):
            yield phenomenon, *(items[items["phenomenon"] == phenomenon] for items in (treated, control))


def _comparison(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    if "nll" in treated:
        return _perplexity(treated, control)
    return _surprisal(treated, control) if "surprisal" in treated else _accuracy(treated, control)


def _accuracy(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    difference = accuracy_difference(treated, control)
    found = {"num_items": len(control), "difference": difference.estimate, "low": difference.low}
    found |= {"high": difference.high}
    if "uid" in control and control["uid"].nunique() >= MIN_CLUSTERS:
        clustered = accuracy_difference(treated, control, cluster="uid")
        found |= {"low_clustered": clustered.low, "high_clustered": clustered.high}
    found |= mcnemar(treated, control)._asdict()
    from statsmodels.stats.proportion import proportion_effectsize

    shares = (items["correct"].to_numpy(np.float64).mean() for items in (treated, control))
    return found | {"effect_size": float(proportion_effectsize(*shares))}


def _perplexity(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    difference = log_perplexity_difference(treated, control)
    moves = treated.set_index("window")["nll"] - control.set_index("window")["nll"]
    spread = float(moves.std())  # nan with one window
    return {
        "num_items": len(control),
        "difference": difference.estimate,
        "low": difference.low,
        "high": difference.high,
        "effect_size": difference.estimate / spread if spread else float("nan"),
    }


def _surprisal(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    difference = surprisal_difference(treated, control)
    moves = treated["surprisal"].astype(np.float64) - control["surprisal"].astype(np.float64)
    return {
        "num_items": len(control),
        "difference": difference.estimate,
        "low_clustered": difference.low,
        "high_clustered": difference.high,
        "effect_size": difference.estimate / moves.std() if moves.std() else float("nan"),
    }


class Interaction(NamedTuple):
    """The interaction of condition and kind of benchmark in a logistic model."""

    estimate: float
    """Log-odds ratio: how much more the odds of a right answer change on syntactic items; negative = more is lost."""
    low: float
    high: float
    p_value: float


def interaction(
    treated: tuple[Mapping[str, pd.DataFrame], Mapping[str, pd.DataFrame]],
    control: tuple[Mapping[str, pd.DataFrame], Mapping[str, pd.DataFrame]],
) -> Interaction | None:
    """correct ~ condition x kind, by generalised estimating equations with a binomial family.

    treated, control: (syntactic, non-syntactic) items by benchmark. Pairs are clustered by paradigm or template and
    choices by item, with robust standard errors (Liang and Zeger 1986; `statsmodels.GEE`). None where a side has fewer
    than `MIN_CLUSTERS`: its errors would be too small, and 0 with one.
    """
    cells = []
    for condition, sides in (("treated", treated), ("control", control)):
        for kind, frames in zip(("syntactic", "other"), sides, strict=True):
            for benchmark, items in frames.items():
                pooled = pool({benchmark: items})
                cluster = pooled["uid"]
                if "phenomenon" not in items:
                    cluster = cluster + "/" + pooled["pair"].astype(str)
                cells.append(
                    pd.DataFrame({"correct": pooled["correct"], "cluster": cluster}).assign(
                        treated=float(condition == "treated"), syntactic=float(kind == "syntactic")
                    )
                )
    table = pd.concat(cells, ignore_index=True)
    if table.groupby("syntactic")["cluster"].nunique().min() < MIN_CLUSTERS:
        return None
    import statsmodels.api as sm

    design = pd.DataFrame({"intercept": 1.0, "treated": table["treated"], "syntactic": table["syntactic"]})
    design["both"] = table["treated"] * table["syntactic"]
    groups = pd.factorize(table["cluster"])[0]
    fitted = sm.GEE(table["correct"], design, groups=groups, family=sm.families.Binomial()).fit()
    low, high = fitted.conf_int().loc["both"]
    return Interaction(float(fitted.params["both"]), float(low), float(high), float(fitted.pvalues["both"]))


def seed_summary(by_seed: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{metric: mean, lowest and highest over the seeds of a random control}, of {seed: {metric: value}}."""
    table = pd.DataFrame(by_seed).T
    return {
        metric: {"mean": float(values.mean()), "lowest": float(values.min()), "highest": float(values.max())}
        for metric, values in table.dropna(axis=1).items()
    }
