"""Checks of one block of a study file against another, one function each.

Owns what `spec` cannot see from inside a block: conditions that refer to conditions, evaluations by name, labels that
must differ. Looks nothing up outside the file.
Invariant: `contradictions` reports every contradiction, also those that follow from one another.
"""

import re
from collections.abc import Iterable, Iterator

from orchestrator.study_file.evaluations import option_names
from orchestrator.study_file.located import KeyPath, Located, Problem, quote
from orchestrator.study_file.spec import LayerGroupsSpec, StudySpec
from studies.benchmarks.measures import PERPLEXITY
from studies.benchmarks.registry import BENCHMARKS
from studies.claims import depth, dose
from studies.claims.paper import DRAFTS, NAMES
from studies.claims.training import SERIES_CLAIM_SETS
from studies.errors import did_you_mean

_CONDITION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}")
_FILE_NAME = re.compile(r"\w[\w. -]{0,99}")
_LABEL = re.compile(r"\w[\w.@/ -]{0,99}")
_OWN_NAMES = "surprisal"
"""Names that begin with this word belong to its evaluations: earlier reports tell them by it."""


def contradictions(spec: StudySpec, located: Located) -> Iterator[Problem]:
    """What is wrong with each block in view of the others."""
    names = [entry.name for entry in spec.evaluate]
    for condition in spec.conditions:
        yield from _condition_name(condition, located)
        yield from _references(spec, condition, located)
        yield from _match(spec, condition, located)
        yield from _evaluations_of_condition(spec, condition, names, located)
        yield from _score(spec, condition, located)
    for i, again in enumerate(_occurs_again(names)):
        yield from _evaluation_name(spec, i, again, located)
    yield from _model_labels(spec, located)
    yield from _series_labels(spec, located)
    yield from _claims(spec, located)


# -- conditions ------------------------------------------------------------------------------------------------------


def _condition_name(name: str, located: Located) -> Iterator[Problem]:
    if not _CONDITION.fullmatch(name) or name == "baseline":
        yield located.problem(
            ("conditions", name), "a condition's name is a word of letters, digits, - and _, and not 'baseline'"
        )


def _references(spec: StudySpec, name: str, located: Located) -> Iterator[Problem]:
    """A control refers to another condition that is not a control itself."""
    condition = spec.conditions[name]
    if condition.like is not None:
        yield from _reference(spec, name, condition.like, ("conditions", name, "like"), located)
    if condition.match is not None:
        place = ("conditions", name, "match", "perplexity_of")
        yield from _reference(spec, name, condition.match.perplexity_of, place, located)


def _reference(spec: StudySpec, name: str, other: str, place: KeyPath, located: Located) -> Iterator[Problem]:
    """`other`: the condition to which the condition `name` refers, at `place` in the file."""
    if other == name:
        yield located.problem(place, "a condition cannot refer to itself")
        return
    usable = [
        candidate
        for candidate, condition in spec.conditions.items()
        if candidate != name and condition.select != "random" and condition.match is None
    ]
    if other not in spec.conditions:
        yield located.problem(place, f"there is no condition {quote(other)}{did_you_mean(other, usable)}")
    elif other not in usable:
        kind = "matched" if spec.conditions[other].match else "random"
        yield located.problem(place, f"{other!r} is a {kind} control itself{did_you_mean('', usable)}")


def _match(spec: StudySpec, name: str, located: Located) -> Iterator[Problem]:
    """A matched control needs one perplexity to reach, of a condition that is scored on it."""
    match = spec.conditions[name].match
    if match is None:
        return
    place = ("conditions", name, "match")
    perplexities = [entry.name for entry in spec.evaluate if entry.options.measure == PERPLEXITY]
    if not perplexities:
        yield located.problem(place, "a matched control needs 'perplexity' under evaluate")
    treated = spec.conditions.get(match.perplexity_of)
    if treated is None:
        return
    if treated.doses:
        yield located.problem(place, "the condition to match must have one fraction, not several")
    scored = treated.evaluate or ()
    known = {entry.name for entry in spec.evaluate}
    if scored and known.issuperset(scored) and perplexities and perplexities[0] not in scored:
        yield located.problem(place, f"{match.perplexity_of} is not scored on {perplexities[0]}")


def _evaluations_of_condition(spec: StudySpec, name: str, names: list[str], located: Located) -> Iterator[Problem]:
    """`names`: the names of the study's evaluations."""
    for i, evaluation in enumerate(spec.conditions[name].evaluate or ()):
        if evaluation not in names:
            remedy = did_you_mean(evaluation, names)
            yield located.problem(
                ("conditions", name, "evaluate", i), f"{quote(evaluation)} is not listed under evaluate{remedy}"
            )


def _score(spec: StudySpec, name: str, located: Located) -> Iterator[Problem]:
    if spec.conditions[name].score == "mapping_difficulty" and "mapping_difficulty" not in spec.profile.scores:
        yield located.problem(("conditions", name, "score"), "add mapping_difficulty to profile: scores")


