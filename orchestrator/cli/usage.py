"""Mistakes on the command line itself, one line each: unknown verbs and options, missing and unreadable values."""

import re
from collections.abc import Iterable
from typing import Any

from typer import BadParameter

from studies.errors import did_you_mean

UsageError: type[Exception] = BadParameter.__mro__[1]
"""Click's error of this name, which newer versions of Typer bring along under a module of their own."""


def usage_line(error: Any) -> str:
    """What is wrong, what was probably meant, and the command that lists what is allowed. error: a `UsageError`."""
    context = error.ctx
    verb = context.info_name if context and context.parent else ""
    listed = f"`{' '.join(filter(None, ('halfwave', verb, '--help')))}`"
    where = f"{verb}: " if verb else ""
    if option := getattr(error, "option_name", ""):
        return f"{where}there is no option {option}{did_you_mean(option, _options(context), listed)}"
    message = " ".join(error.format_message().split())
    if unknown := re.match(r"No such command '(.*?)'", message):
        return f"there is no verb {unknown[1]!r}{did_you_mean(unknown[1], context.command.commands, listed)}"
    return f"{where}{message[:1].lower()}{message[1:].rstrip('.')}; {listed} shows how it is called"


def _options(context: Any) -> Iterable[str]:
    """The long options of the verb."""
    parameters = context.command.params if context else ()
    return [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
