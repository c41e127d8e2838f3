"""Data sets of the Hugging Face hub, through `datasets`.

Owns all calls to `datasets`, and turns each of its failures into a StudyError of one line that names the local
alternative. Also lets look-ups on this machine come first: while the hub is `held_back`, whatever would ask it raises
HubHeldBackError, and can be looked up again later.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from studies.errors import StudyError, first_line

_HELD_BACK = ContextVar("the hub must not be asked now", default=False)


class HubHeldBackError(Exception):
    """What is looked up would ask the hub, which is to be asked later."""


@contextmanager
def held_back() -> Iterator[None]:
    """No look-up inside asks the hub."""
    token = _HELD_BACK.set(True)
    try:
        yield
    finally:
        _HELD_BACK.reset(token)


def about_to_ask() -> None:
    """Called before the hub is asked. Raises HubHeldBackError where that is to happen later."""
    if _HELD_BACK.get():
        raise HubHeldBackError


def load_rows(path: str, name: str | None = None, *, split: str) -> list[dict[str, Any]]:
    """All rows of one configuration and split. Raises StudyError if the hub or the data set cannot be reached."""
    about_to_ask()
    import datasets

    try:
        return list(datasets.load_dataset(path, name, split=split))
    except Exception as error:  # `datasets` raises a dozen unrelated types for "not reachable"
        raise _unreachable(f"{path} ({name or 'default'}, {split})", error) from error


def config_names(path: str) -> list[str]:
    """The configurations of a data set. Raises StudyError if the hub or the data set cannot be reached."""
    about_to_ask()
    import datasets

    try:
        return list(datasets.get_dataset_config_names(path))
    except Exception as error:  # as above
        raise _unreachable(path, error) from error


def _unreachable(data_set: str, error: Exception) -> StudyError:
    return StudyError(
        f"data set {data_set} cannot be loaded from the hub: {first_line(error)}; "
        "give a local copy with --data-root or data: {root: ...}"
    )
