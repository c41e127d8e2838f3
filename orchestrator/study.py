"""One study from file to report: the Python entry behind the command.

Owns the order: read the file, resolve its names, plan, look up what is recorded, run the rest, review. Refuses to know
how a step is run, recorded or reviewed. Invariant: Ray is imported and started only when a step is left to compute.

    >>> from orchestrator.study import Study
    >>> study = Study.open("my_study.yaml", data_root="data")
    >>> result = study.run()
    >>> result.report["models"][0]["verdicts"]
"""

import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from orchestrator.definition import definition_of, second_file
from orchestrator.execution.interrupt import Interrupt
from orchestrator.explanation.explanation import Explanation
from orchestrator.explanation.planned import explain_planned
from orchestrator.planned_steps import PlannedStep, planned_steps, survey
from orchestrator.planning.plan import Plan, build_plan
from orchestrator.planning.power import PlannedPower, earlier_spreads, powers
from orchestrator.planning.resolve import resolve
from orchestrator.progress.run_progress import RunProgress
from orchestrator.progress.snapshot import encode
from orchestrator.progress.watcher import Watcher, Watchers
from orchestrator.record.client.failures import Unreachable
from orchestrator.record.mlflow_store import Store
from orchestrator.record.outbox import Outbox
from orchestrator.record.reader import Reader
from orchestrator.record.record import Record
from orchestrator.redaction import redacted
from orchestrator.scheduling.estimates import RATES, flops
from orchestrator.scheduling.forecast import Forecast, forecast, parse_nodes
from orchestrator.scheduling.placement import Node
from orchestrator.steps.result import special_tokens_document
from orchestrator.steps.step import State
from orchestrator.study_file.catalog import found_study
from orchestrator.study_file.load import read, study_text
from orchestrator.study_file.located import Problem
from orchestrator.study_file.spec import StudySpec
from orchestrator.workspace import (
    default_workdir,
    digests_file,
    engine_versions,
    environment,
    existing_folder,
    gpu_memory,
    make_workdir,
    outbox_folder,
    store_of_study_file,
)
from studies.errors import StudyError, describe
from studies.reporting.records import measure_record

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from orchestrator.execution.runner import Runner
    from orchestrator.planning.outcome import Outcome
    from orchestrator.review.report import Review


