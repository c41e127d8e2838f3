"""Texts with linguistic annotation: documents, and their words with part of speech, relation and morphology.

Two sources: gold CoNLL-U files, whose text is rebuilt from the words and SpaceAfter, so that every word's place is
exact; and a spaCy pipeline that tags plain text. Words are spans of characters that do not overlap. Knows nothing of a
model's tokens. Owns all contact with spaCy (the extra `tagger`), which is imported inside functions.
Format: https://universaldependencies.org/format.html
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pandas as pd

from studies.benchmarks.rows import TEXT_ENCODING
from studies.errors import StudyError, did_you_mean, why_unreadable
from studies.files import read_text

WORD_COLUMNS = ("document", "sentence", "start", "end", "upos", "relation", "features")
"""Columns of a word table, one row per word in the order of the text: the word's document, its sentence (numbered over
all documents), the characters [start, end) of the document's text, universal part of speech, dependency relation, and
morphological features as `Name=Value|...`."""

UPOS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN"),
    *("PUNCT", "SCONJ", "SYM", "VERB", "X"),
)
"""The universal parts of speech; X means `other`, and stands for tokens that no word covers."""

WordRow = tuple[int, int, int, int, str, str, str]
"""One row of a word table, in the order of `WORD_COLUMNS`."""


class AnnotatedDocuments(NamedTuple):
    """Documents with their words."""

    documents: tuple[str, ...]
    words: pd.DataFrame
    """Columns `WORD_COLUMNS`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldWords:
    """Words that came with their documents."""

    table: pd.DataFrame
    """Columns `WORD_COLUMNS`."""

    @property
    def identity(self) -> str:
        """Enters step identities: must not change."""
        return f"gold {hashlib.sha256(self.table.to_csv(index=False).encode()).hexdigest()}"

    def word_table(self, documents: Sequence[str]) -> pd.DataFrame:  # noqa: ARG002
        """The word table of the documents."""
        return self.table


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagger:
    """An installed spaCy pipeline."""

    pipeline: str
    version: str
    """The versions of the pipeline and of spaCy."""

    @property
    def identity(self) -> str:
        """Enters step identities: must not change."""
        return f"Tagger(pipeline={self.pipeline!r}, version={self.version!r})"

    def word_table(self, documents: Sequence[str]) -> pd.DataFrame:
        """The word table of plain texts; white space is not a word."""
        nlp = _spacy().load(self.pipeline)
        rows: list[WordRow] = []
        sentence_number = 0
        for i, parsed in enumerate(nlp.pipe(documents)):
            for sentence in parsed.sents:
                for word in sentence:
                    if not word.is_space:
                        tags = word.pos_ or "X", word.dep_ or "_", str(word.morph) or "_"
                        rows.append((i, sentence_number, word.idx, word.idx + len(word), *tags))
                sentence_number += 1
        return pd.DataFrame(rows, columns=list(WORD_COLUMNS))


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """The words of the documents that a benchmark scores, by which excess surprisal is broken down."""

    documents: tuple[str, ...]
    """The scored texts; items lie in them (columns document, start and end)."""
    annotator: GoldWords | Tagger
    unit: str
    """`token`: a token has the tags of the word that it overlaps most; `word`: a word's tokens are summed."""

    @cached_property
    def identity(self) -> str:
        """Identity of the words: enters the identity of everything that is derived from them."""
        return self.annotator.identity

    @cached_property
    def words(self) -> pd.DataFrame:
        """The word table, columns `WORD_COLUMNS`; a tagger needs about a minute for a million characters."""
        return self.annotator.word_table(self.documents)


def installed_tagger(pipeline: str) -> Tagger:
    """Look up a spaCy pipeline. Raises StudyError if spaCy or the pipeline is missing, or does not tag and parse."""
    spacy = _spacy()
    installed = spacy.util.get_installed_models()
    if pipeline not in installed:  # any other package would be imported all the same
        near = did_you_mean(pipeline, installed) if installed else ""
        remedy = f"install it with `python -m spacy download {pipeline}`{near}"
        raise StudyError(f"the spaCy pipeline {pipeline!r} is not installed; {remedy}")
    meta = spacy.util.get_model_meta(spacy.util.get_package_path(pipeline))
    if missing := [part for part in ("tagger", "parser") if part not in meta.get("pipeline", ())]:
        raise StudyError(f"the spaCy pipeline {pipeline!r} has no {missing[0]}; choose one that tags and parses")
    return Tagger(pipeline=pipeline, version=f"{meta['version']}, spaCy {spacy.__version__}")


def _spacy() -> ModuleType:
    try:
        import spacy
    except ImportError:
        raise StudyError("a tagger needs the extra: pip install 'halfwave[tagger]'") from None
    return spacy


