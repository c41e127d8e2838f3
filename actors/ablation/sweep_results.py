"""The results of a sweep so far: log-probabilities of all its conditions, pack by pack. Pure numpy.

Owns which packs are done, the parts that survive the death of an actor, and which conditions have failed: the failure
of one condition does not affect the others. Knows nothing of engines.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from actors.ablation.token_tree import PackPlan
from actors.messages.ablation import Part


class SweepResults:
    """One row per step, in the order given; one column per edge of the plan, with two numbers each under `margins`."""

    def __init__(self, plan: PackPlan, steps: Sequence[str], *, margins: bool = False):
        self._plan, self._steps = plan, list(steps)
        self._starts = np.cumsum([0, *(len(pack.rows) for pack in plan.packs)])
        self._num_sent = 0
        """Packs that `parts` has returned."""
        self.edges = np.empty((len(steps), *((2,) if margins else ()), plan.num_edges), dtype=np.float32)
        """[steps, num_edges] log-probabilities in nats; [steps, 2, num_edges] with margins."""
        self.num_done = 0
        """Packs that are finished for all steps."""
        self.failed: dict[str, str] = {}
        """{step: why it has no result}."""

    def resume(self, parts: Mapping[str, Part]) -> None:
        """Take over the packs that an earlier actor finished for every step of this very plan, if there are any."""
        finished = [part for step in self._steps if (part := parts.get(step)) is not None]
        if len(finished) < len(self._steps):
            return
        if any(part.pack_plan != self._plan.digest or part.first_pack for part in finished):
            return
        self.num_done = self._num_sent = min(part.end_pack for part in finished)
        num_edges = self._starts[self.num_done]
        for row, part in enumerate(finished):
            self.edges[row, ..., :num_edges] = part.edges[..., :num_edges]

    def add(self, outcomes: Mapping[int, bytes | str]) -> None:
        """Add the next pack: {row: its float32 log-probabilities as bytes, or the reason why there are none}."""
        columns = slice(self._starts[self.num_done], self._starts[self.num_done + 1])
        for row, outcome in outcomes.items():
            if isinstance(outcome, str):
                self.failed.setdefault(self._steps[row], outcome)
                self.edges[row, ..., columns] = np.nan
            else:
                shape = (*self.edges.shape[1:-1], -1)
                self.edges[row, ..., columns] = np.frombuffer(outcome, dtype=np.float32).reshape(shape)
        self.num_done += 1

    def parts(self) -> Iterator[Part]:
        """The packs that were added since the last call, for every step that has not failed."""
        first, self._num_sent = self._num_sent, self.num_done
        for row, step in enumerate(self._steps):
            if step not in self.failed:
                yield Part(
                    step=step,
                    pack_plan=self._plan.digest,
                    first_pack=first,
                    end_pack=self.num_done,
                    edges=self.edges[row, ..., self._starts[first] : self._starts[self.num_done]].copy(),
                )
