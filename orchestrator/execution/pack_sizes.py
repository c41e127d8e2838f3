"""How large packs are where a device is too small for the actors' own size: equal for all conditions of a benchmark.

Owns the sizes by model and step name, and the tag by which a later run of the study finds them again. Conditions are
compared in pairs only on identical packs, so a size that was changed for one holds for all.
"""

from orchestrator.record.keys import Committed
from orchestrator.steps.step import Step

LEAST = 32
TAG = "pack_nodes."
"""With the step's name; the value is the size. Steps of the actors' own size have none."""


class PackSizes:
    """The sizes that are not the actors' own."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str], int] = {}

    def size(self, step: Step) -> int | None:
        """What to ask an actor for; None = its own."""
        return self._sizes.get((step.model, step.name), step.payload["params"].get("pack_nodes"))

    def tag(self, step: Step) -> dict[str, str]:
        size = self._sizes.get((step.model, step.name))
        return {} if size is None else {f"{TAG}{step.name}": str(size)}

    def learn(self, step: Step, committed: Committed) -> None:
        """Take over the size of a step that is in the record."""
        if (value := committed.tags.get(f"{TAG}{step.name}")) is not None:
            key = step.model, step.name
            self._sizes[key] = min(int(value), self._sizes.get(key, int(value)))

    def agree(self, step: Step, committed: Committed) -> bool:
        """Whether a step in the record was scored in packs of the size that its siblings have now."""
        tag = self.tag(step)
        return all(committed.tags.get(name) == value for name, value in tag.items())

    def halve(self, step: Step, num_nodes: int, *, asked: int | None) -> int | None:
        """The next size after a pack of `num_nodes` did not fit; None where smaller packs are not possible.

        asked: the size that the actor was asked for. A pack may be larger than that: one sequence cannot be split.
        """
        smaller = num_nodes // 2
        if smaller < LEAST or (asked is not None and num_nodes > asked):
            return None
        self._sizes[step.model, step.name] = smaller
        return smaller
