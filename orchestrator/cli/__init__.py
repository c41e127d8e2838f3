"""The command `halfwave`: verbs, options, exit codes, logging.

Owns what a user types and what a verb prints with `--json`; the work is done by the modules that each verb imports.
Exit codes: 0 done, 1 a step failed or waits to be sent, 2 an error that the user can fix (one line, no traceback), 130
interrupted.
"""

import logging
import os
import sys
import traceback
from typing import Annotated

import typer

from orchestrator import streams
from orchestrator.cli import record_verbs, status_verbs, study_verbs
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


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug messages.")] = False,
) -> None:
    # no docstring: typer would print it in place of the app's help
    streams.log_to_stderr(logging.DEBUG if verbose else logging.WARNING)
    if context.invoked_subcommand is None:
        print(context.get_help())


for verb in (
    study_verbs.validate,
    study_verbs.plan,
    study_verbs.run,
    study_verbs.submit,
    status_verbs.status,
    status_verbs.explain,
    record_verbs.report,
    record_verbs.gc,
):
    app.command()(verb)


def entry() -> None:
    """The console entry point: turns errors into exit codes."""
    streams.prepare()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    redact_logs()
    try:
        sys.exit(app(standalone_mode=False))
    except UsageError as error:
        say(usage_line(error))
        sys.exit(2)
    except SystemExit as end:
        sys.exit(1 if not end.code and streams.is_lost() else end.code)
    except StudyError as error:
        say(str(error))
        sys.exit(2)
    except Exception:
        print(streams.plain(redacted(traceback.format_exc())), end="", file=sys.stderr)
        sys.exit(1)
