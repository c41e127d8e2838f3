"""What a study found, as plain data: one table a model, the verdicts, the noise floor; and the same as Markdown.

Owns the summary that the terminal, MLflow and notebooks show, so that they never disagree. Fractions lie in [0, 1].
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.claims import Verdict
from studies.dissociation import Interval, NoiseFloor, accuracy_interval, perplexity_interval
from studies.layers import Trend

Cell = dict[str, float | None]


def is_perplexity(benchmark: str) -> bool:
    """Whether a benchmark's items are windows of a corpus."""
    return benchmark == "perplexity"


def cell(benchmark: str, items: pd.DataFrame) -> Cell:
    """{estimate, low, high} of one condition on one benchmark, 95 % bootstrap over items."""
    interval = perplexity_interval(items) if is_perplexity(benchmark) else accuracy_interval(items)
    return _plain_interval(interval)


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON."""
    return {
        "claim": verdict.claim,
        "statement": verdict.statement,
        "model": verdict.model,
        "status": str(verdict.status),
        "effect": _plain_interval(verdict.effect),
        "contrast": _plain_interval(verdict.contrast),
        "num_items": verdict.num_items,
        "detail": verdict.detail,
        "published": verdict.published,
    }


def noise_record(floor: NoiseFloor) -> dict[str, Any]:
    """A noise floor as plain JSON."""
    return dict(floor._asdict())


def trend_record(found: Trend) -> dict[str, Any]:
    """A trend as plain JSON."""
    return {**found._asdict(), "p_value": None if math.isnan(found.p_value) else found.p_value}


def doubling_record(condition: str, highest_dose: float, found: Interval) -> dict[str, Any]:
    """Where perplexity doubles, as plain JSON: beyond the doses is the word `inf`, not known is None."""
    words = {math.inf: "inf"}
    sides = {side: None if math.isnan(one) else words.get(one, one) for side, one in found._asdict().items()}
    return {"condition": condition, "highest_dose": highest_dose, **sides}


def text_of(benchmark: str, value: Cell | None) -> str:
    """`40.2 [38.1, 42.5]` or `0.812 [0.795, 0.829]`; a dash where there is nothing."""
    if value is None:
        return "-"
    digits = ".2f" if is_perplexity(benchmark) else ".3f"
    estimate = f"{value['estimate']:{digits}}"
    if value["low"] is None:
        return estimate
    return f"{estimate} [{value['low']:{digits}}, {value['high']:{digits}}]"


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown, for MLflow's description of the parent run."""
    lines = [f"# {report['study']}", ""]
    for model in report["models"]:
        lines += [f"## {model['display']}", ""]
        names = [benchmark["name"] for benchmark in model["benchmarks"]]
        lines += _row(["condition", "neurons", *(benchmark["label"] for benchmark in model["benchmarks"])])
        lines += _row(["---"] * (2 + len(names)))
        for row in model["rows"]:
            cells = [row["remark"]] * len(names) if row["remark"] else [text_of(n, row["cells"].get(n)) for n in names]
            lines += _row([row["condition"], row["neurons"], *cells])
        lines += ["", "95 % bootstrap intervals over items. " + model["noise"], ""]
        lines += [f"- {line}" for line in (*trend_lines(model), *doubling_lines(model))]
        for verdict in model["verdicts"]:
            lines.append(f"- **{verdict['claim']}: {verdict['status']}.** {verdict['detail']}")
            lines.append(f"  *{verdict['statement']} Published: {verdict['published']}*")
        lines.append("")
    if report["unfinished"]:
        lines += ["## Not finished", "", *(f"- {line}" for line in report["unfinished"])]
    return "\n".join(lines)


def trend_lines(model: Mapping[str, Any]) -> list[str]:
    """One line a cumulative layer schedule and benchmark: whether the cost rises with depth."""
    lines = []
    for schedule in model["schedules"]:
        for benchmark, found in schedule["trends"].items():
            subject = f"{schedule['condition']}, rise of the cost on {benchmark} with depth"
            over = f"{found['num_groups']} depths, {found['num_blocks']} blocks"
            if found["p_value"] is None:
                lines.append(f"{subject}: too few depths or blocks to test ({over})")
            else:
                lines.append(f"{subject}: p = {found['p_value']:.2g} (Page's test, {over})")
    return lines


def doubling_lines(model: Mapping[str, Any]) -> list[str]:
    """One line a dose-response: the fraction at which perplexity doubles."""
    lines = []
    for one in model["doubling"]:
        highest = f"{one['highest_dose']:g}"
        if one["estimate"] == "inf":
            lines.append(f"{one['condition']}: perplexity does not double up to a fraction of {highest}")
            continue
        text = f"{one['condition']}: perplexity doubles at a fraction of {one['estimate']:.3g}"
        if one["low"] is not None:
            low, high = (f"over {highest}" if side == "inf" else f"{side:.3g}" for side in (one["low"], one["high"]))
            text += f" [{low}, {high}]"
        lines.append(text)
    return lines


def noise_sentence(floors: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on how far the baseline moves when only the pack plan changes."""
    parts = []
    for benchmark, floor in floors.items():
        if is_perplexity(benchmark):
            parts.append(f"{benchmark} by {floor['relative_perplexity_difference']:.1e} (relative)")
        else:
            moved = f"log-probabilities by at most {floor['max_logprob_difference']:.1e} nats"
            parts.append(f"{benchmark} {moved}, {floor['num_changed_decisions']} of {floor['num_items']} decisions")
    return f"Noise floor (the baseline on another pack plan moves): {'; '.join(parts)}." if parts else ""


def _row(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]


def _plain_interval(interval: Interval | None) -> Cell | None:
    if interval is None:
        return None
    return {name: (None if value != value else float(value)) for name, value in interval._asdict().items()}
