"""The command `halfwave`, and what a notebook imports: a recorded study, and the list of them.

    >>> import halfwave
    >>> halfwave.studies("my-project")
    >>> study = halfwave.load("my-project", "dissociation")

Our packages have ordinary names, so a folder of one of these names on PYTHONPATH, or where Python was started, may be
found in their place. This module has a name of its own: it says so in one line with both places, and imports nothing
of ours, nor anything heavy, before a function is called.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

    from orchestrator.record.recorded_study import RecordedStudy

__all__ = ["load", "studies"]

EXIT_CODE = 2
"""Of an error that the user can fix."""


def load(
    place: "str | os.PathLike[str]", study: str | None = None, artifact_root: str | None = None
) -> "RecordedStudy":
    """A recorded study: conditions, verdicts, items, neurons, figures (docs/notebook.md).

    place: a tracking URI, the path of an `mlflow.db`, a working folder, or a project with a `.halfwave` in it; `~` is
    expanded. study: may be left out where the store has exactly one. artifact_root: folder or bucket with the artifacts
    of a server that does not serve them itself. Raises StudyError, one line, if there is no such store or study;
    ImportError, one line, where another package hides one of ours.
    """
    _require_own()
    from orchestrator import notebook

    return notebook.load(place, study, artifact_root)


def studies(place: "str | os.PathLike[str]", artifact_root: str | None = None) -> "pandas.DataFrame":
    """The studies of a store, last run first: study, models, conditions (their numbers), last_run (UTC), and how many
    claims have which verdict. Arguments and errors: as `load`."""
    _require_own()
    from orchestrator import notebook

    return notebook.studies(place, artifact_root)


def main() -> None:
    """Run the command."""
    try:
        _require_own()
        from orchestrator.cli import entry
    except ImportError as error:
        if error.name != "orchestrator":
            raise
        print(f"halfwave: {error}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    entry()


def _require_own() -> None:
    """Raise ImportError, as `orchestrator` does of the packages that it imports, unless it is the one beside this
    module."""
    own = Path(__file__).resolve().parent / "orchestrator"
    found = find_spec("orchestrator")
    places = [] if found is None else list(found.submodule_search_locations or [found.origin or ""])
    if own not in [Path(place).resolve() for place in places]:
        raise ImportError(
            f"{(places or ['nothing'])[0]} is found in place of Halfwave's package orchestrator ({own}); rename it, or "
            "take its folder off PYTHONPATH and start Python elsewhere",
            name="orchestrator",
        )


if __name__ == "__main__":
    main()