class Result(NamedTuple):
    """The outcome of a run."""

    report: Mapping[str, Any]
    states: Mapping[str, State]
    """{step id: how it ended}."""
    reasons: Mapping[str, str]
    """{step id: why it failed, was skipped or was recomputed}."""
    unsent: int
    """Number of steps that still wait in the outbox for the tracking server."""
    why_unsent: str
    """Where they wait, and why."""
    ui_command: str
    """The shell command that starts MLflow's interface on the record."""
    ui_link: str
    """The address of the study in that interface."""
    page: str
    """Where the page lies on disk, or why there is none."""

    @property
    def computed(self) -> int:
        """Number of steps computed by this run."""
        return list(self.states.values()).count(State.DONE)

    @property
    def cached(self) -> int:
        """Number of steps found in the record."""
        return list(self.states.values()).count(State.CACHED)

    @property
    def complete(self) -> bool:
        """Whether no step, and no part of the review, failed or was skipped. What is not applicable has not failed."""
        return not self.report["unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """An opened study: its plan, and where its record is."""

    spec: StudySpec
    path: Path
    """The study file."""
    plan: Plan
    workdir: Path
    tracking_uri: str
    artifact_root: str | None
    """Below which the artifacts of a store that does not serve them may lie."""

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        data_root: str | Path | None = None,
        model_root: str | Path | Sequence[str | Path] | None = None,
        workdir: str | Path | None = None,
        tracking_uri: str | None = None,
        artifact_root: str | None = None,
        trusted: bool = False,
    ) -> "Study":
        """Read, resolve and plan a study file, or a study of the catalog by its name; nothing is started.

        data_root, model_root: folders in which data and models are looked up by name, before those of the file.
        workdir: default `.halfwave` in the file's project. tracking_uri: default that of the file, else a SQLite file
        in the working folder. artifact_root: a folder, or the URI of a folder or bucket, that may hold the artifacts of
        a store that does not serve them; default HALFWAVE_ARTIFACT_ROOT. trusted: whether the file may run code and do
        what else `study_file.trust` lists. Raises StudyError, one line, for anything that the user can fix.
        """
        path = found_study(Path(path))
        spec, located, faults = read(path, trusted=trusted)
        if spec is None:
            raise located.mistakes(faults.problems)
        workdir = make_workdir(Path(workdir).resolve() if workdir else default_workdir(path))
        model_roots = [model_root] if isinstance(model_root, str | Path) else model_root or []
        uri = tracking_uri or ""
        try:
            uri = uri or store_of_study_file(spec.tracking_uri, located, workdir)
        except StudyError as error:
            problem = Problem(located.line(("tracking_uri",)), str(error))
            faults = faults._replace(problems=[*faults.problems, problem])
        resolved = resolve(
            spec,
            located,
            folder=path.resolve().parent,
            digests=digests_file(workdir),
            data_root=None if data_root is None else existing_folder(data_root, "--data-root"),
            model_roots=[existing_folder(root, "--model-root") for root in model_roots],
            faults=faults,
        )
        return cls(
            spec=spec,
            path=path,
            plan=build_plan(resolved),
            workdir=workdir,
            tracking_uri=uri,
            artifact_root=artifact_root,
        )

    @property
    def warnings(self) -> list[str]:
        """What a user may not expect of the study, one line each with its place in the file."""
        return self.plan.study.warnings

    @property
    def measures(self) -> dict[str, dict[str, Any]]:
        """{benchmark: what it measures, as plain JSON}."""
        return {benchmark.name: measure_record(benchmark.measure) for benchmark in self.plan.study.benchmarks}

    def record(self) -> Record:
        """The study's record in its store, which is created if it is absent. Raises StudyError where nobody may
        write."""
        return Record(self.tracking_uri, outbox=outbox_folder(self.workdir), artifact_root=self.artifact_root)

    def recorded(self) -> Reader:
        """What is recorded, to be read; a store that is absent is created."""
        return Reader(Store(self.tracking_uri, self.artifact_root), Outbox(outbox_folder(self.workdir)))

    def second_file(self) -> str:
        """Why `run` refuses this file: another one with the same study was run last. Empty where it does not."""
        last = self.recorded().last_run(self.spec.study)
        return second_file(self.path, self.plan.study.located, self.spec.study, last)

    def planned(self, *, keep_versions: bool = False) -> list[PlannedStep]:
        """Every step of the plan, whether it is recorded, why not, and its estimated work.

        A recorded evaluation is not counted as cached where, by the versions installed here, it will be evaluated again
        to be compared with a step to run; with `keep_versions` none is.
        """
        return planned_steps(self.plan, self.recorded(), None if keep_versions else engine_versions())

    def explain(self, step: str, *, keep_versions: bool = False) -> Explanation:
        """What a step stands for, and why it is or is not cached; by its id, its title, or a part of either.

        Raises StudyError where no step of the plan fits, or several do."""
        record = self.recorded()
        found = survey(self.plan, record, None if keep_versions else engine_versions())
        return explain_planned(self.plan, found, record, step)

    def powers(self, *, by_store: bool) -> list[PlannedPower]:
        """The power that each claim will have, by earlier runs in the store, or by the stated defaults alone."""
        return powers(self.plan, earlier_spreads(self.recorded(), self.plan) if by_store else ())

    def special_tokens(self) -> dict[str, dict[str, Any] | None]:
        """{model: {texts: the special tokens that they get, as plain JSON}}; None where only loading the model tells.

        The texts are `profile` and the benchmarks, by name. Raises StudyError where a tokenizer lacks what they need.
        """
        documents: dict[str, dict[str, Any] | None] = {}
        for model in self.plan.study.models:
            added = self.plan.study.special_tokens(model)
            documents[model.label] = added and {name: special_tokens_document(one) for name, one in added.items()}
        return documents

    def forecast(self, planned: Sequence[PlannedStep], on: str | None = None, tflops: float | None = None) -> Forecast:
        """What the steps that are not recorded would take on a cluster such as `4x8@80`, or on this machine.

        planned: the result of `planned()`. on: NODESxGPUS or NODESxGPUS@GIB; None = this machine. tflops: 10^12
        floating-point operations a second of one GPU; None = the rates of `estimates`, by dtype. Raises StudyError for
        an `on` of any other form.
        """
        rates = RATES if tflops is None else RATES._replace(gpu=dict.fromkeys(RATES.gpu, tflops * 1e12))
        done = [entry.step.id for entry in planned if entry.cached or entry.idle]
        if on is not None:
            return forecast(self.plan, done, parse_nodes(on), rates, where=on)
        gpus = gpu_memory()
        here = Node("here", cpus=float(os.cpu_count() or 1), gpus=len(gpus), gpu_bytes=min(gpus, default=0))
        memory = psutil.virtual_memory().available
        return forecast(self.plan, done, [here], rates, where="this machine", memory=memory)

    def progress(self) -> RunProgress:
        """What follows a run that begins now, fed with what a watcher hears."""
        work = {step.id: flops(self.plan.model(step.model), step.work) for step in self.plan.steps.values()}
        return RunProgress(self.plan.steps.values(), work=work, host=platform.node())

    def run(  # noqa: PLR0913 - keywords, as the options of the verb
        self,
        watcher: Watcher | None = None,
        *,
        progress: RunProgress | None = None,
        address: str | None = None,
        silence_seconds: float = 1800.0,
        patience_seconds: float = 0.0,
        keep_versions: bool = False,
        takeover: bool = False,
        verify: bool = False,
    ) -> Result:
        """Run the steps that are not recorded, then review the whole study.

        watcher: hears of the run while it goes on. progress: how far it is, kept up to date before `watcher` hears of
        a change; None = one that nobody shows. address: of a running Ray cluster; None = a local one.
        silence_seconds: an actor that sends no message for this long counts as hanging. patience_seconds: how long to
        wait for a node with resources that no node has yet, on a growing cluster. keep_versions: evaluate nothing again
        that was computed under other versions or on other devices, and compare only what was computed alike. takeover:
        run it although another driver seems to; that one stops. verify: read every artifact back first, also from a
        server. The first Ctrl-C lets running steps finish, the second stops at once; either way the runs are closed.
        Raises KeyboardInterrupt then, and StudyError if the store or the cluster does not answer.
        """
        record, status = self._open_record(takeover, reads_back=verify), "FAILED"
        followed = progress or self.progress()
        record.follow(lambda status: encode(followed.snapshot(status)))
        with Interrupt() as interrupt:
            try:
                heard = Watchers([followed, *([watcher] if watcher else [])])
                runner = self._runner(record, heard, draining=interrupt.draining, keep_versions=keep_versions)
                with record.waiting(interrupt.draining):
                    is_complete = runner.load_finished()
                if not is_complete:
                    self._compute(runner, address, silence_seconds, patience_seconds)
                outcome = (found := runner.outcome())._replace(reasons=redacted(found.reasons))
                with record.waiting(interrupt.draining):
                    reviewed, page = self._review(outcome, record)
                status = "FAILED" if reviewed.report["unfinished"] else "FINISHED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            except Exception as error:
                followed.error = redacted(describe(error))
                raise
            finally:
                unsent = record.close(status)
        return Result(
            report=reviewed.report,
            states=outcome.states,
            reasons=outcome.reasons,
            unsent=unsent,
            why_unsent=f"in {outbox_folder(self.workdir)}: {record.why_waiting or 'MLflow refuses them'}",
            ui_command=record.ui_command(),
            ui_link=record.ui_link(),
            page=page,
        )

    def _runner(
        self, record: Record, heard: Watchers, *, draining: Callable[[], bool], keep_versions: bool
    ) -> "Runner":
        """The runner of a run; those who hear of it hear of claims as soon as they can be judged."""
        from orchestrator.execution.alike import Alike
        from orchestrator.execution.runner import Runner
        from orchestrator.review.claims.early import EarlyVerdicts

        heard.add(EarlyVerdicts(self.plan, record, lambda: runner.outcome(), tell=heard))
        runner = Runner(
            self.plan,
            record,
            watcher=heard,
            draining=draining,
            alike=Alike(self.plan, engine_versions(), keep_versions=keep_versions),
        )
        return runner

    def _review(self, outcome: "Outcome", record: Record) -> tuple["Review", str]:
        """The review, and where its page lies; where the store stays away meanwhile, a report that says so."""
        from orchestrator.review.mlflow_pages import show_pages
        from orchestrator.review.report import review, unreviewed

        record.show_progress()  # a review may take minutes, in which nothing is renewed
        try:
            reviewed = review(self.plan, outcome, record)
        except Unreachable as error:
            return unreviewed(self.plan, str(error)), "not written: there is no report"
        record.reported()
        try:
            show_pages(self.plan, outcome, record, reviewed.report)
        except Exception as error:  # of any kind: the pages hold nothing that is not recorded elsewhere
            log.warning("MLflow's pages are not up to date: %s", describe(error))
        return reviewed, self._page(record)

    def _page(self, record: Record) -> str:
        """Where the page of the last report lies; why there is none, whatever the reason: it costs nothing else."""
        from orchestrator.page.files import page_folder
        from orchestrator.page.recorded import publish_page

        try:
            return str(publish_page(record, self.spec.study, page_folder(self.workdir, self.spec.study)))
        except Exception as error:
            log.debug("an error that nobody expected", exc_info=error)
            return f"not written ({describe(error)})"

    def _compute(self, runner: "Runner", address: str | None, silence_seconds: float, patience_seconds: float) -> None:
        from orchestrator.execution.session import compute

        patience = {"silence_seconds": silence_seconds, "patience_seconds": patience_seconds}
        compute(self.plan, runner, address=address, **patience)

    def _open_record(self, takeover: bool, *, reads_back: bool = False) -> Record:
        """The record, opened with this run's definition and environment; no other driver can open it meanwhile.

        Raises StudyError where the study was last run from another file that still has its name.
        """
        if refusal := self.second_file():
            raise StudyError(refusal)
        record = self.record()
        record.reads_back = reads_back
        record.open_study(
            self.spec.study,
            definition=study_text(self.path),
            resolved=self.plan.study.document(),
            environment=environment(),
            metrics=self.plan.columns,
            source=definition_of(self.path, self.plan.study.located),
            takeover=takeover,
        )
        return record
