"""Canonical JSON -> step id, and the difference between two payloads, for `plan`.

Owns what makes two steps equal. The encoder raises on a type it does not know, so that nothing enters an identity
through `str()` by accident. Batch sizes, tensor parallelism, paths and hardware are never put into a payload.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

ID_DIGITS = 20
"""Hex digits of a step id: 80 bits."""


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, exact floats. Raises TypeError or ValueError naming the place."""
    _check(value, "payload")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identify(payload: Mapping[str, Any]) -> str:
    """The id of a payload: the first `ID_DIGITS` hex digits of the sha256 of its canonical JSON."""
    return hashlib.sha256(canonical(payload).encode()).hexdigest()[:ID_DIGITS]


class Change(NamedTuple):
    """One leaf in which two payloads differ."""

    place: str
    """`params.fraction`."""
    how: Literal["changed", "added", "removed"]
    before: Any
    after: Any
    """None where it was added or removed, respectively."""

    @property
    def values(self) -> str:
        """`0.01 -> 0.02`, `added 3`, in canonical JSON, long values cut."""
        match self.how:
            case "changed":
                return f"{_short(self.before)} -> {_short(self.after)}"
            case "added":
                return f"added {_short(self.after)}"
        return f"removed {_short(self.before)}"


def changes(new: Mapping[str, Any], old: Mapping[str, Any], at: str = "") -> list[Change]:
    """What changed, leaf by leaf, in the order of the places."""
    found: list[Change] = []
    for key in sorted({*new, *old}):
        place = f"{at}{key}"
        if key not in old:
            found.append(Change(place, "added", None, new[key]))
        elif key not in new:
            found.append(Change(place, "removed", old[key], None))
        elif isinstance(new[key], Mapping) and isinstance(old[key], Mapping):
            found += changes(new[key], old[key], f"{place}.")
        elif canonical(new[key]) != canonical(old[key]):  # as the id sees them: 1 is not 1.0, a tuple is a list
            found.append(Change(place, "changed", old[key], new[key]))
    return found


def difference(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """What changed, one line per leaf: `params.fraction: 0.01 -> 0.02`."""
    return [f"{change.place}: {change.values}" for change in changes(new, old)]


def _check(value: Any, place: str) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{place} is {value}; leave out what has no finite value")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"{place} has the key {key!r}; keys must be text")
                _check(item, f"{place}.{key}")
        case list() | tuple():
            for i, item in enumerate(value):
                _check(item, f"{place}[{i}]")
        case _:
            raise TypeError(f"{place} is of type {type(value).__name__}; convert it to plain JSON types first")


def _short(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= 40 else f"{text[:28]}...{text[-8:]}"
