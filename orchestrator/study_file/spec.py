"""The grammar of a study file: which key takes which type, with which default.

Owns the profile, the conditions, the presets and the file as a whole; `models` and `evaluations` have grammars of their
own, and `references` checks one block against another. Names of models and data are only names here: `planning` looks
them up. Presets fill in the fields that a file leaves out; every value of the paper's protocol is such a field.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, model_validator

from orchestrator.study_file.clamps import ClampSpec
from orchestrator.study_file.evaluations import EvaluationSpec
from orchestrator.study_file.fields import Count, Flag, Fraction, Index, Seed, Strict, Window
from orchestrator.study_file.models import CheckpointsSpec, ModelSpec
from studies.benchmarks.options import NAME, Text
from studies.benchmarks.texts import Bos

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


class Scoring(TypedDict):
    """How ties are counted and neurons are drawn. Set by the preset alone."""

    half_ties: bool
    """Whether a tied pair counts 0.5 instead of 0."""
    rule: Literal["rank", "percentile"]
    """How the top of a score is cut off: an exact count by rank, or strictly above a percentile."""
    disjoint: bool
    """Whether a random control avoids the neurons of the condition it is like."""


class Preset(NamedTuple):
    """A protocol: the defaults of the profile block, where BOS stands, and how results are scored."""

    profile: Mapping[str, Any]
    bos: Bos
    """In the windows of the profile, of perplexity and of surprisal, unless the file says it there."""
    scoring: Scoring
    dtype: str | None = None
    """Of models that name none; None = by the rule of `models`."""


PRESETS = {
    "strict": Preset(
        profile={"window": 2048, "stride": 2048, "skip_first": True, "pair_scope": "block"},
        bos="tokenizer",
        scoring={"half_ties": True, "rule": "rank", "disjoint": True},
    ),
    "paper": Preset(
        profile={
            **{"window": 2048, "stride": 1024, "skip_first": False, "tokens": 263168},
            **{"pairs": 256, "pair_scope": "sample"},
        },
        bos="first",
        scoring={"half_ties": False, "rule": "percentile", "disjoint": False},
        dtype="float32",
    ),
}
"""263,168 tokens are the paper's 256 windows of 2048 at stride 1024."""


class DataSpec(Strict):
    """Where benchmarks and corpora come from."""

    root: Text | None = None
    """A folder with evaluation data; without it, WikiText-2 and BLiMP come from the hub. `--data-root` overrides it."""


class ProfileSpec(Strict):
    """How neurons are scored."""

    corpus: Text = "wikitext2"
    """The text: `wikitext2`, `embedded`, or the path of a text file."""
    split: Literal["train", "validation", "test"] = "train"
    """The part of `wikitext2` or `embedded`; a text file has no parts."""
    tokens: Count = 131072
    """Tokens of the text, from its start."""
    window: Window = 2048
    """Tokens that the model sees at once."""
    stride: Count | None = None
    """Tokens from the start of one window to the start of the next; without it, the window."""
    bos: Bos = "tokenizer"
    """Which windows begin with the beginning-of-sequence token."""
    scores: Annotated[tuple[Literal["wasserstein_distance", "mapping_difficulty"], ...], Field(min_length=1)] = (
        "wasserstein_distance",
        "mapping_difficulty",
    )
    """The scores to compute; the moments come with either."""
    skip_first: Flag = True
    """Whether the first position of every window and all special tokens, the attention sinks, are left out of the
    scores."""
    bins: Annotated[int, Field(ge=16, le=65536, strict=True)] = 1024
    """Bins of the histogram from which a neuron's Wasserstein distance is computed."""
    calibration_windows: Count = 4
    """Windows, from the start of the text, that set the range of the histograms."""
    pairs: Count = 4096
    """Token pairs behind mapping difficulty, in every block or in the whole sample; fewer where tokens are too few."""
    pair_scope: Literal["block", "sample"] = "block"
    """Whether `pairs` pairs are drawn in every `block` of 16 windows, or in the whole `sample` at once (the paper)."""
    seed: Seed = 0
    """Seed of the token pairs."""
    examples: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    """How many of the most entangled neurons get examples: their densities, and token pairs that they pull apart."""


