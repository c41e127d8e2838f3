"""The results of a recorded study as tidy tables, for notebooks: `load_study`.

Reads what is committed on the current runs of a study, so a superseded run or a half-written step never shows. Writes
nothing, creates no store, and needs neither the outbox nor the study file. Artifacts are verified when read;
RecordError says what is missing or damaged. Metrics are those that were committed; one logged line says which of them
are others in MLflow by now.
"""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.record.client.failures import DamagedArtifact, RecordError
from orchestrator.record.commits import Edit, committed_steps, edits, edits_line
from orchestrator.record.encoding import decode_frame
from orchestrator.record.keys import Committed
from orchestrator.record.local_store import locate
from orchestrator.record.mlflow_store import Store
from orchestrator.record.runs import current
from orchestrator.record.tags import slot_of
from studies.errors import did_you_mean

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

RUN_COLUMNS = ("run_id", "name", "status", "model", "condition")
NUMERIC_PARAMS = ("fraction", "seed")


class RecordedRun(NamedTuple):
    """A current run and the steps committed on it."""

    kind: str
    about: dict[str, str]
    """{column of `RUN_COLUMNS`: value}; the condition of a profile is empty."""
    params: dict[str, str]
    steps: list[Committed]


class StudyFrames:
    """The results of a study as tidy tables. Made by `load_study`."""

    conditions: "pandas.DataFrame"
    """One row per current condition run: run_id, name, status, model, condition, then params and committed metrics."""

    def __init__(self, store: Store, runs: list[RecordedRun]) -> None:
        import pandas

        self._store, self._runs = store, runs
        rows: list[dict[str, str | float]] = []
        for run in self._of_kind("condition"):
            params = {name: value for name, value in run.params.items() if name not in RUN_COLUMNS}
            metrics = {name: value for step in run.steps for name, value in step.metrics.items()}
            rows.append({**run.about, **params, **metrics})
        self.conditions = pandas.DataFrame(rows, columns=None if rows else [*RUN_COLUMNS])
        for name in self.conditions.columns.intersection(NUMERIC_PARAMS):
            numeric = pandas.to_numeric(self.conditions[name], errors="coerce")
            if not (numeric.isna() & self.conditions[name].notna()).any():
                self.conditions[name] = numeric

    def items(self, benchmark: str) -> "pandas.DataFrame":
        """The items of a benchmark in all conditions, after the columns `model` and `condition`."""
        return self._table(f"items/{benchmark}.parquet", self._of_kind("condition"), ["model", "condition"])

    def neurons(self, model: str) -> "pandas.DataFrame":
        """The neuron table of a model, after the column `model`."""
        profiles = self._of_kind("profile")
        chosen = [run for run in profiles if run.about["model"] == model]
        if not chosen:
            hint = did_you_mean(model, {run.about["model"] for run in profiles})
            raise RecordError(f"no profile of model {model!r}{hint}")
        return self._table("neurons.parquet", chosen, ["model"])

    def _read(self, step: Committed, path: str) -> bytes:
        try:
            return self._store.read(step.run_id, path, step.artifacts[path])
        except DamagedArtifact as error:
            if not self._store.is_server:
                raise
            raise DamagedArtifact(f"{error} by `run --verify`, which reads all of a server back", step) from error

    def _of_kind(self, kind: str) -> list[RecordedRun]:
        return [run for run in self._runs if run.kind == kind]

    def _table(self, path: str, runs: Iterable[RecordedRun], labels: list[str]) -> "pandas.DataFrame":
        import pandas

        tables: list[pandas.DataFrame] = []
        paths: set[str] = set()
        for run in runs:
            for step in run.steps:
                paths.update(step.artifacts)
                if path in step.artifacts:
                    table = decode_frame(self._read(step, path))
                    columns = [*labels, *(name for name in table.columns if name not in labels)]
                    tables.append(table.assign(**{label: run.about[label] for label in labels})[columns])
        if not tables:
            raise RecordError(f"no run of this study recorded {path}{did_you_mean(path, paths)}")
        return pandas.concat(tables, ignore_index=True)


def load_study(tracking_uri: str, study: str, artifact_root: str | None = None) -> StudyFrames:
    """A study's committed results for a notebook; RecordError if the store has no such study.

    artifact_root: as `--artifact-root` of the command, for a server that does not serve the artifacts itself.

    >>> frames = load_study("sqlite:////home/me/study/mlflow.db", "dissociation")
    >>> frames.conditions[["model", "condition", "perplexity", "blimp/accuracy"]]
    >>> frames.items("blimp").groupby(["model", "condition", "uid"]).correct.mean()
    >>> frames.neurons("SmolLM2-135M-Instruct").nlargest(10, "wasserstein_distance")
    """
    database = locate(tracking_uri).database
    if database is not None and not database.exists():  # MLflow would create an empty one
        raise RecordError(f"no MLflow store at {database}")
    store = Store(tracking_uri, artifact_root)
    experiment = store.experiment(study)
    if experiment is None:
        raise store.unknown_study(study)
    return StudyFrames(store, _current_runs(store, study, experiment.experiment_id))


def _current_runs(store: Store, study: str, experiment_id: str) -> list[RecordedRun]:
    runs = []
    changed: list[Edit] = []
    for run in current(store.runs([experiment_id])):
        info, tags = run.info, run.data.tags
        slot = slot_of(tags)
        about = info.run_id, info.run_name, info.status, slot.model, slot.condition
        steps = list(committed_steps(store, info.run_id, tags, study))
        changed += edits(run, steps)
        runs.append(RecordedRun(slot.kind, dict(zip(RUN_COLUMNS, about, strict=True)), dict(run.data.params), steps))
    if changed:
        log.warning(edits_line(changed, store.safe_uri, "what was recorded is used"))
    return runs
