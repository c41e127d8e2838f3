"""The bytes of artifacts: tables as parquet and, for people, as CSV; documents as JSON or text; their sha256.

Raises ValueError for a path that MLflow would alter and for a value that JSON cannot hold. Refuses to know where the
bytes go.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.record.limits import check_path
from studies.errors import unformulated

if TYPE_CHECKING:  # pandas takes half a second to import, and only reading and writing frames needs it
    import pandas

Document: TypeAlias = Mapping[str, object] | Sequence[object] | str
"""JSON data (dicts, lists and their leaves), or a text."""


MAX_CSV = 10_000_000
"""Bytes: beyond it MLflow's page takes long to open a table, and a store would grow by more than it is worth."""


def digest(content: bytes) -> str:
    """sha256, in hex."""
    return hashlib.sha256(content).hexdigest()


def encode(
    *, frames: Mapping[str, "pandas.DataFrame"], documents: Mapping[str, Document], files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """{artifact path: bytes}: frames as parquet (the index is not kept) with a CSV of the same name beside it, which
    MLflow opens at once; documents as JSON or text by suffix. A CSV of more than `MAX_CSV` bytes is left out.

    Raises ValueError for a bad or repeated path and for content that does not fit its suffix."""
    paths = [*frames, *map(csv_path, frames), *documents, *files]
    for path in paths:
        check_path(path)
        if paths.count(path) > 1:
            raise ValueError(f"artifact path {path!r} is given twice")
    payload = {path: _parquet(path, frame) for path, frame in frames.items()}
    tables = {csv_path(path): encode_csv(frame) for path, frame in frames.items()}
    payload |= {path: content for path, content in tables.items() if len(content) <= MAX_CSV}
    payload |= {path: _text(path, document).encode() for path, document in documents.items()}
    return payload | {path: bytes(content) for path, content in files.items()}


def csv_path(path: str) -> str:
    """Where the CSV of a table lies, given its parquet file."""
    return path.removesuffix(".parquet") + ".csv"


def encode_csv(frame: "pandas.DataFrame") -> bytes:
    """A table as CSV for people and spreadsheets: nine significant digits, the index is not kept, and a text that a
    spreadsheet would take for a formula begins with an apostrophe. The parquet file has every bit."""
    texts = frame.select_dtypes(exclude=["number", "bool"])
    guarded = frame.assign(**{name: texts[name].map(unformulated) for name in texts})
    return guarded.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def encode_json(document: Document) -> str:
    """JSON as people read it: one key per line, characters as they are. ValueError for NaN and infinities."""
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)


def _parquet(path: str, frame: "pandas.DataFrame") -> bytes:
    if not path.endswith(".parquet"):
        raise ValueError(f"artifact path {path!r}: a frame is written as .parquet")
    return frame.to_parquet(index=False, engine="pyarrow")


def _text(path: str, document: Document) -> str:
    if path.endswith(".json"):
        try:
            return encode_json(document)
        except ValueError:
            raise ValueError(f"artifact path {path!r}: JSON has no NaN and no infinity; record null instead") from None
    if not isinstance(document, str):
        raise ValueError(f"artifact path {path!r}: a {type(document).__name__} is written as .json")
    return document


def decode_frame(content: bytes) -> "pandas.DataFrame":
    """The table that `encode` wrote as parquet."""
    import pandas

    return pandas.read_parquet(io.BytesIO(content), engine="pyarrow")


def decode_document(path: str, content: bytes) -> Any:
    """The document that `encode` wrote: decoded JSON, or a text, by suffix."""
    return json.loads(content) if path.endswith(".json") else content.decode()
