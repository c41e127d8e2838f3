"""Figures of a training run, over its checkpoints. The axis of steps is logarithmic, with room for step 0.

Seeds of one control are one line, their mean, in a band from the lowest to the highest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from studies.benchmarks.measures import Measure
from studies.reporting.figures.marks import draw_curve
from studies.reporting.figures.sheet import (
    NUMBERS,
    Drawing,
    Entry,
    Layout,
    Sheet,
    grid,
    set_labels,
    set_title,
    sheet,
    zero_line,
)
from studies.reporting.figures.style import PALE, Look, counted, looks, spoken, styled
from studies.reporting.units import increased
from studies.statistics.training import ALL_NEURONS

PANEL = 150
"""Height of a panel in pixels."""
QUANTITIES = {
    "wasserstein_distance": "Wasserstein distance",
    "wasserstein_distance_negative": "its part below zero",
    "mapping_difficulty": "mapping difficulty",
    "mapping_difficulty_reliability": "reliability of it",
    "pre_activation": "row of the gate or up projection",
    "up": "row of the GLU's other half",
    "down": "column of the down projection",
}
WEIGHTS = "cosine dissimilarity"
"""To the checkpoint before; what the table of weights holds."""
EVERY_NEURON = Look(PALE, "", "-")


class Conditions(NamedTuple):
    """What the names in the tables of a training are."""

    parts: Mapping[str, str]
    """{condition: the part of its rows}."""
    seeds: Mapping[str, str]
    """{condition with a seed: its name without it}."""

    def group(self, name: str) -> str:
        """The name under which a condition is drawn: without its seed."""
        return self.seeds.get(name, name)

    def looks(self, names: Iterable[str]) -> dict[str, Look]:
        """{group: its look}, in the order of the names."""
        parts = {self.group(name): self.parts.get(name, "other") for name in names}
        parts = {group: "baseline" if group == "baseline" else part for group, part in parts.items()}
        return looks(parts) | ({ALL_NEURONS: EVERY_NEURON} if ALL_NEURONS in parts else {})

    def num_seeds(self, names: Iterable[str]) -> dict[str, int]:
        """{group: how many of the names are its seeds}."""
        groups = [self.group(name) for name in dict.fromkeys(names)]
        return {group: groups.count(group) for group in groups}


def _key(names: Sequence[str], conditions: Conditions, note: Mapping[str, str] | None = None) -> list[Entry]:
    counts = conditions.num_seeds(names)
    notes = note or {}
    return [
        Entry(
            spoken(group) + (f" ({counts[group]} seeds)" if counts[group] > 1 else notes.get(group, "")),
            look,
        )
        for group, look in conditions.looks(names).items()
    ]


@styled
def trajectory_figure(table: pd.DataFrame, conditions: Conditions, *, title: str, of_weights: bool = False) -> Drawing:
    """One panel per quantity: median of every set of neurons over training, with the range of the treated cohort.

    table: as `statistics.training.trajectories`; of_weights: whether it is that of the weights, whose axes are
    logarithmic.
    """
    quantities = list(dict.fromkeys(table["quantity"]))
    names = list(dict.fromkeys(table["group"]))
    counts = table.groupby("group")["num_neurons"].first()
    notes = {conditions.group(name): f" ({counts[name]:,} neurons)" for name in names}
    look_of = conditions.looks(names)
    of = sheet(len(quantities), Layout(height=PANEL, across=2, key=_key(names, conditions, notes)))
    for panel, quantity in zip(of.axes, quantities, strict=True):
        rows = table[table["quantity"] == quantity]
        if of_weights and (rows[["median", "low"]] > 0).all(axis=None):
            panel.set_yscale("log")
        for group, look in look_of.items():
            of_group = rows[rows["group"].map(conditions.group) == group]
            is_banded = conditions.parts.get(group) == "treated" or group == ALL_NEURONS
            _draw(panel, of_group.rename(columns={"median": "estimate"}), look, "group", banded=is_banded)
        _finish(of, panel, table["step"])
        label = WEIGHTS if of_weights else QUANTITIES.get(quantity, quantity.replace("_", " "))
        set_labels(of, panel, y=f"{label} (log.)" if panel.get_yscale() == "log" else label)
        set_title(of, panel, QUANTITIES.get(quantity, quantity.replace("_", " ")))
    what = "weights" if of_weights else "scores"
    return of.finished(
        f"{title}: {what} of the neurons over training" + (", against the checkpoint before" if of_weights else ""),
        f"Median over the neurons at each of {table['step'].nunique()} checkpoints. Bands: range of the treated "
        "cohort, middle 90 % of all neurons, lowest to highest seed.",
    )


@styled
def condition_figure(
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    conditions: Conditions,
    measures: Mapping[str, Measure],
    *,
    counts: Mapping[str, int],
    title: str,
) -> Drawing:
    """One panel per benchmark: every condition's headline over training.

    values: {benchmark's label: {condition: {training step: value}}}; measures, counts: {benchmark's label: its measure,
    the number of its items}.
    """
    names = list(dict.fromkeys(name for by_condition in values.values() for name in by_condition))
    look_of = conditions.looks(names)
    of = sheet(len(values), Layout(height=PANEL, across=2, key=_key(names, conditions)))
    steps = pd.Series([step for by_name in values.values() for by_step in by_name.values() for step in by_step])
    for panel, (label, by_condition) in zip(of.axes, values.items(), strict=True):
        if measures[label].is_log:
            panel.set_yscale("log")
        rows = pd.DataFrame(
            [(name, step, value) for name, by_step in by_condition.items() for step, value in by_step.items()],
            columns=["condition", "step", "estimate"],
        )
        for group, look in look_of.items():
            _draw(panel, rows[rows["condition"].map(conditions.group) == group], look, "condition", banded=False)
        _finish(of, panel, steps)
        set_labels(of, panel, y=measures[label].name + (" (log.)" if measures[label].is_log else ""))
        set_title(of, panel, label)
    return of.finished(
        f"{title}: results over training",
        f"Every condition at each of {steps.nunique()} checkpoints; n = {counted(counts)}. Bands: lowest to highest "
        "seed. Intervals stand at the differences to the baseline.",
    )


@styled
def effect_figure(
    effects: pd.DataFrame,
    conditions: Conditions,
    measures: Mapping[str, Measure],
    *,
    names: Mapping[str, str],
    counts: Mapping[str, int],
    title: str,
) -> Drawing:
    """One panel per benchmark: what each condition costs over training, with 95 % bands.

    effects: columns step, condition, benchmark, estimate, low, high; measures and names: {benchmark: its measure, its
    display name}; counts: {display name: number of items}.
    """
    benchmarks, listed = (list(dict.fromkeys(effects[column])) for column in ("benchmark", "condition"))
    look_of = conditions.looks(listed)
    of = sheet(len(benchmarks), Layout(height=PANEL, across=2, key=_key(listed, conditions)))
    for panel, benchmark in zip(of.axes, benchmarks, strict=True):
        unit = increased(measures[benchmark])
        rows = effects[effects["benchmark"] == benchmark]
        read = rows[["step", "condition"]].join(rows[["estimate", "low", "high"]].map(unit.read))
        for group, look in look_of.items():
            _draw(panel, read[read["condition"].map(conditions.group) == group], look, "condition", banded=True)
        zero_line(panel, vertical=False)
        _finish(of, panel, effects["step"])
        of.signed.add(id(panel.yaxis))
        set_labels(of, panel, y=unit.label)
        set_title(of, panel, names[benchmark])
    return of.finished(
        f"{title}: cost of the ablation over training",
        f"Increase over the baseline of the same checkpoint with 95 % bootstrap band, paired by item, at each of "
        f"{effects['step'].nunique()} checkpoints; n = {counted(counts)}. Of several seeds their mean, lowest and "
        "highest.",
    )


@styled
def correlation_figure(
    points: Mapping[str, Sequence[tuple[int, float, float]]], *, names: Mapping[str, str], title: str, note: str
) -> Drawing:
    """One panel per benchmark: the cohort's median WD against accuracy, a point per checkpoint.

    points: {benchmark: (training step, WD, accuracy) of each checkpoint}; note: what the cohort is.
    """
    from matplotlib import colormaps

    steps = sorted({step for checkpoints in points.values() for step, _, _ in checkpoints})
    colours = colormaps["cividis"]
    across = 2 if len(points) > 1 else 1
    of = sheet(len(points), Layout(height=PANEL + 30, across=across, right=NUMBERS if across == 1 else 22))
    for panel, (benchmark, checkpoints) in zip(of.axes, points.items(), strict=True):
        for step, distance, accuracy in checkpoints:
            place = steps.index(step) / max(1, len(steps) - 1)
            panel.plot(distance, accuracy, "o", color=colours(place), markersize=6.5, zorder=3)
        panel.margins(0.08)
        grid(panel, "both")
        set_labels(of, panel, x="median Wasserstein distance of the cohort", y="baseline's accuracy")
        set_title(of, panel, names[benchmark])
    counts = sorted({len(checkpoints) for checkpoints in points.values()})
    return of.finished(
        f"{title}: Wasserstein distance and syntax over training",
        f"A point is one of {' or '.join(map(str, counts))} checkpoints, from step {steps[0]:,} (dark) to step "
        f"{steps[-1]:,} (bright); {note}. Points follow each other in time and are no independent sample: "
        "there is no interval.",
    )


def _draw(panel: Any, rows: pd.DataFrame, look: Look, column: str, *, banded: bool) -> None:
    """One line: a condition with its own band where it has one, or the mean of its seeds between the extremes."""
    if rows.empty:
        return
    by_step = rows.groupby("step")
    mean = by_step["estimate"].mean()
    if rows[column].nunique() > 1:
        band = {"low": by_step["estimate"].min(), "high": by_step["estimate"].max()}
    else:
        band = {"low": by_step["low"].min(), "high": by_step["high"].max()} if banded else {}
    draw_curve(panel, mean.index, mean, look, **band)


def _finish(of: Sheet, panel: Any, steps: pd.Series) -> None:
    """The axis of training steps."""
    first = max(1.0, float(steps[steps > 0].min())) if (steps > 0).any() else 1.0
    panel.set_xscale("symlog", linthresh=first)
    least, most = float(steps.min()), max(first, float(steps.max()))
    panel.set_xlim(-0.15 * first if least == 0 else 0.8 * least, 1.25 * most)
    grid(panel, "y")
    set_labels(of, panel, x="training step (logarithmic)")
