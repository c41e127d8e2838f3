"""Study file -> validated StudySpec. The one place where pydantic stands.

Owns the grammar of a study file and every check that needs nothing but the file; an error names path and line. Names of
models and data are only names here: `resolve` turns them into facts. Presets fill fields that the file leaves out;
every value of the paper's protocol is such a field.
"""

import contextlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from orchestrator.study_yaml import Located, shown
from studies.claims import CLAIM_SETS
from studies.errors import StudyError, did_you_mean

Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
Count = Annotated[int, Field(gt=0, le=10**12, strict=True)]
Index = Annotated[int, Field(ge=0, le=10**9, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1)]

Score = Literal[
    "wasserstein_distance",
    "wasserstein_distance_negative",
    "mapping_difficulty",
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "negative_fraction",
]

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "strict": {
        "profile": {"window": 2048, "stride": 2048, "skip_first": True, "pair_scope": "block"},
        "scoring": {"half_ties": True, "rule": "rank", "disjoint": True},
    },
    "paper": {
        "profile": {"window": 2048, "stride": 1024, "skip_first": False, "tokens": 263168, "pair_scope": "sample"},
        "scoring": {"half_ties": False, "rule": "percentile", "disjoint": False},
    },
}
"""Defaults by preset; 263,168 tokens are the paper's 256 windows of 2048 at stride 1024."""


OUR_ENGINE_OPTIONS = {
    "distributed_executor_backend",
    "dtype",
    "enable_prefix_caching",
    "enforce_eager",
    "model",
    "pipeline_parallel_size",
    "quantization",
    "revision",
    "tensor_parallel_size",
    "tokenizer",
    "tokenizer_revision",
    "trust_remote_code",
    "worker_extension_cls",
}
"""Engine options that stand elsewhere in the file, or without which an intervention would silently be absent."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(_Strict):
    """One model: a hub name (with revision) or a local folder."""

    name: Text | None = None
    path: Text | None = None
    revision: Text | None = None
    label: Text | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    route: Literal["auto", "tree", "flat"] = "auto"
    tensor_parallel: Count = 1
    cpus: Count | None = None
    gpus: Annotated[Number, Field(ge=0)] | None = None
    trust_remote_code: Flag = False
    engine: dict[str, str | int | Number | bool] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"path": value} if value.startswith((".", "/", "~")) else {"name": value}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> "ModelSpec":
        if (self.name is None) == (self.path is None):
            raise ValueError("a model has either a name (hub) or a path (local folder)")
        if self.path is not None and self.revision is not None:
            raise ValueError("a local folder has no revision")
        for option in self.engine:
            if option in OUR_ENGINE_OPTIONS:
                raise ValueError(f"engine option {option!r} is set by Halfwave and cannot be changed")
        return self

    @property
    def display(self) -> str:
        """The label, or the last part of the name."""
        label = self.label or Path(self.name or self.path).name
        return f"{label}@{self.revision}" if self.revision and not self.label else label


class DataSpec(_Strict):
    """Where benchmarks and corpora come from; no root = the hub."""

    root: Text | None = None


class ProfileSpec(_Strict):
    """How neurons are scored."""

    corpus: Text = "wikitext2"
    split: Literal["train", "validation", "test"] = "train"
    tokens: Count = 131072
    window: Annotated[int, Field(ge=2, strict=True)] = 2048
    stride: Count | None = None
    scores: Annotated[tuple[Literal["wasserstein_distance", "mapping_difficulty"], ...], Field(min_length=1)] = (
        "wasserstein_distance",
        "mapping_difficulty",
    )
    skip_first: Flag = True
    bins: Annotated[int, Field(ge=16, le=65536, strict=True)] = 1024
    calibration_windows: Count = 4
    pairs: Count = 256
    pair_scope: Literal["block", "sample"] = "block"
    """`pairs` in every block of 16 windows, or in the whole sample at once (the paper)."""
    seed: Seed = 0


class MatchSpec(_Strict):
    """Raise the fraction until perplexity equals another condition's."""

    perplexity_of: str
    within: Fraction = 0.01
    within_rise: Fraction = 0.05
    evaluations: Annotated[int, Field(ge=2, le=100, strict=True)] = 12


