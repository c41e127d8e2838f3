"""Results as plain JSON: what `report.json` and the documents of a run hold.

Owns the keys, which are the persisted ones: each is written out, so that renaming a field elsewhere changes no stored
document. nan becomes None, because JSON has none. Knows neither MLflow nor how a result is displayed.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from studies.claims.scorecard import Verdict
from studies.statistics.comparisons import NoiseFloor
from studies.statistics.excess_surprisal import Contrast
from studies.statistics.increases import Trend
from studies.statistics.intervals import Interval, accuracy_interval, perplexity_interval, surprisal_interval
from studies.statistics.neuron_table import Structure

Cell = dict[str, float | None]
"""{estimate, low, high}: an interval as plain JSON."""

SIGNIFICANT = 0.05
"""Holm-corrected p values below this name a phenomenon as changed."""


def is_perplexity(benchmark: str) -> bool:
    """Whether a benchmark's items are windows of a corpus."""
    return benchmark == "perplexity"


def is_surprisal(benchmark: str) -> bool:
    """Whether a benchmark's items are tokens of documents."""
    return benchmark.startswith("surprisal")


def interval_record(interval: Interval) -> Cell:
    """An interval as plain JSON."""
    return {
        "estimate": _number(interval.estimate),
        "low": _number(interval.low),
        "high": _number(interval.high),
    }


def cell(benchmark: str, items: pd.DataFrame) -> Cell:
    """The estimate of one condition on one benchmark, 95 % bootstrap over items (of surprisal: documents)."""
    if is_perplexity(benchmark):
        return interval_record(perplexity_interval(items))
    return interval_record(surprisal_interval(items) if is_surprisal(benchmark) else accuracy_interval(items))


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON; effect and contrast are None where they were not computed."""
    return {
        "claim": verdict.claim,
        "statement": verdict.statement,
        "model": verdict.model,
        "status": str(verdict.status),
        "effect": None if verdict.effect is None else interval_record(verdict.effect),
        "contrast": None if verdict.contrast is None else interval_record(verdict.contrast),
        "num_items": verdict.num_items,
        "detail": verdict.detail,
        "published": verdict.published,
    }


def noise_record(floor: NoiseFloor) -> dict[str, Any]:
    """A noise floor as plain JSON."""
    return {
        "num_items": floor.num_items,
        "max_logprob_difference": floor.max_logprob_difference,
        "num_changed_decisions": floor.num_changed_decisions,
        "relative_perplexity_difference": floor.relative_perplexity_difference,
    }


def trend_record(trend: Trend) -> dict[str, Any]:
    """A trend as plain JSON."""
    return {"p_value": _number(trend.p_value), "num_blocks": trend.num_blocks, "num_groups": trend.num_groups}


def doubling_record(condition: str, highest_dose: float, fraction: Interval) -> dict[str, Any]:
    """Where perplexity doubles, as plain JSON; a bound beyond the doses is the word `inf`, an unknown one None."""
    bounds = {"estimate": fraction.estimate, "low": fraction.low, "high": fraction.high}
    plain = {name: "inf" if value == math.inf else _number(value) for name, value in bounds.items()}
    return {"condition": condition, "highest_dose": highest_dose, **plain}


def contrast_record(contrast: Contrast) -> dict[str, Any]:
    """A contrast of parts of speech as plain JSON."""
    return {
        **interval_record(contrast.interval),
        "p_value": _number(contrast.p_value),
        "documents": contrast.num_documents,
        "items": contrast.num_items,
    }


def changed_phenomena(comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Of `comparisons.compare`: on which phenomena a condition is lower or higher, McNemar's p Holm-corrected.

    Seeded conditions are left out: there are many, and their table has them all.
    """
    changes = []
    unseeded = comparisons[~comparisons["condition"].str.contains("/seed=")]
    for (condition, against, benchmark), rows in unseeded.groupby(["condition", "against", "benchmark"], sort=False):
        tested = rows[rows["p_holm"].notna()]
        if len(tested):
            changed = tested[tested["p_holm"] < SIGNIFICANT]
            changes.append(
                {
                    "condition": condition,
                    "against": against,
                    "benchmark": benchmark,
                    "num_phenomena": len(tested),
                    "lower": changed[changed["difference"] < 0]["phenomenon"].tolist(),
                    "higher": changed[changed["difference"] > 0]["phenomenon"].tolist(),
                }
            )
    return changes


def structure_record(structure: Structure, shared: pd.DataFrame) -> dict[str, Any]:
    """The descriptions of a neuron table and the overlaps of neuron sets as plain JSON, random sets left out.

    shared: as `neuron_table.overlaps`.
    """
    share = structure.share
    unseeded = shared[~(shared["one"].str.contains("/seed=") | shared["other"].str.contains("/seed="))]
    return {
        "negative_share": {
            "top": interval_record(share.top),
            "rest": interval_record(share.rest),
            "difference": interval_record(share.difference),
            "num_top": share.num_top,
            "num_rest": share.num_rest,
        },
        "correlation": _correlation_record(structure),
        "overlaps": unseeded[["one", "other", "share", "share_by_chance"]].to_dict("records"),
    }


def _correlation_record(structure: Structure) -> Mapping[str, float] | None:
    """None where mapping difficulty was not scored."""
    if structure.overall_correlation is None:
        return None
    by_layer = structure.correlation["correlation"].iloc[1:]
    return {
        "overall": structure.overall_correlation,
        "lowest": float(by_layer.min()),
        "median": float(by_layer.median()),
        "highest": float(by_layer.max()),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
