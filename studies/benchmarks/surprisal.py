"""Token surprisal of annotated documents: what to score, and one row per token from log-probabilities.

Owns where the documents and their words come from; `studies.statistics.excess_surprisal` compares conditions. Every
token of every document is scored once, but for the first where nothing precedes it (`bos: none`). The word table is not
part of the request to a model, so another tagger recomputes no evaluation: it changes only `annotation`, which enters
the identity of what is derived from the words.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd

from studies.benchmarks.annotation import (
    AnnotatedDocuments,
    Annotation,
    GoldWords,
    Tagger,
    installed_tagger,
    read_conllu,
)
from studies.benchmarks.corpora import UD_EWT, corpus_name, load_documents
from studies.benchmarks.measures import SURPRISAL, Measure
from studies.benchmarks.options import Count, StudySettings, Text, Window
from studies.benchmarks.rows import evenly
from studies.benchmarks.texts import Bos, Documents
from studies.errors import DataRootError, StudyError

_MAX_TAGGED = 1_000_000
"""Characters of one document: spaCy's `Language.max_length`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurprisalOptions:
    """Surprisal of every token of annotated documents."""

    corpus: Text = UD_EWT
    """`ud_ewt` or a CoNLL-U file, both with gold annotation; or a plain text, for a tagger."""
    split: Literal["train", "validation", "dev", "test"] = "validation"
    """The part of the corpus; `dev` is the validation split."""
    tagger: Text | None = None
    """An installed spaCy pipeline; without it, the corpus's gold annotation."""
    unit: Literal["token", "word"] = "token"
    """Whether items are tokens, with the tags of the word that each overlaps most in characters, or words, with the sum
    of their tokens."""
    documents: Count | None = None
    """How many documents, evenly spaced over the corpus; without it, all."""
    window: Window = 2048
    """Tokens of each window of a document."""
    stride: Count | None = None
    """Tokens scored in each window of a document after its first; without it, all but the window's first token."""
    bos: Bos | None = None
    """Which windows begin with the beginning-of-sequence token; without it, the preset decides."""
    name: Annotated[str, re.compile(r"^surprisal[A-Za-z0-9._-]{0,80}$")] = "surprisal"
    """The name of its metrics and files; two of them need two names."""
    measure: ClassVar[Measure] = SURPRISAL

    def __post_init__(self) -> None:
        if self.stride is not None and self.stride >= self.window:
            raise ValueError(f"the stride {self.stride} must be below the window {self.window}: a token needs context")

    def load(self, name: str, study: StudySettings) -> "SurprisalBenchmark":
        annotated = annotated_corpus(
            corpus_name(self.corpus, study.path),
            split="validation" if self.split == "dev" else self.split,
            root=study.data_root,
            tagger=self.tagger,
            documents=self.documents,
        )
        bos = self.bos or study.bos
        return surprisal(annotated, name=name, unit=self.unit, window=self.window, stride=self.stride, bos=bos)


class AnnotatedCorpus(NamedTuple):
    """Documents, and where their words come from."""

    label: str
    """Corpus and annotator, for example "UD-EWT dev, gold"."""
    documents: tuple[str, ...]
    annotator: GoldWords | Tagger


