"""Figures of a training run: numbers in, PNG bytes out. The axis of steps is logarithmic, with room for step 0."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import pandas as pd

from studies.benchmarks.measures import Measure
from studies.reporting.figures import BLUE, GREY, ORANGE, OTHERS, legend_name, panels, plain_number, png
from studies.statistics.training import ALL_NEURONS

TITLES = {
    "wasserstein_distance": "Wasserstein distance",
    "wasserstein_distance_negative": "its part below zero",
    "pre_activation": "row of the gate or up projection",
    "up": "row of the GLU's other half",
    "down": "column of the down projection",
}


class Roles(NamedTuple):
    """The conditions that have colours of their own."""

    treated: str
    """The cohort."""
    randoms: Collection[str]
    """Random neurons, one condition per seed."""


def trajectory_figure(table: pd.DataFrame, roles: Roles, *, title: str, log: bool = False) -> bytes:
    """One panel per quantity: median of every set of neurons over training, with the range of the cohort.

    table: as `statistics.training.trajectories`; log: a logarithmic axis, for quantities that span decades.
    """
    quantities = list(dict.fromkeys(table["quantity"]))
    figure, axes = panels(len(quantities), 4.0)
    inks = _inks(dict.fromkeys(table["group"]), roles)
    for axis, quantity in zip(axes, quantities, strict=True):
        for name, unsorted in table[table["quantity"] == quantity].groupby("group", sort=False):
            rows = unsorted.sort_values("step")
            label = f"{legend_name(name)} ({rows['num_neurons'].iloc[0]:,} neurons)"
            _curve(axis, rows["step"], rows["median"], label, inks[name])
            if name in (roles.treated, ALL_NEURONS):
                axis.fill_between(rows["step"], rows["low"], rows["high"], color=inks[name], alpha=0.15)
        _finish(axis, table["step"])
        axis.set_title(TITLES.get(quantity, quantity.replace("_", " ")), fontsize=10)
        if log:
            axis.set_yscale("log")
    figure.suptitle(f"{title}: median; band: range of the cohort, middle 90 % of all", fontsize=10)
    return png(figure)


def condition_figure(
    values: Mapping[str, Mapping[str, Mapping[int, float]]], roles: Roles, *, logarithmic: Collection[str], title: str
) -> bytes:
    """One panel per benchmark: every condition's headline over training.

    values: {benchmark's label: {condition: {training step: value}}}; logarithmic: labels whose axis is.
    """
    figure, axes = panels(len(values), 4.0)
    inks = _inks({name: None for by_condition in values.values() for name in by_condition}, roles)
    for axis, (benchmark, by_condition) in zip(axes, values.items(), strict=True):
        for condition, by_step in by_condition.items():
            steps = sorted(by_step)
            _curve(axis, steps, [by_step[step] for step in steps], legend_name(condition), inks[condition])
        _finish(axis, pd.Series([step for by_step in by_condition.values() for step in by_step]))
        if benchmark in logarithmic:
            axis.set_yscale("log")
        axis.set_title(benchmark, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return png(figure)


def effect_figure(effects: pd.DataFrame, roles: Roles, measures: Mapping[str, Measure], *, title: str) -> bytes:
    """One panel per benchmark: what each condition costs over training, with 95 % bands.

    effects: columns step, condition, benchmark, estimate, low, high; measures: {benchmark: its measure}.
    """
    benchmarks = list(dict.fromkeys(effects["benchmark"]))
    figure, axes = panels(len(benchmarks), 4.0)
    inks = _inks(dict.fromkeys(effects["condition"]), roles)
    for axis, benchmark in zip(axes, benchmarks, strict=True):
        for condition, unsorted in effects[effects["benchmark"] == benchmark].groupby("condition", sort=False):
            rows = unsorted.sort_values("step")
            _curve(axis, rows["step"], rows["estimate"], legend_name(condition), inks[condition])
            axis.fill_between(rows["step"], rows["low"], rows["high"], color=inks[condition], alpha=0.12)
        axis.axhline(0, color=GREY, linestyle=":", linewidth=1)
        _finish(axis, effects["step"])
        axis.set(ylabel=measures[benchmark].increase_label)
        axis.set_title(benchmark, fontsize=10)
    figure.suptitle(f"{title}: cost of the ablation over training", fontsize=10)
    return png(figure)


def correlation_figure(points: Mapping[str, Sequence[tuple[int, float, float]]], *, title: str, note: str) -> bytes:
    """One panel per benchmark: the cohort's median WD against accuracy, a point per checkpoint, joined in time.

    points: {benchmark: (training step, WD, accuracy) of each checkpoint}; note: the rest of the title.
    """
    figure, axes = panels(len(points), 4.2)
    for axis, (benchmark, checkpoints) in zip(axes, points.items(), strict=True):
        steps, distances, accuracies = zip(*checkpoints, strict=True)
        axis.plot(distances, accuracies, "-", color=GREY, linewidth=1)
        scatter = axis.scatter(distances, accuracies, c=range(len(steps)), cmap="viridis", zorder=3)
        for step, x, y in checkpoints:
            axis.annotate(f"{step:,}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7)
        axis.set(xlabel="median Wasserstein distance of the cohort", ylabel=f"{benchmark}: accuracy of the baseline")
    figure.colorbar(scatter, ax=axes, ticks=[], label="training")
    figure.suptitle(f"{title}: {note}", fontsize=10)
    return png(figure)


def _curve(axis: Any, steps: Sequence[int], values: Sequence[float], label: str, ink: str) -> None:
    """One line over training; the cohort's in front."""
    axis.plot(steps, values, "o-", markersize=3, color=ink, label=label, zorder=3 if ink == ORANGE else 2)


def _finish(axis: Any, steps: pd.Series) -> None:
    """Add the legend and scale the axis of training steps."""
    axis.legend(fontsize=7, framealpha=0.6)
    first = max(1.0, float(steps[steps > 0].min())) if (steps > 0).any() else 1.0
    axis.set_xscale("symlog", linthresh=first)
    axis.set_xlim(-0.1 * first if steps.min() == 0 else 0.8 * steps.min(), 1.25 * max(first, steps.max()))
    axis.xaxis.set_major_formatter(plain_number)
    axis.set_xlabel("training step")


def _inks(names: Iterable[str], roles: Roles) -> dict[str, str]:
    """The cohort orange, random neurons blue, all neurons and the baseline grey, others in turn."""
    inks, others = {}, cycle(OTHERS)
    for name in names:
        if name == roles.treated:
            inks[name] = ORANGE
        elif name in (ALL_NEURONS, "baseline"):
            inks[name] = GREY
        else:
            inks[name] = BLUE if name in roles.randoms else next(others)
    return inks
