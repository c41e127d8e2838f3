"""The arguments and options that verbs share: their names, types and help."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.record.client.artifact_places import VARIABLE as ARTIFACT_ROOT

SILENCE_SECONDS = 1800.0
"""How long an actor may send no message, unless --silence says otherwise."""

StudyFile = Annotated[Path, typer.Argument(help="The study file (YAML), or a name of the catalog.", show_default=False)]
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
Full = Annotated[
    bool, typer.Option("--full", help="Print every table and detail at the end, as `halfwave report` does.")
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="First read every recorded artifact back, also from a tracking server; compute again what is damaged.",
    ),
]
