"""A report as text: the lines that the terminal, MLflow and notebooks show.

The one source of this wording, so that the places never disagree; names and data stand in it as they are, and each
medium shows them as text. Reads the plain JSON of `records` and computes
nothing. Fractions lie in [0, 1]. Reports of earlier versions are printed too: what they lack and `records.completed`
cannot know is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from studies.reporting.records import SIGNIFICANT, Cell

SHOWN_CLASSES = 6
"""Parts of speech named on a line, those with the most excess surprisal."""


def scorecard_table(models: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Claims over models, heading first: `supported, +0.120 [0.110, 0.131]`; empty with fewer than two models."""
    by_claim: dict[str, dict[str, str]] = {}
    for model in models:
        for verdict in model["verdicts"]:
            effect = verdict["effect"]
            interval = f", {_interval(effect)}" if effect else ""
            by_claim.setdefault(verdict["claim"], {})[model["label"]] = verdict["status"] + interval
    labels = [model["label"] for model in models]
    if len(labels) < 2 or not by_claim:
        return []
    rows = [[claim, *(cells.get(label, "-") for label in labels)] for claim, cells in by_claim.items()]
    return [["claim", *labels], *rows]


def verdict_table(judged: Mapping[str, Any]) -> list[list[str]]:
    """The verdicts of a model or series, heading first; p values are uncorrected. Empty in reports before version 8."""
    if not any("p_value" in verdict for verdict in judged["verdicts"]):
        return []
    rows = [
        [
            verdict["claim"],
            verdict["status"],
            *(_interval(verdict[part]) if verdict[part] else "-" for part in ("effect", "contrast")),
            "-" if verdict["margin"] is None else f"±{verdict['margin']:g}",
            "-" if verdict["p_value"] is None else f"{verdict['p_value']:.2g}",
            {True: "yes", False: "no", None: "-"}[verdict["survives_holm"]],
        ]
        for verdict in judged["verdicts"]
    ]
    heading = ["claim", "verdict", "effect", "contrast", "margin", "p", "survives Holm"]
    return [heading, *rows]


def verdict_note(verdict: Mapping[str, Any]) -> str:
    """`p = 0.0031 (survives Holm); margin ±0.02`: what stands beside a verdict's detail; empty where nothing does."""
    notes = []
    if verdict.get("p_value") is not None:
        survives = "survives" if verdict["survives_holm"] else "does not survive"
        holm = f" ({survives} Holm over this scorecard)" if verdict["p_value"] <= SIGNIFICANT else ""
        notes.append(f"p = {verdict['p_value']:.2g}{holm}")
    if verdict.get("margin") is not None:
        notes.append(f"margin ±{verdict['margin']:g}")
    return "; ".join(notes)


def margin_lines(report: Mapping[str, Any]) -> list[str]:
    """One line where the margins of the claims were changed after results existed."""
    used = report.get("margins", [])
    if len(used) < 2:
        return []
    changes = ", then ".join(" ".join(f"{name} {value:g}" for name, value in margins.items()) for margins in used)
    return [f"the margins were changed after results existed: {changes}"]


def _interval(interval: Mapping[str, Any]) -> str:
    """`+0.120 [0.110, 0.131]`; the estimate alone where there is no interval."""
    if interval["estimate"] is None:
        return "-"
    bounds = "" if interval["low"] is None else f" [{interval['low']:.3f}, {interval['high']:.3f}]"
    return f"{interval['estimate']:+.3f}{bounds}"


def across_models_lines(report: Mapping[str, Any]) -> list[str]:
    """One line per claim on how many models support it, and one on its effect over all where five or more have one."""
    lines = []
    for entry in report.get("across_models", ()):  # reports of earlier versions have none
        lines.append(f"{entry['claim']}: {_support(entry)}")
        if entry["summary"]:
            lines.append(f"{entry['claim']}, effect: {_over_families(entry['summary'])}{_without_effect(entry)}")
    return lines


def _support(entry: Mapping[str, Any]) -> str:
    """`supported in 2 of 4 models: A, B; undecided: C; contradicted: D; not applicable to E`."""
    by_status = dict(entry["by_status"])
    supported = by_status.pop("supported", [])
    named = f": {', '.join(supported)}" if supported else ""
    parts = [f"supported in {len(supported)} of {entry['num_models']} models{named}"] if entry["num_models"] else []
    parts += [f"{status}: {', '.join(models)}" for status, models in by_status.items()]
    parts += [f"not applicable to {', '.join(entry['not_applicable'])}"] if entry["not_applicable"] else []
    return "; ".join(parts)


