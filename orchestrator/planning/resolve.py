"""Names -> pinned models and data. The only resolver of names: actors load exactly what it pinned.

Owns what of a study is looked up, the place in the file that each error names, and what must fit together: conditions
and models, texts and tokenizers. `lookups` has the order, `models` and `data` do the looking up. Everything a user can
get wrong about names fails here, all of it at once, before anything is started.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actors.sites import SITES
from orchestrator.planning import data, models
from orchestrator.planning.conditions import layer_variants
from orchestrator.planning.digest_cache import DigestCache
from orchestrator.planning.lookups import LookUps
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.places import Places, places
from orchestrator.planning.text_sizes import shorter_than_a_window, surprises
from orchestrator.planning.tokenizer_files import local_marks
from orchestrator.steps import profile
from orchestrator.study_file.load import NO_FAULTS, Faults
from orchestrator.study_file.located import KeyPath, Located, Problem
from orchestrator.study_file.spec import PRESETS, ConditionSpec, StudySpec
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.measures import PERPLEXITY
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.special_tokens import SpecialTokens, special_tokens
from studies.benchmarks.texts import Documents, TextRequest, Windows
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet, explicit

CORPUS: KeyPath = ("profile", "corpus")
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

    def place(self, texts: str) -> KeyPath:
        """The place in the study file that asks for these texts, a key of `texts`."""
        names = [benchmark.name for benchmark in self.benchmarks]
        return ("evaluate", names.index(texts)) if texts in names else (PROFILE,)

    def place_error(self, texts: str, problem: str) -> StudyError:
        """A StudyError with the place in the study file that asks for these texts."""
        return self.located.error(self.place(texts), problem)

    def special_tokens(self, model: ResolvedModel) -> dict[str, SpecialTokens] | None:
        """{name: what a model's tokenizer adds to these texts}; None where its files on this machine do not say.

        Raises StudyError, with the place, where the tokenizer lacks a token that the texts need.
        """
        found = self._special_tokens(model)
        if found is None:
            return None
        added, lacking = found
        if lacking:
            raise StudyError(lacking[0].message)
        return added

    def _special_tokens(self, model: ResolvedModel) -> tuple[dict[str, SpecialTokens], list[Problem]] | None:
        """As `special_tokens`, and the texts for which the tokenizer lacks a token."""
        marks = local_marks(model)
        if marks is None:
            return None
        added, lacking = {}, []
        for name, request in self.texts.items():
            try:
                added[name] = special_tokens(request, marks, SITES[model.architecture.family].trained_with)
            except StudyError as error:
                lacking.append(self.located.problem(self.place(name), f"{model.label}: {error}"))
        return added, lacking

    @property
    def lacking_special_tokens(self) -> list[Problem]:
        """Where a model's tokenizer, as far as it is known here, lacks a token that the texts need."""
        windowed = [request for request in self.texts.values() if isinstance(request, Windows | Documents)]
        if not any(isinstance(request, Documents) or request.bos == "every_window" for request in windowed):
            return []
        found = filter(None, map(self._special_tokens, self.models))
        return [problem for _, lacking in found for problem in lacking]

    @property
    def warnings(self) -> list[str]:
        """What a user may not expect of this study, one line each with its place in the file."""
        texts = {name: (self.place(name), request) for name, request in self.texts.items()}
        return [problem.message for problem in surprises(texts, self.models, self.located)]

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
    faults: Faults = NO_FAULTS,
) -> ResolvedStudy:
    """Pin every name of a study.

    folder: relative paths of the study file start here. digests: the cache file of local weights' digests.
    data_root, model_roots: from the command line, in place of the file's own. faults: mistakes that reading the file
    has found. Raises StudyError with all mistakes of the file; asks the hub for nothing where a folder of the file, or
    a data root that it needs, is missing.
    """
    at, missing = places(spec, located, folder=folder, data_root=data_root, model_roots=model_roots)
    cache = DigestCache(digests)
    lookups = LookUps(located, faults.left_out)
    _look_up_all(spec, located, lookups, at, cache)
    unknown = [place for place in faults.left_out if place[0] in ("data", "model_root")]
    problems = [*faults.problems, *missing]
    if not missing and not unknown:
        problems += lookups.without_data_root
    if not missing and not unknown and not lookups.without_data_root:
        lookups.ask_hub()
    cache.save()
    pinned, misfits = _models(spec, located, lookups)
    benchmarks = {place: found for place, found in lookups.found.items() if place[0] == "evaluate"}
    neuron_sets = {str(place[1]): found for place, found in lookups.found.items() if place[0] == "conditions"}
    found = [*problems, *lookups.problems, *misfits, *data.shared_metrics(benchmarks, located)]
    found += _misfits(spec, located, pinned, neuron_sets)
    located.refuse(found)
    study = ResolvedStudy(
        spec=spec,
        located=located,
        models=tuple(pinned),
        corpus=lookups.found[CORPUS],
        benchmarks=tuple(benchmarks[place] for place in sorted(benchmarks)),
        neuron_sets=neuron_sets,
    )
    located.refuse([*study.lacking_special_tokens, *_too_short(study)])
    return study


