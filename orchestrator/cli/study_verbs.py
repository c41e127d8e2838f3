"""The verbs that take a study file and look up what it names: validate, plan, run, submit.

Modules are imported in the verbs that need them, so that no verb waits for imports that only others need.
"""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import streams
from orchestrator.cli.messages import say, warn
from orchestrator.cli.options import (
    SILENCE_SECONDS,
    ArtifactRoot,
    AsJson,
    DataRoot,
    Full,
    KeepVersions,
    ModelRoot,
    Silence,
    StudyFile,
    Takeover,
    TrackingUri,
    TrustStudy,
    Verify,
    WaitForNodes,
    Workdir,
)
from orchestrator.redaction import redacted
from studies.errors import printable

if TYPE_CHECKING:
    from orchestrator.study import Study


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

    opened = open_study(study, data_root, model_root, workdir, tracking_uri, artifact_root, trust_study)
    warnings = [*opened.warnings, *low_powers(opened.powers(by_store=False), opened.plan)]
    warn(warnings)
    name, num_models, num_steps = opened.spec.study, len(opened.spec.all_models), len(opened.plan.steps)
    if as_json:
        found = {"valid": True, "study": name, "models": num_models, "steps": num_steps, "warnings": warnings}
        print(json.dumps(redacted(found), indent=2))
    else:
        print(printable(f"{study}: {name} is valid: {num_models} models, {num_steps} steps"))


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
    from orchestrator.planned_steps import plan_json
    from orchestrator.terminal.console import make_console
    from orchestrator.terminal.plan import show_plan

    opened = open_study(study, data_root, model_root, workdir, tracking_uri, artifact_root, trust_study)
    warn(opened.warnings)
    planned = opened.planned(keep_versions=keep_versions)
    if refusal := opened.second_file():
        say(f"warning: `run` refuses this file: {refusal}")
    forecast = opened.forecast(planned, on, tflops)
    special, power = opened.special_tokens(), opened.powers(by_store=True)
    if as_json:
        print(json.dumps(plan_json(opened.spec.study, planned, special, forecast, power), indent=2))
    else:
        show_plan(make_console(), planned, special, forecast, power)


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
    full: Full = False,
) -> None:
    """Run the steps that are not recorded yet, then print the finding and the verdicts. Run again to resume."""
    from orchestrator.terminal.console import make_console, show_line
    from orchestrator.terminal.live import Display
    from orchestrator.terminal.result import show_result

    started = time.monotonic()
    opened = open_study(study, data_root, model_root, workdir, tracking_uri, artifact_root, trust_study)
    warn(opened.warnings)
    streams.goes_on_without(
        "nobody reads the output any more; the study goes on, and `halfwave report` shows its result"
    )
    console, progress = make_console(), opened.progress()
    show_line(console, f"{opened.spec.study}: working folder {opened.workdir}")
    try:
        with Display(console, opened.spec.study, progress, opened.measures) as display:
            result = opened.run(
                display,
                progress=progress,
                address=address,
                silence_seconds=silence,
                patience_seconds=wait_for_nodes,
                keep_versions=keep_versions,
                takeover=takeover,
                verify=verify,
            )
    except KeyboardInterrupt:
        say("interrupted; what was committed is kept, run again to resume")
        raise typer.Exit(130) from None
    tables, ui = (command(verb, study, workdir, tracking_uri) for verb in ("report", "ui"))
    show_result(console, result, time.monotonic() - started, tables=tables, ui=ui, full=full)
    if not result.complete or result.unsent:
        raise typer.Exit(1)


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
    full: Full = False,
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
        *(["--full"] if full else []),
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


def command(verb: str, study: Path, workdir: Path | None, tracking_uri: str | None) -> str:
    """What a user types to ask another verb for the record of a run with these options."""
    given = {"--workdir": workdir, "--tracking-uri": tracking_uri}
    options = [word for option, value in given.items() if value for word in (option, str(value))]
    return redacted(shlex.join(["halfwave", verb, str(study), *options]))


def open_study(
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
