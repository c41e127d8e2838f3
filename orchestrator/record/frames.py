"""The results of a recorded study as tidy tables, for notebooks: `load_study`.

Reads what is committed on the current runs of a study: a superseded run, a live value or a half-written step never
shows. Writes nothing, makes no store, and needs neither the spool nor the study file. Artifacts are verified when read;
RecordError says what is missing or damaged.
"""

from typing import TYPE_CHECKING, Any

from orchestrator.record.encoding import decode_frame
from orchestrator.record.keys import Committed
from orchestrator.record.mlflow_store import CONDITION, KIND, MODEL, SUPERSEDED, RecordError, Store, locate
from studies.errors import did_you_mean

if TYPE_CHECKING:
    import pandas

RUN_COLUMNS = ("run_id", "name", "status", "model", "condition")
NUMERIC_PARAMS = ("fraction", "seed")


class StudyFrames:
    """The results of a study as tidy tables. Made by `load_study`."""

    conditions: "pandas.DataFrame"
    """One row per current condition run: run_id, name, status, model, condition, then params and committed metrics."""

    def __init__(self, store: Store, study: str, runs: list[Any]) -> None:
        import pandas

        self._store = store
        self._steps = [(run, list(store.steps(run.info.run_id, run.data.tags, study))) for run in runs]
        rows = []
        for run, steps in self._of_kind("condition"):
            tags = run.data.tags
            about = run.info.run_id, run.info.run_name, run.info.status, tags[MODEL], tags[CONDITION]
            row = dict(zip(RUN_COLUMNS, about, strict=True))
            row |= {name: value for name, value in run.data.params.items() if name not in row}
            rows.append(row | {name: value for step in steps for name, value in step.metrics.items()})
        self.conditions = pandas.DataFrame(rows, columns=None if rows else [*RUN_COLUMNS])
        for name in self.conditions.columns.intersection(NUMERIC_PARAMS):
            numeric = pandas.to_numeric(self.conditions[name], errors="coerce")
            if not (numeric.isna() & self.conditions[name].notna()).any():
                self.conditions[name] = numeric

    def items(self, benchmark: str) -> "pandas.DataFrame":
        """The items of a benchmark in all conditions, below columns `model` and `condition`."""
        return self._table(f"items/{benchmark}.parquet", self._of_kind("condition"), ("model", "condition"))

    def neurons(self, model: str) -> "pandas.DataFrame":
        """The neuron table of a model."""
        profiles = [(run, steps) for run, steps in self._of_kind("profile") if run.data.tags[MODEL] == model]
        if not profiles:
            has = sorted({run.data.tags[MODEL] for run, _ in self._of_kind("profile")})
            raise RecordError(f"no profile of model {model!r}{did_you_mean(model, has)}")
        return self._table("neurons.parquet", profiles, ("model",))

    def _of_kind(self, kind: str) -> list[tuple[Any, list[Committed]]]:
        return [(run, steps) for run, steps in self._steps if run.data.tags[KIND] == kind]

    def _table(self, path: str, runs: list[tuple[Any, list[Committed]]], labels: tuple[str, ...]) -> "pandas.DataFrame":
        import pandas

        tables = []
        for run, steps in runs:
            for step in steps:
                if path in step.artifacts:
                    table = decode_frame(self._store.read(step.run_id, path, step.artifacts[path]))
                    front = {label: run.data.tags[f"halfwave.{label}"] for label in labels}
                    tables.append(table.assign(**front)[[*labels, *(c for c in table.columns if c not in labels)]])
        if not tables:
            has = sorted({p for _, steps in runs for step in steps for p in step.artifacts})
            raise RecordError(f"no run of this study recorded {path}{did_you_mean(path, has)}")
        return pandas.concat(tables, ignore_index=True)


def load_study(tracking_uri: str, study: str) -> StudyFrames:
    """A study's committed results for a notebook; RecordError if the store has no such study.

    >>> frames = load_study("sqlite:////home/me/study/mlflow.db", "dissociation")
    >>> frames.conditions[["model", "condition", "perplexity", "blimp/accuracy"]]
    >>> frames.items("blimp").groupby(["model", "condition", "uid"]).correct.mean()
    >>> frames.neurons("SmolLM2-135M-Instruct").nlargest(10, "wasserstein_distance")
    """
    database = locate(tracking_uri)[1]
    if database is not None and not database.exists():  # MLflow would make an empty one
        raise RecordError(f"no MLflow store at {database}")
    store = Store(tracking_uri)
    if (found := store.experiment(study)) is None:
        hint = did_you_mean(study, sorted(store.experiments().values()))
        raise RecordError(f"MLflow at {store.place} has no study {study!r}{hint}")
    runs = [run for run in store.runs([found.experiment_id]) if SUPERSEDED not in run.data.tags]
    return StudyFrames(store, study, runs)
