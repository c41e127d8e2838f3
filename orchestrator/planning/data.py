"""Names of data -> corpora, benchmarks and explicit neuron sets.

Owns which reader of `studies` a block of the study file asks for. Everything read carries the digest of its content.
Raises StudyError without a place; `resolve` adds file and line.
"""

from collections.abc import Sequence

import pandas as pd

from orchestrator.planning.places import Places
from orchestrator.study_file.evaluations import (
    BlimpSpec,
    EmbeddedKnowledgeSpec,
    EmbeddedPairsSpec,
    EvaluationSpec,
    LmEvalSpec,
    MultipleChoiceSpec,
    PerplexitySpec,
    SurprisalSpec,
    TseSpec,
    UserChoicesSpec,
    UserPairsSpec,
)
from orchestrator.study_file.located import Located
from studies.benchmarks import choices, minimal_pairs, multiple_choice
from studies.benchmarks.corpora import CORPORA, Corpus, load_corpus
from studies.benchmarks.lm_eval import task_benchmark
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.surprisal import UD_EWT, annotated_corpus, surprisal
from studies.errors import StudyError, one_line
from studies.neurons.selection import NeuronSet

SCORING_JOINER, PERPLEXITY_JOINER = " ", "\n\n"
"""Texts between the rows of a corpus, as in the paper."""


def corpus(name: str, split: str, joiner: str, places: Places) -> Corpus:
    """A named corpus, or the text of a file."""
    return load_corpus(_corpus_name(name, places), split=split, joiner=joiner, root=places.data_root)


def _corpus_name(name: str, places: Places) -> str:
    """A name that `studies` knows, or the path of a file."""
    return name if name in (*CORPORA, UD_EWT) else str(places.path(name))


def benchmark(entry: EvaluationSpec, places: Places, *, half_ties: bool) -> Benchmark:
    """The benchmark of one entry under `evaluate`; half_ties: whether a tie counts half (preset `strict`)."""
    root = places.data_root
    match entry:
        case PerplexitySpec():
            text = corpus(entry.corpus, entry.split, PERPLEXITY_JOINER, places)
            return PerplexityBenchmark(corpus=text, window=entry.window, num_tokens=entry.tokens)
        case BlimpSpec():
            return minimal_pairs.blimp(root, entry.per_paradigm, half_ties)
        case TseSpec():
            return minimal_pairs.tse(root, entry.per_case, half_ties, entry.templates)
        case EmbeddedPairsSpec():
            return minimal_pairs.embedded_pairs(entry.per_construction, half_ties)
        case EmbeddedKnowledgeSpec():
            return choices.embedded_knowledge()
        case MultipleChoiceSpec():
            return multiple_choice.multiple_choice(entry.kind, root, entry.items)
        case LmEvalSpec():
            include = places.path(entry.include) if entry.include else None
            options = entry.model_dump(include={"items", "fewshot", "syntactic", "trust_remote_code"})
            return task_benchmark(entry.name, entry.tasks, include=include, **options)
        case SurprisalSpec():
            split = "validation" if entry.split == "dev" else entry.split
            annotated = annotated_corpus(
                _corpus_name(entry.corpus, places),
                split=split,
                root=root,
                tagger=entry.tagger,
                documents=entry.documents,
            )
            return surprisal(annotated, name=entry.name, unit=entry.unit, window=entry.window, stride=entry.stride)
        case UserPairsSpec():
            return minimal_pairs.user_pairs(places.path(entry.path), half_ties)
        case UserChoicesSpec():
            return choices.user_choices(places.path(entry.path))


def require_distinct_tasks(benchmarks: Sequence[Benchmark], located: Located) -> None:
    """Two benchmarks must not write one metric: raises StudyError, with file and line, where a task is in two.

    The tasks of an lm-eval group are known only once it is loaded.
    """
    owners: dict[str, str] = {}
    for i, loaded in enumerate(benchmarks):
        for task in getattr(loaded, "tasks", (loaded.name,)):
            if owners.setdefault(task, loaded.name) != loaded.name:
                raise located.error(("evaluate", i), f"the task {task} is already evaluated by {owners[task]}")


def explicit_neurons(neurons: str | dict[int, tuple[int, ...]], places: Places) -> NeuronSet:
    """The neurons that a condition lists, in the study file or in a table with the columns layer and neuron."""
    if isinstance(neurons, dict):
        return NeuronSet.of(neurons)
    path = places.path(neurons)
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if path.suffix not in readers:
        raise StudyError(f"{path} must be a .parquet or .csv with the columns layer and neuron")
    try:
        table = readers[path.suffix](path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {one_line(error)}") from None
    return NeuronSet.from_frame(table)
