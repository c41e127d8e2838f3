"""The verbs that say how a study or a step stands: status, explain."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import ArtifactRoot, AsJson, TrackingUri, Workdir
from orchestrator.redaction import redacted

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
