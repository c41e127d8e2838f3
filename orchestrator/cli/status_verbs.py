"""The verbs that say how a study or a step stands: status, explain."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.messages import warn
from orchestrator.cli.options import (
    ArtifactRoot,
    AsJson,
    DataRoot,
    KeepVersions,
    ModelRoot,
    TrackingUri,
    TrustStudy,
    Workdir,
)
from orchestrator.cli.study_verbs import open_study
from orchestrator.redaction import redacted
from studies.errors import StudyError

StudyName = Annotated[str | None, typer.Option("--study", help="Name of a recorded study, in place of a file.")]


def status(
    study: Annotated[Path | None, typer.Argument(help="A study file; default: all studies of the store.")] = None,
    name: StudyName = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a study is, what runs, what failed and what to do next, from the record alone: in another terminal,
    on another machine. Without a study: all studies of the store, one line each."""
    from orchestrator.status import status_json, statuses
    from orchestrator.terminal.console import make_console
    from orchestrator.terminal.status import show_status, show_statuses

    found = statuses(study, name, workdir=workdir, tracking_uri=tracking_uri, artifact_root=artifact_root)
    if as_json:
        print(json.dumps(redacted(status_json(found)), indent=2))
    elif study is None and name is None:
        show_statuses(make_console(), found)
    else:
        console = make_console()
        for one in found.studies:
            show_status(console, one)


def explain(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[STUDY] STEP",
            help="A study file or a name of the catalog, then a step: its id, as `plan` prints it, or its title, or a "
            "part of either. Without a study: a recorded step.",
        ),
    ],
    name: StudyName = None,
    data_root: DataRoot = None,
    model_root: ModelRoot = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    artifact_root: ArtifactRoot = None,
    trust_study: TrustStudy = False,
    keep_versions: KeepVersions = False,
    as_json: AsJson = False,
) -> None:
    """Show what a step stands for and why it is or is not cached: the parameter that changed, as the study file names
    it. Without a study file: a recorded step, from the record alone."""
    from orchestrator.explanation.explanation import explanation_json
    from orchestrator.terminal.console import make_console
    from orchestrator.terminal.explain import show_explanation

    file, step = _file_and_step(words)
    if file is None:
        from orchestrator.explanation.recorded import explain_recorded
        from orchestrator.named_study import named_study
        from orchestrator.notebook import only_study

        named = named_study(None, name, workdir=workdir, tracking_uri=tracking_uri, artifact_root=artifact_root)
        explained = explain_recorded(named.reader, named.name or only_study(named.reader), step)
    else:
        if name is not None:
            raise StudyError(f"--study: {file} names its study itself; give the file or the name")
        opened = open_study(file, data_root, model_root, workdir, tracking_uri, artifact_root, trust_study)
        warn(opened.warnings)
        explained = opened.explain(step, keep_versions=keep_versions)
    if as_json:
        print(json.dumps(redacted(explanation_json(explained)), indent=2))
    else:
        show_explanation(make_console(), explained)


def _file_and_step(words: list[str]) -> tuple[Path | None, str]:
    """The study file, if the first word names one, and the step: a title may come as several words, or hold a `/`."""
    from orchestrator.named_study import file_or_name

    file, _ = file_or_name(words[0])
    if file is None or (len(file.parts) > 1 and not file.suffix and not file.is_file()):
        return None, " ".join(words)
    if len(words) == 1:
        raise StudyError(f"STEP: which step of {file}? give its id or its title; `halfwave plan {file}` lists them")
    return file, " ".join(words[1:])
