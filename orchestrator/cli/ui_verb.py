"""The verb `ui`: MLflow's interface on the store of a study."""

import os
import sys
import webbrowser
from typing import Annotated

import typer

from orchestrator.cli.messages import say
from orchestrator.cli.options import TrackingUri, Workdir
from studies.errors import printable


def ui(
    study: Annotated[
        str, typer.Argument(help="A study file or the name of a recorded study; default: the whole store.")
    ] = "",
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port on the loopback; default: 5000, or the next free one.", show_default=False
        ),
    ] = None,
    workdir: Workdir = None,
    tracking_uri: TrackingUri = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = False,
) -> None:
    """Open MLflow's interface on a study's store, until Ctrl-C; of a tracking server, print the address."""
    from orchestrator.interface import serving
    from orchestrator.named_study import file_or_name, named_study

    found = named_study(*file_or_name(study), workdir=workdir, tracking_uri=tracking_uri)
    try:
        with serving(found.uri, found.name or "", port=port) as interface:
            print(printable(interface.address), flush=True)
            if not no_browser and sys.stdout.isatty() and has_screen():
                webbrowser.open(interface.address)
            if interface.process is not None:
                say("Ctrl-C ends it")
            interface.wait()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def has_screen() -> bool:
    """Whether a browser would open in a window; one that runs in the terminal would take it."""
    return sys.platform in ("darwin", "win32") or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))
