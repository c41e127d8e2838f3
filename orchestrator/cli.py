"""The command `halfwave`: verbs, options, exit codes, logging.

Owns what a user types and what a verb prints with `--json`; the work is done by `study`, `garbage` and `jobs.submit`.
Exit codes: 0 done, 1 a step failed or waits to be sent, 2 an error that the user can fix (one line, no traceback), 130
interrupted.
Modules are imported in the verbs that need them, so that no verb waits for imports that only others need.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import streams
from orchestrator.record.client.artifact_places import VARIABLE as ARTIFACT_ROOT
from orchestrator.redaction import redact_logs, redacted
from studies.errors import StudyError, printable

if TYPE_CHECKING:
    from orchestrator.study import Study

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Causal, neuron-level studies of language models: plan, run and review.",
)

StudyFile = Annotated[Path, typer.Argument(help="The study file (YAML).", show_default=False)]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with evaluation data, in place of the file's own and of the hub.")
]
ModelRoot = Annotated[
    list[Path] | None, typer.Option(help="Folder in which models are looked up by name, before the hub; repeatable.")
]
Workdir = Annotated[Path | None, typer.Option(help="Working folder; default: .halfwave in the study file's project.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: SQLite in the working folder."),
]
ArtifactRoot = Annotated[
    str | None,
    typer.Option(
        envvar=ARTIFACT_ROOT, help="Folder or bucket (URI) for artifacts that the tracking server does not serve."
    ),
]
TrustStudy = Annotated[
    bool,
    typer.Option(
        "--trust-study",
        help="Let the study file run code: Python of its models and tasks, and any option of the engine.",
    ),
]
SILENCE_SECONDS = 1800.0
WaitForNodes = Annotated[
    float,
    typer.Option(min=0, help="Seconds to wait for a node with resources that no node has yet, on a growing cluster."),
]
Silence = Annotated[
    float, typer.Option(min=1, help="Seconds without a message after which an actor counts as hanging.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
KeepVersions = Annotated[
    bool,
    typer.Option(
        "--keep-versions",
        help="Evaluate nothing again after an upgrade; compare only results of the same versions, and list the others.",
    ),
]
Takeover = Annotated[
    bool, typer.Option("--takeover", help="Run although another driver seems to run the study; that one stops.")
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="First read every recorded artifact back, also from a tracking server; compute again what is damaged.",
    ),
]


@app.callback()
def main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug messages.")] = False) -> None:
    # no docstring: typer would print it in place of the app's help
    streams.log_to_stderr(logging.DEBUG if verbose else logging.WARNING)


@app.command()
def validate(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    trust_study: TrustStudy = False,
    as_json: AsJson = False,
) -> None:
    """Check a study file and everything it names, without starting anything; warn of claims with too little data."""
    from orchestrator.planning.power import low_powers

    try:
        opened = _open(study, data_root, model_root, workdir, tracking_uri, artifact_root, trust_study)
    except StudyError as error:
        if as_json:
            print(json.dumps({"valid": False, "mistakes": redacted(str(error)).split("\n")}, indent=2))
        raise
    warnings = [*opened.warnings, *low_powers(opened.powers(by_store=False), opened.plan)]
    _warn(warnings)
    name, num_models, num_steps = opened.spec.study, len(opened.spec.all_models), len(opened.plan.steps)
    if as_json:
        found = {"valid": True, "study": name, "models": num_models, "steps": num_steps, "warnings": warnings}
        print(json.dumps(redacted(found), indent=2))
    else:
        print(printable(f"{study}: {name} is valid: {num_models} models, {num_steps} steps"))


@app.command()
def plan(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    trust_study: TrustStudy = False,
    on: Annotated[
        str | None,
        typer.Option(help="Cluster to plan for: NODESxGPUS or NODESxGPUS@GIB, as in 4x8@80; default: this machine."),
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(min=0.001, help="TFLOP/s that one GPU reaches; default: 20 in float32, 200 in 16 bits."),
    ] = None,
    keep_versions: KeepVersions = False,
    as_json: AsJson = False,
) -> None:
    """Show every step and why it is not cached; then which special tokens the texts get, the power of each claim, which
    models fit, what runs side by side, and for how long."""
    from orchestrator import terminal
    from orchestrator.planned_steps import plan_json

    opened = _open(study, data_root, model_root, workdir, tracking_uri, artifact_root, trust_study)
    _warn(opened.warnings)
    planned = opened.planned(keep_versions=keep_versions)
    if refusal := opened.second_file():
        _say(f"warning: `run` refuses this file: {refusal}")
    forecast = opened.forecast(planned, on, tflops)
    special, power = opened.special_tokens(), opened.powers(by_store=True)
    if as_json:
        print(json.dumps(plan_json(opened.spec.study, planned, special, forecast, power), indent=2))
    else:
        terminal.show_plan(terminal.make_console(), planned, special, forecast, power)


@app.command()
def run(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    trust_study: TrustStudy = False,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="HOST:PORT of a running Ray cluster, or auto; default: a local one."),
    ] = None,
    wait_for_nodes: WaitForNodes = 0.0,
    silence: Silence = SILENCE_SECONDS,
    keep_versions: KeepVersions = False,
    takeover: Takeover = False,
    verify: Verify = False,
) -> None:
    """Run the steps that are not recorded yet, then print tables and verdicts. Run again to resume."""
    from orchestrator import terminal
    from orchestrator.live_display import Display

    started = time.monotonic()
    opened = _open(study, data_root, model_root, workdir, tracking_uri, artifact_root, trust_study)
    _warn(opened.warnings)
    streams.goes_on_without(
        "nobody reads the output any more; the study goes on, and `halfwave report` shows its result"
    )
    console = terminal.make_console()
    terminal.show_line(console, f"{opened.spec.study}: working folder {opened.workdir}")
    try:
        with Display(console, opened.plan.steps.values()) as display:
            result = opened.run(
                listener=display.transition,
                on_progress=display.progress,
                address=address,
                silence_seconds=silence,
                patience_seconds=wait_for_nodes,
                keep_versions=keep_versions,
                takeover=takeover,
                verify=verify,
            )
    except KeyboardInterrupt:
        print("halfwave: interrupted; what was committed is kept, run again to resume", file=sys.stderr)
        raise typer.Exit(130) from None
    terminal.show_result(console, result, time.monotonic() - started)
    if not result.complete or result.unsent:
        raise typer.Exit(1)


@app.command()
def submit(
    study: StudyFile,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    trust_study: TrustStudy = False,
    address: Annotated[str, typer.Option(help="The cluster's dashboard.")] = "http://127.0.0.1:8265",
    env: Annotated[
        list[str] | None,
        typer.Option(help="Name of an environment variable to pass to the job with its value; repeatable."),
    ] = None,
    wait_for_nodes: WaitForNodes = 0.0,
    silence: Silence = SILENCE_SECONDS,
    keep_versions: KeepVersions = False,
    takeover: Takeover = False,
    verify: Verify = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the submission id and return.")] = False,
) -> None:
    """Run a study as a job on a Ray cluster, follow its log, and exit with its exit code.

    The project that holds the study file is uploaded, at most 100 MiB, without what git ignores and without .git,
    .venv, .models and .halfwave. A relative path is a path in the project, an absolute path is one on the cluster. Of
    this environment, the job gets the tracking URI, HF_HUB_OFFLINE and its like, and the variables that --env names.
    Ctrl-C asks the job to stop and waits until it has closed its runs.
    """
    from orchestrator.jobs.follow import follow
    from orchestrator.jobs.submit import RunOptions
    from orchestrator.jobs.submit import submit as send

    options = [
        *(["--artifact-root", artifact_root] if artifact_root else []),
        *(["--wait-for-nodes", f"{wait_for_nodes:g}"] if wait_for_nodes else []),
        *(["--silence", f"{silence:g}"] if silence != SILENCE_SECONDS else []),
        *(["--keep-versions"] if keep_versions else []),
        *(["--takeover"] if takeover else []),
        *(["--verify"] if verify else []),
    ]
    job = send(
        study,
        RunOptions(data_root, model_root or (), workdir, options, trusted=trust_study),
        address=address,
        tracking_uri=tracking_uri,
        variables=env or (),
    )
    if no_wait:
        print(printable(job.id))
    else:
        raise typer.Exit(follow(job))


@app.command()
def report(
    study: Annotated[Path | None, typer.Argument(help="A study file; default: see --study.")] = None,
    name: Annotated[
        str | None, typer.Option("--study", help="Name of a recorded study; default: the only one of the store.")
    ] = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    page: Annotated[
        Path | None, typer.Option(help="Folder of the page; default: reports/STUDY in the working folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the last recorded report of a study and write its page, from the record alone: models and data are not
    needed."""
    from orchestrator import terminal
    from orchestrator.last_report import last_report

    found = last_report(study, name, workdir=workdir, tracking_uri=tracking_uri, artifact_root=artifact_root)
    if found.note:
        print(printable(f"{found.study.name}: {found.note}"), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(found.document, indent=2))
    else:
        console = terminal.make_console()
        terminal.show_report(console, found.document)
        try:
            written = str(found.write_page(page))
        except StudyError as error:  # the report was printed, and nothing is lost
            written = f"not written ({error}; name another folder with --page)"
        terminal.show_line(console, f"Read the page:    {written}")


