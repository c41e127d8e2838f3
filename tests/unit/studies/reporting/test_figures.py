"""Every figure of a study is drawn, with what may be missing from its data."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from studies.benchmarks.measures import MINIMAL_PAIRS, PERPLEXITY
from studies.neurons.layer_groups import layer_groups
from studies.reporting import figures
from studies.reporting.records import doubling_record, measure_record, structure_record
from studies.statistics.doses import dose_response
from studies.statistics.excess_surprisal import Excess
from studies.statistics.increases import layer_effects
from studies.statistics.intervals import Interval
from studies.statistics.neuron_table import overlaps, structure
from tests.hostile import HOSTILE
from tests.unit.studies.statistics.frames import BASE, neuron_table, pairs, scored, texts, windows

PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A low resolution, which is drawn sooner."""
    monkeypatch.setattr(figures, "DPI", 30)


def test_the_figure_of_conditions_leaves_out_schedules_and_copes_with_what_is_missing() -> None:
    cell = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    rows = [
        {"condition": "baseline", "role": "baseline", "spread": False, "remark": "", "cells": {"a": cell, "b": cell}},
        {"condition": "top", "role": "top", "spread": False, "remark": "", "cells": {"a": {**cell, "low": None}}},
        {"condition": "dose/fraction=0.1", "role": "top", "spread": True, "remark": "", "cells": {"a": cell}},
        {"condition": "relu", "role": "top", "spread": False, "remark": "not applicable (ReLU)", "cells": {}},
    ]
    measures = dict.fromkeys("abcd", MINIMAL_PAIRS) | {"perplexity": PERPLEXITY}
    five = [{"name": name, "label": name, "measure": measure_record(of)} for name, of in measures.items()]
    with_spread, without = (
        figures.conditions({"display": "m", "rows": chosen, "benchmarks": five}) for chosen in (rows, rows[:2])
    )
    assert with_spread.startswith(PNG) and with_spread == without


def test_the_search_for_a_match() -> None:
    curve = pd.DataFrame({"fraction": [0.01, 0.04, 0.16, 0.1], "perplexity": [20.5, 22.0, 30.0, 25.0]})
    assert figures.matching_curve(curve, baseline=20.0, treated=25.0, title="t").startswith(PNG)


def test_the_distances_of_a_neuron_table_and_its_negative_shares() -> None:
    neurons = neuron_table()
    assert figures.wasserstein_by_layer(neurons, title="t").startswith(PNG)
    record = structure_record(structure(neurons), overlaps({}, {}))
    unknown = {"estimate": None, "low": None, "high": None}
    models = [
        {"label": "a", "activation": "silu", "structure": record},
        {
            "label": "b",
            "activation": "relu",
            "structure": {"negative_share": record["negative_share"] | {"top": unknown}},
        },
    ]
    assert figures.negative_shares(models).startswith(PNG)


def test_entangled_neurons_with_text_that_the_font_lacks() -> None:
    edges = np.linspace(-3, 3, 21)
    bins = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": np.arange(1, 21), "mean": 0.1, "std": 1.2})
    densities = pd.concat([bins.assign(layer=0, neuron=neuron) for neuron in (3, 5)])
    pair = {
        "context_i": "the cat\n",
        "token_i": " sat",
        "y_i": -1.0,
        "context_j": "\u4f60\t",
        "token_j": "$x_",
        "y_j": -0.1,
    }
    pairs_of_tokens = pd.DataFrame([pair | {"layer": 0, "neuron": 3, "rank": rank} for rank in (1, 2)])
    assert figures.entangled_neurons(densities, pairs_of_tokens, title="t").startswith(PNG)


def test_layer_groups_and_doses() -> None:
    groups = layer_groups(3, "cumulative", 6)
    graded = {group: pairs([0.0] * (4 + 3 * i) + [1.0] * (20 - 3 * i), num_uids=2) for i, group in enumerate(groups)}
    effects = layer_effects(pairs([0.0] * 4 + [1.0] * 20, num_uids=2), graded)
    losses = np.linspace(2, 3, 12)
    perplexity = layer_effects(windows(losses), {group: windows(losses + 0.1 * i) for i, group in enumerate(groups)})
    measures = {"blimp": MINIMAL_PAIRS, "perplexity": PERPLEXITY}
    assert figures.layer_heat_map(effects, benchmark="blimp", measure=MINIMAL_PAIRS, title="t").startswith(PNG)
    assert figures.depth_curves({"blimp": effects, "perplexity": perplexity}, measures, title="t").startswith(PNG)
    doses = dose_response(windows(losses), {0.1: windows(losses + 0.5), 0.2: windows(losses + 1.0)})
    table = doses.assign(condition="top", base="top", benchmark="perplexity")
    doubling = [doubling_record("top", "perplexity", 0.2, Interval(high, high, high)) for high in (0.15, float("inf"))]
    assert figures.dose_curves(table, doubling, measures, title="t").startswith(PNG)


@pytest.mark.parametrize("kind", ["upos", "relation"])
def test_excess_by_class(kind: str) -> None:
    _, words = texts()
    table = Excess(scored(words, BASE | {"DET": 1.5}, noise=0.1), scored(words, BASE), words, "token").table()
    assert figures.excess_bars(table, kind=kind, title="t").startswith(PNG)


def test_excess_of_words_without_features_and_relations() -> None:
    _, words = texts(3)
    words = words.assign(features="_", relation="_")
    table = Excess(scored(words, BASE | {"DET": 1.5}), scored(words, BASE), words, "token").table()
    assert figures.excess_bars(table, kind="upos", title="t").startswith(PNG)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_names_are_text_and_no_formulas(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **how: (drawn.append(self), save(self, *args, **how)))
    cell = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    rows = [{"condition": text, "role": "top", "spread": False, "remark": "", "cells": {"a": cell}}]
    benchmark = {"name": "a", "label": text, "measure": measure_record(PERPLEXITY)}
    assert figures.conditions({"display": text, "rows": rows, "benchmarks": [benchmark]}).startswith(PNG)
    effects = pd.DataFrame(
        [(name, 0, "0-1", 2, 0.1, 0.0, 0.2) for name in ("all", text)],
        columns=["phenomenon", "group", "layers", "depth", "estimate", "low", "high"],
    )
    assert figures.depth_curves({text: effects}, {text: MINIMAL_PAIRS}, title=text).startswith(PNG)
    (axes,) = drawn[1].axes
    assert len(axes.get_legend().get_texts()) == 2, "names that begin with an underscore have their place"
    texts = [found for figure in drawn for found in figure.findobj(Text) if text and text in found.get_text()]
    assert texts and not any(found.get_parse_math() for found in texts)


def test_numbers_of_logarithmic_axes_are_still_formulas() -> None:
    figure, (axis,) = figures.panels(1, 2.0)
    axis.set(xscale="log", xlim=(1e-3, 1e3), title="$x$")
    figures.png(figure)
    assert axis.get_xticklabels()[3].get_parse_math() and not axis.title.get_parse_math()


def test_no_configuration_of_the_current_folder_runs_latex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    monkeypatch.setenv("PATH", "")
    curve = pd.DataFrame({"fraction": [0.01, 0.04], "perplexity": [20.5, 22.0]})
    assert figures.matching_curve(curve, baseline=20.0, treated=25.0, title="$x$").startswith(PNG)
