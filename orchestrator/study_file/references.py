"""Checks of one block of a study file against another, one function each.

Owns what `spec` cannot see from inside a block: conditions that refer to conditions, evaluations by name, labels that
must differ. Looks nothing up outside the file.
Invariant: `check_references` reports the first contradiction in the order of its calls, condition by condition.
"""

import re

from orchestrator.study_file.evaluations import option_names
from orchestrator.study_file.located import KeyPath, Located, quote
from orchestrator.study_file.spec import StudySpec
from studies.benchmarks.measures import PERPLEXITY
from studies.benchmarks.registry import BENCHMARKS
from studies.claims.paper import CLAIM_SETS
from studies.claims.training import SERIES_CLAIM_SETS
from studies.errors import did_you_mean

_CONDITION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}")
_FILE_NAME = re.compile(r"\w[\w. -]{0,99}")
_LABEL = re.compile(r"\w[\w.@/ -]{0,99}")
_OWN_NAMES = "surprisal"
"""Names that begin with this word belong to its evaluations: earlier reports tell them by it."""


def check_references(spec: StudySpec, located: Located) -> None:
    """Raise StudyError, with file and line, for the first block that contradicts another."""
    names = [entry.name for entry in spec.evaluate]
    for condition in spec.conditions:
        _check_condition_name(condition, located)
        _check_condition_references(spec, condition, located)
        _check_match(spec, condition, located)
        _check_evaluations_of_condition(spec, condition, names, located)
        _check_match_is_scored(spec, condition, located)
        _check_score(spec, condition, located)
    for i in range(len(names)):
        _check_evaluation_name(spec, i, names, located)
    _check_model_labels(spec, located)
    _check_series_labels(spec, located)
    _check_claims(spec, located)


# -- conditions ------------------------------------------------------------------------------------------------------


def _check_condition_name(name: str, located: Located) -> None:
    if not _CONDITION.fullmatch(name) or name == "baseline":
        raise located.error(
            ("conditions", name), "a condition's name is a word of letters, digits, - and _, and not 'baseline'"
        )


def _check_condition_references(spec: StudySpec, name: str, located: Located) -> None:
    """A control refers to another condition that is not a control itself."""
    condition = spec.conditions[name]
    if condition.like is not None:
        _check_reference(spec, name, condition.like, ("conditions", name, "like"), located)
    if condition.match is not None:
        place = ("conditions", name, "match", "perplexity_of")
        _check_reference(spec, name, condition.match.perplexity_of, place, located)


def _check_reference(spec: StudySpec, name: str, other: str, place: KeyPath, located: Located) -> None:
    """`other`: the condition to which the condition `name` refers, at `place` in the file."""
    if other == name:
        raise located.error(place, "a condition cannot refer to itself")
    usable = [
        candidate
        for candidate, condition in spec.conditions.items()
        if candidate != name and condition.select != "random" and condition.match is None
    ]
    if other not in spec.conditions:
        raise located.error(place, f"there is no condition {quote(other)}{did_you_mean(other, usable)}")
    if other not in usable:
        kind = "matched" if spec.conditions[other].match else "random"
        raise located.error(place, f"{other!r} is a {kind} control itself{did_you_mean('', usable)}")


def _check_match(spec: StudySpec, name: str, located: Located) -> None:
    """A matched control needs one perplexity to reach, and perplexity among the evaluations."""
    match = spec.conditions[name].match
    if match is None:
        return
    place = ("conditions", name, "match")
    if spec.conditions[match.perplexity_of].doses:
        raise located.error(place, "the condition to match must have one fraction, not several")
    if not _perplexities(spec):
        raise located.error(place, "a matched control needs 'perplexity' under evaluate")


def _check_evaluations_of_condition(spec: StudySpec, name: str, names: list[str], located: Located) -> None:
    """`names`: the names of the study's evaluations."""
    for i, evaluation in enumerate(spec.conditions[name].evaluate or ()):
        if evaluation not in names:
            remedy = did_you_mean(evaluation, names)
            raise located.error(
                ("conditions", name, "evaluate", i), f"{quote(evaluation)} is not listed under evaluate{remedy}"
            )


