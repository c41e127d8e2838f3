"""Made-up parts of a report and tables, of any size and with any names, for figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies.benchmarks.measures import MINIMAL_PAIRS, MULTIPLE_CHOICE, PERPLEXITY, Measure
from studies.reporting.records import benchmark_record
from studies.statistics.increases import ALL

MEASURES: Mapping[str, Measure] = {"perplexity": PERPLEXITY, "blimp": MINIMAL_PAIRS, "arc_easy": MULTIPLE_CHOICE}
LABELS = {"perplexity": "perplexity", "blimp": "BLiMP", "arc_easy": "ARC-Easy"}
PHENOMENA = (
    "anaphor_agreement",
    "argument_structure",
    "binding",
    "control_raising",
    "determiner_noun_agreement",
    "ellipsis",
    "filler_gap_dependency",
    "irregular_forms",
    "island_effects",
    "npi_licensing",
    "quantifiers",
    "s-selection",
    "subject_verb_agreement",
)
CONDITIONS = (
    ("wasserstein", "treated", None, ""),
    ("matched", "matched", None, "wasserstein"),
    ("random", "random", 0, "wasserstein"),
    ("random", "random", 1, "wasserstein"),
    ("random", "random", 2, "wasserstein"),
    ("signflip", "sign", None, "wasserstein"),
)
"""(name, part, seed, what it is a control of)."""
COSTS = {"treated": 1.0, "matched": 0.9, "random": 0.1, "sign": 1.4, "neighbour": 0.8, "other": 0.5}


def cell(estimate: float, half: float | None) -> dict[str, float | None]:
    """An interval of this half-width, or of none."""
    bounds = (None, None) if half is None else (estimate - half, estimate + half)
    return {"estimate": estimate, "low": bounds[0], "high": bounds[1]}


def model_part(
    label: str = "SmolLM2-135M",
    conditions: Sequence[tuple[str, str, int | None, str]] = CONDITIONS,
    *,
    scale: float = 1.0,
    labels: Mapping[str, str] = LABELS,
    half: float | None = 0.3,
    seed: int = 0,
) -> dict[str, Any]:
    """One model's part of a report; scale: how large effects are; half: of the intervals, in shares of the effects."""
    rng = np.random.default_rng(seed)
    estimates = {"perplexity": 20.0, "blimp": 0.8, "arc_easy": 0.55}
    rows = [
        {"condition": "baseline", "part": "baseline", "role": "baseline", "of": "baseline", "reference": "",
         "seed": None, "fraction": None, "num_neurons": 0, "spread": False, "remark": "", "deltas": {},
         "cells": {name: cell(estimates[name], 0.01) for name in MEASURES},
         "weighted": {name: estimates[name] for name in ("blimp", "arc_easy")}}
    ]  # fmt: skip
    for name, part, seed_, reference in conditions:
        costs = {"perplexity": 0.15, "blimp": -0.06, "arc_easy": -0.01 if part == "treated" else -0.03}
        deltas = {}
        for benchmark, cost in costs.items():
            effect = float(scale * cost * COSTS[part] * rng.uniform(0.8, 1.2))
            width = None if half is None else half * abs(effect)
            deltas[benchmark] = {**cell(effect, width), "num_items": 400, "basis": "67 paradigms"}
        rows.append(
            {"condition": name if seed_ is None else f"{name}/seed={seed_}", "part": part, "role": "top", "of": name,
             "reference": reference, "seed": seed_, "fraction": 0.01, "num_neurons": 450, "spread": False, "remark": "",
             "cells": {b: cell(estimates[b] + deltas[b]["estimate"], 0.01) for b in MEASURES}, "deltas": deltas}
        )  # fmt: skip
    syntactic = {"perplexity": None, "blimp": True, "arc_easy": False}
    return {
        "label": label,
        "display": label,
        "activation": "silu",
        "benchmarks": [
            benchmark_record(name, labels[name], measure, is_syntactic=syntactic[name], digest="0")
            for name, measure in MEASURES.items()
        ],
        "roles": {"conditions": {"baseline": "baseline", **_roles(conditions)}, "randoms": {}},
        "rows": rows,
        "verdicts": [],
        "excess": [],
        "structure": {},
    }


def _roles(conditions: Sequence[tuple[str, str, int | None, str]]) -> dict[str, str]:
    """{role: the first condition of this part}."""
    named = [(part, name) for name, part, *_ in conditions if part in ("treated", "matched")]
    return dict(reversed(named))


UNITS = {"perplexity_cost": "log_perplexity", "matched_cost": "fraction", "scaffolding": "surprisal"}
"""Of claims; others are about accuracy."""


def verdict(
    claim: str, effect: float | None, *, status: str = "undecided", half: float | None = 0.01
) -> dict[str, Any]:
    """An entry of a scorecard."""
    return {
        "claim": claim,
        "status": status,
        "unit": UNITS.get(claim, "accuracy"),
        "effect": None if effect is None else cell(effect, half),
        "contrast": None if effect is None else cell(0.7 * effect, half),
        "margin": None if claim == "matched_cost" else 0.02,
        "num_items": 600,
    }


