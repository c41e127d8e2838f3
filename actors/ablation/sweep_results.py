"""What a sweep has collected so far: the log-probabilities of all its conditions, pack by pack. Pure numpy.

Owns which packs are done, the parts that outlive a dead actor, and which conditions have failed: one condition's
failure leaves its siblings alone. Knows nothing of engines.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from actors.ablation.token_tree import PackPlan
from actors.messages import Part


class SweepResults:
    """The rows are steps, in the order given; the columns the plan's edges; with margins, two numbers an edge."""

    def __init__(self, plan: PackPlan, steps: Sequence[str], *, margins: bool = False):
        self._plan, self._steps = plan, list(steps)
        self._starts = np.cumsum([0, *(len(pack.rows) for pack in plan.packs)])
        self._handed_out = 0
        self.edges = np.empty((len(steps), *((2,) if margins else ()), plan.num_edges), dtype=np.float32)
        self.done = 0
        """Packs that are finished for all steps."""
        self.broken: dict[str, str] = {}
        """{step: why it has no result}."""

    def take(self, parts: Mapping[str, Part]) -> None:
        """Begin after the packs that an earlier actor finished for every step of this very plan."""
        found = [parts.get(step) for step in self._steps]
        if any(part is None or part.pack_plan != self._plan.digest or part.first_pack for part in found):
            return
        self.done = self._handed_out = min(part.end_pack for part in found)
        for row, part in enumerate(found):
            self.edges[row, ..., : self._starts[self.done]] = part.edges[..., : self._starts[self.done]]

    def add(self, answers: Mapping[int, bytes | str]) -> None:
        """The next pack's answers {row: float32 log-probabilities, or why there are none}."""
        where = slice(self._starts[self.done], self._starts[self.done + 1])
        for row, answer in answers.items():
            if isinstance(answer, str):
                self.broken.setdefault(self._steps[row], answer)
                self.edges[row, ..., where] = np.nan
            else:
                shape = (*self.edges.shape[1:-1], -1)
                self.edges[row, ..., where] = np.frombuffer(answer, dtype=np.float32).reshape(shape)
        self.done += 1

    def parts(self) -> Iterator[Part]:
        """What was added since the last call, for every step that is not broken."""
        first, self._handed_out = self._handed_out, self.done
        for row, step in enumerate(self._steps):
            if step not in self.broken:
                yield Part(
                    step=step,
                    pack_plan=self._plan.digest,
                    first_pack=first,
                    end_pack=self.done,
                    edges=self.edges[row, ..., self._starts[first] : self._starts[self.done]].copy(),
                )
