"""Study file -> validated StudySpec, or one line that names file, line, path, what was found and what is allowed.

Owns the reading, the presets' defaults, the checks between blocks (`spec` has those inside one), and the wording of
every problem: pydantic's errors in a reader's words, did-you-mean, the remedy.
"""

import contextlib
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.study_file.evaluations import (
    EVALUATIONS,
    LmEvalSpec,
    PerplexitySpec,
    SurprisalSpec,
    benchmark_name,
)
from orchestrator.study_file.located import Located, quote
from orchestrator.study_file.models import CheckpointsSpec, ModelSpec
from orchestrator.study_file.spec import (
    PRESETS,
    ClampSpec,
    ConditionSpec,
    DataSpec,
    LayerGroupsSpec,
    MatchSpec,
    ProfileSpec,
    StudySpec,
)
from studies.claims.paper import CLAIM_SETS
from studies.claims.training import SERIES_CLAIM_SETS
from studies.errors import StudyError, did_you_mean

MAX_CHARACTERS = 2**21
"""Of a study file; the longest that `study_yaml.MAX_NODES` allows is shorter."""


def load_spec(path: Path) -> tuple[StudySpec, Located]:
    """Read and validate a study file. Raises StudyError: one line with file, line, path, value, remedy."""
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text"
        raise StudyError(f"{path}: the study file cannot be read: {reason}") from None
    if len(text) > MAX_CHARACTERS:
        raise StudyError(
            f"{path}: more than {MAX_CHARACTERS} characters are no study file; put neurons into a .parquet"
        )
    return parse_spec(text, str(path))


def parse_spec(text: str, name: str) -> tuple[StudySpec, Located]:
    """As `load_spec`, from text; `name` stands in messages."""
    located = Located(text, name)
    data = _with_preset(located)
    try:
        spec = StudySpec.model_validate(data)
    except ValidationError as error:
        raise _first_error(error, located) from None
    _check_references(spec, located)
    return spec, located


def _with_preset(located: Located) -> dict:
    data = dict(located.data)
    preset = PRESETS.get(data.get("preset", "strict") if isinstance(data.get("preset"), str | None) else "", {})
    if isinstance(profile := data.get("profile", {}), dict):
        data["profile"] = {**preset.get("profile", {}), **profile}
        if "window" in profile and "stride" not in profile:
            data["profile"].pop("stride", None)
    return data


_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text",
    "too_short": "a non-empty mapping",
    "int": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "invalid_key": "text",
}
"""Pydantic's error types (or their first word) in a reader's words: "must be ..."."""


def _first_error(error: ValidationError, located: Located) -> StudyError:
    """The first problem in the file; one inside a list or mapping goes before what it does to the whole."""
    errors = [(_file_path(found, located), found) for found in error.errors()]
    inner = [(path, found) for path, found in errors if not any(path == p[: len(path)] != p for p, _ in errors)]
    path, first = min(inner, key=lambda one: (located.line(one[0]), one[1]["type"]))
    return located.error(path, _problem(first, [found for other, found in inner if other == path]))


def _problem(first: dict, here: list[dict]) -> str:
    """One problem in words; `here`: all that was found at its place (one an alternative of a union)."""
    found = first.get("input")
    match first["type"]:
        case "extra_forbidden":
            return f"unknown key{did_you_mean(str(first['loc'][-1]), _allowed(first['loc']))}"
        case "missing":
            return f"the key {first['loc'][-1]!r} is missing"
        case "literal_error":
            allowed = re.findall(r"'([^']+)'", first["ctx"]["expected"])
            return f"{quote(found)} is not allowed{did_you_mean(found if isinstance(found, str) else '', allowed)}"
        case "value_error":
            return first["msg"].removeprefix("Value error, ")
        case "string_pattern_mismatch":
            begins = "begin with surprisal, then " if "surprisal" in first["ctx"]["pattern"] else ""
            return f"{begins}use letters, digits, dots, dashes and underscores, at most 100; found {quote(found)}"
        case "too_short" | "string_too_short":
            least = first["ctx"]["min_length"]
            return "must not be empty" if least == 1 else f"needs at least {least}; found {quote(found)}"
    words = []
    for one in here:
        kind = one["type"]
        word = _EXPECTED.get(kind) or _EXPECTED.get(kind.split("_")[0])
        bounds = {
            name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in one.get("ctx", {}).items()
        }
        words.append(word.format(**bounds) if word else one["msg"])
    return f"must be {' or '.join(dict.fromkeys(words))}; found {quote(found)}{_hint(words, found)}"


def _hint(words: list[str], found: Any) -> str:
    """What to do about text where a number was meant, and the other way round."""
    if words == ["text"] and isinstance(found, int | float):
        return "; put it in quotes"
    if words[0] in ("a number", "a whole number") and isinstance(found, str):
        with contextlib.suppress(ValueError):
            float(found)
            return "; it is text here: a number has no quotes, and a point before its e (1.0e-3)"
    return ""


def _file_path(found: dict, located: Located) -> tuple[str | int, ...]:
    """Pydantic's location -> the path in the file (union tags and rewritten evaluation entries taken back)."""
    path: list[str | int] = []
    node: Any = located.data
    for part in found["loc"]:
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, dict) and str(part).isdigit() and int(part) in node:
            part, node = int(part), node[int(part)]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        path.append(part)
        if path[0] == "evaluate" and isinstance(node, dict) and len(path) == 2 and len(node) == 1:
            ((word, node),) = node.items()
            path.append(word)
    return tuple(path)