def _over_families(summary: Mapping[str, Any]) -> str:
    """`+0.120 [0.050, 0.190] over 6 models (4 families), prediction [-0.100, 0.300]; by family: ...`."""
    families = summary["families"]
    counted = f"{len(families)} families" if len(families) > 1 else "one family, which says nothing of others"
    whole = f"{_interval(summary)} over {summary['num_models']} models ({counted})"
    if summary["prediction_low"] is not None:
        whole += f", prediction [{summary['prediction_low']:.3f}, {summary['prediction_high']:.3f}]"
    each = [f"{entry['family']} {_interval(entry)} ({', '.join(entry['models'])})" for entry in families]
    return f"{whole}; by family: {', '.join(each)}"


def _without_effect(entry: Mapping[str, Any]) -> str:
    missing = entry["without_effect"]
    return f"; without an effect to add: {', '.join(missing)}" if missing else ""


def benchmark_cell(benchmark: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """`40.20 [38.10, 42.50]` or `0.812 [0.795, 0.829]`: a condition's row on a benchmark, with the measure's digits."""
    return format_cell(row["cells"].get(benchmark["name"]), benchmark["measure"]["digits"])


def format_cell(value: Cell | None, digits: int = 3) -> str:
    """An estimate with its interval; a dash where there is nothing."""
    if value is None or value["estimate"] is None:
        return "-"
    estimate = f"{value['estimate']:.{digits}f}"
    if value["low"] is None:
        return estimate
    return f"{estimate} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def series_lines(series: Mapping[str, Any]) -> list[str]:
    """What a series' report says before its verdicts: how WD and accuracy correlate, how the costs grow."""
    lines = []
    for benchmark, by_condition in series["correlations"].items():
        known = {name: value for name, value in by_condition.items() if value["estimate"] is not None}
        if known:
            num_checkpoints = max(value["checkpoints"] for value in known.values())
            values = ", ".join(f"{name} {value['estimate']:.3f}" for name, value in known.items())
            lines.append(
                f"Pearson correlation of median WD and {benchmark} accuracy over {num_checkpoints} checkpoints, cohort"
                f" of {series['cohort']}: {values}"
            )
    for growth in series["growth"]:
        change = f"{format_cell(growth)} more at step {growth['last']:,} than at step {growth['first']:,}"
        trend = _p_value("Page's trend", growth["trend"])
        lines.append(f"{growth['condition']}, cost on {growth['benchmark']}: {change}{trend}")
    return lines


def finding_lines(model: Mapping[str, Any]) -> list[str]:
    """What a model's part of a `completed` report says between its table and its verdicts, one finding per line."""
    described = (seed_lines, phenomenon_lines, excess_lines, structure_lines, trend_lines, doubling_lines)
    found = [line for part in (*_DOUBTS, *described, *_GAPS) for line in part(model)]
    return [*found, *special_token_lines(model.get("special_tokens", {}))]


def caveat_lines(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the verdicts alone must know too, one per line; of several models, each with its model.

    Changed margins, what is not compared, controls that are not matched, effects within rounding, items left out.
    report: a `completed` one.
    """
    lines = margin_lines(report)
    for model in report["models"]:
        found = [line for part in (*_DOUBTS, *_GAPS) for line in part(model)]
        lines += [f"{model['label']}: {line}" if len(report["models"]) > 1 else line for line in found]
    return lines


def not_compared_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per pair of ways in which compared results were computed: what is therefore not compared."""
    by_ways: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for entry in model.get("not_compared", ()):
        ways = entry["computed_with"], entry["against"], entry["other_with"]
        by_ways.setdefault(ways, {}).setdefault(entry["condition"], []).append(entry["benchmark"])
    lines = []
    for (computed_with, against, other_with), by_condition in by_ways.items():
        by_benchmarks: dict[str, list[str]] = {}
        for condition, benchmarks in by_condition.items():
            by_benchmarks.setdefault(", ".join(benchmarks), []).append(condition)
        named = "; ".join(f"{', '.join(conditions)} on {names}" for names, conditions in by_benchmarks.items())
        lines.append(f"not compared with {against} ({other_with}): {named} ({computed_with})")
    remedy = "; a run without --keep-versions evaluates again what is needed to compare them"
    return [*lines[:-1], *(line + remedy for line in lines[-1:])]


def within_noise_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per benchmark with effects that rounding alone could make, as in 16 bits; in brackets how far it moves
    the baseline."""
    by_benchmark: dict[str, list[str]] = {}
    for entry in model.get("within_noise", ()):
        effect = f"{entry['condition']} {entry['effect']:+.2g} (at most {entry['floor']:.2g})"
        by_benchmark.setdefault(entry["benchmark"], []).append(effect)
    return [
        f"effects on {benchmark} that another pack plan alone could make: {', '.join(effects)}"
        for benchmark, effects in by_benchmark.items()
    ]


def no_longer_matched_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per matched control whose perplexity, measured since its search, no longer matches."""
    return [
        f"{entry['condition']} no longer matches {entry['reference']}: perplexity {entry['perplexity']:.4g} against "
        f"{entry['treated']:.4g}, accepted within {entry['tolerance']:.3g}; its neurons are those of a search under "
        "other versions, and another value of `within` searches anew"
        for entry in model.get("no_longer_matched", ())
    ]


def seed_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per random control: mean and range of the headlines over its seeds."""
    by_subject: dict[str, list[str]] = {}
    for summary in model.get("seeds", ()):
        mean, lowest, highest = (f"{summary[name]:.4g}" for name in ("mean", "lowest", "highest"))
        subject = f"{summary['condition']}, mean of {summary['seeds']} seeds"
        by_subject.setdefault(subject, []).append(f"{summary['metric']} {mean} ({lowest} to {highest})")
    return [f"{subject}: {', '.join(values)}" for subject, values in by_subject.items()]


def phenomenon_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per comparison that differs on some phenomena, and one for all that differ on none."""
    lines, unchanged = [], []
    for comparison in model.get("comparisons", ()):
        subject = f"{comparison['condition']} against {comparison['against']} on {comparison['benchmark']}"
        sides = [f"{side} on {', '.join(comparison[side])}" for side in ("lower", "higher") if comparison[side]]
        if sides:
            num_changed = len(comparison["lower"]) + len(comparison["higher"])
            lines.append(f"{subject}, {num_changed} of {comparison['num_phenomena']} phenomena: {'; '.join(sides)}")
        else:
            unchanged.append(subject)
    if lines:
        lines[-1] += f" (McNemar, Holm, p < {SIGNIFICANT:g})"
    return [*lines, *([f"no phenomenon differs for {'; '.join(unchanged)}"] if unchanged else [])]


def excess_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per condition and surprisal benchmark: the parts of speech with the most excess, and the contrast."""
    lines = []
    for excess in model.get("excess", ()):
        if excess["spread"] or excess["seed"] is not None:
            continue
        tagged = [row for row in excess["upos"] if row["name"] != "X"]
        most = ", ".join(f"{row['name']} {row['excess']:+.3f}" for row in tagged[:SHOWN_CLASSES])
        contrast = format_cell(excess["contrast"]) + _p_value("Wilcoxon", excess["contrast"])
        lines.append(
            f"{excess['condition']}, excess on {excess['benchmark']} (nats a {excess['unit']}): "
            f"{excess['all']['excess']:+.3f}, most on {most}; determiners, punctuation, auxiliaries, particles over "
            f"nouns, verbs, adjectives, adverbs {contrast}"
        )
    return lines


def structure_lines(model: Mapping[str, Any]) -> list[str]:
    """Where the distance to N(0, 1) sits, how the two scores agree, which neurons the sets share."""
    structure = model.get("structure")
    if not structure:
        return []
    share, correlation = structure["negative_share"], structure["correlation"]
    top, rest = (format_cell(share[side]) for side in ("top", "rest"))
    lines = [
        f"negative share of the Wasserstein distance: {top} among the {share['num_top']:,} most entangled neurons, "
        f"{rest} among the other {share['num_rest']:,}"
    ]
    if correlation is not None:
        by_layer = "{lowest:.2f} to {highest:.2f} by layer (median {median:.2f})"
        reliability = correlation.get("reliability")  # a report of an earlier version has none
        lines.append(
            "Spearman correlation of Wasserstein distance and mapping difficulty: "
            f"{correlation['overall']:.2f} over all neurons, {by_layer.format(**correlation)}"
            + (f"; reliability of mapping difficulty {by_layer.format(**reliability)}" if reliability else "")
        )
    lines += [
        f"{overlap['one']} and {overlap['other']} share {overlap['share']:.1%} of their neurons "
        f"({overlap['share_by_chance']:.1%} by chance)"
        for overlap in structure["overlaps"]
    ]
    return lines


def trend_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per cumulative layer schedule and benchmark: whether the cost rises with depth."""
    lines = []
    for schedule in model["schedules"]:
        for benchmark, trend in schedule["trends"].items():
            subject = f"{schedule['condition']}, rise of the cost on {benchmark} with depth"
            counts = f"{trend['num_groups']} depths, {trend['num_blocks']} blocks"
            if trend["p_value"] is None:
                lines.append(f"{subject}: too few depths or blocks to test ({counts})")
            else:
                lines.append(f"{subject}: p = {trend['p_value']:.2g} (Page's test, {counts})")
    return lines


def doubling_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per dose-response: the fraction at which the perplexity of a benchmark doubles."""
    lines = []
    for doubling in model["doubling"]:
        highest = f"{doubling['highest_dose']:g}"
        subject = f"{doubling['condition']}: {doubling['benchmark']}"
        if doubling["estimate"] == "inf":
            lines.append(f"{subject} does not double up to a fraction of {highest}")
            continue
        line = f"{subject} doubles at a fraction of {doubling['estimate']:.3g}"
        if doubling["low"] is not None:
            bounds = (doubling["low"], doubling["high"])
            low, high = (f"over {highest}" if bound == "inf" else f"{bound:.3g}" for bound in bounds)
            line += f" [{low}, {high}]"
        lines.append(line)
    return lines


def unmatched_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per control for which no fraction was found."""
    return [f"{condition}: {reason}" for condition, reason in model.get("unmatched", {}).items()]


def left_out_lines(model: Mapping[str, Any]) -> list[str]:
    """One line per benchmark with items that the model could not score."""
    return [left_out_phrase(benchmark, left_out) for benchmark, left_out in model.get("left_out", {}).items()]


def left_out_phrase(benchmark: str, left_out: Mapping[str, Any]) -> str:
    """`pairs: 1 of 2 items left out: pairs.jsonl:2 has 1006 tokens; the model has positions for 128`."""
    of = "" if left_out["of"] is None else f" of {left_out['of']:,}"
    items = "documents" if left_out["of"] is None else "items"
    more = ", ..." if left_out["items"] > 1 else ""
    return f"{benchmark}: {left_out['items']:,}{of} {items} left out: {left_out['first'][0]}{more}"


_DOUBTS = (not_compared_lines, within_noise_lines, no_longer_matched_lines)
"""Why a number that is shown may not say what it seems to."""
_GAPS = (unmatched_lines, left_out_lines)
"""What is not there."""


def special_token_lines(by_texts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line per kind of text: which special tokens it gets; by_texts: {name of the texts: its record}."""
    named: dict[tuple[str, str], list[str]] = {}
    for name, added in by_texts.items():
        named.setdefault((added["kind"], special_tokens_phrase(added)), []).append(name)
    return [f"special tokens of {kind} ({', '.join(names)}): {phrase}" for (kind, phrase), names in named.items()]


def special_tokens_phrase(added: Mapping[str, Any]) -> str:
    """`<s> at the start of every window`: where one kind of text has special tokens."""
    first, later, last = ("".join(added[place]) for place in ("first", "later", "last"))
    if added["missing_bos"]:
        return f"none, but models of this family are trained with {added['missing_bos']} in front of every text"
    if not (first or last):
        return "none"
    match added["kind"]:
        case "windows":
            return f"{first} at the start of every window" if later else f"{first} at the very start of the text"
        case "documents":
            return f"{first} at the start of every document" + (f", {later} of every later window" if later else "")
        case "choices":
            return f"{first} in front of every context"
    parts = [*([f"{first} in front"] if first else []), *([f"{last} behind, which is scored"] if last else [])]
    return " and ".join(parts)


def noise_sentence(floors: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on how far the baseline moves when only the pack plan changes; floors: {benchmark: its record}."""
    parts = []
    for benchmark, floor in floors.items():
        if floor["relative_perplexity_difference"] is not None:
            parts.append(f"{benchmark} by {floor['relative_perplexity_difference']:.1e} (relative)")
            continue
        part = f"{benchmark} log-probabilities by at most {floor['max_logprob_difference']:.1e} nats"
        if floor["num_changed_decisions"] is not None:
            part += f", {floor['num_changed_decisions']} of {floor['num_items']} decisions"
        parts.append(part)
    return f"Noise floor (the baseline on another pack plan moves): {'; '.join(parts)}." if parts else ""


def _p_value(test: str, tested: Mapping[str, Any]) -> str:
    """`, Wilcoxon p = 0.01`; empty where there was too little to test."""
    return "" if tested["p_value"] is None else f", {test} p = {tested['p_value']:.2g}"