class ClampSpec(_Strict):
    """a' = min(max(a, floor), ceiling)."""

    floor: Number | None = None
    ceiling: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        words = {"negative": {"floor": 0.0}, "positive": {"ceiling": 0.0}, "zero": {"floor": 0.0, "ceiling": 0.0}}
        if isinstance(value, dict | ClampSpec):
            return value
        if not isinstance(value, str) or value not in words:
            allowed = [*words, "{floor: number, ceiling: number}"]
            raise ValueError(
                f"{shown(value)} is no clamp{did_you_mean(value if isinstance(value, str) else '', allowed)}"
            )
        return words[value]

    @model_validator(mode="after")
    def _bounded(self) -> "ClampSpec":
        if self.floor is None and self.ceiling is None:
            raise ValueError("a clamp needs a floor, a ceiling or both")
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError(f"floor {self.floor:g} lies above ceiling {self.ceiling:g}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """(floor, ceiling), infinite where absent."""
        return (
            float("-inf") if self.floor is None else self.floor,
            float("inf") if self.ceiling is None else self.ceiling,
        )

    @property
    def display(self) -> str:
        named = {(0.0, float("inf")): "negative", (float("-inf"), 0.0): "positive", (0.0, 0.0): "zero"}
        floor, ceiling = self.bounds
        return named.get(self.bounds, f"clamp to [{floor:g}, {ceiling:g}]")

    @property
    def is_relu_identity(self) -> bool:
        """True where ReLU does the same already: max(a, floor) with floor <= 0 and no ceiling."""
        floor, ceiling = self.bounds
        return floor <= 0 and ceiling == float("inf")


class ConditionSpec(_Strict):
    """A neuron set and an intervention."""

    select: Literal["top", "bottom", "random", "explicit"]
    clamp: ClampSpec
    score: Score = "wasserstein_distance"
    fraction: Fraction | None = None
    like: str | None = None
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    disjoint: Flag | None = None
    match: MatchSpec | None = None
    layers: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None
    neurons: (
        Text | Annotated[dict[Index, Annotated[tuple[Index, ...], Field(min_length=1)]], Field(min_length=1)] | None
    ) = None

    @model_validator(mode="after")
    def _complete(self) -> "ConditionSpec":
        wanted = {
            "top": self.fraction is not None,
            "bottom": (self.fraction is None) != (self.match is None),
            "random": (self.fraction is None) != (self.like is None),
            "explicit": self.neurons is not None,
        }
        needs = {
            "top": "a fraction",
            "bottom": "a fraction or match: {perplexity_of: ...}",
            "random": "like: another condition, or a fraction",
            "explicit": "neurons: a file or {layer: [indices]}",
        }
        if not wanted[self.select]:
            raise ValueError(f"select: {self.select} needs {needs[self.select]}")
        foreign = {
            "like": self.select == "random",
            "seeds": self.select == "random",
            "disjoint": self.select == "random",
            "match": self.select == "bottom",
            "neurons": self.select == "explicit",
            "score": self.select in ("top", "bottom"),
            "fraction": self.select != "explicit",
            "layers": self.select != "explicit",
        }
        for field, allowed in foreign.items():
            if field in self.model_fields_set and not allowed:
                raise ValueError(f"select: {self.select} has no {field}")
        if self.layers is not None and (self.like or self.match):
            raise ValueError("its layers are those of the condition it refers to; leave layers out")
        if self.disjoint is not None and self.like is None:
            raise ValueError("disjoint needs like: the condition to keep clear of")
        for field, values in (("seeds", self.seeds), ("layers", self.layers or ())):
            if len(set(values)) != len(values):
                raise ValueError(f"{field} must differ from each other; found {list(values)}")
        return self


class PerplexitySpec(_Strict):
    kind: Literal["perplexity"]
    corpus: Text = "wikitext2"
    split: Literal["train", "validation", "test"] = "validation"
    tokens: Count | None = None
    window: Annotated[int, Field(ge=2, strict=True)] = 2048


class BlimpSpec(_Strict):
    kind: Literal["blimp"]
    per_paradigm: Count | None = None


class TseSpec(_Strict):
    kind: Literal["tse"]
    per_case: Count | None = None


class EmbeddedPairsSpec(_Strict):
    kind: Literal["embedded_pairs"]
    per_construction: Annotated[int, Field(ge=4, strict=True)] | None = None


class EmbeddedKnowledgeSpec(_Strict):
    kind: Literal["embedded_knowledge"]


class UserPairsSpec(_Strict):
    kind: Literal["pairs"]
    path: Text


class UserChoicesSpec(_Strict):
    kind: Literal["choices"]
    path: Text


EVALUATIONS = {
    "perplexity": PerplexitySpec,
    "blimp": BlimpSpec,
    "tse": TseSpec,
    "embedded_pairs": EmbeddedPairsSpec,
    "embedded_knowledge": EmbeddedKnowledgeSpec,
    "pairs": UserPairsSpec,
    "choices": UserChoicesSpec,
}
EvaluationSpec = (
    PerplexitySpec | BlimpSpec | TseSpec | EmbeddedPairsSpec | EmbeddedKnowledgeSpec | UserPairsSpec | UserChoicesSpec
)


def _evaluation(entry: Any) -> Any:
    """`blimp`, `blimp: {per_paradigm: 50}` and `pairs: my.jsonl` become {kind: ..., ...}."""
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(
            "write one evaluation a line, as a word, or a word and its {options}; "
            f"found {shown(entry)}; words: {', '.join(EVALUATIONS)}"
        )
    ((kind, options),) = entry.items()
    if kind not in EVALUATIONS:
        raise ValueError(f"{shown(kind)} is no evaluation{did_you_mean(str(kind), EVALUATIONS)}")
    if isinstance(options, str) and "path" in EVALUATIONS[kind].model_fields:
        options = {"path": options}
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"the options of {kind} must be a mapping; found {shown(options)}")
    if "kind" in (options or {}):
        raise ValueError(f"{kind} has no option 'kind'")
    return {"kind": kind, **(options or {})}


Evaluation = Annotated[EvaluationSpec, Field(discriminator="kind"), BeforeValidator(_evaluation)]


class StudySpec(_Strict):
    """One study file."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    preset: Literal["strict", "paper"] = "strict"
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1)]
    model_root: Text | None = None
    data: DataSpec = DataSpec()
    profile: ProfileSpec = ProfileSpec()
    conditions: Annotated[dict[str, ConditionSpec], Field(min_length=1)]
    evaluate: Annotated[tuple[Evaluation, ...], Field(min_length=1)]
    claims: str | None = None
    noise_floor: Flag = True
    tracking_uri: Text | None = None

    @property
    def scoring(self) -> dict[str, Any]:
        """How ties and random controls are treated (by preset)."""
        return PRESETS[self.preset]["scoring"]


