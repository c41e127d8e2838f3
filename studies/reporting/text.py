"""What a study found, as plain data: one table a model, the verdicts, the noise floor; and the same as Markdown.

Owns the summary that the terminal, MLflow and notebooks show, so that they never disagree. Fractions lie in [0, 1].
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.claims.paper import Verdict
from studies.neurons.layer_groups import Trend
from studies.statistics.excess_surprisal import Contrast
from studies.statistics.intervals import (
    Interval,
    NoiseFloor,
    accuracy_interval,
    perplexity_interval,
    surprisal_interval,
)
from studies.statistics.neuron_table import Structure

Cell = dict[str, float | None]


def is_perplexity(benchmark: str) -> bool:
    """Whether a benchmark's items are windows of a corpus."""
    return benchmark == "perplexity"


def is_surprisal(benchmark: str) -> bool:
    """Whether a benchmark's items are tokens of documents."""
    return benchmark.startswith("surprisal")


def cell(benchmark: str, items: pd.DataFrame) -> Cell:
    """{estimate, low, high} of one condition on one benchmark, 95 % bootstrap over items (of surprisal: documents)."""
    if is_perplexity(benchmark):
        interval = perplexity_interval(items)
    else:
        interval = surprisal_interval(items) if is_surprisal(benchmark) else accuracy_interval(items)
    return interval_record(interval)


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON."""
    return {
        "claim": verdict.claim,
        "statement": verdict.statement,
        "model": verdict.model,
        "status": str(verdict.status),
        "effect": interval_record(verdict.effect),
        "contrast": interval_record(verdict.contrast),
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


def contrast_record(found: Contrast) -> dict[str, Any]:
    """A contrast of parts of speech as plain JSON."""
    p_value = None if math.isnan(found.p_value) else found.p_value
    counts = {"documents": found.num_documents, "items": found.num_items}
    return {**interval_record(found.interval), "p_value": p_value, **counts}


SIGNIFICANT = 0.05


def changed_phenomena(comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Of `comparisons.compare`: on which phenomena a condition is lower or higher, McNemar's p Holm-corrected.

    Seeded conditions are left out: there are many, and their table has them all.
    """
    found = []
    named = comparisons[~comparisons["condition"].str.contains("/seed=")]
    for keys, rows in named.groupby(["condition", "against", "benchmark"], sort=False):
        parts = rows[rows["p_holm"].notna()]
        if len(parts):
            changed = parts[parts["p_holm"] < SIGNIFICANT]
            sides = {"lower": changed[changed["difference"] < 0], "higher": changed[changed["difference"] > 0]}
            one = dict(zip(("condition", "against", "benchmark"), keys, strict=True)) | {"num_phenomena": len(parts)}
            found.append(one | {side: of_side["phenomenon"].tolist() for side, of_side in sides.items()})
    return found


def structure_record(found: Structure, shared: pd.DataFrame) -> dict[str, Any]:
    """What the neuron table and the neuron sets say by themselves, as plain JSON; random sets' overlaps left out."""
    share, by_layer = found.share, found.correlation["correlation"].iloc[1:]
    sides = {side: interval_record(getattr(share, side)) for side in ("top", "rest", "difference")}
    chosen = shared[~(shared["one"].str.contains("/seed=") | shared["other"].str.contains("/seed="))]
    correlation = None
    if found.overall_correlation is not None:
        layers = {"lowest": by_layer.min(), "median": by_layer.median(), "highest": by_layer.max()}
        correlation = {"overall": found.overall_correlation, **{name: float(value) for name, value in layers.items()}}
    return {
        "negative_share": sides | {"num_top": share.num_top, "num_rest": share.num_rest},
        "correlation": correlation,
        "overlaps": chosen[["one", "other", "share", "share_by_chance"]].to_dict("records"),
    }


def series_lines(series: Mapping[str, Any]) -> list[str]:
    """What a training's report says before its verdicts: how WD and accuracy go together, how the costs grow."""
    lines = []
    for benchmark, groups in series["correlations"].items():
        known = {name: one for name, one in groups.items() if one["estimate"] is not None}
        if known:
            over = f"over {max(one['checkpoints'] for one in known.values())} checkpoints, cohort of {series['cohort']}"
            values = ", ".join(f"{name} {text_of('', one)}" for name, one in known.items())
            lines.append(f"Pearson correlation of median WD and {benchmark} accuracy {over}: {values}")
    for one in series["growth"]:
        p_value = one["trend"]["p_value"]
        trend = "" if p_value is None else f", Page's trend p = {p_value:.2g}"
        change = f"{text_of('', one)} more at step {one['last']:,} than at step {one['first']:,}"
        lines.append(f"{one['condition']}, cost on {one['benchmark']}: {change}{trend}")
    return lines