def _look_up_all(spec: StudySpec, located: Located, lookups: LookUps, at: Places, cache: DigestCache) -> None:
    """Add every look-up of a study."""
    for name, condition in spec.conditions.items():
        if condition.neurons is not None:
            lookups.add(("conditions", name, "neurons"), data.explicit_neurons, condition.neurons, at)
    lookups.add(CORPUS, data.corpus, spec.profile.corpus, spec.profile.split, at)
    for i, entry in enumerate(spec.evaluate):
        lookups.add(("evaluate", i), data.benchmark, entry, at, PRESETS[spec.preset])
    for i, model in enumerate(spec.models):
        lookups.add(("models", i), models.pin, model, at, cache)
    for i, series in enumerate(spec.checkpoints):
        for j, model in enumerate(series.models):
            lookups.add((*_series_place(i, located), "revisions", j), models.pin, model, at, cache)


def _series_place(i: int, located: Located) -> KeyPath:
    """A single series need not be in a list."""
    return ("checkpoints", i) if isinstance(located.data["checkpoints"], list) else ("checkpoints",)


def _models(spec: StudySpec, located: Located, lookups: LookUps) -> tuple[list[ResolvedModel], list[Problem]]:
    """The models that were found, of whole series alone; and the checkpoints that are of another model."""
    pinned = [lookups.found[("models", i)] for i in range(len(spec.models)) if ("models", i) in lookups.found]
    problems = []
    for i, series in enumerate(spec.checkpoints):
        places = [(*_series_place(i, located), "revisions", j) for j in range(len(series.revisions))]
        found = {place: lookups.found[place] for place in places if place in lookups.found}
        for place, model in found.items():
            if difference := models.other_architecture(model, next(iter(found.values()))):
                name = series.revisions[int(place[-1])].name
                problem = f"{name} is not a checkpoint of the same model: {difference}"
                problems.append(located.problem(place, problem))
        if len(found) == len(places):
            pinned += models.in_series(series, [found[place] for place in places])
    return pinned, problems


def _too_short(study: ResolvedStudy) -> Iterator[Problem]:
    """Where a text has fewer tokens than one window: nothing of it could be scored."""
    for name, request in study.texts.items():
        if isinstance(request, Windows) and (problem := shorter_than_a_window(request, study.models)):
            yield study.located.problem(study.place(name), problem)


def _misfits(
    spec: StudySpec, located: Located, pinned: Sequence[ResolvedModel], neuron_sets: Mapping[str, NeuronSet]
) -> Iterator[Problem]:
    """Where a model lacks a condition's layers or neurons, or a fraction selects no neuron of a layer."""
    for name, condition in spec.conditions.items():
        checks: dict[str, Callable[[ResolvedModel], None]] = {
            "layers": functools.partial(_check_layers, condition),
            "fraction": functools.partial(_check_fractions, condition, by_rank=spec.scoring["rule"] == "rank"),
            "neurons": functools.partial(_check_neurons, condition, neuron_sets.get(name)),
        }
        for field, check in checks.items():
            for model in pinned:
                try:
                    check(model)
                except StudyError as error:
                    yield located.problem(("conditions", name, field), str(error))
                    break  # the other models would repeat it


def _check_layers(condition: ConditionSpec, model: ResolvedModel) -> None:
    try:
        layer_variants(condition, model.architecture.num_layers)
    except StudyError as error:
        raise StudyError(f"{model.label}: {error}") from None


def _check_fractions(condition: ConditionSpec, model: ResolvedModel, *, by_rank: bool) -> None:
    width = model.architecture.d_mlp
    for fraction in condition.fractions if by_rank or condition.select != "top" else ():
        if not round(fraction * width):
            least = f"a layer of {model.label} has {width}; take more than {0.5 / width:.2g}"
            raise StudyError(f"{fraction:g} selects no neuron: {least}")


def _check_neurons(condition: ConditionSpec, neurons: NeuronSet | None, model: ResolvedModel) -> None:
    if neurons is None:
        return
    try:
        explicit(neurons, _all_neurons(model.architecture.num_layers, model.architecture.d_mlp), condition.layer_list)
    except StudyError as error:
        table = f"{condition.neurons}: " if isinstance(condition.neurons, str) else ""
        raise StudyError(f"{table}{model.label}: {error}") from None


@functools.lru_cache(maxsize=4)
def _all_neurons(num_layers: int, d_mlp: int) -> pd.DataFrame:
    """A neuron table without scores."""
    layers, neurons = np.divmod(np.arange(num_layers * d_mlp), d_mlp)
    return pd.DataFrame({"layer": layers, "neuron": neurons})
