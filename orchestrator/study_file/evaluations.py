"""The grammar of evaluations in a study file: a word, or a word and its options.

Owns which evaluations there are, their options and defaults, and the name that each gives to its metrics. Data is only
a name here: `planning.data` looks it up.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.study_file.fields import NAME, Count, Flag, Strict, Text, Window
from orchestrator.study_file.located import quote
from studies.errors import did_you_mean


class PerplexitySpec(Strict):
    """Perplexity of a text."""

    kind: Literal["perplexity"]
    corpus: Text = "wikitext2"
    split: Literal["train", "validation", "test"] = "validation"
    tokens: Count | None = None
    """None = the whole split."""
    window: Window = 2048


class BlimpSpec(Strict):
    """BLiMP's minimal pairs."""

    kind: Literal["blimp"]
    per_paradigm: Count | None = None
    """None = all pairs."""


class TseSpec(Strict):
    """Targeted syntactic evaluation: minimal pairs made from templates."""

    kind: Literal["tse"]
    per_case: Count | None = None
    """None = all pairs."""
    templates: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """None = all templates."""


class EmbeddedPairsSpec(Strict):
    """Minimal pairs that come with Halfwave."""

    kind: Literal["embedded_pairs"]
    per_construction: Annotated[int, Field(ge=4, le=10**12, strict=True)] | None = None
    """None = all pairs."""


class EmbeddedKnowledgeSpec(Strict):
    """Multiple-choice questions that come with Halfwave."""

    kind: Literal["embedded_knowledge"]


MultipleChoiceTask = Literal[
    "arc_easy", "arc_challenge", "piqa", "hellaswag", "winogrande", "openbookqa", "boolq", "sciq"
]


class MultipleChoiceSpec(Strict):
    """A multiple-choice benchmark in its zero-shot form."""

    kind: MultipleChoiceTask
    items: Count | None = None
    """None = all items."""


class LmEvalSpec(Strict):
    """Tasks of lm-evaluation-harness, as one benchmark."""

    kind: Literal["lm_eval"]
    tasks: Annotated[tuple[Text, ...], Field(min_length=1)]
    items: Count | None = None
    """Items of each task; None = all."""
    fewshot: Annotated[int, Field(ge=0, le=100, strict=True)] | None = None
    """None = as the task says."""
    include: Text | None = None
    """A folder with task definitions of your own."""
    trust_remote_code: Flag = False
    """Whether those definitions may run Python: `!function`, templates without a sandbox, downloaded metrics."""
    syntactic: Flag = False
    """Whether the tasks test grammar, as BLiMP does: decides on which side of the claims they count."""
    name: Annotated[str, Field(pattern=NAME)] = "lm_eval"


class SurprisalSpec(Strict):
    """Surprisal of every token of annotated documents."""

    kind: Literal["surprisal"]
    corpus: Text = "ud_ewt"
    """`ud_ewt` or a CoNLL-U file, both with gold annotation; or a plain text, for a tagger."""
    split: Literal["train", "validation", "dev", "test"] = "validation"
    """`dev` is the validation split."""
    tagger: Text | None = None
    """An installed spaCy pipeline; None = the corpus's gold annotation."""
    unit: Literal["token", "word"] = "token"
    documents: Count | None = None
    """How many documents, evenly spaced over the corpus; None = all."""
    window: Window = 2048
    stride: Count | None = None
    """Tokens scored in each window of a document after its first; None = all but the window's first token."""
    name: Annotated[str, Field(pattern=r"^surprisal[A-Za-z0-9._-]{0,80}$")] = "surprisal"

    @model_validator(mode="after")
    def _stride_leaves_context(self) -> "SurprisalSpec":
        if self.stride is not None and self.stride >= self.window:
            raise ValueError(f"the stride {self.stride} must be below the window {self.window}: a token needs context")
        return self


class UserPairsSpec(Strict):
    """Minimal pairs from a file of the user's."""

    kind: Literal["pairs"]
    path: Text


class UserChoicesSpec(Strict):
    """Multiple-choice items from a file of the user's."""

    kind: Literal["choices"]
    path: Text


EVALUATIONS: dict[str, type[Strict]] = {
    "perplexity": PerplexitySpec,
    "blimp": BlimpSpec,
    "tse": TseSpec,
    "embedded_pairs": EmbeddedPairsSpec,
    "embedded_knowledge": EmbeddedKnowledgeSpec,
    **dict.fromkeys(get_args(MultipleChoiceTask), MultipleChoiceSpec),
    "lm_eval": LmEvalSpec,
    "surprisal": SurprisalSpec,
    "pairs": UserPairsSpec,
    "choices": UserChoicesSpec,
}
"""{word in a study file: its options}."""

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


def _spelled_out(entry: Any) -> Any:
    """`blimp`, `blimp: {per_paradigm: 50}` and `pairs: my.jsonl` become {kind: ..., option: ...}."""
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(
            "write one evaluation per line: a word, or a word and its {options}; "
            f"found {quote(entry)}; words: {', '.join(EVALUATIONS)}"
        )
    ((kind, options),) = entry.items()
    if kind not in EVALUATIONS:
        raise ValueError(f"{quote(kind)} is not an evaluation{did_you_mean(str(kind), EVALUATIONS)}")
    if isinstance(options, str) and "path" in EVALUATIONS[kind].model_fields:
        options = {"path": options}
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"the options of {kind} must be a mapping; found {quote(options)}")
    if "kind" in (options or {}):
        raise ValueError(f"{kind} has no option 'kind'")
    return {"kind": kind, **(options or {})}


Evaluation = Annotated[EvaluationSpec, Field(discriminator="kind"), BeforeValidator(_spelled_out)]


def benchmark_name(entry: EvaluationSpec) -> str:
    """The name that begins an evaluation's metrics and names its artifacts."""
    if isinstance(entry, LmEvalSpec | SurprisalSpec):
        return entry.name
    return Path(entry.path).stem if isinstance(entry, UserPairsSpec | UserChoicesSpec) else entry.kind
