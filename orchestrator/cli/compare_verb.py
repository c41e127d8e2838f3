"""The verb `compare`: two recorded things on the same items."""

import json
import os
from typing import Annotated

import typer

from orchestrator.cli.options import ArtifactRoot, AsJson, Workdir
from studies.errors import StudyError

THING = "STUDY, STUDY@MODEL, STUDY#2 (as invocation 2 left it) or STUDY@MODEL#2; STUDY: a file or a recorded name."
"""What A and B may be."""


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=THING, show_default=False)],
    b: Annotated[
        str | None, typer.Argument(metavar="B", help="The other thing, named in the same way.", show_default=False)
    ] = None,
    models: Annotated[
        tuple[str, str] | None,
        typer.Option("--models", metavar="M1 M2", help="In place of B: two models of A.", show_default=False),
    ] = None,
    workdir: Workdir = None,
    tracking_uri: Annotated[
        list[str] | None,
        typer.Option(
            help="MLflow tracking URI; twice where A and B have stores of their own. Default: MLFLOW_TRACKING_URI, "
            "else SQLite in the working folder.",
            show_default=False,
        ),
    ] = None,
    artifact_root: ArtifactRoot = None,
    as_json: AsJson = False,
) -> None:
    """Compare two studies, models or invocations item by item, from the record alone.

    Prints B - A for every condition and benchmark that both have, over the items that both hold, with its bootstrap
    interval, and the verdicts on the claims that both have judged. What was computed otherwise is not compared, and a
    line says why.
    """
    from orchestrator.comparison.pairs import compare as compared
    from orchestrator.comparison.sides import open_side
    from orchestrator.terminal.compare import show_comparison
    from orchestrator.terminal.console import make_console

    if (b is None) == (models is None):
        raise StudyError("compare needs A and B, or A and two of its models: compare STUDY --models M1 M2")
    names = [a, b] if b is not None else [f"{a}@{model}" for model in models or ()]
    uris = tracking_uri or [uri for uri in [os.environ.get("MLFLOW_TRACKING_URI")] if uri]  # typer would split it
    if len(uris) > len(names):
        raise StudyError(f"--tracking-uri: {len(uris)} are given; at most one for A and one for B")
    stores = (uris[0], uris[-1]) if uris else (None, None)
    sides = [
        open_side(name, workdir=workdir, tracking_uri=uri, artifact_root=artifact_root)
        for name, uri in zip(names, stores, strict=True)
    ]
    found = compared(*sides)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show_comparison(make_console(), found)