@app.command()
def gc(
    study: Annotated[Path | None, typer.Argument(help="A study file; default: the whole store.")] = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    older_than: Annotated[
        str | None, typer.Option(help="Only runs that were superseded longer ago than this: 7d, 12h, 1d12h30m.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it for good; without this nothing changes.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete although a study seems to be running (its driver died elsewhere).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what no study needs any more (superseded runs, leftovers of dead drivers), or remove it for good."""
    from orchestrator import garbage
    from orchestrator.study_file.load import load_spec
    from orchestrator.workspace import default_store, default_workdir, store_of_study_file

    age = None if older_than is None else garbage.parse_age(older_than)
    place = workdir or default_workdir(study or Path("study.yaml"))
    name, uri = None, tracking_uri
    if study is not None:
        spec, located = load_spec(study, trusted=True)  # nothing of it is run
        name, uri = spec.study, tracking_uri or store_of_study_file(spec.tracking_uri, located, place)
    collector = garbage.GarbageCollector(uri or default_store(place), place, artifact_root)
    survey = collector.survey(study=name, older_than=age)
    if delete:
        collector.collect(survey, force=force)
    if as_json:
        print(json.dumps(garbage.survey_json(survey, removed=delete), indent=2))
    else:
        print("\n".join(map(printable, garbage.summary_lines(survey, removed=delete))))


def _open(
    study: Path,
    data_root: Path | None,
    model_root: list[Path] | None,
    workdir: Path | None,
    tracking_uri: str | None,
    artifact_root: str | None,
    trusted: bool,
) -> "Study":
    from orchestrator.study import Study

    return Study.open(
        study,
        data_root=data_root,
        model_root=model_root,
        workdir=workdir,
        tracking_uri=tracking_uri,
        artifact_root=artifact_root,
        trusted=trusted,
    )


def _warn(warnings: Iterable[str]) -> None:
    """Print what a user may not expect of a study."""
    for line in warnings:
        _say(f"warning: {line}")


def _say(text: str) -> None:
    """Print a message, each of its lines, to stderr, which holds no results."""
    for line in redacted(text).split("\n"):
        print(f"halfwave: {printable(line)}", file=sys.stderr)


def entry() -> None:
    """The console entry point: turns errors into exit codes."""
    streams.prepare()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    redact_logs()
    try:
        app()
    except SystemExit as end:
        sys.exit(1 if not end.code and streams.is_lost() else end.code)
    except StudyError as error:
        _say(str(error))
        sys.exit(2)
    except Exception:
        print(streams.plain(redacted(traceback.format_exc())), end="", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    entry()
