"""Which rows a smaller run keeps: evenly spaced, in order, and the same every time."""


def evenly(available: int, wanted: int) -> list[int]:
    """Indices of `wanted` rows among `available`: floor(i * available / wanted) for i = 0 .. wanted - 1."""
    return [i * available // wanted for i in range(wanted)]