def load_spec(path: Path) -> tuple[StudySpec, Located]:
    """Read and validate a study file. Raises StudyError: one line with file, line, path, value, remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text"
        raise StudyError(f"{path}: the study file cannot be read: {reason}") from None
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
            return f"{shown(found)} is not allowed{did_you_mean(found if isinstance(found, str) else '', allowed)}"
        case "value_error":
            return first["msg"].removeprefix("Value error, ")
        case "string_pattern_mismatch":
            return f"use letters, digits, dots, dashes and underscores, at most 100; found {shown(found)}"
        case "too_short" | "string_too_short":
            return "must not be empty"
    words = []
    for one in here:
        kind = one["type"]
        word = _EXPECTED.get(kind) or _EXPECTED.get(kind.split("_")[0])
        bounds = {
            name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in one.get("ctx", {}).items()
        }
        words.append(word.format(**bounds) if word else one["msg"])
    return f"must be {' or '.join(dict.fromkeys(words))}; found {shown(found)}{_hint(words, found)}"


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
        case ("data", *_):
            return list(DataSpec.model_fields)
        case ("profile", *_):
            return list(ProfileSpec.model_fields)
        case ("conditions", _, "clamp", *_):
            return list(ClampSpec.model_fields)
        case ("conditions", _, "match", *_):
            return list(MatchSpec.model_fields)
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
                raise located.error(where, f"there is no condition {shown(other)}{did_you_mean(other, usable)}")
            kind = "matched" if spec.conditions[other].match else "random"
            raise located.error(where, f"{other!r} is a {kind} control itself{did_you_mean('', usable)}")
        if condition.match and not any(isinstance(entry, PerplexitySpec) for entry in spec.evaluate):
            raise located.error((*path, "match"), "a matched control needs 'perplexity' under evaluate")
        if condition.score == "mapping_difficulty" and "mapping_difficulty" not in spec.profile.scores:
            raise located.error((*path, "score"), "add mapping_difficulty to profile: scores")
    names = [benchmark_name(entry) for entry in spec.evaluate]
    for i, name in enumerate(names):
        if hasattr(spec.evaluate[i], "path") and (name in _TAKEN_NAMES or not _NAME.fullmatch(name)):
            raise located.error(
                ("evaluate", i),
                f"the file's name without its ending names the metrics; {shown(name)} cannot: use letters, digits, "
                "spaces, dots, dashes and underscores, and none of " + ", ".join(sorted(_TAKEN_NAMES)),
            )
        if name in names[:i]:
            raise located.error(("evaluate", i), f"the evaluation {name!r} stands twice")
    labels = [model.display for model in spec.models]
    for i, label in enumerate(labels):
        if not _LABEL.fullmatch(label):
            raise located.error(
                ("models", i),
                f"cannot be shown as {shown(label)}; give it a label of letters, digits, spaces, dots, dashes and "
                "underscores, at most 100",
            )
        if label in labels[:i]:
            raise located.error(("models", i), f"two models are shown as {label!r}; give one of them a label")
    if spec.claims is not None and spec.claims not in CLAIM_SETS:
        raise located.error(
            ("claims",), f"there is no claim set {spec.claims!r}{did_you_mean(spec.claims, CLAIM_SETS)}"
        )


def benchmark_name(entry: EvaluationSpec) -> str:
    """The name under which an evaluation's metrics and artifacts stand."""
    return Path(entry.path).stem if isinstance(entry, UserPairsSpec | UserChoicesSpec) else entry.kind
