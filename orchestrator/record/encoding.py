"""Tables and documents <-> the bytes of artifacts, and their digests."""

import hashlib
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.record.limits import _PATH, INDEX_FOLDER, check_name

if TYPE_CHECKING:  # pandas takes half a second to import, and only reading and writing frames needs it
    import pandas


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def encode(
    *, frames: Mapping[str, "pandas.DataFrame"], documents: Mapping[str, dict | list | str], files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Artifact path to bytes: frames as parquet (the index is not kept), documents as JSON or text by suffix."""
    for path in [*frames, *documents, *files]:
        check_name("artifact path", path, _PATH)
        if path.startswith(INDEX_FOLDER + "/"):
            raise ValueError(f"artifact path {path!r}: the folder {INDEX_FOLDER}/ belongs to the record")
    if len({*frames, *documents, *files}) < len(frames) + len(documents) + len(files):
        raise ValueError(f"an artifact path is given twice: {sorted([*frames, *documents, *files])}")
    payload = {path: _parquet(path, frame) for path, frame in frames.items()}
    payload |= {path: _text(path, document).encode() for path, document in documents.items()}
    return payload | {path: bytes(content) for path, content in files.items()}


def _parquet(path: str, frame: "pandas.DataFrame") -> bytes:
    if not path.endswith(".parquet"):
        raise ValueError(f"artifact path {path!r}: a frame is written as .parquet")
    return frame.to_parquet(index=False, engine="pyarrow")


def _text(path: str, document: dict | list | str) -> str:
    if path.endswith(".json"):
        return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    if not isinstance(document, str):
        raise ValueError(f"artifact path {path!r}: a {type(document).__name__} is written as .json")
    return document


def decode_frame(content: bytes) -> "pandas.DataFrame":
    import pandas

    return pandas.read_parquet(io.BytesIO(content), engine="pyarrow")


def decode_document(path: str, content: bytes) -> dict | list | str:
    return json.loads(content) if path.endswith(".json") else content.decode()
