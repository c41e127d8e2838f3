"""The command `halfwave`: says in one line where another package hides one of ours, else starts the verbs.

Our packages have ordinary names, so a folder of one of these names on PYTHONPATH, or where Python was started, may be
found in their place. This module has a name of its own; `orchestrator` looks for the packages that it imports itself.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

EXIT_CODE = 2
"""Of an error that the user can fix."""


def main() -> None:
    """Run the command."""
    own = Path(__file__).resolve().parent / "orchestrator"
    found = find_spec("orchestrator")
    places = [] if found is None else list(found.submodule_search_locations or [found.origin or ""])
    if own not in [Path(place).resolve() for place in places]:
        _leave(
            f"{(places or ['nothing'])[0]} is found in place of Halfwave's package orchestrator ({own}); rename it, or "
            "take its folder off PYTHONPATH and start Python elsewhere"
        )
    try:
        from orchestrator.cli import entry
    except ImportError as error:
        if error.name != "orchestrator":
            raise
        _leave(str(error))
    entry()


def _leave(problem: str) -> None:
    print(f"halfwave: {problem}", file=sys.stderr)
    sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
