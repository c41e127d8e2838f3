"""The grammar of a study file: what stands where, of which type, with which default.

Owns every field and the checks inside one block; `study_file` reads files and checks what blocks say of each other.
Names of models and data are only names here: `resolve` turns them into facts. Presets fill fields that the file leaves
out; every value of the paper's protocol is such a field.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from orchestrator.study_yaml import shown
from studies.errors import did_you_mean

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
    "negative_mean",
    "matched_ceiling",
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
    examples: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    """So many of the most entangled neurons are looked at closely: densities, and token pairs that they pull apart."""


class MatchSpec(_Strict):
    """Raise the fraction until perplexity equals another condition's."""

    perplexity_of: str
    within: Fraction = 0.01
    within_rise: Fraction = 0.05
    evaluations: Annotated[int, Field(ge=2, le=100, strict=True)] = 12


CLAMPS = {"negative": {"floor": 0.0}, "positive": {"ceiling": 0.0}, "zero": {"floor": 0.0, "ceiling": 0.0}}
"""Clamps that have a name."""

CONTROLS = ("posrelu", "signflip", "negative_mean", "magnitude_matched")
"""Interventions for the sign-versus-magnitude controls, beside the clamps."""


class ClampSpec(_Strict):
    """What is done to the selected neurons: a' = min(max(a, floor), ceiling), or one of the controls.

    posrelu: a in place of act(a) where a > 0; signflip: |act(a)|; negative_mean: a negative a becomes the neuron's mean
    over its negative half; magnitude_matched: a ceiling that takes as much magnitude as the negative clamp. The last
    two take their values from the profile.
    """

    kind: Literal["clamp", "posrelu", "signflip", "negative_mean", "magnitude_matched"] = "clamp"
    floor: Number | None = None
    ceiling: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if isinstance(value, dict | ClampSpec):
            return value
        if isinstance(value, str) and value in CONTROLS:
            return {"kind": value}
        if not isinstance(value, str) or value not in CLAMPS:
            allowed = [*CLAMPS, *CONTROLS, "{floor: number, ceiling: number}"]
            raise ValueError(
                f"{shown(value)} is no clamp{did_you_mean(value if isinstance(value, str) else '', allowed)}"
            )
        return CLAMPS[value]

    @model_validator(mode="after")
    def _bounded(self) -> "ClampSpec":
        bounded = self.floor is not None or self.ceiling is not None
        if self.kind != "clamp" and bounded:
            raise ValueError(f"{self.kind} has neither floor nor ceiling")
        if self.kind == "clamp" and not bounded:
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
    def from_profile(self) -> bool:
        """Whether every neuron has a value of its own in the neuron table."""
        return self.kind in ("negative_mean", "magnitude_matched")

    @property
    def display(self) -> str:
        if self.kind != "clamp":
            return self.kind
        floor, ceiling = self.bounds
        named = {ClampSpec(**sides).bounds: name for name, sides in CLAMPS.items()}
        return named.get(self.bounds, f"clamp to [{floor:g}, {ceiling:g}]")

    @property
    def is_relu_identity(self) -> bool:
        """True where ReLU does the same already: only what is negative changes, and stays negative or zero."""
        floor, ceiling = self.bounds
        if self.kind == "clamp":
            return floor <= 0 and ceiling == float("inf")
        return self.kind != "magnitude_matched"


class LayerGroupsSpec(_Strict):
    """One condition a group of layers: each group alone (`single`), or with all before it (`cumulative`)."""

    groups: (
        Annotated[int, Field(ge=1, le=10**4, strict=True)]
        | Annotated[tuple[Annotated[tuple[Index, ...], Field(min_length=1)], ...], Field(min_length=1)]
    )
    schedule: Literal["single", "cumulative"] = "single"

    @model_validator(mode="after")
    def _distinct(self) -> "LayerGroupsSpec":
        if not isinstance(self.groups, int):
            layers = [layer for group in self.groups for layer in group]
            twice = next((layer for layer in layers if layers.count(layer) > 1), None)
            if twice is not None:
                raise ValueError(f"layer {twice} stands in the groups twice")
        return self


def _layers_kind(value: Any) -> str:
    return "layer groups" if isinstance(value, dict | LayerGroupsSpec) else "layer list"


LayersSpec = Annotated[
    Annotated[tuple[Index, ...], Field(min_length=1), Tag("layer list")]
    | Annotated[LayerGroupsSpec, Tag("layer groups")],
    Discriminator(_layers_kind),
]


