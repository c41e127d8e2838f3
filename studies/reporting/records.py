"""Results as plain JSON: what `report.json` and the documents of a run hold.

Owns the keys, which are the persisted ones: each is written out, so that renaming a field elsewhere changes no stored
document. nan becomes None, because JSON has none. Knows neither MLflow nor how a result is displayed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies.benchmarks.measures import MINIMAL_PAIRS, PERPLEXITY, SURPRISAL, Measure
from studies.claims.scorecard import Margins, Status, Verdict
from studies.statistics.across_models import Summary
from studies.statistics.comparisons import Delta, NoiseFloor, Paired, WithinNoise
from studies.statistics.excess_surprisal import Contrast
from studies.statistics.increases import Trend
from studies.statistics.intervals import Interval, estimate
from studies.statistics.items import Items
from studies.statistics.neuron_table import Structure

Cell = dict[str, float | None]
"""{estimate, low, high}: an interval as plain JSON."""

REPORT = "report.json"
"""The artifact that holds a report."""
SIGNIFICANT = 0.05
"""Holm-corrected p values below this name a phenomenon as changed."""


def interval_record(interval: Interval) -> Cell:
    """An interval as plain JSON."""
    return {
        "estimate": _number(interval.estimate),
        "low": _number(interval.low),
        "high": _number(interval.high),
    }


def cell(items: Items) -> Cell:
    """The estimate of one condition on one benchmark, as plain JSON."""
    return interval_record(estimate(items))


def measure_record(measure: Measure) -> dict[str, Any]:
    """What a reader of a report needs of a measure, as plain JSON."""
    return {"name": measure.name, "digits": measure.digits, "logarithmic": measure.is_log}


def benchmark_record(
    name: str, label: str, measure: Measure, *, is_syntactic: bool | None, digest: str
) -> dict[str, Any]:
    """What a reader of a report needs of a benchmark, as plain JSON."""
    return {
        "name": name,
        "label": label,
        "measure": measure_record(measure),
        "is_syntactic": is_syntactic,
        "items": measure.noun,
        "higher_is_better": measure.higher_is_better,
        "digest": digest,
    }


def roles_record(conditions: Mapping[str, str], randoms: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Which condition plays which role in the claims, as plain JSON: {role: condition}, {role: random controls}."""
    return {"conditions": dict(conditions), "randoms": {role: list(names) for role, names in randoms.items()}}


def delta_record(found: Delta) -> dict[str, Any]:
    """What a condition costs on a benchmark, as plain JSON."""
    return {**interval_record(found.interval), "num_items": found.num_items, "basis": found.basis}


def paired_record(found: Paired) -> dict[str, Any]:
    """Two results on the same items, and the second minus the first, as plain JSON."""
    return {
        "num_items": found.num_items,
        "a": interval_record(found.one),
        "b": interval_record(found.other),
        "difference": interval_record(found.difference),
    }


def table_record(table: pd.DataFrame, digits: int) -> dict[str, Any]:
    """A table as MLflow's `log_table` writes it and `load_table` reads it (pandas' orient `split`, without the index).

    digits: decimal places of numbers that are not whole; what is missing is null.
    """
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    data = [[_plain(value, digits) for value in row] for row in rows]
    return {"columns": [str(name) for name in table.columns], "data": data}


def _plain(value: Any, digits: int) -> Any:
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(one, digits) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else None
    return value