class MatchSpec(Strict):
    """A matched control: raise the fraction until perplexity equals another condition's."""

    perplexity_of: str
    """The condition to match."""
    within: Fraction = 0.01
    """Tolerance as a fraction of that perplexity."""
    within_rise: Fraction = 0.05
    """Tolerance as a fraction of that perplexity's rise above the baseline; the smaller of the two holds."""
    evaluations: Annotated[int, Field(ge=2, le=100, strict=True)] = 12
    """How many fractions to try; a search that still converges then tries up to three times as many."""


class LayerGroupsSpec(Strict):
    """One condition per group of layers: each group alone (`single`), or with all groups before it (`cumulative`)."""

    groups: (
        Annotated[int, Field(ge=1, le=10**4, strict=True)]
        | Annotated[tuple[Annotated[tuple[Index, ...], Field(min_length=1)], ...], Field(min_length=1)]
    )
    """How many near-equal groups, or the layers of each."""
    schedule: Literal["single", "cumulative"] = "single"
    """Whether a condition clamps one group (`single`) or also all groups before it (`cumulative`)."""

    @model_validator(mode="after")
    def _distinct_layers(self) -> "LayerGroupsSpec":
        if not isinstance(self.groups, int):
            layers = [layer for group in self.groups for layer in group]
            repeated = next((layer for layer in layers if layers.count(layer) > 1), None)
            if repeated is not None:
                raise ValueError(f"layer {repeated} is in the groups twice")
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


