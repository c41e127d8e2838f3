"""A model folder -> what an actor loads, for tests and benches that run actors without a study."""

import json
from pathlib import Path

from actors.messages import ModelSource
from actors.sites import architecture


def source_of(folder: Path, *, threads: int = 2, **fields) -> ModelSource:
    """The ModelSource of a local folder; `fields` as in ModelSource."""
    facts = architecture(json.loads((folder / "config.json").read_text()))
    return ModelSource(
        label=folder.name,
        path=str(folder),
        family=facts.family,
        num_layers=facts.num_layers,
        d_mlp=facts.d_mlp,
        d_model=facts.d_model,
        context=facts.context,
        threads=threads,
        **fields,
    )
