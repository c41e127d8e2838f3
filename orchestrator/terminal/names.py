"""Names shortened to a width, in the middle, so that none is mistaken for another.

The ends of a name say most: `HuggingFaceTB/SmolLM2-135M-Instruct` is known by both. Where two names have equal ends,
the cut moves to keep what tells them apart. Invariant: names that differ stay different, and no shortened name is also
a whole one; where a width has no room for that, they get wider than it.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from rich.cells import cell_len, chop_cells

CUT = "…"
"""Stands for what is left out; one column wide."""


class _Kept(NamedTuple):
    """What is kept of a name."""

    head: str
    tail: str

    def fits(self, name: str) -> bool:
        """Whether a name could be meant."""
        return name.startswith(self.head) and name.endswith(self.tail)


def shortened(names: Iterable[str], width: int) -> dict[str, str]:
    """{name: the name in at most `width` columns of a terminal}; a name that fits stays as it is."""
    unique = dict.fromkeys(names)
    short = {name: name for name in unique if cell_len(name) <= width}
    taken = set(short)
    for name in unique:
        if name not in short:
            short[name] = _short(name, unique, width, taken)
            taken.add(short[name])
    return {name: short[name] for name in unique}


def _short(name: str, names: Collection[str], width: int, taken: Collection[str]) -> str:
    """The name with the best cut: one that fits no other name, else one that no other name has."""
    for kept in _cuts(name, width):
        text = f"{kept.head}{CUT}{kept.tail}"
        if text not in taken and not any(kept.fits(other) for other in names if other != name):
            return text
    for columns in range(width, cell_len(name)):
        for kept in _cuts(name, columns):
            if (text := f"{kept.head}{CUT}{kept.tail}") not in taken:
                return text
    return name


def _cuts(name: str, width: int) -> Iterator[_Kept]:
    """The ways to keep so much of a name, those first that keep as much of either end."""
    kept = width - cell_len(CUT)
    for head in sorted(range(1, kept), key=lambda head: abs(head - (kept + 1) // 2)):
        yield _Kept(_head(name, head), _head(name[::-1], kept - head)[::-1])


def _head(name: str, columns: int) -> str:
    """As much of the beginning as fits into these columns."""
    return chop_cells(name, columns)[0] if columns else ""
