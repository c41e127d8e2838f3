"""Control plane: when and where; turns a study file into a recorded MLflow experiment.

Importing it raises ImportError, one line, where another package hides one of ours.
"""

from importlib.util import find_spec
from pathlib import Path


def _require_own(package: str) -> None:
    """Raise ImportError unless the package of this name is the one beside this one."""
    own = Path(__file__).resolve().parent.parent / package
    found = find_spec(package)
    places = [] if found is None else list(found.submodule_search_locations or [found.origin or ""])
    if own not in [Path(place).resolve() for place in places]:
        raise ImportError(
            f"{(places or ['nothing'])[0]} is found in place of Halfwave's package {package} ({own}); rename it, or "
            "take its folder off PYTHONPATH and start Python elsewhere",
            name=__name__,
        )


_require_own("actors")
_require_own("studies")
