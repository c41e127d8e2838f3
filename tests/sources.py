"""What an actor loads from a model folder, for tests and benchmarks that run actors without a study."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from actors.messages.model import ModelSource
from actors.model_files import model_files, sha256
from actors.sites import architecture


def pinned(source: ModelSource) -> ModelSource:
    """The source with the digests of its files, as a study pins them."""
    files = model_files(Path(source.path), pickled=source.pickled)
    return dataclasses.replace(source, files={name: sha256(path) for name, path in files.items()})


def source_of(folder: Path, *, threads: int = 2, **fields: Any) -> ModelSource:
    """The ModelSource of a local folder; `fields` are further fields of ModelSource."""
    model = architecture(json.loads((folder / "config.json").read_text()))
    return ModelSource(
        label=folder.name,
        path=str(folder),
        family=model.family,
        num_layers=model.num_layers,
        d_mlp=model.d_mlp,
        d_model=model.d_model,
        context=model.context,
        vocabulary=model.vocabulary,
        threads=threads,
        **fields,
    )