def _check_match_is_scored(spec: StudySpec, name: str, located: Located) -> None:
    match = spec.conditions[name].match
    if match is None:
        return
    evaluations, perplexity = spec.conditions[match.perplexity_of].evaluate, _perplexities(spec)[0]
    if evaluations and perplexity not in evaluations:
        raise located.error(("conditions", name, "match"), f"{match.perplexity_of} is not scored on {perplexity}")


def _perplexities(spec: StudySpec) -> list[str]:
    """Names of the evaluations that measure perplexity; the first is the one that a match refers to."""
    return [entry.name for entry in spec.evaluate if entry.options.measure == PERPLEXITY]


def _check_score(spec: StudySpec, name: str, located: Located) -> None:
    if spec.conditions[name].score == "mapping_difficulty" and "mapping_difficulty" not in spec.profile.scores:
        raise located.error(("conditions", name, "score"), "add mapping_difficulty to profile: scores")


# -- evaluations -----------------------------------------------------------------------------------------------------


def _check_evaluation_name(spec: StudySpec, i: int, names: list[str], located: Located) -> None:
    """The i-th evaluation's name begins its metrics: it must be a plain word that no other evaluation has."""
    entry, name = spec.evaluate[i], names[i]
    reserved = _reserved_names()
    if entry.accepts("name") and name in reserved - {entry.kind}:
        raise located.error(("evaluate", i, entry.kind, "name"), f"{quote(name)} is taken; give it another name")
    if name.startswith(_OWN_NAMES) and entry.kind != _OWN_NAMES:
        problem = f"only a {_OWN_NAMES} evaluation may have a name that begins with {_OWN_NAMES}"
        raise located.error(("evaluate", i), f"{quote(name)}: {problem}")
    if entry.accepts("path") and (name in reserved or not _FILE_NAME.fullmatch(name)):
        raise located.error(
            ("evaluate", i),
            f"the metrics are named after the file, and {quote(name)} cannot name them: use letters, digits, spaces, "
            f"dots, dashes and underscores, and none of {', '.join(sorted(reserved))}",
        )
    if name in names[:i]:
        remedy = "; give one of them a name" if entry.accepts("name") else ""
        raise located.error(("evaluate", i), f"the evaluation {name!r} is listed twice{remedy}")


def _reserved_names() -> set[str]:
    """Names that a user's evaluation must not have, because other metrics begin with them.

    The words whose evaluations are named after a file begin none.
    """
    return {word for word in BENCHMARKS if "path" not in option_names(word)} | {"matching", "noise_floor", "progress"}


# -- models, series, claims ------------------------------------------------------------------------------------------


def _check_model_labels(spec: StudySpec, located: Located) -> None:
    """A label names runs, tables and folders, so it must be plain and unique."""
    places: list[KeyPath] = [("models", i) for i in range(len(spec.models))]
    places += [("checkpoints", i) for i, series in enumerate(spec.checkpoints) for _ in series.revisions]
    labels = [model.display for model in spec.all_models]
    for i, (label, place) in enumerate(zip(labels, places, strict=True)):
        if not _LABEL.fullmatch(label) or ".." in label.split("/"):
            raise located.error(
                place,
                f"cannot be shown as {quote(label)}; give it a label of letters, digits, spaces, dots, dashes and "
                "underscores, at most 100, and no '..'",
            )
        if label in labels[:i]:
            raise located.error(place, f"two models are shown as {label!r}; give one of them a label")


def _check_series_labels(spec: StudySpec, located: Located) -> None:
    labels = [series.display for series in spec.checkpoints]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise located.error(("checkpoints", i), f"two series are shown as {label!r}; give one of them a label")


def _check_claims(spec: StudySpec, located: Located) -> None:
    claim_sets = [*CLAIM_SETS, *SERIES_CLAIM_SETS]
    if spec.claims is not None and spec.claims not in claim_sets:
        remedy = did_you_mean(spec.claims, claim_sets)
        raise located.error(("claims",), f"there is no claim set {quote(spec.claims)}{remedy}")
    if spec.claims in SERIES_CLAIM_SETS and not spec.checkpoints:
        raise located.error(("claims",), f"{spec.claims} needs checkpoints: a model at several points of its training")
