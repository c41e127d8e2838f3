"""The scorecard of the page: claims over models, each with its numbers, what the paper found, and what is behind it.

Owns the rows. Callers rely on: whether a result agrees with the paper follows from our verdict alone; the paper's
numbers are shown and never compared.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from studies.claims.scorecard import Status
from studies.reporting.page.quantities import NOTHING, estimate, interval, margin, p_value
from studies.reporting.units import of_verdict

AGREEMENT: Mapping[str, str] = {
    str(Status.SUPPORTED): "same direction",
    str(Status.ABSENT): "no effect here",
    str(Status.CONTRADICTED): "opposite",
}
"""{verdict: how it stands to what the paper found}; a dash for any other."""


class Judged(NamedTuple):
    """One claim on one model."""

    model: str
    status: str
    estimate: str
    """The effect in the reader's unit."""
    here: str
    """The same with its 95 % interval."""
    contrast: str
    """The effect minus that of the control."""
    agreement: str
    num_items: int
    detail: str
    margin: str
    p_value: str
    holm: str
    """`survives Holm`, `does not survive Holm`, or nothing."""


class Row(NamedTuple):
    """One claim on all models."""

    claim: str
    statement: str
    paper: str
    judged: tuple[Judged, ...]


def rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a claim, in the order of the verdicts; claims on a training come last."""
    by_claim: dict[str, list[tuple[Mapping[str, Any], Judged]]] = {}
    for verdict, judged in _all(report):
        by_claim.setdefault(verdict["claim"], []).append((verdict, judged))
    return [
        Row(claim, found[0][0]["statement"], found[0][0]["published"], tuple(judged for _, judged in found))
        for claim, found in by_claim.items()
    ]


def counts(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    """(status, how many verdicts have it), of those that occur, in the order of the rules."""
    statuses = [verdict["status"] for verdict, _ in _all(report)]
    return [(status, statuses.count(status)) for status in map(str, Status) if status in statuses]


def roles(report: Mapping[str, Any]) -> list[str]:
    """One line a model on which conditions the claims compare: `m: wasserstein (treated), matched (matched), ...`."""
    lines = []
    for model in report["models"]:
        named = [f"{name} ({role})" for role, name in model["roles"]["conditions"].items()]
        named += [f"{', '.join(names)} ({role})" for role, names in model["roles"]["randoms"].items() if names]
        if named and model["verdicts"]:
            lines.append(f"{model['label']}: {'; '.join(named)}")
    return lines


def _all(report: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Judged]]:
    for model in report["models"]:
        for verdict in model["verdicts"]:
            yield verdict, _judged(verdict, model["label"], model["benchmarks"])
    for series in report.get("series", ()):
        benchmarks = report["models"][0]["benchmarks"] if report["models"] else []
        for verdict in series["verdicts"]:
            yield verdict, _judged(verdict, series["label"], benchmarks)


def _judged(verdict: Mapping[str, Any], model: str, benchmarks: list[Mapping[str, Any]]) -> Judged:
    unit = of_verdict(verdict, {benchmark["name"]: benchmark["measure"] for benchmark in benchmarks})
    survives = verdict.get("survives_holm")
    return Judged(
        model=model,
        status=verdict["status"],
        estimate=estimate(verdict["effect"], unit),
        here=interval(verdict["effect"], unit),
        contrast=interval(verdict["contrast"], unit),
        agreement=AGREEMENT.get(verdict["status"], NOTHING),
        num_items=verdict["num_items"],
        detail=verdict["detail"],
        margin=margin(verdict.get("margin"), unit),
        p_value=p_value(verdict.get("p_value")),
        holm="" if survives is None else f"{'survives' if survives else 'does not survive'} Holm",
    )
