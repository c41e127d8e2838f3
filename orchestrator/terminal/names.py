"""Names shortened to a width, in the middle, so that none is mistaken for another.

The ends of a name say most: `HuggingFaceTB/SmolLM2-135M-Instruct` is known by both. Invariant: names that differ stay
different, and no shortened name is also a whole one; where a width has no room for that, they get wider than it.
"""

from collections.abc import Iterable, Iterator

from rich.cells import cell_len, chop_cells

CUT = "…"
"""Stands for what is left out; one column wide."""


def shortened(names: Iterable[str], width: int) -> dict[str, str]:
    """{name: the name in at most `width` columns of a terminal}; a name that fits stays as it is."""
    unique = dict.fromkeys(names)
    short = {name: name for name in unique if cell_len(name) <= width}
    taken = set(short)
    for name in unique:
        if name not in short:
            short[name] = next(cut for cut in _cuts(name, width) if cut not in taken)
            taken.add(short[name])
    return {name: short[name] for name in unique}


def _cuts(name: str, width: int) -> Iterator[str]:
    """The name, cut in ever more places and widths, the best cut first; at last the name as it is."""
    whole = cell_len(name)
    for columns in range(max(width, 3), whole):
        kept = columns - cell_len(CUT)
        for head in sorted(range(1, kept), key=lambda head: abs(head - (kept + 1) // 2)):
            yield f"{_head(name, head)}{CUT}{_tail(name, kept - head)}"
    yield name


def _head(name: str, columns: int) -> str:
    """As much of the beginning as fits into these columns."""
    return chop_cells(name, columns)[0] if columns else ""


def _tail(name: str, columns: int) -> str:
    """As much of the end as fits into these columns."""
    return _head(name[::-1], columns)[::-1]
