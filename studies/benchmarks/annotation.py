"""Texts with linguistic annotation: documents, and the words in them with part of speech, relation and morphology.

Two sources: gold CoNLL-U files, whose text is rebuilt from the words and SpaceAfter, so that every word's place is
exact; and a spaCy pipeline that tags plain text. Words are spans of characters that do not overlap; knows nothing of a
model's tokens. Format: https://universaldependencies.org/format.html
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from studies.errors import StudyError, did_you_mean

WORD_COLUMNS = ("document", "sentence", "start", "end", "upos", "relation", "features")
"""Of a word table: its document, its sentence (numbered over all documents), the characters [start, end) of the
document's text, universal part of speech, dependency relation, and `Name=Value|...`. Rows stand in the text's order."""

UPOS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN"),
    *("PUNCT", "SCONJ", "SYM", "VERB", "X"),
)
"""The universal parts of speech; X is `other`, and what no word covers."""


class Annotated(NamedTuple):
    """Documents with their words."""

    documents: tuple[str, ...]
    words: pd.DataFrame
    """Columns `WORD_COLUMNS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagger:
    """An installed spaCy pipeline."""

    pipeline: str
    version: str
    """Of the pipeline and of spaCy."""

    def tag(self, documents: Sequence[str]) -> pd.DataFrame:
        """The word table of plain texts; white space is no word."""
        nlp = _spacy().load(self.pipeline)
        rows, sentence = [], 0
        for i, parsed in enumerate(nlp.pipe(documents)):
            for one in parsed.sents:
                for word in one:
                    if not word.is_space:
                        span = word.idx, word.idx + len(word)
                        rows.append((i, sentence, *span, word.pos_ or "X", word.dep_ or "_", str(word.morph) or "_"))
                sentence += 1
        return pd.DataFrame(rows, columns=list(WORD_COLUMNS))


def tagger(pipeline: str) -> Tagger:
    """Look a spaCy pipeline up. Raises StudyError where spaCy or the pipeline is not installed, or does not tag."""
    spacy = _spacy()
    if not spacy.util.is_package(pipeline):
        installed = spacy.util.get_installed_models()
        near = did_you_mean(pipeline, installed) if installed else ""
        remedy = f"install it with `python -m spacy download {pipeline}`{near}"
        raise StudyError(f"the spaCy pipeline {pipeline!r} is not installed; {remedy}")
    facts = spacy.util.get_model_meta(spacy.util.get_package_path(pipeline))
    if missing := [part for part in ("tagger", "parser") if part not in facts.get("pipeline", ())]:
        raise StudyError(f"the spaCy pipeline {pipeline!r} has no {missing[0]}; take one that tags and parses")
    return Tagger(pipeline=pipeline, version=f"{facts['version']}, spaCy {spacy.__version__}")


def _spacy():
    try:
        import spacy
    except ImportError:
        raise StudyError("a tagger needs the extra: pip install 'halfwave[tagger]'") from None
    return spacy


def read_conllu(path: Path) -> Annotated:
    """Documents and gold words of a CoNLL-U file. Raises StudyError naming the line that breaks the format.

    `# newdoc` begins a document (without any, every sentence is one), `# newpar` a line. The words of a multi-word
    token share its characters as their forms spell it; where the forms do not, the first word has them all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    builder = _Builder()
    try:
        for number, block in _sentences(text):
            builder.add(_parse(number, block), {line.split("=")[0].strip() for _, line in block if line[0] == "#"})
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
    """A stretch of text without a break in it: one word, or the words of a multi-word token."""

    form: str
    space_after: bool
    words: list[list[str]]
    """Their columns."""


def _sentences(text: str) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """(number of the first line, [(line number, line)]) of every sentence."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip():
            block.append((number, line))
        elif block:
            yield block[0][0], block
            block = []
    if block:
        yield block[0][0], block


_WORD, _RANGE, _EMPTY_NODE = (re.compile(p) for p in (r"[1-9]\d*", r"([1-9]\d*)-([1-9]\d*)", r"\d+\.[1-9]\d*"))


def _parse(first: int, block: list[tuple[int, str]]) -> list[_Surface]:
    """The surface of one sentence, with its words."""
    found: list[_Surface] = []
    words = last_of_range = 0
    for number, line in block:
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 10:
            raise _BrokenLineError(number, f"a word has 10 columns with tabs between them; found {len(columns)}")
        if "" in columns:
            raise _BrokenLineError(number, f"column {columns.index('') + 1} is empty; write _ for nothing")
        space_after = "SpaceAfter=No" not in columns[9].split("|")
        if _EMPTY_NODE.fullmatch(columns[0]):
            continue
        if match := _RANGE.fullmatch(columns[0]):
            begin, last_of_range = map(int, match.groups())
            if begin != words + 1 or last_of_range < begin:
                raise _BrokenLineError(number, f"the range {columns[0]} does not begin with word {words + 1}")
            found.append(_Surface(columns[1], space_after, []))
            continue
        if not _WORD.fullmatch(columns[0]) or int(columns[0]) != words + 1:
            raise _BrokenLineError(number, f"the word's number is {columns[0]!r}; {words + 1} comes next")
        if columns[3] not in UPOS and columns[3] != "_":
            raise _BrokenLineError(
                number, f"{columns[3]!r} is no universal part of speech{did_you_mean(columns[3], UPOS)}"
            )
        words += 1
        if words <= last_of_range:
            found[-1].words.append(columns)
        else:
            found.append(_Surface(columns[1], space_after, [columns]))
    if words < last_of_range:
        raise _BrokenLineError(block[-1][0], f"word {words + 1} of a multi-word token is missing")
    if not found:
        raise _BrokenLineError(first, "a sentence without words")
    return found


class _Builder:
    """Sentences -> documents and rows of the word table."""

    def __init__(self):
        self.documents: list[list[str]] = []
        self.rows: list[tuple] = []
        self._length, self._sentence, self._gap, self._has_documents = 0, 0, "", False

    def add(self, surface: list[_Surface], comments: set[str]) -> None:
        names = {comment.lstrip("# ").split(" ")[0] for comment in comments}
        self._has_documents |= "newdoc" in names
        if "newdoc" in names or not self._has_documents or not self.documents:
            self.documents.append([])
            self._length, self._gap = 0, ""
        elif "newpar" in names:
            self._gap = "\n"
        for one in surface:
            self._put(self._gap)
            self._words(one)
            self._put(one.form)
            self._gap = " " if one.space_after else ""
        self._sentence += 1

    def _put(self, text: str) -> None:
        self.documents[-1].append(text)
        self._length += len(text)

    def _words(self, surface: _Surface) -> None:
        forms = [columns[1] for columns in surface.words]
        exact = "".join(forms) == surface.form
        start = self._length
        for i, columns in enumerate(surface.words):
            length = len(forms[i]) if exact else len(surface.form) if i == 0 else 0
            tags = columns[3] if columns[3] != "_" else "X", columns[7], columns[5]
            self.rows.append((len(self.documents) - 1, self._sentence, start, start + length, *tags))
            start += length

    def build(self) -> Annotated:
        words = pd.DataFrame(self.rows, columns=list(WORD_COLUMNS))
        return Annotated(tuple("".join(parts) for parts in self.documents), words)


def digest(words: pd.DataFrame) -> str:
    """sha256 of a word table."""
    return hashlib.sha256(words.to_csv(index=False).encode()).hexdigest()
