"""The command `halfwave`: verbs, exit codes, logging.

Exit codes: 0 done, 1 a step failed, 2 something the user can mend (one line, no traceback), 130 interrupted.
"""

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.redaction import redact_logs, redacted
from studies.errors import StudyError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Causal, neuron-level studies of language models: plan, run and review.",
)

StudyFile = Annotated[Path, typer.Argument(help="The study file (YAML).", show_default=False)]
DataRoot = Annotated[
    Path | None, typer.Option(help="Local evaluation data, before the file's own, instead of the hub.")
]
ModelRoot = Annotated[
    list[Path] | None, typer.Option(help="Folder in which models are looked up by name before the hub; repeatable.")
]
Workdir = Annotated[Path | None, typer.Option(help="Working folder; default: .halfwave in the study file's project.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: SQLite in the working folder."),
]
SILENCE_SECONDS = 1800.0
WaitForNodes = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for a node that holds what none holds yet (a growing cluster).")
]
Silence = Annotated[
    float, typer.Option(min=1, help="Seconds without a message after which an actor counts as hanging.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback()
def main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug messages.")] = False) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr
    )
    for noisy in ("urllib3", "filelock", "httpx", "httpcore", "matplotlib", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@app.command()
def validate(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Check a study file and everything it names, without starting anything."""
    opened = _open(study, data_root, model_root, workdir, tracking_uri)
    spec = opened.spec
    print(f"{study}: {spec.study} is valid: {len(spec.all_models)} models, {len(opened.plan.steps)} steps")


@app.command()
def plan(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    on: Annotated[
        str | None,
        typer.Option(help="A cluster to plan for: NODESxGPUS or NODESxGPUS@GIB, as in 4x8@80; default: this machine."),
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(min=0.001, help="TFLOP/s that one GPU reaches; default: 20 in float32, 200 in 16 bits."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every step, cached or why not; then which models fit, what runs side by side, and the hours it takes."""
    from orchestrator import terminal as progress

    opened = _open(study, data_root, model_root, workdir, tracking_uri)
    planned = opened.planned()
    foreseen = opened.forecast(planned, on, tflops)
    if as_json:
        steps = [
            {"id": e.step.id, "step": e.step.title, "cached": e.cached, "reason": e.reason, "flops": e.flops}
            for e in planned
        ]
        models = [{**fit._asdict(), "fits": fit.fits} for fit in foreseen.models]
        whole = {**foreseen._asdict(), "models": models, "device_hours": foreseen.device_hours}
        print(json.dumps({"study": opened.spec.study, "steps": steps, "forecast": whole}, indent=2))
        return
    progress.show_plan(progress.make_console(), planned, foreseen)


@app.command()
def run(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="HOST:PORT of a running Ray cluster, or auto; default: a local one."),
    ] = None,
    wait_for_nodes: WaitForNodes = 0.0,
    silence: Silence = SILENCE_SECONDS,
) -> None:
    """Run what is not recorded yet, then print the tables and verdicts. Resumes by construction."""
    from orchestrator import terminal as progress

    started = time.monotonic()
    opened = _open(study, data_root, model_root, workdir, tracking_uri)
    console = progress.make_console()
    console.print(f"{opened.spec.study}: working folder {opened.workdir}", highlight=False, soft_wrap=True)
    try:
        with progress.Display(console, opened.plan.steps.values()) as display:
            result = opened.run(
                listener=display.transition,
                on_progress=display.progress,
                address=address,
                silence_seconds=silence,
                patience_seconds=wait_for_nodes,
            )
    except KeyboardInterrupt:
        print("halfwave: interrupted; what was committed is kept, run again to go on", file=sys.stderr)
        raise typer.Exit(130) from None
    progress.show_result(console, result, time.monotonic() - started)
    if not result.complete:
        raise typer.Exit(1)


@app.command()
def submit(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    address: Annotated[str, typer.Option(help="The cluster's dashboard.")] = "http://127.0.0.1:8265",
    env: Annotated[
        list[str] | None, typer.Option(help="Name of a variable that the job gets with its value here; repeatable.")
    ] = None,
    wait_for_nodes: WaitForNodes = 0.0,
    silence: Silence = SILENCE_SECONDS,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the submission id and leave.")] = False,
) -> None:
    """Run a study as a job on a Ray cluster, follow its log, and exit with its exit code.

    The project that holds the study file goes along, at most 100 MiB, without what git ignores and without .git,
    .venv, .models and .halfwave. A relative path names something in it, an absolute one lies on the cluster. Of this
    environment go along the tracking URI, HF_HUB_OFFLINE and its like, and what --env names. Ctrl-C asks the job to
    stop and waits until it has closed its runs.
    """
    from orchestrator.jobs.submit import INTERRUPTED
    from orchestrator.jobs.submit import submit as send

    job = send(
        study,
        address=address,
        data_root=data_root,
        model_roots=model_root or (),
        workdir=workdir,
        tracking_uri=tracking_uri,
        variables=env or (),
        options=[
            *(["--wait-for-nodes", f"{wait_for_nodes:g}"] if wait_for_nodes else []),
            *(["--silence", f"{silence:g}"] if silence != SILENCE_SECONDS else []),
        ],
    )
    if no_wait:
        print(job.id)
        return
    try:
        code = job.follow(lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(
            f"halfwave: job {job.id} is asked to stop and closes its runs; Ctrl-C again does not wait for that",
            file=sys.stderr,
        )
        with contextlib.suppress(KeyboardInterrupt):
            job.stop()
            print("halfwave: stopped; what was committed is kept, submit again to go on", file=sys.stderr)
        code = INTERRUPTED
    raise typer.Exit(code)


@app.command()
def report(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Print the last recorded report of a study."""
    from orchestrator import terminal as progress

    opened = _open(study, data_root, model_root, workdir, tracking_uri)
    record = opened.record()
    last = record.latest(opened.spec.study).get(("", "", "report"))
    if last is None:
        raise StudyError(f"{opened.spec.study} has no report yet; run it first")
    found = record.document(last, "report.json")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        progress.show_report(progress.make_console(), found)


@app.command()
def gc(
    study: Annotated[Path | None, typer.Argument(help="A study file; default: the whole store.")] = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    older_than: Annotated[str | None, typer.Option(help="Only runs superseded for longer: 7d, 12h, 1d12h30m.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is found; without it nothing changes.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Although a study counts as being run (its driver died elsewhere).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what no study needs any more (superseded runs, what dead drivers left), or remove it for good."""
    from orchestrator import garbage
    from orchestrator.study import default_workdir
    from orchestrator.study_file.load import load_spec

    age = None if older_than is None else garbage.parse_age(older_than)
    spec = load_spec(study)[0] if study else None
    place = workdir or default_workdir(study or Path("study.yaml"))
    uri = tracking_uri or (spec and spec.tracking_uri) or f"sqlite:///{place.resolve() / 'mlflow.db'}"
    collector = garbage.GarbageCollector(uri, place)
    found = collector.survey(study=spec and spec.study, older_than=age)
    if delete:
        collector.collect(found, force=force)
    if as_json:
        print(json.dumps(garbage.facts(found, removed=delete), indent=2))
    else:
        print("\n".join(garbage.summary_lines(found, removed=delete)))


def _open(study, data_root, model_root, workdir, tracking_uri):
    from orchestrator.study import Study

    return Study.open(study, data_root=data_root, model_root=model_root, workdir=workdir, tracking_uri=tracking_uri)


def entry() -> None:
    """Console entry point: turns errors into exit codes."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    redact_logs()
    try:
        app()
    except StudyError as error:
        print(f"halfwave: {redacted(str(error))}", file=sys.stderr)
        sys.exit(2)
    except Exception:
        print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    entry()
