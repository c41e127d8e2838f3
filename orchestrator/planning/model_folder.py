"""The folder of a model: what its small files and the headers of its weights say, and what to do where it is no model.

Owns the reading of JSON and of safetensors headers, of which nothing is taken for granted: whatever they hold, it is
what was asked for, or a StudyError of one line that names the file. Weights themselves are never read.
"""

import json
import os
import struct
from pathlib import Path
from typing import Any

from studies.errors import StudyError, one_line, why_unreadable
from studies.files import MAX_SMALL, MAX_WEIGHTS, open_ordinary, read_text

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""{dtype in a safetensors header: bytes of one number}."""

_LISTED = 4
"""Names that a message lists."""
MAX_HEADER = 100_000_000
"""Bytes of a safetensors header; the bound of the library that loads the weights."""


def require_folder(path: Path) -> None:
    """Raise StudyError where there is no such folder; its neighbours are named."""
    if os.path.isdir(path):  # `Path.is_dir` raises for a name that is too long
        return
    try:
        beside = sorted(config.parent.name for config in path.parent.glob("*/config.json"))
    except OSError:
        beside = []
    remedy = f"model folders beside it: {_names(beside)}" if beside else "name a model folder, or a hub name"
    raise StudyError(f"there is no model folder {path}; {remedy}")


def require_config(folder: Path, written: str) -> None:
    """Raise StudyError where a folder has no config.json: it may hold several models, or a GGUF file.

    written: as in the study file.
    """
    if (folder / "config.json").exists():
        return
    if inside := sorted(path.parent.name for path in folder.glob("*/config.json")):
        raise StudyError(
            f"{folder} is a folder of models ({_names(inside)}), not a model: name one of them, {written}/{inside[0]}, "
            f"or all of a training run under checkpoints: {{of: {written}, revisions: [...]}}"
        )
    if packed := sorted(path.name for path in folder.glob("*.gguf")):
        remedy = f"python -m actors.gguf {folder / packed[0]} FOLDER makes a model folder of it"
        raise StudyError(f"{folder} has no config.json but {packed[0]}; {remedy}")
    raise StudyError(f"{folder} has no config.json; a model folder holds it, tokenizer files and .safetensors weights")


def _names(names: list[str]) -> str:
    """`a, b, c, d and 5 more`."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises StudyError, naming the file, if it holds none."""
    try:
        content = json.loads(read_text(path, most=MAX_SMALL))
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {why_unreadable(error)}") from None
    except UnicodeDecodeError:
        raise StudyError(f"{path} is not JSON: it is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path} is not JSON: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path} is not a JSON object")
    return content


def num_parameters_of(path: Path) -> int:
    """Parameters of a safetensors file, from its header. Raises StudyError, naming the file, if it has none."""
    try:
        with open_ordinary(path, MAX_WEIGHTS) as stream:
            beginning = stream.read(8)
            if beginning == b"version ":  # of the text that stands in place of a file in a Git repository
                raise ValueError("it is a pointer of Git LFS; run `git lfs pull` in its repository")
            (length,) = struct.unpack("<Q", beginning)
            if length > MAX_HEADER:
                raise ValueError(f"its header has {length:,} bytes; at most {MAX_HEADER:,} are read")
            header = json.loads(stream.read(length))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        return sum((stop - start) // _BYTES.get(dtype, 1) for start, stop, dtype in map(_span, tensors))
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError, struct.error) as error:
        raise StudyError(f"{path} is not a safetensors file: {one_line(error)}") from None


def _span(tensor: Any) -> tuple[int, int, str]:
    """First byte, end and dtype of a tensor in a safetensors header. Raises a built-in error if it has another form."""
    start, stop = tensor["data_offsets"]
    if not 0 <= start <= stop:
        raise ValueError(f"data_offsets are {start} and {stop}")
    return int(start), int(stop), str(tensor["dtype"])
