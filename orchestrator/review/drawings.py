"""Which figures the report has: those of each model, and those of all models together, as files of the parent run.

Owns their names and what each is drawn from; `studies.reporting.figures` draws. Whatever did not finish has no figure,
and one that cannot be drawn costs no other.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.roles import roles
from orchestrator.review.findings import Findings
from orchestrator.steps.step import BASELINE
from studies.claims.power import TREATED
from studies.reporting.figures.claims import claims, effects_across_models
from studies.reporting.figures.costs import conditions
from studies.reporting.figures.curves import matching_curve
from studies.reporting.figures.dissociation import double_dissociation
from studies.reporting.figures.examples import entangled_neurons
from studies.reporting.figures.files import captions_file, figure_files
from studies.reporting.figures.heat_maps import forgotten
from studies.reporting.figures.neurons import negative_shares, scores, wasserstein_by_layer
from studies.reporting.figures.sheet import Drawing
from studies.reporting.figures.surprisal import excess_by_condition

MAX_FILE_NAME = 100
"""Characters of a model or condition in an artifact path; MLflow takes 250 for the whole path."""

Draw = Callable[[], Drawing | None]
"""Draws one figure; None where there is nothing to draw."""


class Reviewed(NamedTuple):
    """One model's part of the report, and what its figures are drawn from besides."""

    model: ResolvedModel
    content: Mapping[str, Any]
    comparisons: pd.DataFrame | None
    """As `comparisons.compare`; None where nothing was compared."""


def file_name(name: str) -> str:
    """A name as MLflow allows it in an artifact path: `matched/layers=0-3,8` becomes `matched_layers_0-3_8`.

    A name that is too long is cut, and ends in the beginning of its sha256.
    """
    allowed = re.sub(r"[^\w. -]", "_", name)
    if len(allowed) <= MAX_FILE_NAME:
        return allowed
    return f"{allowed[: MAX_FILE_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def report_figures(findings: Findings, parts: list[Reviewed], across: list[dict[str, Any]]) -> dict[str, bytes]:
    """{artifact path: content} of all figures and their captions; across: the report's claims over several models."""
    files, drawings = dict[str, bytes](), dict[str, Drawing]()
    figures = [figure for part in parts for figure in _of_model(findings, part)]
    contents = [part.content for part in parts]
    for name, draw in [*figures, *_of_study(contents, across)]:
        with findings.unless_failed(f"figure {name}"):
            drawing = draw()
            if drawing is not None:
                files |= figure_files(name, drawing)
                drawings[name] = drawing
    return files | captions_file(drawings)


def _of_study(contents: list[Mapping[str, Any]], across: list[dict[str, Any]]) -> Iterator[tuple[str, Draw]]:
    yield "double-dissociation", partial(double_dissociation, contents)
    if across:
        yield "effects-across-models", partial(effects_across_models, {"models": contents, "across_models": across})
    scored = [content for content in contents if content["structure"]]
    if len(scored) > 1:
        yield "negative-share", partial(negative_shares, scored)


def _of_model(findings: Findings, part: Reviewed) -> Iterator[tuple[str, Draw]]:
    model, content, comparisons = part
    prefix = file_name(model.label)
    yield f"{prefix}-conditions", partial(conditions, content)
    yield f"{prefix}-claims", partial(claims, content)
    if comparisons is not None:
        over_baseline = comparisons[comparisons["against"] == BASELINE]
        for benchmark in over_baseline["benchmark"].unique():
            name = f"{prefix}-{file_name(benchmark)}-forgotten"
            yield name, partial(forgotten, over_baseline, content, benchmark)
    for benchmark in dict.fromkeys(entry["benchmark"] for entry in content["excess"]):
        yield f"{prefix}-{file_name(benchmark)}-excess", partial(excess_by_condition, content, benchmark)
    yield from _of_neurons(findings, model, prefix)
    if model.selects_itself:  # otherwise the searches were another checkpoint's
        for condition in findings.plan.conditions[model.label]:
            if condition.spec.match is not None and findings.has_neurons(condition):
                yield f"{prefix}-{file_name(condition.name)}-curve", partial(_search, findings, model, condition)


def _of_neurons(findings: Findings, model: ResolvedModel, prefix: str) -> Iterator[tuple[str, Draw]]:
    yield f"{prefix}-wasserstein-distance", partial(_distances, findings, model)
    yield f"{prefix}-scores", partial(_scores, findings, model)
    yield f"{prefix}-entangled-neurons", partial(_entangled, findings, model)


def _distances(findings: Findings, model: ResolvedModel) -> Drawing | None:
    neurons = findings.neuron_table(model)
    return None if neurons is None else wasserstein_by_layer(neurons, title=model.display)


def _scores(findings: Findings, model: ResolvedModel) -> Drawing | None:
    """The two scores, with the neurons of the treated condition; None where one of these is missing."""
    neurons, by_role = findings.neuron_table(model), roles(findings.plan, model)
    treated = by_role.conditions[TREATED] if by_role else None
    condition = next((c for c in findings.plan.conditions[model.label] if c.name == treated), None)
    if neurons is None or condition is None or not findings.has_neurons(condition):
        return None
    structure = findings.structure(model)
    return scores(
        neurons,
        findings.neuron_set(condition),
        condition=condition.name,
        correlation=structure.overall_correlation if structure else None,
        title=model.display,
    )


def _entangled(findings: Findings, model: ResolvedModel) -> Drawing | None:
    examples = findings.examples(model)
    return None if examples is None else entangled_neurons(*examples, title=model.display)


def _search(findings: Findings, model: ResolvedModel, condition: Condition) -> Drawing | None:
    """The figure of a finished search; None where there was nothing to match."""
    curve = findings.matching_curve(condition)
    if curve.empty:
        return None
    matching = findings.matching(condition)
    baseline, treated = matching.baseline, matching.treated  # on the windows that were searched
    if matching.searched is None:  # a search of version 3, on the windows of the evidence
        baseline, treated = (findings.perplexity(model, name) for name in (BASELINE, condition.reference))
    if baseline is None or treated is None:
        return None
    return matching_curve(
        curve,
        baseline=baseline,
        treated=treated,
        chosen=matching.fraction,
        num_windows=None if matching.searched is None else len(matching.searched),
        title=f"{model.display}, {condition.name}",
    )
