"""Corpora: names -> one text with the digest of what was read.

Owns where a corpus comes from (the hub through `datasets`, a local folder in the layout of the README, a user's text
file, the embedded prose) and how its rows are joined, because that changes the tokens. Rows are as on the hub: each
line with its newline, white-space-only lines as the empty string.
"""

import hashlib
import io
import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from studies.errors import StudyError

HUB_WIKITEXT = ("Salesforce/wikitext", "wikitext-2-raw-v1")
SPLITS = ("train", "validation", "test")
CORPORA = ("wikitext2", "embedded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """One text, joined, and where it came from."""

    label: str
    """Shown wherever its numbers are, for example "wikitext2 validation" or "embedded train"."""
    text: str
    source: str

    @property
    def digest(self) -> str:
        """sha256 of the joined text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_corpus(name: str, *, split: str, joiner: str, root: Path | None = None) -> Corpus:
    """Load `wikitext2` or `embedded`, or a text file (any other name is a path).

    joiner: what stands between rows: " " for scoring, two newlines for perplexity (the paper's protocol).
    Raises StudyError when the data is not there.
    """
    label, rows, source = _rows(name, split, root)
    return Corpus(label=label, text=joiner.join(rows), source=source)


_TITLE = re.compile(r" = [^=\n]+ = \n?")
"""The heading of a WikiText article."""


def load_documents(name: str, *, split: str, root: Path | None = None) -> tuple[str, tuple[str, ...]]:
    """(label, documents) of a corpus: articles where it has WikiText's headings, else what blank lines part.

    Raises StudyError when the data is not there or holds no text.
    """
    label, rows, source = _rows(name, split, root)
    titled = any(map(_TITLE.fullmatch, rows))
    documents: list[list[str]] = [[]]
    for row in rows:
        if _TITLE.fullmatch(row) if titled else not row:
            documents.append([])
        documents[-1].append(row)
    found = tuple(text for text in ("".join(part).strip() for part in documents) if text)
    if not found:
        raise StudyError(f"{source} holds no text")
    return label, found


def _rows(name: str, split: str, root: Path | None) -> tuple[str, list[str], str]:
    """(label, rows as on the hub, source) of a corpus."""
    if name == "embedded":
        part = "validation" if split == "test" else split
        path = resources.files("studies") / "embedded" / "corpus" / f"{part}.txt"
        return f"embedded {part}", hub_rows(path.read_text(encoding="utf-8")), "halfwave embedded"
    if name == "wikitext2":
        rows, source = _wikitext_rows(split, root)
        return f"wikitext2 {split}", rows, source
    path = Path(name)
    if not os.path.isfile(path):  # `Path.is_file` raises for a name that is too long
        raise StudyError(f"there is no text file {name!r}; corpora by name: {', '.join(CORPORA)}")
    return path.stem, hub_rows(_read(path)), path.name


def hub_rows(text: str) -> list[str]:
    """Lines as the hub's WikiText stores them; only a newline ends a line, not every separator that Unicode has."""
    return [line if line.strip() else "" for line in io.StringIO(text)]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None


def _wikitext_rows(split: str, root: Path | None) -> tuple[list[str], str]:
    if root is None:
        from studies.benchmarks.hub import load_rows

        return [row["text"] for row in load_rows(*HUB_WIKITEXT, split=split)], "/".join(HUB_WIKITEXT)
    folder = root / "wikitext2"
    names = {"train": ("train.txt", "train_raw_head.txt")}.get(split, (f"{split}.txt",))
    for name in names:
        if (folder / name).is_file():
            return hub_rows(_read(folder / name)), f"local wikitext2/{name}"
    raise StudyError(f"{folder} holds none of {', '.join(names)}")
