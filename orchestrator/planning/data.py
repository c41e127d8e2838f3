"""Names of data -> corpora, benchmarks and explicit neuron sets.

Owns what of a study its data depends on: the folders of its file, and the preset. Everything read carries the digest of
its content.
Raises StudyError without a place; `resolve` adds file and line.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.planning.places import Places
from orchestrator.study_file.evaluations import Evaluation
from orchestrator.study_file.located import KeyPath, Located, Problem
from orchestrator.study_file.spec import Preset
from studies.benchmarks.corpora import Corpus, corpus_name, load_corpus
from studies.benchmarks.options import StudySettings
from studies.benchmarks.protocol import Benchmark
from studies.errors import StudyError, one_line, why_unreadable
from studies.files import MAX_SMALL, require_ordinary
from studies.neurons.selection import NeuronSet

MAX_NEURONS = 10**8
"""Rows of a table of neurons."""
SCORING_JOINER = " "
"""Text between the rows of the corpus on which neurons are scored, as in the paper."""


def corpus(name: str, split: str, places: Places) -> Corpus:
    """The corpus on which neurons are scored: a known name, or the text of a file."""
    return load_corpus(corpus_name(name, places.path), split=split, joiner=SCORING_JOINER, root=places.data_root)


def benchmark(entry: Evaluation, places: Places, preset: Preset) -> Benchmark:
    """The benchmark of one entry under `evaluate`, with what the preset says of ties and of BOS."""
    half_ties = preset.scoring["half_ties"]
    study = StudySettings(data_root=places.data_root, path=places.path, half_ties=half_ties, bos=preset.bos)
    return entry.options.load(entry.name, study)


def shared_metrics(benchmarks: Mapping[KeyPath, Benchmark], located: Located) -> Iterator[Problem]:
    """Two benchmarks must not write one metric; {place: benchmark}.

    The tasks of an lm-eval group are known only once it is loaded.
    """
    owners: dict[str, str] = {}
    for place, loaded in benchmarks.items():
        for prefix in loaded.metric_prefixes:
            if owners.setdefault(prefix, loaded.name) != loaded.name:
                yield located.problem(place, f"the task {prefix} is already evaluated by {owners[prefix]}")


def explicit_neurons(neurons: str | dict[int, tuple[int, ...]], places: Places) -> NeuronSet:
    """The neurons that a condition lists, in the study file or in a table with the columns layer and neuron."""
    if isinstance(neurons, dict):
        return NeuronSet.of(neurons)
    path = places.path(neurons)
    readers = {".parquet": _read_parquet, ".csv": pd.read_csv}
    if path.suffix not in readers:
        raise StudyError(f"{path} must be a .parquet or .csv with the columns layer and neuron")
    require_ordinary(path, MAX_SMALL)
    try:
        table = readers[path.suffix](path)
    except StudyError:
        raise
    except Exception as error:  # pandas and pyarrow raise errors of many unrelated types
        reason = why_unreadable(error) if isinstance(error, OSError | ValueError) else one_line(error)
        raise StudyError(f"{path} cannot be read: {reason}") from None
    try:
        listed = NeuronSet.from_frame(table)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    if not listed.count:
        raise StudyError(f"{path} lists no neuron")
    return listed


def _read_parquet(path: Path) -> pd.DataFrame:
    """A table. Raises StudyError before anything is unpacked, where that would not fit into memory."""
    described = pq.read_metadata(path)
    if described.num_rows > MAX_NEURONS:
        raise StudyError(f"{path} has {described.num_rows:,} rows; at most {MAX_NEURONS:,} neurons are read")
    columns = ["layer", "neuron"]
    schema = described.schema.to_arrow_schema()
    if not all(schema.names.count(name) == 1 and pa.types.is_primitive(schema.field(name).type) for name in columns):
        first = next(pq.ParquetFile(path).iter_batches(1), None)  # enough to say what is wrong
        return schema.empty_table().to_pandas() if first is None else first.to_pandas()
    return pd.read_parquet(path, columns=columns)
