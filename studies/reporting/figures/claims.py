"""Claims with their effects: those of one model, and one claim over several models.

A marker says the verdict, which stands in the report; nothing is judged here. Effects of one unit share an axis.
"""

from collections.abc import Mapping
from typing import Any

from studies.reporting.figures.marks import draw_estimate
from studies.reporting.figures.sheet import (
    Drawing,
    Entry,
    Layout,
    grid,
    names_width,
    set_labels,
    set_names,
    set_title,
    sheet,
    zero_line,
)
from studies.reporting.figures.style import FAINT, PALE, Look, is_number, span, styled, words
from studies.reporting.units import Unit, of_verdict

VERDICTS: Mapping[str, Look] = {
    "supported": Look("#117733", "o", "-"),
    "contradicted": Look("#882255", "X", "-"),
    "absent": Look("#332288", "s", "-"),
    "undecided": Look("#777777", "D", "-"),
}
"""{verdict: how its effect is drawn}."""
ROW = 20
"""Pixels of a claim or model."""
SUMMARY = "mean over models"


@styled
def claims(model: Mapping[str, Any]) -> Drawing | None:
    """The effect of every claim with its interval, margin and contrast, in a panel for each unit.

    model: its part of the report. None where no claim has an effect.
    """
    measures, labels = ({b["name"]: b[key] for b in model["benchmarks"]} for key in ("measure", "label"))
    by_unit: dict[Unit, list[Mapping[str, Any]]] = {}
    for verdict in model["verdicts"]:
        if verdict["effect"] and verdict["effect"]["estimate"] is not None and verdict["status"] in VERDICTS:
            by_unit.setdefault(of_verdict(verdict, measures), []).append(verdict)
    if not by_unit:
        return None
    names = {unit: [_name(verdict["claim"], labels) for verdict in of_unit] for unit, of_unit in by_unit.items()}
    width = names_width([name for of_unit in names.values() for name in of_unit], most=240)
    contrast = Look(PALE, "|", "-")
    key = [*_verdict_key(by_unit.values()), Entry("contrast with the control", contrast), _margin_entry()]
    heights = [ROW * len(of_unit) + 8 for of_unit in by_unit.values()]
    of = sheet(len(by_unit), Layout(height=heights, across=1, names=width, title_lines=0, key=key))
    for panel, (unit, of_unit) in zip(of.axes, by_unit.items(), strict=True):
        for y, verdict in enumerate(of_unit):
            _draw_margin(panel, y, verdict, unit)
            if verdict["contrast"]:
                draw_estimate(panel, y + 0.26, unit.interval(verdict["contrast"]), contrast)
            draw_estimate(panel, y, unit.interval(verdict["effect"]), VERDICTS[verdict["status"]], size=6.5)
        zero_line(panel)
        grid(panel)
        of.signed.add(id(panel.xaxis))
        set_names(panel, names[unit], width)
        set_labels(of, panel, x=unit.label)
    return of.finished(
        f"{model['display']}: the effects that the claims are judged by",
        "Effect of each claim with its 95 % interval (Student's t over units; the verdict names them and their number: "
        f"{_counts(by_unit.values())}); grey below it the contrast with its control. Bands: margins within which an "
        "effect is too small to matter.",
    )


def _name(claim: str, labels: Mapping[str, str]) -> str:
    """`syntax loss: BLiMP`, `early layers matter most: perplexity`; labels: {benchmark: its displayed name}, of which
    what stands in brackets is left out where no other benchmark is called the same without it."""
    name, _, benchmark = claim.partition("/")
    if not benchmark:
        return words(name)
    whole = labels.get(benchmark, benchmark)
    short = whole.partition(" (")[0]
    alike = [label for label in labels.values() if label.partition(" (")[0] == short]
    return f"{words(name)}: {short if len(alike) < 2 else whole}"


def _counts(verdicts: Any) -> str:
    return f"n = {span([verdict['num_items'] for of_unit in verdicts for verdict in of_unit])}"


def _verdict_key(verdicts: Any) -> list[Entry]:
    seen = {verdict["status"] for of_unit in verdicts for verdict in of_unit}
    return [Entry(status, look) for status, look in VERDICTS.items() if status in seen]


def _margin_entry() -> Entry:
    return Entry("margin", Look(FAINT, "", "-"), "patch")


def _draw_margin(panel: Any, y: float, verdict: Mapping[str, Any], unit: Unit) -> None:
    if (margin := verdict.get("margin")) is not None:
        low, high = unit.read(-margin), unit.read(margin)
        panel.barh(y, high - low, left=low, height=0.8, color=FAINT, alpha=0.6, linewidth=0, zorder=0)