FractionSpec = Annotated[
    Annotated[Fraction, Tag("fraction")]
    | Annotated[Annotated[tuple[Fraction, ...], Field(min_length=1)], Tag("fractions")],
    Discriminator(lambda value: "fractions" if isinstance(value, list | tuple) else "fraction"),
]


class ConditionSpec(_Strict):
    """A neuron set and an intervention."""

    select: Literal["top", "bottom", "random", "explicit"]
    clamp: ClampSpec
    score: Score = "wasserstein_distance"
    fraction: FractionSpec | None = None
    """Several of them make one condition a dose."""
    like: str | None = None
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    disjoint: Flag | None = None
    match: MatchSpec | None = None
    layers: LayersSpec | None = None
    evaluate: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Names of the evaluations it is scored on; None = all."""
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
        }
        for field, allowed in foreign.items():
            if field in self.model_fields_set and not allowed:
                raise ValueError(f"select: {self.select} has no {field}")
        if self.layers is not None and (self.like or self.match):
            raise ValueError("its layers are those of the condition it refers to; leave layers out")
        if self.match is not None and self.clamp.kind != "clamp":
            raise ValueError(f"match raises the fraction under a clamp, not under {self.clamp.kind}")
        if self.disjoint is not None and self.like is None:
            raise ValueError("disjoint needs like: the condition to keep clear of")
        if self.doses and isinstance(self.layers, LayerGroupsSpec):
            raise ValueError("either several fractions or a schedule of layers, not both")
        lists = {"seeds": self.seeds, "layers": self.layer_list, "fraction": self.doses, "evaluate": self.evaluate}
        for field, values in lists.items():
            values = values or ()
            if len(set(values)) != len(values):
                raise ValueError(f"{field} must differ from each other; found {list(values)}")
        return self

    @property
    def doses(self) -> tuple[float, ...]:
        """Its fractions, where it has several."""
        return self.fraction if isinstance(self.fraction, tuple) else ()

    @property
    def fractions(self) -> tuple[float, ...]:
        """Its fraction or fractions; none where it has others' or none."""
        return self.doses or (() if self.fraction is None else (self.fraction,))

    @property
    def layer_list(self) -> tuple[int, ...] | None:
        """The one set of layers it is confined to, if it is."""
        return self.layers if isinstance(self.layers, tuple) else None

    @property
    def reference(self) -> str | None:
        """The condition that this one is a control of."""
        return self.like or (self.match.perplexity_of if self.match else None)


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
    templates: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """None = all."""


class EmbeddedPairsSpec(_Strict):
    kind: Literal["embedded_pairs"]
    per_construction: Annotated[int, Field(ge=4, strict=True)] | None = None


class EmbeddedKnowledgeSpec(_Strict):
    kind: Literal["embedded_knowledge"]


class MultipleChoiceSpec(_Strict):
    kind: Literal["arc_easy", "arc_challenge", "piqa", "hellaswag", "winogrande", "openbookqa", "boolq", "sciq"]
    items: Count | None = None


class LmEvalSpec(_Strict):
    """Tasks of lm-evaluation-harness, as one benchmark."""

    kind: Literal["lm_eval"]
    tasks: Annotated[tuple[Text, ...], Field(min_length=1)]
    items: Count | None = None
    """Of each task."""
    fewshot: Annotated[int, Field(ge=0, le=100, strict=True)] | None = None
    """None = as the task says."""
    include: Text | None = None
    """A folder with task definitions of your own."""
    syntactic: Flag = False
    """Whether the tasks are of grammar, like BLiMP: the claims' other side."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = "lm_eval"


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
    **dict.fromkeys(get_args(MultipleChoiceSpec.model_fields["kind"].annotation), MultipleChoiceSpec),
    "lm_eval": LmEvalSpec,
    "pairs": UserPairsSpec,
    "choices": UserChoicesSpec,
}
EvaluationSpec = (
    PerplexitySpec
    | BlimpSpec
    | TseSpec
    | EmbeddedPairsSpec
    | EmbeddedKnowledgeSpec
    | MultipleChoiceSpec
    | LmEvalSpec
    | UserPairsSpec
    | UserChoicesSpec
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


def benchmark_name(entry: EvaluationSpec) -> str:
    """The name under which an evaluation's metrics and artifacts stand."""
    if isinstance(entry, LmEvalSpec):
        return entry.name
    return Path(entry.path).stem if isinstance(entry, UserPairsSpec | UserChoicesSpec) else entry.kind
