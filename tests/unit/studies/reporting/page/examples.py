"""A small study for tests of the page: two benchmarks of accuracy, one perplexity, treated, matched and random."""

from typing import Any

import numpy as np
import pandas as pd

from studies.reporting.page.content import Cell, Content, Match, Passages, Picture, Proof
from studies.reporting.records import completed

DELTAS = {
    "wasserstein": {"perplexity": (0.106, 0.093, 0.120), "blimp": (-0.041, -0.060, -0.022)},
    "random/seed=0": {"perplexity": (0.008, 0.004, 0.012), "blimp": (0.002, -0.004, 0.008)},
    "random/seed=1": {"perplexity": (0.011, 0.007, 0.015), "blimp": (-0.003, None, None)},
    "matched": {"perplexity": (0.104, 0.091, 0.117), "blimp": (0.001, -0.009, 0.011)},
}
PARTS = {"wasserstein": "treated", "matched": "matched"}
NUM_ITEMS = {"perplexity": 16, "blimp": 640}


def verdict(status: str = "supported", **more: Any) -> dict[str, Any]:
    given = {
        "claim": "double_dissociation",
        "statement": "The clamp costs more syntax than the control.",
        "model": "m",
        "status": status,
        "effect": {"estimate": -0.025, "low": -0.04, "high": -0.01},
        "contrast": None,
        "standard_error": 0.0075,
        "df": 40.0,
        "num_items": 928,
        "detail": "the numbers",
        "published": "It hurt grammar.",
        "unit": "accuracy",
        "margin": 0.02,
        "p_value": 0.0031,
        "survives_holm": True,
    }
    return {**given, **more}


def benchmark(name: str) -> dict[str, Any]:
    is_log = name == "perplexity"
    return {
        "name": name,
        "label": f"{name} (validation)",
        "measure": {"name": name if is_log else "accuracy", "digits": 2 if is_log else 3, "logarithmic": is_log},
        "is_syntactic": None if is_log else True,
        "items": "windows" if is_log else "items",
        "higher_is_better": not is_log,
        "digest": "d" * 64,
    }


def row(condition: str) -> dict[str, Any]:
    of, _, seed = condition.partition("/seed=")
    deltas = {
        name: {"estimate": e, "low": low, "high": high, "num_items": NUM_ITEMS[name], "basis": "9 units"}
        for name, (e, low, high) in DELTAS.get(condition, {}).items()
    }
    return {
        "condition": condition,
        "role": "top",
        "part": "baseline" if condition == "baseline" else PARTS.get(condition, "random"),
        "of": of,
        "reference": "wasserstein" if of in ("random", "matched") else "",
        "neurons": "",
        "fraction": None if condition == "baseline" else 0.01,
        "num_neurons": 0 if condition == "baseline" else 450,
        "seed": int(seed) if seed else None,
        "spread": False,
        "remark": "",
        "cells": {
            "perplexity": {"estimate": 43.31, "low": 40.0, "high": 46.0},
            "blimp": {"estimate": 0.862, "low": 0.8, "high": 0.9},
        },
        "deltas": deltas,
    }


def model(label: str = "m", verdicts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "label": label,
        "display": label,
        "benchmarks": [benchmark("perplexity"), benchmark("blimp")],
        "roles": {
            "conditions": {"baseline": "baseline", "treated": "wasserstein", "matched": "matched"},
            "randoms": {"random": ["random/seed=0", "random/seed=1"], "difficulty random": []},
        },
        "rows": [row(name) for name in ("baseline", *DELTAS)],
        "schedules": [],
        "doubling": [],
        "noise": "",
        "noise_floor": {},
        "within_noise": [],
        "comparisons": [],
        "seeds": [],
        "excess": [],
        "structure": {},
        "unmatched": {},
        "left_out": {},
        "special_tokens": {},
        "not_compared": [],
        "no_longer_matched": [],
        "verdicts": [verdict()] if verdicts is None else verdicts,
    }


def report(*models: dict[str, Any]) -> dict[str, Any]:
    made = {"study": "s", "models": list(models) or [model()], "across_models": [], "series": [], "margins": []}
    return completed({**made, "unfinished": []})


def comparisons(label: str = "m") -> pd.DataFrame:
    """Two phenomena; the pooled difference is not the mean over phenomena."""
    rows = []
    for condition in ("wasserstein", "matched", "random/seed=0"):
        for phenomenon, num_items, difference, p_holm in (
            ("all", 640, -0.055, np.nan),
            ("island", 40, -0.012, 0.3),
            ("npi", 600, -0.07, 0.001),
        ):
            rows.append(
                {"model": label, "condition": condition, "against": "baseline", "benchmark": "blimp",
                 "phenomenon": phenomenon, "num_items": num_items, "difference": difference, "low": difference - 0.01,
                 "high": difference + 0.01, "p_value": 0.01, "p_holm": p_holm}
            )  # fmt: skip
    return pd.DataFrame(rows)


def flips(number: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "uid": "u",
            "pair": range(number),
            "phenomenon": ["npi"] * (number - 1) + ["island"],
            "change": ["lost"] * (number - 1) + ["gained"],
            "logprob_good_before": -10.25,
            "logprob_bad_before": -11.5,
            "logprob_good_after": -14.0,
            "logprob_bad_after": -12.125,
            "good": [f"good sentence {i}" for i in range(number)],
            "bad": [f"bad sentence {i}" for i in range(number)],
        }
    )


def passages(text: str = "The cat sat on the old mat today. It was not the last one there.") -> Passages:
    starts = [i for i, c in enumerate(text) if i == 0 or text[i - 1] == " "]
    ends = [*[start - 1 for start in starts[1:]], len(text)]
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"document": 0, "start": starts, "end": ends, "before": 2.0})
    tokens = {name: table.assign(after=2.0 + rng.normal(size=len(table))) for name in ("wasserstein", "matched")}
    return Passages("m", "surprisal", {0: text}, tokens)


def content(**more: Any) -> Content:
    given: dict[str, Any] = {
        "study": "s",
        "report": report(),
        "comparisons": comparisons(),
        "flips": {Cell("m", "wasserstein", "blimp"): flips()},
        "passages": (passages(),),
        "pictures": {"m-conditions": Picture(b"<svg/>", b"png", "Costs", "Paired differences, 640 items.")},
        "proofs": (Proof("m", "wasserstein", "blimp", 450, 30, 0.4, "tree", "cpu, float32", 1e-5, 0.01),),
        "matches": (Match("m", "matched", 0.085, 48.166, 47.822, ""),),
        "store": "sqlite:////x/mlflow.db",
    }
    return Content(**(given | more))