def completed(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with the keys that earlier versions left out; a report of today keeps what it says.

    They are `measure` of a benchmark, `benchmark` of a doubling (then always the perplexity), `seed` of an excess and,
    before version 9, most of a row: what a name or a role says is read from it, here and only here, and differences
    are missing.
    """
    return {**report, "models": [_completed_model(model) for model in report["models"]]}


def _completed_model(model: Mapping[str, Any]) -> dict[str, Any]:
    benchmarks = [_completed_benchmark(benchmark) for benchmark in model["benchmarks"]]
    rows = [_completed_row(row) for row in model.get("rows", ())]
    doubling = [{"benchmark": PERPLEXITY.name, **entry} for entry in model["doubling"]]
    excess = [{"seed": _seed_of_name(entry["condition"]), **entry} for entry in model.get("excess", ())]
    roles: dict[str, Any] = {"conditions": {}, "randoms": {}}
    return {"roles": roles, **model, "benchmarks": benchmarks, "rows": rows, "doubling": doubling, "excess": excess}


def _completed_benchmark(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    measure = benchmark.get("measure") or _measure_of_name(benchmark["name"])
    higher_is_better = measure["name"] not in (PERPLEXITY.name, SURPRISAL.name)
    unknown = {"is_syntactic": None, "items": "items", "higher_is_better": higher_is_better, "digest": ""}
    return {**unknown, "measure": measure, **benchmark}


def _completed_row(row: Mapping[str, Any]) -> dict[str, Any]:
    seed, role = _seed_of_name(row["condition"]), row.get("role")
    part = {"baseline": "baseline", "random": "random", "top": "treated"}.get(str(role), "other")
    part = "matched" if "(matched)" in row.get("neurons", "") else part
    of = row["condition"] if seed is None else row["condition"].rpartition("/seed=")[0]
    unknown: dict[str, Any] = {"fraction": None, "num_neurons": None, "reference": "", "deltas": {}}
    return {**unknown, "part": part, "seed": seed, "of": of, **row}


def _measure_of_name(benchmark: str) -> dict[str, Any]:
    if benchmark == PERPLEXITY.name:
        return measure_record(PERPLEXITY)
    return measure_record(SURPRISAL if benchmark.startswith(SURPRISAL.name) else MINIMAL_PAIRS)


def _seed_of_name(condition: str) -> int | None:
    _, _, seed = condition.partition("/seed=")
    return int(seed) if seed else None


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON; effect and contrast are None where they were not computed.

    standard_error, df: of the effect. None where it has none; df is None, too, where the error is known exactly.
    """
    return {
        "claim": verdict.claim,
        "statement": verdict.statement,
        "model": verdict.model,
        "status": str(verdict.status),
        "effect": None if verdict.effect is None else interval_record(verdict.effect),
        "contrast": None if verdict.contrast is None else interval_record(verdict.contrast),
        "standard_error": None if verdict.standard_error is None else _number(verdict.standard_error),
        "df": None if verdict.df is None or math.isinf(verdict.df) else _number(verdict.df),
        "num_items": verdict.num_items,
        "detail": verdict.detail,
        "published": verdict.published,
        "unit": str(verdict.unit),
        "margin": verdict.margin,
        "p_value": verdict.p_value,
        "survives_holm": verdict.survives_holm,
    }


def margins_record(margins: Margins) -> dict[str, float]:
    """Margins as plain JSON, with the names of the study file."""
    return {
        "accuracy": margins.accuracy,
        "perplexity": margins.log_perplexity,
        "surprisal": margins.surprisal,
    }


def across_models_record(
    claim: str, statuses: Mapping[str, str], summary: Summary | None, with_effect: Sequence[str]
) -> dict[str, Any]:
    """One claim over several models, as plain JSON.

    statuses: {model: the status of its verdict}. summary: None below five models with an effect. with_effect: the
    models whose effect has a standard error.
    """
    by_status: dict[str, list[str]] = {}
    for model, status in statuses.items():
        by_status.setdefault(status, []).append(model)
    not_applicable = by_status.pop(str(Status.NOT_APPLICABLE), [])
    judged = [model for models in by_status.values() for model in models]
    return {
        "claim": claim,
        "num_models": len(judged),
        "by_status": by_status,
        "not_applicable": not_applicable,
        "without_effect": [model for model in statuses if model in judged and model not in with_effect],
        "summary": None if summary is None else _summary_record(summary),
    }


def _summary_record(summary: Summary) -> dict[str, Any]:
    """The random-effects summary of one effect; None for bounds that too few families give."""
    return {
        **interval_record(summary.mean),
        "prediction_low": _number(summary.prediction.low),
        "prediction_high": _number(summary.prediction.high),
        "tau": _number(summary.tau),
        "num_models": summary.num_models,
        "families": [
            {"family": family.name, "models": list(family.models), **interval_record(family.mean)}
            for family in summary.families
        ],
    }


def noise_record(floor: NoiseFloor) -> dict[str, Any]:
    """A noise floor as plain JSON."""
    return {
        "num_items": floor.num_items,
        "max_logprob_difference": floor.max_logprob_difference,
        "num_changed_decisions": floor.num_changed_decisions,
        "relative_perplexity_difference": floor.relative_perplexity_difference,
    }


def within_noise_record(condition: str, benchmark: str, found: WithinNoise) -> dict[str, Any]:
    """An effect within the noise floor as plain JSON."""
    return {"condition": condition, "benchmark": benchmark, "effect": found.effect, "floor": found.floor}


def not_compared_record(
    condition: str, against: str, benchmark: str, computed_with: str, other_with: str
) -> dict[str, str]:
    """A comparison that is not made, because its sides were computed differently, as plain JSON."""
    return {
        "condition": condition,
        "against": against,
        "benchmark": benchmark,
        "computed_with": computed_with,
        "other_with": other_with,
    }


def no_longer_matched_record(
    condition: str, reference: str, perplexity: float, treated: float, accepted: float
) -> dict[str, Any]:
    """A matched control that no longer matches, as plain JSON; accepted: the search's tolerance."""
    return {
        "condition": condition,
        "reference": reference,
        "perplexity": _number(perplexity),
        "treated": _number(treated),
        "tolerance": _number(accepted),
    }


def trend_record(trend: Trend) -> dict[str, Any]:
    """A trend as plain JSON."""
    return {"p_value": _number(trend.p_value), "num_blocks": trend.num_blocks, "num_groups": trend.num_groups}


def doubling_record(condition: str, benchmark: str, highest_dose: float, fraction: Interval) -> dict[str, Any]:
    """Where a benchmark's perplexity doubles, as plain JSON.

    A bound beyond the doses is the word `inf`, an unknown one None.
    """
    bounds = {"estimate": fraction.estimate, "low": fraction.low, "high": fraction.high}
    plain = {name: "inf" if value == math.inf else _number(value) for name, value in bounds.items()}
    return {"condition": condition, "benchmark": benchmark, "highest_dose": highest_dose, **plain}


def contrast_record(contrast: Contrast) -> dict[str, Any]:
    """A contrast of parts of speech as plain JSON."""
    return {
        **interval_record(contrast.interval),
        "p_value": _number(contrast.p_value),
        "documents": contrast.num_documents,
        "items": contrast.num_items,
    }


def changed_phenomena(comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Of `comparisons.compare`: on which phenomena a condition is lower or higher, McNemar's p Holm-corrected."""
    changes = []
    for (condition, against, benchmark), rows in comparisons.groupby(["condition", "against", "benchmark"], sort=False):
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
    """The descriptions of a neuron table and the overlaps of neuron sets as plain JSON.

    shared: as `neuron_table.overlaps`.
    """
    share = structure.share
    return {
        "negative_share": {
            "top": interval_record(share.top),
            "rest": interval_record(share.rest),
            "difference": interval_record(share.difference),
            "num_top": share.num_top,
            "num_rest": share.num_rest,
        },
        "correlation": _correlation_record(structure),
        "overlaps": shared[["one", "other", "share", "share_by_chance"]].to_dict("records"),
    }


def _correlation_record(structure: Structure) -> Mapping[str, Any] | None:
    """None where mapping difficulty was not scored; its reliability is None in a neuron table without it."""
    if structure.overall_correlation is None:
        return None
    by_layer = structure.correlation.iloc[1:]
    return {
        "overall": structure.overall_correlation,
        **_over_layers(by_layer["correlation"]),
        "reliability": None if structure.difficulty_reliability is None else _over_layers(by_layer["reliability"]),
    }


def _over_layers(values: pd.Series) -> dict[str, float]:
    return {"lowest": float(values.min()), "median": float(values.median()), "highest": float(values.max())}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
