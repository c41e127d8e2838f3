"""Token surprisal of annotated documents: what to score, and a row a token from log-probabilities.

Every token of every document is scored once. Owns where the documents and their words come from; `studies.statistics.excess_surprisal`
has what is made of the two. The word table is not part of what a model is asked: another tagger recomputes nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from studies.benchmarks import annotation
from studies.benchmarks.annotation import Annotated, Tagger
from studies.benchmarks.corpora import load_documents
from studies.benchmarks.sampling import evenly
from studies.errors import StudyError

GOLD = "gold"
UD_EWT = "ud_ewt"
MAX_TAGGED = 1_000_000
"""Characters of one document: spaCy's `Language.max_length`."""


@dataclass(frozen=True, kw_only=True)
class SurprisalBenchmark:
    """Documents, ready to be scored, and how their words become known."""

    name: str
    label: str
    documents: tuple[str, ...]
    gold: pd.DataFrame | None
    """Their word table, where the source has one."""
    tagger: Tagger | None
    """Makes the word table otherwise."""
    unit: str
    """`token`: a token has the tags of the word that it overlaps most; `word`: a word's tokens are summed."""
    window: int
    stride: int

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metric that stands for the whole."""
        return (f"{self.name}/nats_per_token",)

    @cached_property
    def digest(self) -> str:
        """sha256 of the documents; window and stride are parameters of the step."""
        return hashlib.sha256(json.dumps(self.documents).encode()).hexdigest()

    @cached_property
    def annotation(self) -> str:
        """What the words come from: enters the identity of everything that is made of them."""
        return f"gold {annotation.digest(self.gold)}" if self.tagger is None else f"{self.tagger}"

    @cached_property
    def words(self) -> pd.DataFrame:
        """The word table; tagging takes about a minute for a million characters."""
        return self.gold if self.tagger is None else self.tagger.tag(self.documents)

    def results(self, sums: np.ndarray, counts: np.ndarray, tokens: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """A row a token: document, start, end (characters of the document), surprisal (nats, float32).

        Raises ValueError where the rows are not what was scored.
        """
        frame = pd.DataFrame({name: tokens[name] for name in ("document", "start", "end")})
        surprisal = -np.asarray(tokens["log_probability"], dtype=np.float32)
        if len(frame) != counts.sum():
            raise ValueError(f"{len(frame)} tokens told, {counts.sum()} scored")
        return frame.assign(surprisal=surprisal)

    def metrics(self, items: pd.DataFrame) -> dict[str, float]:
        """`<name>/nats_per_token`: the mean over all tokens."""
        return {f"{self.name}/nats_per_token": float(items["surprisal"].astype(np.float64).mean())}


def surprisal(
    corpus: str,
    *,
    name: str,
    split: str,
    root: Path | None,
    tagger: str | None,
    unit: str,
    window: int,
    stride: int | None,
    documents: int | None,
) -> SurprisalBenchmark:
    """Documents of a CoNLL-U file, of `ud_ewt` (in `<root>/ud_ewt`), or of a corpus that a tagger annotates.

    documents: so many, evenly spaced; None = all. stride: None = windows overlap in one token. Raises StudyError where
    the data or the tagger is not there.
    """
    gold = _gold(corpus, split, root)
    source, texts = gold if gold is not None else load_documents(corpus, split=split, root=root)
    words = None
    if isinstance(texts, Annotated):
        texts, words = texts
    if tagger is None and words is None:
        raise StudyError(f"{corpus} has no annotation: name a spaCy pipeline, tagger: en_core_web_sm, or give CoNLL-U")
    chosen = range(len(texts))
    if documents is not None and documents < len(texts):
        chosen = evenly(len(texts), documents)
    if words is not None:
        words = words[words["document"].isin(chosen)].reset_index(drop=True)
        words["document"] = np.searchsorted(chosen, words["document"])
    tagging = None if tagger is None else annotation.tagger(tagger)
    longest = max(chosen, key=lambda i: len(texts[i]))
    if tagging is not None and len(texts[longest]) > MAX_TAGGED:
        raise StudyError(
            f"document {longest} of {source} has {len(texts[longest]):,} characters; spaCy tags {MAX_TAGGED:,}: "
            "part it with blank lines"
        )
    by = GOLD if tagging is None else tagging.pipeline
    return SurprisalBenchmark(
        name=name,
        label=f"surprisal, nats a token ({source}, {by})",
        documents=tuple(texts[i] for i in chosen),
        gold=words,
        tagger=tagging,
        unit=unit,
        window=window,
        stride=window - 1 if stride is None else stride,
    )


def _gold(corpus: str, split: str, root: Path | None) -> tuple[str, Annotated] | None:
    """(label, documents and words) of a CoNLL-U corpus; None where it is another one."""
    if corpus == UD_EWT:
        part = {"validation": "dev"}.get(split, split)
        if root is None:
            raise StudyError(
                f"{UD_EWT} is read from a data root: put UniversalDependencies/UD_English-EWT's "
                f"en_ewt-ud-{part}.conllu into its folder {UD_EWT}/"
            )
        return f"UD-EWT {part}", annotation.read_conllu(root / UD_EWT / f"en_ewt-ud-{part}.conllu")
    if corpus.endswith(".conllu"):
        return Path(corpus).stem, annotation.read_conllu(Path(corpus))
    return None
