"""The root of all errors that a user can fix, and the hint that ends many of their messages.

Every message is one line: where the problem is (in the study file), the value, what is allowed, and the fix. The
command line prints it without a traceback and exits with 2. These errors cross Ray, so each survives a pickle round
trip.
"""

import difflib
from collections.abc import Iterable


class StudyError(Exception):
    """An error that a user can fix; `str(error)` is one line."""


class InterventionError(StudyError):
    """An intervention could not be applied, or its application could not be verified.

    Never caught in order to continue: results without the intervention would pass for results with it.
    """


def did_you_mean(value: str, allowed: Iterable[str], listed: str = "") -> str:
    """The end of an error message: a suggestion for a mistyped value.

    Returns '; did you mean X?' where an allowed value is close; else '; `listed` lists them' where `listed` names a
    command or page that does; else the allowed values; else an empty text.
    """
    allowed = sorted(map(str, allowed))
    close = difflib.get_close_matches(value, allowed, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if listed:
        return f"; {listed} lists them"
    return f"; allowed: {', '.join(allowed)}" if allowed else ""
