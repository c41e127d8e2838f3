"""Names -> immutable facts. The only resolver of names: actors load exactly what it pinned.

Owns the look-up of models (local folder, model root, hub revision -> commit SHA) and of data (through `studies`), with
digests of what was found. Everything a user can get wrong about names fails here, with file and line, before anything
is started.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.planning.conditions import layer_variants
from orchestrator.planning.data import _benchmark, _corpus, _explicit, _require_distinct_tasks
from orchestrator.planning.digest_cache import DigestCache
from orchestrator.planning.models import ResolvedModel, _model, _series
from orchestrator.study_file.located import Located
from orchestrator.study_file.spec import StudySpec
from orchestrator.workspace import expand
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.protocol import Benchmark
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStudy:
    """A study whose every name is pinned."""

    spec: StudySpec
    located: Located
    models: tuple[ResolvedModel, ...]
    corpus: Corpus
    benchmarks: tuple[Benchmark, ...]
    """In the order of `spec.evaluate`."""
    neuron_sets: dict[str, NeuronSet]
    """{condition: its explicit neurons}."""

    def facts(self) -> dict[str, Any]:
        """The resolved study as plain JSON, for the record."""
        return {
            "study": self.spec.model_dump(mode="json"),
            "models": [
                {
                    "label": model.label,
                    "path": model.path,
                    "revision": model.revision,
                    "digest": model.digest,
                    "family": model.architecture.family,
                    "layers": model.architecture.num_layers,
                    "d_mlp": model.architecture.d_mlp,
                    "parameters": model.num_parameters,
                    "note": model.note,
                    "checkpoint": model.checkpoint and model.checkpoint._asdict(),
                }
                for model in self.models
            ],
            "corpus": {"label": self.corpus.label, "source": self.corpus.source, "digest": self.corpus.digest},
            "benchmarks": [{"name": item.name, "label": item.label, "digest": item.digest} for item in self.benchmarks],
        }


def resolve(
    spec: StudySpec,
    located: Located,
    *,
    folder: Path,
    digests: Path,
    data_root: Path | None = None,
    model_roots: Sequence[Path] = (),
) -> ResolvedStudy:
    """Pin every name of a study.

    folder: relative paths of the study file start here; digests: cache file of local weights' digests;
    data_root, model_roots: as given on the command line, before the file's own. Raises StudyError with file and line.
    """
    root = data_root or (expand(spec.data.root, folder) if spec.data.root else None)
    if root is not None and not os.path.isdir(root):
        raise located.error(("data", "root"), f"there is no folder {root}")
    in_file = [expand(spec.model_root, folder)] if spec.model_root else []
    models_at = list(model_roots) or in_file
    if missing := [place for place in models_at if not os.path.isdir(place)]:
        raise located.error(("model_root",), f"there is no folder {missing[0]}")
    neuron_sets = {
        name: located.attribute(("conditions", name, "neurons"), _explicit, condition.neurons, folder)
        for name, condition in spec.conditions.items()
        if condition.neurons is not None
    }
    corpus = located.attribute(
        ("profile", "corpus"), _corpus, spec.profile.corpus, spec.profile.split, " ", root, folder
    )
    benchmarks = tuple(
        located.attribute(("evaluate", i), _benchmark, entry, root, folder, spec.scoring["half_ties"])
        for i, entry in enumerate(spec.evaluate)
    )
    _require_distinct_tasks(benchmarks, located)
    cache = DigestCache(digests)
    models = tuple(
        located.attribute(("models", i), _model, entry, models_at, folder, cache) for i, entry in enumerate(spec.models)
    )
    for i, series in enumerate(spec.checkpoints):
        models += _series(series, _series_path(located, i), located, models_at, folder, cache)
    cache.save()
    for name, condition in spec.conditions.items():
        by_rank = condition.select != "top" or spec.scoring["rule"] == "rank"
        for model in models:
            width = model.architecture.d_mlp
            try:
                layer_variants(condition, model.architecture.num_layers)
            except StudyError as error:
                raise located.error(("conditions", name, "layers"), f"{model.label}: {error}") from None
            for fraction in condition.fractions if by_rank else ():
                if not round(fraction * width):
                    least = f"a layer of {model.label} has {width}; take more than {0.5 / width:.2g}"
                    raise located.error(("conditions", name, "fraction"), f"{fraction:g} is no neuron at all: {least}")
    return ResolvedStudy(
        spec=spec,
        located=located,
        models=models,
        corpus=corpus,
        benchmarks=benchmarks,
        neuron_sets=neuron_sets,
    )


# -- data ------------------------------------------------------------------------------------------------------------


# -- models ----------------------------------------------------------------------------------------------------------


def _series_path(located: Located, i: int) -> tuple:
    """Where the i-th series stands in the file; a single one need not be in a list."""
    return ("checkpoints", i) if isinstance(located.data["checkpoints"], list) else ("checkpoints",)
