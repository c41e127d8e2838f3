"""Which rows a smaller run takes: evenly spaced, in order, the same ones every time."""


def evenly(available: int, wanted: int) -> list[int]:
    """Indices of `wanted` rows of `available`: floor(i * available / wanted)."""
    return [i * available // wanted for i in range(wanted)]