class ConditionSpec(Strict):
    """A neuron set and an intervention."""

    select: Literal["top", "bottom", "random", "explicit"]
    """Which neurons: those with the highest or the lowest scores, a random draw, or a list of your own."""
    clamp: ClampSpec
    """What is done to their pre-activations."""
    score: Score = "wasserstein_distance"
    """The column of the neuron table by which `top` and `bottom` select."""
    fraction: FractionSpec | None = None
    """Share of each layer's neurons; several fractions make a dose-response."""
    like: str | None = None
    """The condition whose number of neurons and layers a random control takes over."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    """One random control for each seed."""
    disjoint: Flag | None = None
    """Whether a random control avoids the neurons of the condition it is like; without it, the preset decides: `strict`
    avoids them, `paper` does not."""
    match: MatchSpec | None = None
    """Makes `bottom` a matched control, in place of a fraction."""
    layers: LayersSpec | None = None
    """The layers that are clamped, counted from 0, or a schedule of groups of them; without it, all."""
    evaluate: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Names of the evaluations that the condition is scored on; without it, all."""
    neurons: (
        Text | Annotated[dict[Index, Annotated[tuple[Index, ...], Field(min_length=1)]], Field(min_length=1)] | None
    ) = None
    """The neurons of `explicit`: a .parquet or .csv file with the columns layer and neuron, or {layer: [indices]}."""

    @model_validator(mode="after")
    def _consistent(self) -> "ConditionSpec":
        problems = [*self._fields_of_its_selection(), *self._incompatible_fields(), *self._repeated_values()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _fields_of_its_selection(self) -> Iterator[str]:
        complete = {
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
        if not complete[self.select]:
            yield f"select: {self.select} needs {needs[self.select]}"
        accepted = {
            "like": self.select == "random",
            "seeds": self.select == "random",
            "disjoint": self.select == "random",
            "match": self.select == "bottom",
            "neurons": self.select == "explicit",
            "score": self.select in ("top", "bottom"),
            "fraction": self.select != "explicit",
        }
        for field, is_accepted in accepted.items():
            if field in self.model_fields_set and not is_accepted:
                yield f"select: {self.select} takes no {field}"

    def _incompatible_fields(self) -> Iterator[str]:
        if self.layers is not None and (self.like or self.match):
            yield "its layers are those of the condition it refers to; leave layers out"
        if self.match is not None and (self.clamp.values_from or not self.clamp.takes_bounds):
            yield f"match works only with a clamp, not with {self.clamp.kind}"
        if self.disjoint is not None and self.like is None:
            yield "disjoint needs like: the condition whose neurons to avoid"
        if self.doses and isinstance(self.layers, LayerGroupsSpec):
            yield "either several fractions or a schedule of layers, not both"

    def _repeated_values(self) -> Iterator[str]:
        lists = {"seeds": self.seeds, "layers": self.layer_list, "fraction": self.doses, "evaluate": self.evaluate}
        for field, values in lists.items():
            if values and len(set(values)) != len(values):
                yield f"{field} must not repeat a value; found {list(values)}"

    @property
    def doses(self) -> tuple[float, ...]:
        """Its fractions where it has several, else ()."""
        return self.fraction if isinstance(self.fraction, tuple) else ()

    @property
    def fractions(self) -> tuple[float, ...]:
        """Its fraction or fractions; () where another condition or an explicit list decides the number of neurons."""
        return self.doses if self.fraction is None or isinstance(self.fraction, tuple) else (self.fraction,)

    @property
    def layer_list(self) -> tuple[int, ...] | None:
        """The layers that it is confined to; None without a list, and for layer groups."""
        return self.layers if isinstance(self.layers, tuple) else None

    @property
    def reference(self) -> str | None:
        """The condition that this one is a control for."""
        return self.like or (self.match.perplexity_of if self.match else None)


class MarginsSpec(Strict):
    """Effects that are too small to matter, by what is measured; the claims say so of smaller ones."""

    accuracy: Fraction = 0.02
    """Difference of two accuracies."""
    perplexity: Annotated[float, Field(gt=0, le=10, strict=True)] = 0.02
    """Nats of log-perplexity."""
    surprisal: Annotated[float, Field(gt=0, le=10, strict=True)] = 0.02
    """Nats a token or word."""


def _as_list(value: Any) -> Any:
    """A block that is not in a list becomes a list of one."""
    return [value] if isinstance(value, dict) else value


WITHOUT_MISTAKES: Mapping[str, Any] = {}
"""The validation context of what is left of a file without its mistakes: it need not have a model."""


class StudySpec(Strict):
    """One study file."""

    study: Annotated[str, Field(pattern=NAME)]
    """The name under which the study is recorded; it names the MLflow experiment."""
    preset: Literal["strict", "paper"] = "strict"
    """The protocol: the defaults of the keys that the file leaves out."""
    models: tuple[ModelSpec, ...] = ()
    """The models, each a name, a folder or a mapping. A study has models, checkpoints or both."""
    checkpoints: Annotated[tuple[CheckpointsSpec, ...], BeforeValidator(_as_list)] = ()
    """A series of checkpoints, or a list of several. Every checkpoint is a model of the study."""
    model_root: Text | None = None
    """A folder in which models are looked up by name before the hub, as by `--model-root`."""
    data: DataSpec = DataSpec()
    """Where benchmarks and corpora come from."""
    profile: ProfileSpec = ProfileSpec()
    """How neurons are scored."""
    conditions: Annotated[dict[str, ConditionSpec], Field(min_length=1)]
    """The conditions by name: each a set of neurons and what is done to them. The baseline is always there."""
    evaluate: Annotated[tuple[EvaluationSpec, ...], Field(min_length=1)]
    """The benchmarks that score every condition, each a word or a word with options."""
    claims: str | None = None
    """The scorecard: the set of claims that the report judges."""
    only_claims: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Claims of the set that are judged, where the others would be undecided anyway (`plan` shows their power)."""
    margins: MarginsSpec = MarginsSpec()
    """Effects that are too small to matter."""
    noise_floor: Flag = True
    """Whether the baseline is scored again on another pack plan, to show how far batching alone moves a number."""
    tracking_uri: Text | None = None
    """The MLflow store; without it, SQLite in the working folder. `--tracking-uri` overrides it."""

    @model_validator(mode="after")
    def _at_least_one_model(self, info: ValidationInfo) -> "StudySpec":
        if not self.models and not self.checkpoints and info.context is not WITHOUT_MISTAKES:
            raise ValueError("a study needs models, checkpoints or both")
        return self

    @property
    def all_models(self) -> tuple[ModelSpec, ...]:
        """The models, then every checkpoint of every series."""
        return (*self.models, *(model for series in self.checkpoints for model in series.models))

    @property
    def scoring(self) -> Scoring:
        """The preset's rules for ties and selections."""
        return PRESETS[self.preset].scoring