def _allowed(location: tuple) -> list[str]:
    """The keys allowed where an unknown one was found."""
    match location:
        case (_,):
            return list(StudySpec.model_fields)
        case ("models", *_):
            return list(ModelSpec.model_fields)
        case ("checkpoints", *_):
            return list(CheckpointsSpec.model_fields)
        case ("data", *_):
            return list(DataSpec.model_fields)
        case ("profile", *_):
            return list(ProfileSpec.model_fields)
        case ("conditions", _, "clamp", *_):
            return list(ClampSpec.model_fields)
        case ("conditions", _, "match", *_):
            return list(MatchSpec.model_fields)
        case ("conditions", _, "layers", *_):
            return list(LayerGroupsSpec.model_fields)
        case ("conditions", *_):
            return list(ConditionSpec.model_fields)
        case ("evaluate", _, kind, *_) if kind in EVALUATIONS:
            return [name for name in EVALUATIONS[kind].model_fields if name != "kind"]
    return []


_NAME = re.compile(r"\w[\w. -]{0,99}")
_LABEL = re.compile(r"\w[\w.@/ -]{0,99}")
_TAKEN_NAMES = {*EVALUATIONS, "matching", "noise_floor", "progress"} - {"pairs", "choices"}
"""First words of metrics that are not a user's."""


def _check_references(spec: StudySpec, located: Located) -> None:
    """What one field says about another."""
    names = [benchmark_name(entry) for entry in spec.evaluate]
    for name, condition in spec.conditions.items():
        path = ("conditions", name)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,49}", name) or name == "baseline":
            raise located.error(path, "a condition's name is a word of letters, digits, - and _, and not 'baseline'")
        usable = [other for other, one in spec.conditions.items() if one.select != "random" and not one.match]
        usable = [other for other in usable if other != name]
        for field, other in (("like", condition.like), ("match", condition.match and condition.match.perplexity_of)):
            where = (*path, "match", "perplexity_of") if field == "match" else (*path, field)
            if other is None or other in usable:
                continue
            if other == name:
                raise located.error(where, "a condition cannot refer to itself")
            if other not in spec.conditions:
                raise located.error(where, f"there is no condition {quote(other)}{did_you_mean(other, usable)}")
            kind = "matched" if spec.conditions[other].match else "random"
            raise located.error(where, f"{other!r} is a {kind} control itself{did_you_mean('', usable)}")
        if condition.match and spec.conditions[condition.match.perplexity_of].doses:
            raise located.error((*path, "match"), "it needs a condition with one fraction to match, not several")
        if condition.match and not any(isinstance(entry, PerplexitySpec) for entry in spec.evaluate):
            raise located.error((*path, "match"), "a matched control needs 'perplexity' under evaluate")
        for i, evaluation in enumerate(condition.evaluate or ()):
            if evaluation not in names:
                where, allowed = (*path, "evaluate", i), did_you_mean(evaluation, names)
                raise located.error(where, f"{quote(evaluation)} does not stand under evaluate{allowed}")
        treated = spec.conditions[condition.match.perplexity_of] if condition.match else None
        if treated and treated.evaluate and "perplexity" not in treated.evaluate:
            raise located.error((*path, "match"), f"{condition.match.perplexity_of} is not scored on perplexity")
        if condition.score == "mapping_difficulty" and "mapping_difficulty" not in spec.profile.scores:
            raise located.error((*path, "score"), "add mapping_difficulty to profile: scores")
    for i, name in enumerate(names):
        if isinstance(spec.evaluate[i], LmEvalSpec) and name in _TAKEN_NAMES - {"lm_eval"}:
            raise located.error(("evaluate", i, "lm_eval", "name"), f"{quote(name)} is taken; give it another name")
        if name.startswith("surprisal") and not isinstance(spec.evaluate[i], SurprisalSpec):
            raise located.error(
                ("evaluate", i), f"{quote(name)}: names that begin with surprisal are of surprisal alone"
            )
        if hasattr(spec.evaluate[i], "path") and (name in _TAKEN_NAMES or not _NAME.fullmatch(name)):
            raise located.error(
                ("evaluate", i),
                f"the file's name without its ending names the metrics; {quote(name)} cannot: use letters, digits, "
                "spaces, dots, dashes and underscores, and none of " + ", ".join(sorted(_TAKEN_NAMES)),
            )
        if name in names[:i]:
            named = isinstance(spec.evaluate[i], LmEvalSpec | SurprisalSpec)
            remedy = "; give one of them a name" if named else ""
            raise located.error(("evaluate", i), f"the evaluation {name!r} stands twice{remedy}")
    places = [("models", i) for i in range(len(spec.models))]
    places += [("checkpoints", i) for i, series in enumerate(spec.checkpoints) for _ in series.models]
    labels = [model.display for model in spec.all_models]
    for i, label in enumerate(labels):
        if not _LABEL.fullmatch(label) or ".." in label.split("/"):
            raise located.error(
                places[i],
                f"cannot be shown as {quote(label)}; give it a label of letters, digits, spaces, dots, dashes and "
                "underscores, at most 100, and no '..'",
            )
        if label in labels[:i]:
            raise located.error(places[i], f"two models are shown as {label!r}; give one of them a label")
    shown_series = [series.display for series in spec.checkpoints]
    for i, name in enumerate(shown_series):
        if name in shown_series[:i]:
            raise located.error(("checkpoints", i), f"two series are shown as {name!r}; give one of them a label")
    claim_sets = [*CLAIM_SETS, *SERIES_CLAIM_SETS]
    if spec.claims is not None and spec.claims not in claim_sets:
        raise located.error(
            ("claims",), f"there is no claim set {quote(spec.claims)}{did_you_mean(spec.claims, claim_sets)}"
        )
    if spec.claims in SERIES_CLAIM_SETS and not spec.checkpoints:
        raise located.error(("claims",), f"{spec.claims} needs checkpoints: a training at several points")
