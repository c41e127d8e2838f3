"""The grammar of evaluations in a study file: a word, or a word and its options."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.study_file.fields import NAME, Count, Flag, Strict, Text, Window
from orchestrator.study_file.located import quote
from studies.errors import did_you_mean


class PerplexitySpec(Strict):
    kind: Literal["perplexity"]
    corpus: Text = "wikitext2"
    split: Literal["train", "validation", "test"] = "validation"
    tokens: Count | None = None
    window: Window = 2048


class BlimpSpec(Strict):
    kind: Literal["blimp"]
    per_paradigm: Count | None = None


class TseSpec(Strict):
    kind: Literal["tse"]
    per_case: Count | None = None
    templates: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """None = all."""


class EmbeddedPairsSpec(Strict):
    kind: Literal["embedded_pairs"]
    per_construction: Annotated[int, Field(ge=4, le=10**12, strict=True)] | None = None


class EmbeddedKnowledgeSpec(Strict):
    kind: Literal["embedded_knowledge"]


class MultipleChoiceSpec(Strict):
    kind: Literal["arc_easy", "arc_challenge", "piqa", "hellaswag", "winogrande", "openbookqa", "boolq", "sciq"]
    items: Count | None = None


class LmEvalSpec(Strict):
    """Tasks of lm-evaluation-harness, as one benchmark."""

    kind: Literal["lm_eval"]
    tasks: Annotated[tuple[Text, ...], Field(min_length=1)]
    items: Count | None = None
    """Of each task."""
    fewshot: Annotated[int, Field(ge=0, le=100, strict=True)] | None = None
    """None = as the task says."""
    include: Text | None = None
    """A folder with task definitions of your own."""
    trust_remote_code: Flag = False
    """Whether those definitions may run Python: `!function`, templates without a sandbox, metrics that are fetched."""
    syntactic: Flag = False
    """Whether the tasks are of grammar, like BLiMP: the claims' other side."""
    name: Annotated[str, Field(pattern=NAME)] = "lm_eval"


class SurprisalSpec(Strict):
    """Surprisal of every token of annotated documents."""

    kind: Literal["surprisal"]
    corpus: Text = "ud_ewt"
    """`ud_ewt` or a CoNLL-U file, which bring their words; or a text, for a tagger."""
    split: Literal["train", "validation", "dev", "test"] = "validation"
    """`dev` is the validation split."""
    tagger: Text | None = None
    """An installed spaCy pipeline; None = the corpus's gold annotation."""
    unit: Literal["token", "word"] = "token"
    documents: Count | None = None
    """So many, evenly spaced."""
    window: Window = 2048
    stride: Count | None = None
    """Tokens that a document's later windows score; None = all but the first."""
    name: Annotated[str, Field(pattern=r"^surprisal[A-Za-z0-9._-]{0,80}$")] = "surprisal"

    @model_validator(mode="after")
    def _overlapping(self) -> "SurprisalSpec":
        if self.stride is not None and self.stride >= self.window:
            raise ValueError(f"the stride {self.stride} must be below the window {self.window}: a token needs context")
        return self


class UserPairsSpec(Strict):
    kind: Literal["pairs"]
    path: Text


class UserChoicesSpec(Strict):
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
    "surprisal": SurprisalSpec,
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
    | SurprisalSpec
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
            f"found {quote(entry)}; words: {', '.join(EVALUATIONS)}"
        )
    ((kind, options),) = entry.items()
    if kind not in EVALUATIONS:
        raise ValueError(f"{quote(kind)} is no evaluation{did_you_mean(str(kind), EVALUATIONS)}")
    if isinstance(options, str) and "path" in EVALUATIONS[kind].model_fields:
        options = {"path": options}
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"the options of {kind} must be a mapping; found {quote(options)}")
    if "kind" in (options or {}):
        raise ValueError(f"{kind} has no option 'kind'")
    return {"kind": kind, **(options or {})}


Evaluation = Annotated[EvaluationSpec, Field(discriminator="kind"), BeforeValidator(_evaluation)]


def benchmark_name(entry: EvaluationSpec) -> str:
    """The name under which an evaluation's metrics and artifacts stand."""
    if isinstance(entry, LmEvalSpec | SurprisalSpec):
        return entry.name
    return Path(entry.path).stem if isinstance(entry, UserPairsSpec | UserChoicesSpec) else entry.kind
