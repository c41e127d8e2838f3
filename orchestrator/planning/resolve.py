"""Names -> pinned models and data. The only resolver of names: actors load exactly what it pinned.

Owns the order in which a study's names are looked up and the place in the file that each error names; `models` and
`data` do the looking up. Everything a user can get wrong about names fails here, before anything is started.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.sites import SITES
from orchestrator.planning import data, models
from orchestrator.planning.conditions import layer_variants
from orchestrator.planning.digest_cache import DigestCache
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.places import places
from orchestrator.planning.tokenizer_files import local_marks
from orchestrator.steps import profile
from orchestrator.study_file.located import Located
from orchestrator.study_file.spec import PRESETS, StudySpec
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.measures import PERPLEXITY
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.special_tokens import SpecialTokens, special_tokens
from studies.benchmarks.texts import Documents, TextRequest, Windows
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet

PROFILE = "profile"
"""The name of the scoring text among a study's texts; the others have the names of their benchmarks."""


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

    @property
    def perplexity(self) -> Benchmark | None:
        """The study's perplexity, the first benchmark with that measure: what matching matches and claims refer to."""
        return next((benchmark for benchmark in self.benchmarks if benchmark.measure == PERPLEXITY), None)

    def previous_checkpoint(self, model: ResolvedModel) -> ResolvedModel | None:
        """The checkpoint before this one in its series; None where there is none."""
        before = model.checkpoint.before if model.checkpoint else None
        return None if before is None else next(other for other in self.models if other.label == before)

    @property
    def texts(self) -> dict[str, TextRequest]:
        """{name: the texts that are asked of every model}: the scoring text, then those of the benchmarks."""
        scoring = profile.windows(profile.params(self.spec.profile, corpus="", dtype=""), self.corpus)
        return {PROFILE: scoring, **{benchmark.name: benchmark.request for benchmark in self.benchmarks}}

    def place_error(self, texts: str, problem: str) -> StudyError:
        """A StudyError with the place in the study file that asks for these texts, a key of `texts`."""
        names = [benchmark.name for benchmark in self.benchmarks]
        return self.located.error(("evaluate", names.index(texts)) if texts in names else (PROFILE,), problem)

    def special_tokens(self, model: ResolvedModel) -> dict[str, SpecialTokens] | None:
        """{name: what a model's tokenizer adds to these texts}; None where its files on this machine do not say.

        Raises StudyError, with the place, where the tokenizer lacks a token that the texts need.
        """
        marks = local_marks(model)
        if marks is None:
            return None
        trained_with = SITES[model.architecture.family].trained_with
        added = {}
        for name, request in self.texts.items():
            try:
                added[name] = special_tokens(request, marks, trained_with)
            except StudyError as error:
                raise self.place_error(name, f"{model.label}: {error}") from None
        return added

    def document(self) -> dict[str, Any]:
        """The resolved study as plain JSON, for the record."""
        return {
            "study": self.spec.model_dump(mode="json"),
            "models": [model.document() for model in self.models],
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

    folder: relative paths of the study file start here. digests: the cache file of local weights' digests.
    data_root, model_roots: from the command line, in place of the file's own. Raises StudyError with file and line.
    """
    at = places(spec, located, folder=folder, data_root=data_root, model_roots=model_roots)
    neuron_sets = {
        name: located.attribute(("conditions", name, "neurons"), data.explicit_neurons, condition.neurons, at)
        for name, condition in spec.conditions.items()
        if condition.neurons is not None
    }
    corpus = located.attribute(("profile", "corpus"), data.corpus, spec.profile.corpus, spec.profile.split, at)
    benchmarks = tuple(
        located.attribute(("evaluate", i), data.benchmark, entry, at, PRESETS[spec.preset])
        for i, entry in enumerate(spec.evaluate)
    )
    data.require_distinct_metrics(benchmarks, located)
    cache = DigestCache(digests)
    pinned = tuple(
        located.attribute(("models", i), models.pin, entry, at, cache) for i, entry in enumerate(spec.models)
    )
    for i, series in enumerate(spec.checkpoints):
        # A single series need not be in a list.
        path = ("checkpoints", i) if isinstance(located.data["checkpoints"], list) else ("checkpoints",)
        pinned += models.pin_series(series, path, located, at, cache)
    cache.save()
    _check_conditions(spec, located, pinned)
    study = ResolvedStudy(
        spec=spec,
        located=located,
        models=pinned,
        corpus=corpus,
        benchmarks=benchmarks,
        neuron_sets=neuron_sets,
    )
    _check_special_tokens(study)
    return study


def _check_special_tokens(study: ResolvedStudy) -> None:
    """Raise StudyError where a model's tokenizer, as far as it is known here, lacks a token that the texts need."""
    windowed = [request for request in study.texts.values() if isinstance(request, Windows | Documents)]
    if any(isinstance(request, Documents) or request.bos == "every_window" for request in windowed):
        for model in study.models:
            study.special_tokens(model)


def _check_conditions(spec: StudySpec, located: Located, pinned: Sequence[ResolvedModel]) -> None:
    """Raise StudyError where a model lacks a condition's layers, or a fraction selects no neuron of a layer."""
    for name, condition in spec.conditions.items():
        by_rank = condition.select != "top" or spec.scoring["rule"] == "rank"
        for model in pinned:
            width = model.architecture.d_mlp
            try:
                layer_variants(condition, model.architecture.num_layers)
            except StudyError as error:
                raise located.error(("conditions", name, "layers"), f"{model.label}: {error}") from None
            for fraction in condition.fractions if by_rank else ():
                if not round(fraction * width):
                    least = f"a layer of {model.label} has {width}; take more than {0.5 / width:.2g}"
                    raise located.error(("conditions", name, "fraction"), f"{fraction:g} selects no neuron: {least}")
