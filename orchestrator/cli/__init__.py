"""The command `halfwave`: verbs, options, exit codes, logging.

Owns what a user types and what a verb prints with `--json`; the work is done by the modules that each verb imports.
Exit codes: 0 done, 1 a step failed or waits to be sent, 2 an error that the user can fix (one line, no traceback), 130
interrupted.
"""

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import streams
from orchestrator.cli import catalog_verb, compare_verb, record_verbs, status_verbs, study_verbs, ui_verb
from orchestrator.cli.answer import answering
from orchestrator.cli.messages import say
from orchestrator.cli.usage import UsageError, usage_line
from orchestrator.redaction import redact_logs, redacted
from studies.errors import StudyError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Causal, neuron-level studies of language models: plan, run and review.",
)


def show_versions(asked: bool) -> None:
    """Print what is installed, and end."""
    if asked:
        from orchestrator.workspace import version_lines

        print("\n".join(version_lines()))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug messages.")] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(
            help="Append all messages to this file, debug messages too, with their times.", show_default=False
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - typer calls `show_versions`
        bool,
        typer.Option("--version", callback=show_versions, is_eager=True, help="Show what is installed, and end."),
    ] = False,
) -> None:
    # no docstring: typer would print it in place of the app's help
    streams.log_to_stderr(logging.DEBUG if verbose else logging.WARNING)
    if log_file is not None:
        streams.log_to_file(log_file)
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command()(answering(study_verbs.validate, {"valid": False}))
for verb in (
    study_verbs.plan,
    study_verbs.run,
    study_verbs.submit,
    status_verbs.status,
    status_verbs.explain,
    record_verbs.report,
    record_verbs.gc,
    compare_verb.compare,
    ui_verb.ui,
    catalog_verb.catalog,
):
    app.command()(answering(verb))


def entry() -> None:
    """The console entry point: turns errors into exit codes."""
    streams.prepare()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    redact_logs()
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UsageError as error:
        say(usage_line(error))
        sys.exit(2)
    except SystemExit as end:
        sys.exit(1 if not end.code and streams.is_lost() else end.code)
    except StudyError as error:
        say(str(error))
        sys.exit(2)
    except Exception:
        trace = redacted(traceback.format_exc())
        print(streams.plain(trace), end="", file=sys.stderr)
        streams.said.error("%s", trace)
        sys.exit(1)