@dataclass(frozen=True, kw_only=True)
class SurprisalBenchmark:
    """Documents to score, and their words. Members as in `Benchmark`."""

    name: str
    corpus: AnnotatedCorpus
    unit: str
    """`token` or `word`, as in `Annotation`."""
    window: int
    """Tokens."""
    stride: int
    """Tokens that a later window of a document scores, at most window - 1."""
    bos: Bos = "tokenizer"
    measure: ClassVar[Measure] = SURPRISAL
    is_syntactic: ClassVar[bool | None] = None
    scoring_version: ClassVar[int] = 1
    choices: ClassVar[tuple[str, ...]] = ()

    @property
    def label(self) -> str:
        return f"surprisal, nats a token ({self.corpus.label})"

    @property
    def documents(self) -> tuple[str, ...]:
        """The texts to score."""
        return self.corpus.documents

    @property
    def headlines(self) -> tuple[str, ...]:
        return (f"{self.name}/nats_per_token",)

    @property
    def metric_prefixes(self) -> tuple[str, ...]:
        return (self.name,)

    @cached_property
    def digest(self) -> str:
        """sha256 of the documents; window, stride and BOS are in `identity_params`."""
        return hashlib.sha256(json.dumps(self.documents).encode()).hexdigest()

    @property
    def request(self) -> Documents:
        return Documents(texts=self.documents, window=self.window, stride=self.stride, bos=self.bos)

    @property
    def estimated_tokens(self) -> float:
        return self.request.estimated_tokens

    @property
    def item_texts(self) -> pd.DataFrame | None:
        return pd.DataFrame({"document": range(len(self.documents)), "text": self.documents})

    @property
    def identity_params(self) -> Mapping[str, int | str | None]:
        return {"window": self.window, "stride": self.stride, "bos": self.bos}

    @property
    def noise_floor_nodes(self) -> int:
        """Two windows per pack instead of one."""
        return 2 * self.window

    @cached_property
    def annotation(self) -> Annotation:
        """The words; tagged once, when they are first asked for."""
        return Annotation(documents=self.documents, annotator=self.corpus.annotator, unit=self.unit)

    def results(
        self,
        sums: np.ndarray,  # noqa: ARG002
        counts: np.ndarray,
        margins: np.ndarray | None = None,  # noqa: ARG002
        tokens: Mapping[str, np.ndarray] | None = None,
    ) -> pd.DataFrame:
        """Columns document, start, end (characters of the document) and surprisal (nats, float32), one row per token.

        Raises ValueError if the tokens are missing or are not as many as were scored.
        """
        if tokens is None:
            raise ValueError("surprisal needs the log-probability of every token")
        frame = pd.DataFrame({name: tokens[name] for name in ("document", "start", "end")})
        surprisal = -np.asarray(tokens["log_probability"], dtype=np.float32)
        if len(frame) != counts.sum():
            raise ValueError(f"{len(frame)} tokens returned, {counts.sum()} scored")
        return frame.assign(surprisal=surprisal)

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`<name>/nats_per_token`: the mean over all tokens, in float64."""
        return {f"{self.name}/nats_per_token": float(items["surprisal"].astype(np.float64).mean())}


def surprisal(
    corpus: AnnotatedCorpus, *, name: str, unit: str, window: int, stride: int | None = None, bos: Bos = "tokenizer"
) -> SurprisalBenchmark:
    """A benchmark of the corpus; stride: None = windows overlap in one token."""
    resolved = window - 1 if stride is None else stride
    return SurprisalBenchmark(name=name, corpus=corpus, unit=unit, window=window, stride=resolved, bos=bos)


def annotated_corpus(
    corpus: str, *, split: str, root: Path | None, tagger: str | None = None, documents: int | None = None
) -> AnnotatedCorpus:
    """Documents of a CoNLL-U file, of `ud_ewt` (in `<root>/ud_ewt`), or of a corpus that a tagger annotates.

    documents: keep this many, evenly spaced; None = all. tagger: a spaCy pipeline; None = the corpus's gold words.
    Raises StudyError if the data or the tagger is missing, if neither gives words, or if a document is too long to tag.
    """
    conllu = _conllu(corpus, split, root)
    if conllu is not None:
        label, (texts, gold) = conllu
    else:
        (label, texts), gold = load_documents(corpus, split=split, root=root), None
    if tagger is None and gold is None:
        raise StudyError(f"{corpus} has no annotation: name a spaCy pipeline, tagger: en_core_web_sm, or give CoNLL-U")
    chosen = evenly(len(texts), len(texts) if documents is None else min(documents, len(texts)))
    kept = tuple(texts[i] for i in chosen)
    if tagger is None:
        return AnnotatedCorpus(f"{label}, gold", kept, GoldWords(table=_words_of(gold, chosen)))
    annotator = installed_tagger(tagger)
    longest = max(chosen, key=lambda i: len(texts[i]))
    if len(texts[longest]) > _MAX_TAGGED:
        raise StudyError(
            f"document {longest} of {label} has {len(texts[longest]):,} characters; spaCy tags {_MAX_TAGGED:,}: "
            "split it with blank lines"
        )
    return AnnotatedCorpus(f"{label}, {tagger}", kept, annotator)


def _words_of(words: pd.DataFrame, documents: list[int]) -> pd.DataFrame:
    """The words of these documents, which are renumbered from 0."""
    kept = words[words["document"].isin(documents)].reset_index(drop=True)
    kept["document"] = np.searchsorted(documents, kept["document"])
    return kept


def _conllu(corpus: str, split: str, root: Path | None) -> tuple[str, AnnotatedDocuments] | None:
    """(label, documents and words) of a corpus in CoNLL-U; None for any other corpus."""
    if corpus == UD_EWT:
        part = {"validation": "dev"}.get(split, split)
        if root is None:
            raise DataRootError(
                f"{UD_EWT} has no copy on the hub: give --data-root, or data: {{root: ...}}, a folder with "
                f"{UD_EWT}/en_ewt-ud-{part}.conllu from UniversalDependencies/UD_English-EWT"
            )
        return f"UD-EWT {part}", read_conllu(root / UD_EWT / f"en_ewt-ud-{part}.conllu")
    if corpus.endswith(".conllu"):
        return Path(corpus).stem, read_conllu(Path(corpus))
    return None