def comparisons(
    names: Sequence[str], phenomena: Sequence[str] = PHENOMENA, *, scale: float = 0.1, benchmark: str = "blimp"
) -> pd.DataFrame:
    """As `comparisons.compare` of these conditions against the baseline."""
    rng = np.random.default_rng(1)
    rows = []
    for name in names:
        for place, phenomenon in enumerate((ALL, *phenomena)):
            difference = float(rng.normal(-scale / 2, scale))
            p = None if phenomenon == ALL else float(rng.uniform(0, 0.2))
            rows.append((name, "baseline", benchmark, phenomenon, 10 * 4 ** (place % 4), difference, p))
    columns = ["condition", "against", "benchmark", "phenomenon", "num_items", "difference", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def layer_effects(groups: int, phenomena: Sequence[str] = PHENOMENA, *, scale: float = 0.1) -> pd.DataFrame:
    """As `increases.layer_effects`, of groups of four layers."""
    rng = np.random.default_rng(2)
    rows = []
    for group in range(groups):
        for phenomenon in (ALL, *phenomena):
            estimate = float(scale * rng.uniform(0, 1) * (group + 1) / groups)
            layers = f"{4 * group}-{4 * group + 3}"
            rows.append(
                (
                    group,
                    layers,
                    4 * group + 4,
                    phenomenon,
                    estimate,
                    estimate - 0.3 * scale,
                    estimate + 0.3 * scale,
                    300,
                )
            )
    columns = ["group", "layers", "depth", "phenomenon", "estimate", "low", "high", "num_items"]
    return pd.DataFrame(rows, columns=columns)


def doses(bases: Mapping[str, int], fractions: Sequence[float], *, scale: float = 1.0) -> pd.DataFrame:
    """As the table of a dose-response; bases: {condition: how many seeds, 0 for none}."""
    rows = []
    for number, (base, seeds) in enumerate(bases.items()):
        for seed in range(max(1, seeds)):
            for fraction in fractions:
                for benchmark in ("perplexity", "blimp"):
                    estimate = scale * 10 * fraction / (number + 1) * (1 + 0.1 * seed)
                    name = f"{base}/seed={seed}" if seeds else base
                    rows.append((name, base, benchmark, fraction, estimate, 0.8 * estimate, 1.2 * estimate, 400))
    columns = ["condition", "base", "benchmark", "fraction", "estimate", "low", "high", "num_items"]
    return pd.DataFrame(rows, columns=columns)


def neuron_table(layers: int = 30, width: int = 200) -> pd.DataFrame:
    """A neuron table whose two scores agree a little."""
    rng = np.random.default_rng(3)
    size = layers * width
    distance = rng.gamma(2, 0.05, size)
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers), width),
            "neuron": np.tile(np.arange(width), layers),
            "wasserstein_distance": distance,
            "wasserstein_distance_negative": distance * rng.uniform(0.3, 0.9, size),
            "mapping_difficulty": distance + rng.gamma(2, 0.05, size),
        }
    )


def entangled(neurons: int, context: str, token: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(densities, pairs) of the most entangled neurons."""
    edges = np.linspace(-8, 3, 61)
    middle = (edges[1:] + edges[:-1]) / 2
    count = (1e4 * np.exp(-((middle + 0.4) ** 2)) + 300 * np.exp(-((middle + 5) ** 2))).astype(int)
    bins = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": count, "mean": -0.5, "std": 1.1})
    densities = pd.concat([bins.assign(layer=3 * n, neuron=17 * n) for n in range(neurons)])
    pairs = [
        {"layer": 3 * n, "neuron": 17 * n, "rank": rank, "context_i": context, "token_i": token, "y_i": -5.0 + rank / 3,
         "context_j": context, "token_j": token, "y_j": -0.1}
        for n in range(neurons)
        for rank in range(1, 6)
    ]  # fmt: skip
    return densities, pd.DataFrame(pairs)


def excess_table(classes: Sequence[str], *, scale: float = 0.1, known: bool = True) -> pd.DataFrame:
    """As `excess_surprisal.Excess.table`, with the same classes of both kinds."""
    rng = np.random.default_rng(4)
    rows = []
    for kind in ("upos", "relation"):
        for place, name in enumerate(classes):
            excess = float(rng.normal(scale, scale))
            half = scale / 2 if known else np.nan
            rows.append((kind, name, 1000 - 10 * place, 0.01, 3.0, excess, excess - half, excess + half))
    return pd.DataFrame(rows, columns=["kind", "name", "num_items", "share", "surprisal", "excess", "low", "high"])


def trajectories(
    groups: Sequence[str], steps: Sequence[int], quantities: Sequence[str], *, scale: float
) -> pd.DataFrame:
    """As `statistics.training.trajectories`."""
    rows = [
        (step, group, quantity, m := scale * (1 + number + np.log1p(step)), m / 2, 2 * m, m, 450)
        for step in steps
        for number, group in enumerate(groups)
        for quantity in quantities
    ]
    return pd.DataFrame(rows, columns=["step", "group", "quantity", "median", "low", "high", "mean", "num_neurons"])


def training_effects(conditions: Sequence[str], steps: Sequence[int], *, scale: float = 0.1) -> pd.DataFrame:
    """What conditions cost at every checkpoint."""
    rows = [
        (step, name, benchmark, e := scale * (number + 1) * np.log1p(step), 0.7 * e, 1.3 * e)
        for step in steps
        for number, name in enumerate(conditions)
        for benchmark in ("perplexity", "blimp")
    ]
    return pd.DataFrame(rows, columns=["step", "condition", "benchmark", "estimate", "low", "high"])