@styled
def effects_across_models(report: Mapping[str, Any]) -> Drawing | None:
    """One panel per claim, models below each other; all claims of one unit on one axis, with the mean over models.

    None where no claim has an effect on two models.
    """
    effects = _effects(report)
    if not effects:
        return None
    models = [model for model in report["models"] if any(model["label"] in by_model for by_model in effects.values())]
    summaries = {entry["claim"]: entry["summary"] for entry in report.get("across_models", ()) if entry["summary"]}
    names = [*(model["display"] for model in models), *([SUMMARY] if summaries else [])]
    width = names_width(names, most=200)
    benchmarks = [b for m in report["models"] for b in m["benchmarks"]]
    measures, labels = ({b["name"]: b[key] for b in benchmarks} for key in ("measure", "label"))
    units = {claim: of_verdict(next(iter(by_model.values())), measures) for claim, by_model in effects.items()}
    limits = {unit: _limits(unit, units, effects, summaries) for unit in set(units.values())}
    key = [*_verdict_key([by_model.values() for by_model in effects.values()]), *_summary_entries(summaries)]
    across = 3 if width < 150 else 2
    of = sheet(
        len(effects),
        Layout(height=ROW * len(names) + 8, across=across, names=width, shared=True, label_lines=2, key=key),
    )
    for panel, claim in zip(of.axes, sorted(effects, key=lambda c: list(units.values()).index(units[c])), strict=True):
        unit = units[claim]
        for y, model in enumerate(models):
            if verdict := effects[claim].get(model["label"]):
                draw_estimate(panel, y, unit.interval(verdict["effect"]), VERDICTS[verdict["status"]], size=6)
        if claim in summaries:
            _draw_summary(panel, len(models), summaries[claim], unit)
        zero_line(panel)
        grid(panel)
        panel.set_xlim(limits[unit])
        of.signed.add(id(panel.xaxis))
        set_names(panel, names, width)
        set_title(of, panel, _name(claim, labels))
        set_labels(of, panel, x=unit.label)
    return of.finished(
        "Effects across models",
        f"Effect of each claim on each of {len(models)} models with its 95 % interval (Student's t over units; "
        f"{_counts([by_model.values() for by_model in effects.values()])}). {_summary_note(summaries)}Claims of one "
        "unit share an axis.",
    )


def _effects(report: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """{claim: {model: its verdict}}, of the effects that the report adds up over models."""
    entries = report.get("across_models", ())
    judged = {entry["claim"]: {model for of in entry["by_status"].values() for model in of} for entry in entries}
    effects: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model in report["models"]:
        for verdict in model["verdicts"]:
            effect = verdict["effect"]
            known = effect and effect["estimate"] is not None and verdict["status"] in VERDICTS
            if known and model["label"] in judged.get(verdict["claim"], ()):
                effects.setdefault(verdict["claim"], {})[model["label"]] = verdict
    return {claim: by_model for claim, by_model in effects.items() if len(by_model) > 1}


def _limits(
    unit: Unit,
    units: Mapping[str, Unit],
    effects: Mapping[str, Mapping[str, Mapping[str, Any]]],
    summaries: Mapping[str, Mapping[str, Any]],
) -> tuple[float, float]:
    """Of the axis that all claims of a unit share."""
    claims_of = [claim for claim, other in units.items() if other == unit]
    drawn = [unit.interval(verdict["effect"]) for claim in claims_of for verdict in effects[claim].values()]
    values = [0.0, *(value for estimate in drawn for value in estimate if is_number(value))]
    for summary in (summaries[claim] for claim in claims_of if claim in summaries):
        keys = ("estimate", "low", "high", "prediction_low", "prediction_high")
        values += [value for key in keys if is_number(value := unit.read(summary[key]))]
    room = 0.06 * (max(values) - min(values)) or 1.0
    return min(values) - room, max(values) + room


def _draw_summary(panel: Any, y: float, summary: Mapping[str, Any], unit: Unit) -> None:
    """The random-effects mean, and the thin prediction interval of another family."""
    low, high = (unit.read(summary[f"prediction_{side}"]) for side in ("low", "high"))
    if is_number(low) and is_number(high):
        panel.plot([low, high], [y, y], color=PALE, linewidth=0.8, zorder=2)
    draw_estimate(panel, y, unit.interval(summary), _SUMMARY_LOOK, size=7)


_SUMMARY_LOOK = Look("#222222", "d", "-")


def _summary_entries(summaries: Mapping[str, Any]) -> list[Entry]:
    return [Entry(SUMMARY, _SUMMARY_LOOK)] if summaries else []


def _summary_note(summaries: Mapping[str, Any]) -> str:
    return "Mean over models: random effects over families, thin line their prediction interval. " if summaries else ""