def scorecard(models: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Claims over models, heading first: `holds, +0.120 [0.110, 0.131]`; empty with fewer than two models."""
    by_claim: dict[str, dict[str, str]] = {}
    for model in models:
        for verdict in model["verdicts"]:
            effect = verdict["effect"]
            interval = f", {effect['estimate']:+.3f} [{effect['low']:.3f}, {effect['high']:.3f}]" if effect else ""
            by_claim.setdefault(verdict["claim"], {})[model["label"]] = verdict["status"] + interval
    labels = [model["label"] for model in models]
    if len(labels) < 2 or not by_claim:
        return []
    rows = [[claim, *(cells.get(label, "-") for label in labels)] for claim, cells in by_claim.items()]
    return [["claim", *labels], *rows]


def text_of(benchmark: str, value: Cell | None) -> str:
    """`40.2 [38.1, 42.5]` or `0.812 [0.795, 0.829]`; a dash where there is nothing."""
    if value is None or value["estimate"] is None:
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
        lines += [f"- {line}" for line in finding_lines(model)]
        lines += [*_verdicts(model), ""]
    for series in report.get("series", ()):
        lines += [f"## Training of {series['label']}", "", *(f"- {line}" for line in series_lines(series))]
        lines += [*_verdicts(series), ""]
    if card := scorecard(report["models"]):
        heading, *rows = card
        lines += ["## Scorecard", "", *_row(heading), *_row(["---"] * len(heading))]
        lines += [line for row in rows for line in _row(row)]
        lines.append("")
    if report["unfinished"]:
        lines += ["## Not finished", "", *(f"- {line}" for line in report["unfinished"])]
    return "\n".join(lines)


def _verdicts(judged: Mapping[str, Any]) -> list[str]:
    lines = []
    for verdict in judged["verdicts"]:
        lines.append(f"- **{verdict['claim']}: {verdict['status']}.** {verdict['detail']}")
        lines.append(f"  *{verdict['statement']} Published: {verdict['published']}*")
    return lines


def finding_lines(model: Mapping[str, Any]) -> list[str]:
    """What a model's report says between its table and its verdicts, a line each; older reports say less."""
    parts = (seed_lines, phenomenon_lines, excess_lines, structure_lines, trend_lines, doubling_lines)
    return [line for part in parts for line in part(model)]


def seed_lines(model: Mapping[str, Any]) -> list[str]:
    """One line a random control: mean and range of the headlines over its seeds."""
    texts: dict[str, list[str]] = {}
    for one in model.get("seeds", ()):
        values = (f"{one[name]:.4g}" for name in ("mean", "lowest", "highest"))
        texts.setdefault(f"{one['condition']}, mean of {one['seeds']} seeds", []).append(
            "{} {} ({} to {})".format(one["metric"], *values)
        )
    return [f"{subject}: {', '.join(parts)}" for subject, parts in texts.items()]


def phenomenon_lines(model: Mapping[str, Any]) -> list[str]:
    """One line a comparison that differs on some phenomena, and one for all that differ on none."""
    lines, none = [], []
    for one in model.get("comparisons", ()):
        subject = f"{one['condition']} against {one['against']} on {one['benchmark']}"
        sides = [f"{side} on {', '.join(one[side])}" for side in ("lower", "higher") if one[side]]
        if sides:
            count = len(one["lower"]) + len(one["higher"])
            lines.append(f"{subject}, {count} of {one['num_phenomena']} phenomena: {'; '.join(sides)}")
        else:
            none.append(subject)
    if lines:
        lines[-1] += f" (McNemar, Holm, p < {SIGNIFICANT:g})"
    return [*lines, *([f"no phenomenon differs for {'; '.join(none)}"] if none else [])]


SHOWN_CLASSES = 6


def excess_lines(model: Mapping[str, Any]) -> list[str]:
    """One line a condition and surprisal benchmark: the parts of speech with the most excess, and the contrast."""
    lines = []
    for one in model.get("excess", ()):
        if one["spread"] or "/seed=" in one["condition"]:
            continue
        classes = [row for row in one["upos"] if row["name"] != "X"]
        most = ", ".join(f"{row['name']} {row['excess']:+.3f}" for row in classes[:SHOWN_CLASSES])
        contrast = text_of("", one["contrast"])
        p_value = one["contrast"]["p_value"]
        test = f", Wilcoxon p = {p_value:.2g}" if p_value is not None else ""
        lines.append(
            f"{one['condition']}, excess on {one['benchmark']} (nats a {one['unit']}): {one['all']['excess']:+.3f}, "
            f"most on {most}; determiners, punctuation, auxiliaries, particles over nouns, verbs, adjectives, adverbs "
            f"{contrast}{test}"
        )
    return lines


def structure_lines(model: Mapping[str, Any]) -> list[str]:
    """Where the distance to N(0, 1) sits, how the two scores agree, what neuron sets share."""
    structure = model.get("structure")
    if not structure:
        return []
    share, correlation = structure["negative_share"], structure["correlation"]
    top, rest = (text_of("", share[side]) for side in ("top", "rest"))
    lines = [
        f"negative share of the Wasserstein distance: {top} among the {share['num_top']:,} most entangled neurons, "
        f"{rest} among the other {share['num_rest']:,}"
    ]
    if correlation is not None:
        lines.append(
            "Spearman correlation of Wasserstein distance and mapping difficulty: {overall:.2f} over all neurons, "
            "{lowest:.2f} to {highest:.2f} by layer (median {median:.2f})".format(**correlation)
        )
    lines += [
        f"{one['one']} and {one['other']} share {one['share']:.1%} of their neurons ({one['share_by_chance']:.1%} by "
        "chance)"
        for one in structure["overlaps"]
    ]
    return lines


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
            moved = f"{benchmark} log-probabilities by at most {floor['max_logprob_difference']:.1e} nats"
            decided = f", {floor['num_changed_decisions']} of {floor['num_items']} decisions"
            parts.append(moved + ("" if floor["num_changed_decisions"] is None else decided))
    return f"Noise floor (the baseline on another pack plan moves): {'; '.join(parts)}." if parts else ""


def _row(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]


def interval_record(interval: Interval | None) -> Cell | None:
    """An interval as plain JSON; nan is None."""
    if interval is None:
        return None
    return {name: (None if value != value else float(value)) for name, value in interval._asdict().items()}
