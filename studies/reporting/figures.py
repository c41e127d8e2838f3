"""Figures of a study: numbers in, PNG bytes out.

Owns the colours, sizes and axes that all figures share. Nothing is drawn on a screen; fonts fit MLflow's artifact view.
matplotlib is imported inside functions and without pyplot: no backend, no global state.
"""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import scipy  # `scipy.stats` is loaded on first use

from studies.benchmarks.measures import Measure
from studies.errors import printable
from studies.statistics.excess_surprisal import CONTENT, SCAFFOLDING
from studies.statistics.increases import ALL

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"
OTHERS = ("#2f855a", "#6b46c1", "#b83280", "#975a16")
DPI = 130
MAX_NAME = 80
"""Characters of a name in a figure."""
PANELS_ACROSS = 4
"""Panels in a row of `conditions`; further benchmarks begin another row."""
SHOWN_CLASSES = 24
"""Bars of `excess_bars`."""
SHOWN_NEURONS, SHOWN_PAIRS = 6, 4
"""Rows of `entangled_neurons`, and token pairs in each."""


def conditions(model: Mapping[str, Any]) -> bytes:
    """One panel per benchmark: every condition's estimate with its 95 % interval, the baseline as a dashed line.

    model: its part of the report. Members of schedules and dose-responses are left out: their own figures have them.
    """
    from matplotlib.figure import Figure

    rows = [row for row in model["rows"] if not row["remark"] and not row["spread"]][::-1]
    across = min(PANELS_ACROSS, len(model["benchmarks"]))
    down = math.ceil(len(model["benchmarks"]) / across)
    figure = Figure(figsize=(1.6 + 3.2 * across, down * (0.3 * len(rows) + 1.0) + 0.4), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    for axis, benchmark in zip(axes, model["benchmarks"], strict=False):
        name = benchmark["name"]
        for height, row in enumerate(rows):
            if value := row["cells"].get(name):
                colour = {"baseline": GREY, "random": BLUE}.get(row["role"], ORANGE)
                axis.errorbar(value["estimate"], height, xerr=_error_bar(value), fmt="o", color=colour, capsize=3)
                if row["role"] == "baseline":
                    axis.axvline(value["estimate"], color=GREY, linestyle="--", linewidth=1)
        axis.set_yticks(range(len(rows)), [tick_name(row["condition"]) for row in rows], fontsize=8)
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.set_title(benchmark["label"], fontsize=9)
        if benchmark["measure"]["logarithmic"]:
            axis.set_xscale("log")
            _plain_numbers(axis)
            axis.tick_params(axis="x", which="both", labelsize=7)
    for axis in axes[len(model["benchmarks"]) :]:
        axis.axis("off")
    logarithmic = [benchmark["name"] for benchmark in model["benchmarks"] if benchmark["measure"]["logarithmic"]]
    scale = f" ({', '.join(logarithmic)}: logarithmic)" if logarithmic else ""
    figure.suptitle(f"{model['display']}: estimates with 95 % intervals{scale}", fontsize=11)
    return png(figure)


def matching_curve(curve: pd.DataFrame, *, baseline: float, treated: float, title: str) -> bytes:
    """Perplexity against the fraction of lowest-scored neurons clamped, every evaluated point.

    curve: columns fraction, perplexity.
    """
    figure, (axis,) = panels(1, 3.6)
    ordered = curve.sort_values("fraction")
    axis.plot(ordered["fraction"], ordered["perplexity"], "o-", color=BLUE, label="lowest-scored neurons")
    axis.axhline(treated, color=ORANGE, linestyle="--", label="treated condition")
    axis.axhline(baseline, color=GREY, linestyle=":", label="baseline")
    axis.set(xscale="log", yscale="log", xlabel="fraction clamped", ylabel="perplexity", title=title)
    _plain_numbers(axis)
    axis.legend(fontsize=8)
    return png(figure)


def wasserstein_by_layer(neurons: pd.DataFrame, *, title: str) -> bytes:
    """Median, 99th percentile and maximum of WD in every layer, with the negative share of the top 1 %."""
    figure, (left, right) = panels(2, 3.6)
    by_layer = neurons.groupby("layer")["wasserstein_distance"]
    for label, values, colour in (
        ("maximum", by_layer.max(), ORANGE),
        ("99th percentile", by_layer.quantile(0.99), BLUE),
        ("median", by_layer.median(), GREY),
    ):
        left.plot(values.index, values, "o-", markersize=3, color=colour, label=label)
    left.set(xlabel="layer", ylabel="Wasserstein distance to N(0, 1)", yscale="log", title=title)
    _plain_numbers(left)
    left.legend(fontsize=8)
    threshold = by_layer.transform(lambda values: values.quantile(0.99))
    for label, chosen, colour in (
        ("top 1 %", neurons[neurons["wasserstein_distance"] >= threshold], ORANGE),
        ("all", neurons[neurons["wasserstein_distance"] > 0], GREY),
    ):
        share = chosen["wasserstein_distance_negative"] / chosen["wasserstein_distance"]
        means = share.groupby(chosen["layer"]).mean()
        right.plot(means.index, means, "o-", markersize=3, color=colour, label=label)
    right.set(xlabel="layer", ylabel="negative share of WD", ylim=(0, 1), title="where the mass sits")
    right.legend(fontsize=8)
    return png(figure)


def negative_shares(models: Sequence[Mapping[str, Any]]) -> bytes:
    """Where the distance to N(0, 1) sits, model by model: the most entangled neurons against the others.

    models: their parts of the report.
    """
    figure, (axis,) = panels(1, 1.4 + 0.55 * len(models), width=7)
    for height, model in enumerate(reversed(models)):
        share = model["structure"]["negative_share"]
        for side, colour, shift in (("top", ORANGE, 0.12), ("rest", GREY, -0.12)):
            value = share[side]
            if value["estimate"] is None:
                continue
            label = {"top": "most entangled", "rest": "others"}[side] if height == 0 else None
            axis.errorbar(
                value["estimate"], height + shift, xerr=_error_bar(value), fmt="o", color=colour, capsize=3, label=label
            )
    axis.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
    names = [f"{tick_name(model['label'])}\n{tick_name(model['activation'])}" for model in reversed(models)]
    axis.set_yticks(range(len(models)), names)
    axis.set(ylim=(-0.6, len(models) - 0.4), xlim=(0, 1), xlabel="negative share of the Wasserstein distance")
    axis.legend(fontsize=8)
    return png(figure)


def excess_bars(table: pd.DataFrame, *, kind: str, title: str) -> bytes:
    """Excess surprisal by class, sorted, with 95 % intervals; beside it how frequent the class is.

    table: as `excess_surprisal.Excess.table`; kind: `upos` (the paper's two sets of classes have colours) or
    `relation`. The most frequent classes are shown.
    """
    rows = table[table["kind"] == kind].nlargest(SHOWN_CLASSES, "num_items").sort_values("excess")
    figure, (left, right) = panels(2, 1.2 + 0.24 * len(rows))
    sets = {"determiner, punctuation, auxiliary, particle": (SCAFFOLDING, ORANGE), "content words": (CONTENT, BLUE)}
    inks = {name: ink for names, ink in sets.values() for name in names} if kind == "upos" else {}
    colours = [inks.get(name, GREY) for name in rows["name"]]
    heights = range(len(rows))
    spread = [(rows["excess"] - rows["low"]).fillna(0), (rows["high"] - rows["excess"]).fillna(0)]
    left.barh(heights, rows["excess"], color=colours, xerr=spread, capsize=2, error_kw={"linewidth": 1})
    left.axvline(0, color="black", linewidth=0.8)
    left.set_yticks(heights, [tick_name(name) for name in rows["name"]], fontsize=8)
    left.set(xlabel="excess surprisal (nats)")
    right.barh(heights, rows["share"], color=colours)
    right.set_yticks(heights, [f"{count:,}" for count in rows["num_items"]], fontsize=7)
    right.set(xlabel="share of all items (left: how many)", xlim=(0, None))
    if inks:
        handles = [left.barh(0, 0, color=ink, label=label) for label, (_, ink) in sets.items()]
        figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncol=2, frameon=False)
    figure.suptitle(title, fontsize=9)
    return png(figure)