def read_conllu(path: Path) -> AnnotatedDocuments:
    """Documents and gold words of a CoNLL-U file. Raises StudyError naming the line that breaks the format.

    `# newdoc` begins a document (in a file without any, every sentence is a document), `# newpar` begins a line. The
    words of a multi-word token share its characters as their forms spell it; where the forms do not spell it, the first
    word has all its characters.
    """
    try:
        text = read_text(path, TEXT_ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {why_unreadable(error)}") from None
    builder = _Builder()
    try:
        for block in _sentence_blocks(text):
            comments = {line.split("=")[0].strip() for _, line in block if line[0] == "#"}
            builder.add(_parse_sentence(block), comments)
    except _BrokenLineError as error:
        raise StudyError(f"{path}:{error.number}: {error.problem}") from None
    if not builder.rows:
        raise StudyError(f"{path} holds no words")
    return builder.build()


class _BrokenLineError(Exception):
    def __init__(self, number: int, problem: str):
        super().__init__(problem)
        self.number, self.problem = number, problem


class _Surface(NamedTuple):
    """A stretch of text without a break: one word, or the words of a multi-word token."""

    form: str
    space_after: bool
    words: list[list[str]]
    """Their ten columns."""


def _sentence_blocks(text: str) -> Iterator[list[tuple[int, str]]]:
    """[(line number, line)] of every sentence."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


_RANGE, _EMPTY_NODE = (re.compile(p) for p in (r"([1-9]\d{0,8})-([1-9]\d{0,8})", r"\d+\.[1-9]\d*"))


def _parse_sentence(block: list[tuple[int, str]]) -> list[_Surface]:
    """The surface of one sentence, with its words. Raises _BrokenLineError."""
    surfaces: list[_Surface] = []
    num_words = last_of_range = 0
    for number, line in block:
        if line.startswith("#"):
            continue
        columns = _split_columns(number, line)
        space_after = "SpaceAfter=No" not in columns[9].split("|")
        if _EMPTY_NODE.fullmatch(columns[0]):
            continue
        if match := _RANGE.fullmatch(columns[0]):
            begin, last_of_range = map(int, match.groups())
            if begin != num_words + 1 or last_of_range < begin:
                raise _BrokenLineError(number, f"the range {columns[0]} does not begin with word {num_words + 1}")
            surfaces.append(_Surface(columns[1], space_after, []))
            continue
        _require_word(number, columns, num_words + 1)
        num_words += 1
        if num_words <= last_of_range:
            surfaces[-1].words.append(columns)
        else:
            surfaces.append(_Surface(columns[1], space_after, [columns]))
    if num_words < last_of_range:
        raise _BrokenLineError(block[-1][0], f"word {num_words + 1} of a multi-word token is missing")
    if not surfaces:
        raise _BrokenLineError(block[0][0], "a sentence without words")
    return surfaces


def _split_columns(number: int, line: str) -> list[str]:
    columns = line.split("\t")
    if len(columns) != 10:
        raise _BrokenLineError(number, f"a word has 10 columns with tabs between them; found {len(columns)}")
    if "" in columns:
        raise _BrokenLineError(number, f"column {columns.index('') + 1} is empty; write _ for no value")
    return columns


def _require_word(number: int, columns: list[str], expected: int) -> None:
    """Check the id and the part of speech of a word; expected: its number in the sentence."""
    if columns[0] != str(expected):
        raise _BrokenLineError(number, f"expected word {expected}; found {columns[0][:60]!r}")
    if columns[3] not in UPOS and columns[3] != "_":
        near = did_you_mean(columns[3][:60], UPOS)
        raise _BrokenLineError(number, f"{columns[3][:60]!r} is not a universal part of speech{near}")


class _Builder:
    """Sentences -> documents and rows of the word table."""

    def __init__(self) -> None:
        self.documents: list[list[str]] = []
        self.rows: list[WordRow] = []
        self._length, self._sentence, self._gap, self._has_documents = 0, 0, "", False

    def add(self, surfaces: list[_Surface], comments: set[str]) -> None:
        """Append one sentence; comments: the texts of its comment lines, up to `=`."""
        names = {comment.lstrip("# ").split(" ")[0] for comment in comments}
        self._has_documents |= "newdoc" in names
        if "newdoc" in names or not self._has_documents or not self.documents:
            self.documents.append([])
            self._length, self._gap = 0, ""
        elif "newpar" in names:
            self._gap = "\n"
        for surface in surfaces:
            self._append_text(self._gap)
            self._append_words(surface)
            self._append_text(surface.form)
            self._gap = " " if surface.space_after else ""
        self._sentence += 1

    def _append_text(self, text: str) -> None:
        self.documents[-1].append(text)
        self._length += len(text)

    def _append_words(self, surface: _Surface) -> None:
        forms = [columns[1] for columns in surface.words]
        exact = "".join(forms) == surface.form
        start = self._length
        for i, columns in enumerate(surface.words):
            length = len(forms[i]) if exact else len(surface.form) if i == 0 else 0
            tags = columns[3] if columns[3] != "_" else "X", columns[7], columns[5]
            self.rows.append((len(self.documents) - 1, self._sentence, start, start + length, *tags))
            start += length

    def build(self) -> AnnotatedDocuments:
        words = pd.DataFrame(self.rows, columns=list(WORD_COLUMNS))
        return AnnotatedDocuments(tuple("".join(parts) for parts in self.documents), words)
