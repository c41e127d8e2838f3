"""The verbs that need the record alone, no models and no data: report, gc."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import ArtifactRoot, AsJson, TrackingUri, Workdir
from studies.errors import StudyError, printable


def report(
    study: Annotated[
        Path | None, typer.Argument(help="A study file, or a name of the catalog; default: see --study.")
    ] = None,
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
    from orchestrator.last_report import last_report
    from orchestrator.terminal.console import make_console, show_line
    from orchestrator.terminal.report import show_report

    found = last_report(study, name, workdir=workdir, tracking_uri=tracking_uri, artifact_root=artifact_root)
    if found.note:
        print(printable(f"{found.study.name}: {found.note}"), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(found.document, indent=2))
    else:
        console = make_console()
        show_report(console, found.document)
        try:
            written = str(found.write_page(page))
        except StudyError as error:  # the report was printed, and nothing is lost
            written = f"not written ({error}; name another folder with --page)"
        show_line(console, f"Read the page:    {written}")


def gc(
    study: Annotated[
        Path | None, typer.Argument(help="A study file, or a name of the catalog; default: the whole store.")
    ] = None,
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