def entangled_neurons(densities: pd.DataFrame, pairs: pd.DataFrame, *, title: str) -> bytes:
    """One row per neuron: its output's density against the normal one, zero marked, and the pairs it pulls apart.

    densities: columns layer, neuron, low, high, count, mean, std; pairs: layer, neuron, rank, and of i and j each
    context, token and y. Only the first `SHOWN_NEURONS` and their first `SHOWN_PAIRS` are shown.
    """
    from matplotlib.figure import Figure

    neurons = list(densities.groupby(["layer", "neuron"], sort=False))[:SHOWN_NEURONS]
    figure = Figure(figsize=(13, 2.3 * len(neurons) + 0.6), layout="constrained")
    axes = figure.subplots(len(neurons), 2, squeeze=False, width_ratios=[1, 1.6])
    for (left, right), ((layer, neuron), bins) in zip(axes, neurons, strict=True):
        mean, std = bins["mean"].iloc[0], bins["std"].iloc[0]
        widths = bins["high"] - bins["low"]
        middle = (bins["low"] + bins["high"]) / 2
        left.fill_between(middle, bins["count"] / bins["count"].sum() / widths, step="mid", color=BLUE, alpha=0.5)
        left.plot(
            middle,
            scipy.stats.norm.pdf(middle, mean, std),
            color=GREY,
            linewidth=1.2,
            label="normal, same mean and std",
        )
        left.axvline(0, color="black", linestyle="--", linewidth=1)
        left.set(title=f"layer {layer}, neuron {neuron}", yticks=[])
        left.title.set_fontsize(9)
        ranked = pairs[(pairs["layer"] == layer) & (pairs["neuron"] == neuron)].nsmallest(SHOWN_PAIRS, "rank")
        for colour, pair in zip((ORANGE, *OTHERS), ranked.itertuples(), strict=False):
            left.plot([pair.y_i, pair.y_j], [0, 0], "o-", color=colour, markersize=4, clip_on=False, zorder=3)
            for line, side in enumerate("ij"):
                y, token, context = (getattr(pair, f"{name}_{side}") for name in ("y", "token", "context"))
                text = f"{y:+.2f}  …{_one_line(context)[-70:]}[{_one_line(token)}]"
                height = 0.98 - (pair.rank - 1) / SHOWN_PAIRS - 0.11 * line
                right.text(0, height, text, color=colour, fontsize=7, family="monospace", va="top", parse_math=False)
        right.axis("off")
    axes[0][0].legend(fontsize=7)
    axes[-1][0].set_xlabel("pre-activation (dashed: zero)")
    axes[0][1].set_title("near inputs, far outputs, both below zero: output and text", fontsize=9)
    figure.suptitle(f"{title}: the most entangled neurons", fontsize=11)
    return png(figure)


