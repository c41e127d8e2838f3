"""The root of all errors that a user can mend, and the two shapes they take.

Every message is one clear line: where (in the study file), what was found, what is allowed, how to mend it. The
command line prints the message without a traceback and exits with 2. All of them survive a pickle round trip, because
they travel through Ray.
"""

import difflib
from collections.abc import Iterable


class StudyError(Exception):
    """Something a user can mend; `str(error)` is one line."""


class InterventionError(StudyError):
    """An intervention was asked for and was not, or not verifiably, applied. Never caught in order to go on."""


def did_you_mean(found: str, allowed: Iterable[str], listed: str = "") -> str:
    """'; did you mean X?' for a near miss, else the allowed values or what lists them, else nothing."""
    allowed = sorted(map(str, allowed))
    close = difflib.get_close_matches(found, allowed, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if listed:
        return f"; {listed} lists them"
    return f"; allowed: {', '.join(allowed)}" if allowed else ""
