"""Names of data -> corpora, benchmarks and explicit neuron sets, with digests of what was found."""

from pathlib import Path

import pandas as pd

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
from orchestrator.workspace import expand
from studies.benchmarks import choices, minimal_pairs, multiple_choice
from studies.benchmarks.corpora import CORPORA, Corpus, load_corpus
from studies.benchmarks.lm_eval import task_benchmark
from studies.benchmarks.perplexity import PerplexityBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.surprisal import UD_EWT, surprisal
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet


def _corpus(name: str, split: str, joiner: str, root: Path | None, folder: Path) -> Corpus:
    return load_corpus(_corpus_name(name, folder), split=split, joiner=joiner, root=root)


def _corpus_name(name: str, folder: Path) -> str:
    """A corpus that has a name, or the path of a file."""
    return name if name in (*CORPORA, UD_EWT) else str(expand(name, folder))


def _benchmark(entry: EvaluationSpec, root: Path | None, folder: Path, half_ties: bool) -> Benchmark:
    match entry:
        case PerplexitySpec():
            corpus = _corpus(entry.corpus, entry.split, "\n\n", root, folder)
            return PerplexityBenchmark(corpus=corpus, window=entry.window, num_tokens=entry.tokens)
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
            include = expand(entry.include, folder) if entry.include else None
            options = entry.model_dump(include={"items", "fewshot", "syntactic", "trust_remote_code"})
            return task_benchmark(entry.name, entry.tasks, include=include, **options)
        case SurprisalSpec():
            options = entry.model_dump(exclude={"kind", "corpus", "split"})
            split = "validation" if entry.split == "dev" else entry.split
            return surprisal(_corpus_name(entry.corpus, folder), split=split, root=root, **options)
        case UserPairsSpec():
            return minimal_pairs.user_pairs(expand(entry.path, folder), half_ties)
        case UserChoicesSpec():
            return choices.user_choices(expand(entry.path, folder))


def _require_distinct_tasks(benchmarks: tuple[Benchmark, ...], located: Located) -> None:
    """Two benchmarks must not write one metric; which tasks a group of lm-eval's holds is known only now."""
    owners: dict[str, str] = {}
    for i, benchmark in enumerate(benchmarks):
        for task in getattr(benchmark, "tasks", (benchmark.name,)):
            if owners.setdefault(task, benchmark.name) != benchmark.name:
                raise located.error(("evaluate", i), f"the task {task} is already evaluated by {owners[task]}")


def _explicit(neurons: str | dict[int, tuple[int, ...]], folder: Path) -> NeuronSet:
    if isinstance(neurons, dict):
        return NeuronSet.of(neurons)
    path = expand(neurons, folder)
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if path.suffix not in readers:
        raise StudyError(f"{path} must be a .parquet or .csv with the columns layer and neuron")
    try:
        frame = readers[path.suffix](path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    return NeuronSet.from_frame(frame)
