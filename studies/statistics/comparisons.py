"""What a reviewer asks of every condition: paired differences by phenomenon, corrected tests, effect sizes, seeds.

Two conditions are compared item by item; intervals are bootstrapped over items and again over whole paradigms or
templates (are they a sample of all possible ones?), McNemar's p values are Holm-corrected over the phenomena of a
benchmark. Tests and corrections are statsmodels' and scipy's. Works on the item frames of `items`, of which no two are
compared across comparability keys (`require_same_key`); knows nothing of models.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy  # `scipy.stats` is loaded on first use: that takes seconds, and a plan needs none of it

from studies.statistics.increases import ALL
from studies.statistics.intervals import accuracy_difference, log_perplexity_difference, surprisal_difference
from studies.statistics.items import paired_differences, paired_values, pool, same_items

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
"""Columns of `compare`'s table.

difference: of accuracy, or of log-perplexity or surprisal in nats; effect_size: Cohen's h, or d of the paired
differences; *_clustered: the interval over paradigms or templates, of surprisal over documents; p_value: McNemar's.
"""

MIN_CLUSTERS = 5
"""With fewer paradigms or templates an interval over them is meaningless."""


class McNemar(NamedTuple):
    """Exact McNemar test on items graded under two conditions."""

    num_lost: int
    """Right under the control, wrong under the treatment."""
    num_gained: int
    """Wrong under the control, right under the treatment."""
    num_dropped_ties: int
    """Items tied (0.5) under either condition, left out of the test."""
    p_value: float
    """Two-sided."""


def mcnemar(treated: pd.DataFrame, control: pd.DataFrame) -> McNemar:
    """Exact binomial test on the items decided differently; p = 1 when there are none.

    Raises ValueError if the item sets differ.
    """
    after, before = paired_values(treated, control, "correct")
    is_decided = (after != 0.5) & (before != 0.5)
    num_lost = int((is_decided & (after < before)).sum())
    num_gained = int((is_decided & (after > before)).sum())
    num_changed = num_lost + num_gained
    p_value = float(scipy.stats.binomtest(num_lost, num_changed).pvalue) if num_changed else 1.0
    return McNemar(num_lost, num_gained, int((~is_decided).sum()), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p values of one family of tests, in the order given."""
    if not len(p_values):
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]]


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
        benchmark_rows = [
            {"phenomenon": phenomenon, **_comparison(treated_part, control_part)}
            for phenomenon, treated_part, control_part in _parts(treated[benchmark], control[benchmark])
        ]
        by_phenomenon = benchmark_rows[1:]
        corrected = holm([row["p_value"] for row in by_phenomenon])
        for row, p_holm in zip(by_phenomenon, corrected, strict=True):
            row["p_holm"] = p_holm
        rows += [{"condition": condition, "against": against, "benchmark": benchmark, **row} for row in benchmark_rows]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _parts(treated: pd.DataFrame, control: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """(phenomenon, treated items, control items): first all of them, then by phenomenon if there are several."""
    yield ALL, treated, control
    if "phenomenon" in treated and treated["phenomenon"].nunique() > 1:
        for phenomenon in sorted(treated["phenomenon"].unique()):
            yield phenomenon, *(items[items["phenomenon"] == phenomenon] for items in (treated, control))


def _comparison(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, Any]:
    """The columns of one row, without those that name it."""
    if "nll" in treated:
        return _perplexity(treated, control)
    return _surprisal(treated, control) if "surprisal" in treated else _accuracy(treated, control)


def _accuracy(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    from statsmodels.stats.proportion import proportion_effectsize

    difference = accuracy_difference(treated, control)
    row = {
        "num_items": len(control),
        "difference": difference.estimate,
        "low": difference.low,
        "high": difference.high,
    }
    if "uid" in control and control["uid"].nunique() >= MIN_CLUSTERS:
        clustered = accuracy_difference(treated, control, cluster="uid")
        row |= {"low_clustered": clustered.low, "high_clustered": clustered.high}
    test = mcnemar(treated, control)
    accuracies = (items["correct"].to_numpy(np.float64).mean() for items in (treated, control))
    return row | {
        "num_lost": test.num_lost,
        "num_gained": test.num_gained,
        "num_dropped_ties": test.num_dropped_ties,
        "p_value": test.p_value,
        "effect_size": float(proportion_effectsize(*accuracies)),
    }


def _perplexity(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    difference = log_perplexity_difference(treated, control)
    window_differences = treated.set_index("window")["nll"] - control.set_index("window")["nll"]
    spread = float(window_differences.std())  # nan with one window
    return {
        "num_items": len(control),
        "difference": difference.estimate,
        "low": difference.low,
        "high": difference.high,
        "effect_size": difference.estimate / spread if spread else float("nan"),
    }


def _surprisal(treated: pd.DataFrame, control: pd.DataFrame) -> dict[str, float]:
    difference = surprisal_difference(treated, control)
    token_differences = treated["surprisal"].astype(np.float64) - control["surprisal"].astype(np.float64)
    spread = token_differences.std()
    return {
        "num_items": len(control),
        "difference": difference.estimate,
        "low_clustered": difference.low,
        "high_clustered": difference.high,
        "effect_size": difference.estimate / spread if spread else float("nan"),
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
    choices by item, with robust standard errors (Liang and Zeger 1986; `statsmodels.GEE`). None where a kind has fewer
    than `MIN_CLUSTERS`: its errors would be too small, and 0 with one.
    """
    cells = [
        _graded_clusters(benchmark, items).assign(treated=float(is_treated), syntactic=float(is_syntactic))
        for is_treated, kinds in ((True, treated), (False, control))
        for is_syntactic, by_benchmark in zip((True, False), kinds, strict=True)
        for benchmark, items in by_benchmark.items()
    ]
    table = pd.concat(cells, ignore_index=True)
    if table.groupby("syntactic")["cluster"].nunique().min() < MIN_CLUSTERS:
        return None
    import statsmodels.api as sm

    design = pd.DataFrame({"intercept": 1.0, "treated": table["treated"], "syntactic": table["syntactic"]})
    design["both"] = table["treated"] * table["syntactic"]
    clusters = pd.factorize(table["cluster"])[0]
    fitted = sm.GEE(table["correct"], design, groups=clusters, family=sm.families.Binomial()).fit()
    low, high = fitted.conf_int().loc["both"]
    return Interaction(float(fitted.params["both"]), float(low), float(high), float(fitted.pvalues["both"]))


def _graded_clusters(benchmark: str, items: pd.DataFrame) -> pd.DataFrame:
    """Columns correct and cluster: the paradigm or template of a pair, the item itself of a choice."""
    pooled = pool({benchmark: items})
    cluster = pooled["uid"]
    if "phenomenon" not in items:
        cluster = cluster + "/" + pooled["pair"].astype(str)
    return pd.DataFrame({"correct": pooled["correct"], "cluster": cluster})


def seed_summary(by_seed: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{metric: mean, lowest and highest over the seeds of a random control}, of {seed: {metric: value}}."""
    table = pd.DataFrame(by_seed).T
    return {
        metric: {"mean": float(values.mean()), "lowest": float(values.min()), "highest": float(values.max())}
        for metric, values in table.dropna(axis=1).items()
    }


def require_same_key(keys: Mapping[str, str]) -> None:
    """Refuse a paired test across comparability keys (route, pack plan, dtype, device, versions).

    `keys` maps what was evaluated ("wasserstein/blimp") to its key; ValueError names the first two that differ.
    """
    names = list(keys)
    for name in names[1:]:
        if keys[name] != keys[names[0]]:
            raise ValueError(
                f"cannot compare {names[0]} with {name}: their comparability keys differ "
                f"({keys[names[0]]!r} and {keys[name]!r}); evaluate both again on the same route, packs and software"
            )


class NoiseFloor(NamedTuple):
    """How far the baseline moves when only the pack plan changes; a field is None where the items lack it."""

    num_items: int
    max_logprob_difference: float | None
    """Largest |difference| of a sequence's log-probability, nats."""
    num_changed_decisions: int | None
    """Pairs whose `correct`, or choices whose `predicted`, differs."""
    relative_perplexity_difference: float | None
    """|other / baseline - 1|."""


def noise_floor(baseline: pd.DataFrame, other_plan: pd.DataFrame) -> NoiseFloor:
    """The baseline on two pack plans: effects of this size are arithmetic, not science.

    Raises ValueError if the item sets differ or a difference is not finite.
    """
    if "nll" in baseline:
        shift = paired_differences(other_plan, baseline, "nll").mean()
        return NoiseFloor(len(baseline), None, None, float(abs(np.expm1(shift))))
    if "surprisal" in baseline:
        shifts = paired_differences(other_plan, baseline, "surprisal")
        return NoiseFloor(len(baseline), float(np.abs(shifts).max()), None, None)
    other = same_items(other_plan, baseline)
    if "logprobs" in baseline:
        pairs = zip(baseline["logprobs"], other["logprobs"], strict=True)
        differences, decision = np.concatenate([np.subtract(after, before) for before, after in pairs]), "predicted"
    else:
        columns = ["logprob_good", "logprob_bad"]
        differences, decision = other[columns].to_numpy(float) - baseline[columns].to_numpy(float), "correct"
    if not np.isfinite(differences).all():
        raise ValueError(f"{(~np.isfinite(differences)).sum()} differences of log-probabilities are not finite")
    num_changed = int((other[decision].to_numpy() != baseline[decision].to_numpy()).sum())
    return NoiseFloor(len(baseline), float(np.abs(differences).max()), num_changed, None)