def _one_line(text: str) -> str:
    """The text without line breaks, and without scripts that the figures' font lacks."""
    text = text.replace("\n", "⏎").replace("\t", " ")
    return "".join(character if ord(character) < 0x2E80 else "□" for character in text)


def layer_heat_map(effects: pd.DataFrame, *, benchmark: str, measure: Measure, title: str) -> bytes:
    """Layer groups across, phenomena down: the increase over the baseline; a dot where its interval excludes 0.

    effects: as `increases.layer_effects`, of the benchmark.
    """
    table = effects.pivot(index="phenomenon", columns="group", values="estimate")
    order = [ALL, *table.index.drop(ALL)]
    table = table.loc[order]
    marked = effects.assign(excludes_0=(effects["low"] > 0) | (effects["high"] < 0))
    excludes_0 = marked.pivot(index="phenomenon", columns="group", values="excludes_0").loc[order]
    names = effects.drop_duplicates("group").sort_values("group")["layers"]
    figure, (axis,) = panels(1, 1.6 + 0.34 * len(order), width=2.6 + 0.75 * len(names))
    largest = max(float(table.abs().max().max()), 1e-9)
    image = axis.imshow(table, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
    for y, phenomenon in enumerate(order):
        for x, group in enumerate(table.columns):
            value = table.loc[phenomenon, group]
            ink = "white" if abs(value) > 0.6 * largest else "black"
            mark = " •" if excludes_0.loc[phenomenon, group] else ""
            axis.text(x, y, f"{value:+.3f}{mark}", ha="center", va="center", fontsize=7, color=ink)
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(order)), [tick_name(phenomenon) for phenomenon in order])
    axis.set(xlabel="layers", title=f"{title}, {benchmark}")
    axis.title.set_fontsize(10)
    figure.colorbar(image, ax=axis, label=measure.increase_label)
    return png(figure)


