"""Everything that is recorded of one study, as tables, documents and figures: `RecordedStudy`.

Reads what is committed on the study's current runs, so a superseded run or a half-written step never shows, and what
still waits in the outbox of the reader. Needs no model, no data, no hub and no study file, and writes nothing. Knows
the names under which steps record, not how a number is made. Invariants: every number is the recorded one; every
artifact is verified when it is read (DamagedArtifact, one line with its path and run); a table on several models or
conditions begins with the columns `model` and `condition`. What a study did not ask for, or an earlier version did not
record, is an empty table or a RecordError, one line that names what there is: each member says which.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.record.client.failures import DamagedArtifact, RecordError
from orchestrator.record.keys import Committed, RecordedRun
from orchestrator.record.reader import Reader
from orchestrator.record.tags import DEFINITION, REPORTED, Definition, tagged_definition
from studies.errors import did_you_mean, printable

if TYPE_CHECKING:  # pandas takes half a second to import
    import pandas

    from studies.reporting.notebook import Figure

_Content = TypeVar("_Content")

REPORT, CAPTIONS = "report.json", "captions.json"
EVALUATION, NEIGHBOUR = "evaluate.", "/neighbour"
"""What the name of an evaluation's step begins with, before that of its benchmark; what the name of the condition ends
in that scores the neighbour of a matched control, whose run has its neurons."""
NO_REPORT: Mapping[str, Sequence[Mapping[str, Any]]] = {"models": (), "series": ()}
LABELS = ("model", "condition")


class RecordedStudy:
    """What is recorded of one study, each part read when it is asked for. Made by `halfwave.load`, or of any reader.

    >>> study = halfwave.load("my-project", "dissociation")
    >>> study.conditions[["model", "condition", "perplexity", "blimp/accuracy"]]
    >>> study.verdicts[["claim", "status", "estimate", "low", "high"]]
    >>> study.items("blimp", texts=True).query("condition == 'wasserstein' and correct == 0").good
    >>> study.neurons("SmolLM2-135M-Instruct").nlargest(10, "wasserstein_distance")
    >>> study.figures["double-dissociation"]
    """

    def __init__(self, reader: Reader, name: str) -> None:
        """reader: of the store, and of an outbox where there is one; an open `Record` is one, too.

        RecordError, with the nearest name, if the record has no study of this name; Unreachable if the store does not
        answer."""
        self.name = name
        self._reader = reader
        self._recorded = reader.recorded_runs(name)
        self._own = next(iter(self._of_kind("study")), None)

    def __repr__(self) -> str:
        counts = {"model": len(self._models), "condition": len(self._of_kind("condition"))}
        said = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in counts.items())
        return printable(f"<study {self.name}: {said}; {self.uri}>")

    def _repr_html_(self) -> str:
        from studies.reporting.notebook import headline, shown

        if not self.has_report:
            return f"<h3>{shown(self.name)}</h3><p>{shown(self.why_no_report)}</p>"
        return headline(self.name, self.report)

    # -- the study as a whole ----------------------------------------------------------------------------------------

    @cached_property
    def report(self) -> dict[str, Any]:
        """The last report, with the keys that earlier versions left out.

        RecordError where there is none yet, or one of another shape."""
        from studies.reporting.records import completed

        if not self.has_report:
            raise RecordError(self.why_no_report)
        recorded = self.document("", "", REPORT)
        try:
            return completed(recorded)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            cause = f"{type(error).__name__}: {error}"
            raise RecordError(f"the recorded report cannot be shown ({cause}); run the study again") from error

    @property
    def has_report(self) -> bool:
        """Whether a report is recorded: a study that was interrupted before its first review has none."""
        return REPORT in self.documents("", "")

    @property
    def why_no_report(self) -> str:
        """What to say where there is no report; empty where there is one."""
        return "" if self.has_report else f"{self.name} has no report yet; run it first"

    @property
    def last_run(self) -> Definition | None:
        """The study file that the study was last run from, and when; None where nobody has noted it."""
        return tagged_definition(self._own.tags, DEFINITION) if self._own else None

    @property
    def last_reported(self) -> Definition | None:
        """As `last_run`, of the run that made the last report."""
        return tagged_definition(self._own.tags, REPORTED) if self._own else None

    @property
    def _known(self) -> Mapping[str, Any]:
        """The report; one of nothing where there is none."""
        return self.report if self.has_report else NO_REPORT

    @property
    def models(self) -> list[str]:
        """Labels of the models, in the order of the report."""
        return list(dict.fromkeys([*(part["label"] for part in self._known["models"]), *self._models]))

    @property
    def _models(self) -> list[str]:
        """Labels of the models that have a run of their own."""
        runs = [*self._of_kind("profile"), *self._of_kind("condition")]
        return list(dict.fromkeys(run.slot.model for run in runs))

    @cached_property
    def runs(self) -> "pandas.DataFrame":
        """The study's current runs in MLflow: kind (study, profile, condition, schedule), model, condition, run_id,
        name, status. A run that is only in the outbox has neither id nor status."""
        import pandas

        rows = [(*run.slot, run.run_id, run.name, run.status) for run in self._recorded]
        return pandas.DataFrame(rows, columns=["kind", *LABELS, "run_id", "name", "status"])

    @property
    def uri(self) -> str:
        """The tracking URI of the store, without a password."""
        return self._reader.uri

    @cached_property
    def experiment_id(self) -> str:
        """MLflow's id of the study's experiment, for links; empty where only the outbox knows the study."""
        return self._reader.experiment_id(self.name)

    @cached_property
    def definition(self) -> str:
        """The study file of the last run; empty where it is not recorded. Belongs to no step, so it is not verified."""
        return self._attachment("study.yaml")

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """What the names of the study file stood for at the last run: models, data, parameters; empty where that is not
        recorded. Belongs to no step, so it is not verified."""
        return self._attached_json("resolved.json")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The machine, packages and commit of the last run; empty where that is not recorded. As `resolved` not
        verified."""
        return self._attached_json("environment.json")

    def addresses(self) -> dict[str, str]:
        """{what: where MLflow shows it}: its runs, and its own run. Empty where only the outbox knows the study."""
        own = self._own
        return self._reader.addresses(self.experiment_id, own.run_id) if own and own.run_id else {}

    def run_addresses(self) -> dict[tuple[str, str], str]:
        """{(model, condition): where MLflow shows its run}; empty as `addresses`."""
        shown, runs = self._reader.run_address, (run for run in self._of_kind("condition") if run.run_id)
        return {(run.slot.model, run.slot.condition): shown(self.experiment_id, run.run_id) for run in runs}

    def _attached_json(self, path: str) -> dict[str, Any]:
        try:
            found = json.loads(self._attachment(path) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _attachment(self, path: str) -> str:
        return self._reader.attachment(self._own.run_id, path) if self._own else ""

    # -- conditions, claims, comparisons -----------------------------------------------------------------------------

    @cached_property
    def conditions(self) -> "pandas.DataFrame":
        """One row per condition of a model, in the order of the report: run_id, name, status, model, condition, part
        (its role), of (its name without the seed), reference (what it is a control of), fraction (the realised one),
        num_neurons, seed, the other params, every committed metric, then `delta/<benchmark>` with `_low` and `_high`:
        the paired difference to the baseline.

        A fraction is a float, seed and num_neurons are nullable integers. What no report, or one before version 9, says
        is missing, and fraction and seed are the params."""
        from studies.reporting import frames

        runs = []
        for run in self._of_kind("condition"):
            about = (run.run_id, run.name, run.status, run.slot.model, run.slot.condition)
            metrics = {name: value for step in run.steps.values() for name, value in step.metrics.items()}
            runs.append((dict(zip(frames.OF_CONDITIONS, about, strict=True)), {**run.params, **metrics}))
        return frames.conditions(runs, self._known)

    @cached_property
    def verdicts(self) -> "pandas.DataFrame":
        """One row per claim and model or series of checkpoints: model, claim, status, estimate, low, high (of the
        effect), num_items, margin, p_value, survives_holm, then the contrast with its bounds and whatever else the
        report says. Empty for a study without claims and where there is no report."""
        from studies.reporting import frames

        return frames.verdicts(self._known)

    @cached_property
    def comparisons(self) -> "pandas.DataFrame":
        """Every whole condition against the baseline, and every treated one against its matched control, by phenomenon:
        model, condition, against, benchmark, phenomenon, the difference, its interval and its tests. Empty where there
        is no report, or nothing that can be compared."""
        return _labels_first(self._table("comparisons.parquet", "study", labels=()))

    @cached_property
    def benchmarks(self) -> "pandas.DataFrame":
        """One row per benchmark: name, label, measure, is_syntactic, higher_is_better, items (what these are called),
        digest. Reports before version 9 lack the last four; without a report there are the names alone."""
        from studies.reporting import frames

        steps = dict.fromkeys(name for run in self._of_kind("condition") for name in run.steps)
        evaluated = [name.removeprefix(EVALUATION) for name in steps if name.startswith(EVALUATION)]
        return frames.benchmarks(self._known, evaluated)

    # -- items -------------------------------------------------------------------------------------------------------

    def items(self, benchmark: str, *, texts: bool = False) -> "pandas.DataFrame":
        """The results by item of a benchmark, of all conditions; with `texts`, each beside what the model was shown.

        RecordError for a benchmark that nothing was evaluated on, and for texts that are not recorded."""
        from studies.reporting import frames

        items = self._required(f"items/{benchmark}.parquet", "condition")
        return frames.with_texts(items, self.texts(benchmark)) if texts else items

    def texts(self, benchmark: str) -> "pandas.DataFrame":
        """The texts of a benchmark's items, once for all conditions: the columns that identify an item, then `good` and
        `bad` of a pair, `context`, `choices` and `gold` of a question, `text` of a document.

        RecordError where none are recorded: the windows of a perplexity have none, nor have studies of before."""
        return self._required(f"texts/{benchmark}.parquet", "study", labels=())

    def flipped(self, benchmark: str) -> "pandas.DataFrame":
        """The items whose result differs from the baseline's, of every condition but random ones, those first whose
        decision moved most: `change` is lost or gained, log-probabilities end in `_before` and `_after`.

        RecordError where none are recorded: of windows and documents, and by versions before 9 of the report."""
        import pandas

        def read(step: Committed, path: str) -> "pandas.DataFrame":
            document = self._reader.document(step, path)
            return pandas.DataFrame(document["data"], columns=document["columns"])

        return self._required(f"flipped/{benchmark}.json", "condition", read=read)

    def excess(self, benchmark: str) -> "pandas.DataFrame":
        """The surprisal that every condition adds to the baseline's on an annotated benchmark, by part of speech and
        relation: kind, name, num_items, share, surprisal, excess, low, high (nats). RecordError where there is none."""
        return self._required(f"excess/{benchmark}.parquet", "condition")

    # -- neurons -----------------------------------------------------------------------------------------------------

    def neurons(self, model: str) -> "pandas.DataFrame":
        """The neuron table of a model, after the column `model`. RecordError for a model that was not profiled."""
        profiled = {run.slot.model for run in self._of_kind("profile")}
        if model not in profiled:
            raise RecordError(f"no profile of model {model!r}{did_you_mean(model, profiled)}")
        return self._required("neurons.parquet", "profile", labels=("model",), model=model)

    def neuron_set(self, model: str, condition: str) -> "pandas.DataFrame":
        """The neurons that a condition clamps: layer, neuron. Empty for a control that could not be matched;
        RecordError for the baseline, and for a condition that there is not."""
        of_search = condition.removesuffix(NEIGHBOUR)
        path = "neuron_set.parquet" if of_search == condition else "neighbour_set.parquet"
        return self._read(self._reader.frame, self._step(model, of_search, path), path)

    # -- layers, doses, training -------------------------------------------------------------------------------------

    def layers(self) -> "pandas.DataFrame":
        """The increases over the baseline by group of layers, of every layer schedule; empty where there is none."""
        return self._table("layer_effects.parquet", "schedule")

    def doses(self) -> "pandas.DataFrame":
        """The increases over the baseline by fraction of neurons; empty where there are no doses."""
        return _labels_first(self._table("dose_response.parquet", "schedule", labels=("model",)))

    def trajectories(self) -> "pandas.DataFrame":
        """The scores of neuron sets over training, after the column `series`; a change of weights is the quantity
        `cosine_dissimilarity/<weights>`. Empty where there is no series of checkpoints."""
        import pandas

        scores, weights = map(self._of_series, ("trajectories.parquet", "weight_trajectories.parquet"))
        if len(weights):
            weights["quantity"] = "cosine_dissimilarity/" + weights["quantity"].astype(str)
        return pandas.concat([scores, weights], ignore_index=True) if len(weights) else scores

    def training_effects(self) -> "pandas.DataFrame":
        """The increases over the baseline at every checkpoint, after the column `series`; empty as `trajectories`."""
        return self._of_series("effects.parquet")

    def _of_series(self, path: str) -> "pandas.DataFrame":
        return self._table(path, "schedule", labels=("model",)).rename(columns={"model": "series"})

    # -- figures and documents ---------------------------------------------------------------------------------------

    @cached_property
    def figures(self) -> "dict[str, Figure]":
        """{name: figure}, each read when it is shown. A figure of the report has its own name, as `double-dissociation`
        has; one of a single run is called `<model>/<condition>/<name>`. Earlier versions recorded PNGs alone, without
        captions."""
        from studies.reporting.notebook import figures

        found: dict[str, Figure] = {}
        for run in self._recorded:
            prefix = "" if run.slot.kind == "study" else f"{run.slot.model}/{run.slot.condition}/"
            for step in run.steps.values():
                files = {path: partial(self._read, self._reader.content, step, path) for path in step.artifacts}
                path = next((path for path in step.artifacts if path.endswith(CAPTIONS)), None)
                captions = self._read(self._reader.document, step, path) if path else {}
                found |= figures(files, captions, prefix=prefix)
        return found

    def document(self, model: str, condition: str, path: str) -> Any:
        """A recorded document, decoded JSON or a text, of a condition's run: a receipt, the outcome of a search.

        With an empty condition it is one of the model's profile, with an empty model one of the study. RecordError,
        with the nearest name, where there is none."""
        return self._read(self._reader.document, self._step(model, condition, path), path)

    def documents(self, model: str, condition: str) -> list[str]:
        """The paths of all that is recorded on a condition's run; empty where there is no such run."""
        steps = [step for run in self._at(model, condition) for step in run.steps.values()]
        return sorted({path for step in steps for path in step.artifacts})

    # -- reading -----------------------------------------------------------------------------------------------------

    def _of_kind(self, kind: str) -> list[RecordedRun]:
        return [run for run in self._recorded if run.slot.kind == kind]

    def _at(self, model: str, condition: str) -> list[RecordedRun]:
        return [run for run in self._recorded if (run.slot.model, run.slot.condition) == (model, condition)]

    def _step(self, model: str, condition: str, path: str) -> Committed:
        """The step of a run that recorded an artifact; RecordError where none has."""
        place = f"condition {condition!r} of model {model!r}"
        if not (runs := self._at(model, condition)):
            known = [run.slot.condition for run in self._of_kind("condition") if run.slot.model == model]
            hint = did_you_mean(condition, known) if known else did_you_mean(model, self.models)
            raise RecordError(f"no {place} is recorded{hint}")
        for step in (step for run in runs for step in run.steps.values()):
            if path in step.artifacts:
                return step
        raise RecordError(f"the {place} recorded no {path}{did_you_mean(path, self.documents(model, condition))}")

    def _read(self, read: Callable[[Committed, str], _Content], step: Committed, path: str) -> _Content:
        try:
            return read(step, path)
        except DamagedArtifact as error:
            if not self._reader.is_server:
                raise
            raise DamagedArtifact(f"{error} by `run --verify`, which reads all of a server back", step) from error

    def _required(self, path: str, kind: str, **how: Any) -> "pandas.DataFrame":
        """As `_table`; RecordError where no run has recorded such a table."""
        recorded = {path for run in self._of_kind(kind) for step in run.steps.values() for path in step.artifacts}
        if path not in recorded:
            wanted, *others = (PurePosixPath(one) for one in (path, *recorded))
            hint = did_you_mean(wanted.stem, [one.stem for one in others if one.parent == wanted.parent])
            raise RecordError(f"no run of this study recorded {path}{hint}")
        return self._table(path, kind, **how)

    def _table(
        self,
        path: str,
        kind: str,
        *,
        labels: Sequence[str] = LABELS,
        read: Callable[[Committed, str], "pandas.DataFrame"] | None = None,
        model: str | None = None,
    ) -> "pandas.DataFrame":
        """The tables that the runs of a kind, of one model or of all, have recorded under a path, one below the other
        after these labels of their runs; empty where there is none."""
        import pandas

        tables: list[pandas.DataFrame] = []
        for run in self._of_kind(kind):
            for step in run.steps.values():
                if path in step.artifacts and model in (None, run.slot.model):
                    table = self._read(read or self._reader.frame, step, path)
                    columns = [*labels, *(name for name in table.columns if name not in labels)]
                    tables.append(table.assign(**{label: getattr(run.slot, label) for label in labels})[columns])
        return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=list(labels))


def _labels_first(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """The table, beginning with the columns that say of which model and condition a row is."""
    labels = [name for name in LABELS if name in table.columns]
    return table[[*labels, *table.columns.difference(labels, sort=False)]]
