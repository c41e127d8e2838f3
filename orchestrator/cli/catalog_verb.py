"""The verb `catalog`: the study files that ship with the package."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import AsJson
from studies.errors import StudyError, printable


def catalog(
    name: Annotated[
        str | None, typer.Argument(help="Print this study file; default: list all.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Argument(help="With --copy: the file to write; default: NAME.yaml.", show_default=False)
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Write the study file into the current folder, never over another one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the study files that ship with Halfwave, print one, or copy it to be edited.

    Every verb takes their names in place of a file: `halfwave plan quickstart`. What they need: weights, a folder of
    models (`--model-root`); hub, models that are downloaded; data, a folder of evaluation data (`--data-root`).
    """
    from orchestrator.study_file import catalog as files
    from orchestrator.study_file.catalog_list import catalog_json, listed
    from orchestrator.terminal.catalog import show_catalog
    from orchestrator.terminal.console import make_console

    if copy:
        if name is None:
            raise StudyError("--copy needs the name of a study; `halfwave catalog` lists them")
        written = str(files.copy(name, file))
        print(json.dumps({"name": name, "file": written}, indent=2) if as_json else printable(f"wrote {written}"))
    elif file is not None:
        raise StudyError(f"{file}: a file to write needs --copy")
    elif name is None:
        studies = [listed(files.entry(name)) for name in files.names()]
        if as_json:
            print(json.dumps({"studies": [catalog_json(study) for study in studies]}, indent=2))
        else:
            show_catalog(make_console(), studies)
    else:
        entry = files.entry(name)
        if as_json:
            print(json.dumps({"studies": [catalog_json(listed(entry))], "text": entry.text}, indent=2))
        else:
            sys.stdout.write(entry.text)