def depth_curves(tables: Mapping[str, pd.DataFrame], measures: Mapping[str, Measure], *, title: str) -> bytes:
    """One panel per benchmark: increase over the baseline against depth, of all items (95 % band) and by phenomenon.

    tables: {benchmark: as `increases.layer_effects`}; measures: {benchmark: its measure}.
    """
    from matplotlib import colormaps

    figure, axes = panels(len(tables), 5.2)
    for axis, (benchmark, effects) in zip(axes, tables.items(), strict=True):
        whole = effects[effects["phenomenon"] == ALL].sort_values("depth")
        phenomena = effects[effects["phenomenon"] != ALL].groupby("phenomenon")
        for colour, (phenomenon, rows) in enumerate(phenomena):
            rows = rows.sort_values("depth")
            ink = colormaps["tab20"](colour % 20)
            axis.plot(rows["depth"], rows["estimate"], linewidth=1, color=ink, label=legend_name(phenomenon))
        axis.plot(whole["depth"], whole["estimate"], "o-", color="black", linewidth=2, label=ALL)
        axis.fill_between(whole["depth"], whole["low"], whole["high"], color="black", alpha=0.15)
        axis.axhline(0, color=GREY, linestyle=":", linewidth=1)
        axis.set_title(benchmark, fontsize=10)
        axis.set(xlabel="depth (end of the group, in layers)", ylabel=measures[benchmark].increase_label)
        axis.legend(fontsize=7, ncol=2, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    figure.suptitle(title, fontsize=11)
    return png(figure)


def dose_curves(
    table: pd.DataFrame, doubling: Sequence[Mapping[str, Any]], measures: Mapping[str, Measure], *, title: str
) -> bytes:
    """Increase over the baseline against the fraction, one panel per benchmark; seeds share a colour.

    table: columns condition, base, benchmark, fraction, estimate, low, high; doubling: as `records.doubling_record`;
    measures: {benchmark: its measure}.
    """
    benchmarks = list(dict.fromkeys(table["benchmark"]))
    figure, axes = panels(len(benchmarks), 4.2)
    inks = dict(zip(dict.fromkeys(table["base"]), (ORANGE, BLUE, GREY, *OTHERS[:2]), strict=False))
    for axis, benchmark in zip(axes, benchmarks, strict=True):
        labelled = set()
        for (base, _), rows in table[table["benchmark"] == benchmark].groupby(["base", "condition"], sort=False):
            rows, ink = rows.sort_values("fraction"), inks.get(base, "black")
            label = None if base in labelled else legend_name(base)
            labelled.add(base)
            axis.plot(rows["fraction"], rows["estimate"], "o-", color=ink, markersize=4, linewidth=1.4, label=label)
            axis.fill_between(rows["fraction"], rows["low"], rows["high"], color=ink, alpha=0.12)
        if measures[benchmark].is_log:
            axis.axhline(math.log(2), color=GREY, linestyle="--", linewidth=1, label=f"{benchmark} doubled")
            for record in doubling:
                if record["benchmark"] == benchmark and record["estimate"] != "inf":
                    axis.axvline(record["estimate"], color=GREY, linestyle=":", linewidth=1)
        axis.axhline(0, color=GREY, linestyle=":", linewidth=1)
        axis.set(xscale="log", xlabel="fraction of each layer's neurons", ylabel=measures[benchmark].increase_label)
        axis.set_title(benchmark, fontsize=10)
        axis.xaxis.set_major_formatter(plain_number)
        axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    return png(figure)


def _error_bar(value: Mapping[str, float | None]) -> list[list[float]] | None:
    """An interval as matplotlib's xerr; None where there is only an estimate."""
    estimate, low, high = value["estimate"], value["low"], value["high"]
    if estimate is None or low is None or high is None:
        return None
    return [[estimate - low], [high - estimate]]


def panels(columns: int, height: float, width: float | None = None) -> tuple[Any, Sequence[Any]]:
    """A figure and its panels side by side; height and width in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width or 1.0 + 4.0 * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _plain_numbers(axis: Any) -> None:
    """0.05 and 46 instead of powers of ten, also between the decades: these logarithmic axes span little."""
    axis.xaxis.set_major_formatter(plain_number)
    axis.yaxis.set_major_formatter(plain_number)
    axis.yaxis.set_minor_formatter(plain_number)
    axis.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "235" else "")


def plain_number(value: float, _position: int) -> str:
    """A tick's label without powers of ten (a formatter of matplotlib's)."""
    return f"{value:g}"


def legend_name(name: str) -> str:
    """A name in a legend, out of which matplotlib leaves those that begin with an underscore."""
    return f" {tick_name(name)}" if name.startswith("_") else tick_name(name)


def tick_name(name: str) -> str:
    """A name at an axis: on one line, and not wider than a figure."""
    return textwrap.shorten(printable(name), MAX_NAME, placeholder="...") or printable(name)[:MAX_NAME]


def png(figure: Any) -> bytes:
    """The finished figure as PNG. Its texts are text: a name with dollar signs is no formula."""
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter

    numbers = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        for formatter, labels in (
            (axis.get_major_formatter(), axis.get_majorticklabels()),
            (axis.get_minor_formatter(), axis.get_minorticklabels()),
        ):
            if not isinstance(formatter, FuncFormatter):  # matplotlib's own, which write powers as formulas
                numbers |= set(map(id, labels))
    for text in figure.findobj(Text):
        text.set_usetex(False)  # whatever a matplotlibrc in the current folder says
        if id(text) not in numbers:
            text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
