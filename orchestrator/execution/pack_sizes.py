"""Pack sizes below the actors' own, for devices that are too small: equal for all conditions of a benchmark.

Owns the sizes by model and step name, and the tag from which a later run of the study learns them. Conditions are
compared pair by pair only on identical packs, so a size that was reduced for one condition holds for all.
"""

from orchestrator.record.keys import Committed
from orchestrator.steps.step import Step

LEAST = 32
"""Nodes in the smallest packs that are tried."""
TAG = "pack_nodes."
"""Prefix of the tag, followed by the step's name; the value is the size. Steps in the actors' own size have none."""


class PackSizes:
    """The reduced sizes of one run."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str], int] = {}

    def size(self, step: Step) -> int | None:
        """The size to ask an actor for; None = its own."""
        return self._sizes.get((step.model, step.name), step.payload["params"].get("pack_nodes"))

    def tag(self, step: Step) -> dict[str, str]:
        """The tag that records a reduced size; empty for the actors' own."""
        size = self._sizes.get((step.model, step.name))
        return {} if size is None else {f"{TAG}{step.name}": str(size)}

    def learn(self, step: Step, committed: Committed) -> None:
        """Take over the size that a recorded step was scored with."""
        if (value := committed.tags.get(f"{TAG}{step.name}")) is not None:
            key = step.model, step.name
            self._sizes[key] = min(int(value), self._sizes.get(key, int(value)))

    def agree(self, step: Step, committed: Committed) -> bool:
        """Whether a recorded step was scored in packs of the size that the other conditions have now."""
        tag = self.tag(step)
        return all(committed.tags.get(name) == value for name, value in tag.items())

    def halve(self, step: Step, num_nodes: int, *, asked: int | None) -> int | None:
        """The next size after a pack of `num_nodes` did not fit; None where smaller packs are not possible.

        asked: the size in the actor's request. A pack larger than that is a single sequence, which cannot be
        split.
        """
        smaller = num_nodes // 2
        if smaller < LEAST or (asked is not None and num_nodes > asked):
            return None
        self._sizes[step.model, step.name] = smaller
        return smaller
