"""Corpora: names -> one text, with the digest of what was read.

Owns where a corpus comes from (the hub, a local folder in the layout of docs/data.md, a user's text file, the embedded
prose) and how its rows are joined, because that changes the tokens. Rows are as on the hub: each line with its newline,
white-space-only lines as the empty string.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from studies.benchmarks.rows import TEXT_ENCODING
from studies.errors import StudyError, why_unreadable
from studies.files import read_text, require_ordinary

HUB_WIKITEXT = ("Salesforce/wikitext", "wikitext-2-raw-v1")
CORPORA = ("wikitext2", "embedded")
UD_EWT = "ud_ewt"
"""A corpus with words of its own, which `studies.benchmarks.surprisal` reads."""
_HEADING = re.compile(r" = [^=\n]+ = \n?")
"""The heading of a WikiText article."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """One text, joined, and where it came from."""

    label: str
    """Displayed beside its numbers, for example "wikitext2 validation" or "embedded train"."""
    text: str
    source: str
    """Provenance: data set on the hub, or local file."""

    @property
    def digest(self) -> str:
        """sha256 of the joined text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class _Rows(NamedTuple):
    label: str
    rows: list[str]
    """As on the hub."""
    source: str


def corpus_name(written: str, path: Callable[[str], Path]) -> str:
    """What a study file calls a corpus: a known name stays, anything else is a file, which `path` finds."""
    return written if written in (*CORPORA, UD_EWT) else str(path(written))


def load_corpus(name: str, *, split: str, joiner: str, root: Path | None = None) -> Corpus:
    """Load `wikitext2` or `embedded`, or a text file (any other name is a path).

    joiner: the text between rows: " " for scoring, two newlines for perplexity (the paper's protocol).
    Raises StudyError if the data is missing or holds no text.
    """
    label, rows, source = _load(name, split, root)
    if not any(rows):
        raise StudyError(f"{source} holds no text")
    return Corpus(label=label, text=joiner.join(rows), source=source)


def load_documents(name: str, *, split: str, root: Path | None = None) -> tuple[str, tuple[str, ...]]:
    """(label, documents) of a corpus: its articles where it has WikiText's headings, else its paragraphs.

    Blank lines separate paragraphs. Raises StudyError if the data is missing or holds no text.
    """
    label, rows, source = _load(name, split, root)
    has_headings = any(map(_HEADING.fullmatch, rows))
    parts: list[list[str]] = [[]]
    for row in rows:
        if _HEADING.fullmatch(row) if has_headings else not row:
            parts.append([])
        parts[-1].append(row)
    documents = tuple(text for text in ("".join(part).strip() for part in parts) if text)
    if not documents:
        raise StudyError(f"{source} holds no text")
    return label, documents


def hub_rows(text: str) -> list[str]:
    """Lines as the hub's WikiText stores them; only a newline ends a line, not every separator that Unicode has."""
    return [line if line.strip() else "" for line in io.StringIO(text)]


def _load(name: str, split: str, root: Path | None) -> _Rows:
    if name == "embedded":
        part = "validation" if split == "test" else split
        resource = resources.files("studies") / "embedded" / "corpus" / f"{part}.txt"
        return _Rows(f"embedded {part}", hub_rows(resource.read_text(encoding="utf-8")), "halfwave embedded")
    if name == "wikitext2":
        return _wikitext(split, root)
    path = Path(name)
    require_ordinary(path)
    if not os.path.isfile(path):  # `Path.is_file` raises for a name that is too long
        raise StudyError(f"there is no text file {name!r}; corpora by name: {', '.join(CORPORA)}")
    return _Rows(path.stem, hub_rows(_read(path)), path.name)


def _wikitext(split: str, root: Path | None) -> _Rows:
    label = f"wikitext2 {split}"
    if root is None:
        from studies.benchmarks.hub import load_rows

        return _Rows(label, [row["text"] for row in load_rows(*HUB_WIKITEXT, split=split)], "/".join(HUB_WIKITEXT))
    folder = root / "wikitext2"
    names = {"train": ("train.txt", "train_raw_head.txt")}.get(split, (f"{split}.txt",))
    for name in names:
        if (folder / name).exists():
            return _Rows(label, hub_rows(_read(folder / name)), f"local wikitext2/{name}")
    raise StudyError(f"{folder} holds none of {', '.join(names)}")


def _read(path: Path) -> str:
    try:
        return read_text(path, TEXT_ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {why_unreadable(error)}") from None