# -- evaluations -----------------------------------------------------------------------------------------------------


def _evaluation_name(spec: StudySpec, i: int, again: bool, located: Located) -> Iterator[Problem]:
    """The i-th evaluation's name begins its metrics: it must be a plain word that no other evaluation has.

    again: whether an earlier one has it.
    """
    entry = spec.evaluate[i]
    name = entry.name
    reserved = _reserved_names()
    if entry.accepts("name") and name in reserved - {entry.kind}:
        yield located.problem(("evaluate", i, entry.kind, "name"), f"{quote(name)} is taken; give it another name")
    if name.startswith(_OWN_NAMES) and entry.kind != _OWN_NAMES:
        problem = f"only a {_OWN_NAMES} evaluation may have a name that begins with {_OWN_NAMES}"
        yield located.problem(("evaluate", i), f"{quote(name)}: {problem}")
    if entry.accepts("path") and (name in reserved or not _FILE_NAME.fullmatch(name)):
        yield located.problem(
            ("evaluate", i),
            f"the metrics are named after the file, and {quote(name)} cannot name them: use letters, digits, spaces, "
            f"dots, dashes and underscores, and none of {', '.join(sorted(reserved))}",
        )
    if again:
        remedy = "; give one of them a name" if entry.accepts("name") else ""
        yield located.problem(("evaluate", i), f"the evaluation {name!r} is listed twice{remedy}")


def _reserved_names() -> set[str]:
    """Names that a user's evaluation must not have, because other metrics begin with them.

    The words whose evaluations are named after a file begin none.
    """
    return {word for word in BENCHMARKS if "path" not in option_names(word)} | {"matching", "noise_floor", "progress"}


# -- models, series, claims ------------------------------------------------------------------------------------------


def _model_labels(spec: StudySpec, located: Located) -> Iterator[Problem]:
    """A label names runs, tables and folders, so it must be plain and unique."""
    places: list[KeyPath] = [("models", i) for i in range(len(spec.models))]
    places += [("checkpoints", i) for i, series in enumerate(spec.checkpoints) for _ in series.revisions]
    labels = [model.display for model in spec.all_models]
    series = [("checkpoints", i) for i, again in enumerate(_occurs_again(s.display for s in spec.checkpoints)) if again]
    for label, place, again in zip(labels, places, _occurs_again(labels), strict=True):
        if not _LABEL.fullmatch(label) or ".." in label.split("/"):
            yield located.problem(
                place,
                f"cannot be shown as {quote(label)}; give it a label of letters, digits, spaces, dots, dashes and "
                "underscores, at most 100, and no '..'",
            )
        if again and place not in series:
            yield located.problem(place, f"two models are shown as {label!r}; give one of them a label")


def _series_labels(spec: StudySpec, located: Located) -> Iterator[Problem]:
    labels = [series.display for series in spec.checkpoints]
    for i, (label, again) in enumerate(zip(labels, _occurs_again(labels), strict=True)):
        if again:
            yield located.problem(("checkpoints", i), f"two series are shown as {label!r}; give one of them a label")


def claim_sets() -> list[str]:
    """The words that `claims` may be."""
    return [*DRAFTS, depth.CLAIM_SET, dose.CLAIM_SET, *SERIES_CLAIM_SETS]


def _claims(spec: StudySpec, located: Located) -> Iterator[Problem]:
    if spec.claims is not None and spec.claims not in claim_sets():
        remedy = did_you_mean(spec.claims, claim_sets())
        yield located.problem(("claims",), f"there is no claim set {quote(spec.claims)}{remedy}")
    for i, claim in enumerate(spec.only_claims or ()):
        if claim not in (names := NAMES.get(spec.claims or "", ())):
            known = did_you_mean(claim, names) if names else f"; `claims` may be {' or '.join(NAMES)} then"
            yield located.problem(("only_claims", i), f"{quote(claim)} is not a claim of {spec.claims}{known}")
    if spec.claims in SERIES_CLAIM_SETS and not spec.checkpoints:
        yield located.problem(
            ("claims",), f"{spec.claims} needs checkpoints: a model at several points of its training"
        )
    conditions = spec.conditions.values()
    if spec.claims == depth.CLAIM_SET and not any(isinstance(c.layers, LayerGroupsSpec) for c in conditions):
        yield located.problem(("claims",), f"{spec.claims} needs a condition with a schedule of layers: {{groups: 8}}")
    if spec.claims == dose.CLAIM_SET and not any(c.doses for c in conditions):
        yield located.problem(
            ("claims",), f"{spec.claims} needs a condition with several fractions: [0.01, 0.02, 0.05]"
        )


def _occurs_again(names: Iterable[str]) -> Iterator[bool]:
    """Of each name, whether it has occurred before."""
    seen: set[str] = set()
    for name in names:
        yield name in seen
        seen.add(name)
