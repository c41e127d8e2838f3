"""Results made alike: all conditions of a model and benchmark in the same packs, versions and kind of device.

Owns which recorded results a run evaluates again, because they could not be compared with what it computes, and the
refusal of results that actors of one run compute differently. What is recorded counts until this run has a result of
the group: the first one says what all others must agree with. A search for a matched control that is recorded stays: it
is an input by its identity, and the report compares the perplexities that were measured last. One that is still to run
aims at perplexities of the versions that are installed.
Invariant: a step is computed twice at most because of the keys of one run, so a mixed cluster never runs for ever.
"""

from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.execution.pack_sizes import PackSizes
from orchestrator.planning.compared import Versions, comparable_key, compared, evaluated_again, recorded_keys, unlike
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import NOTHING, Committed
from orchestrator.steps import match
from orchestrator.steps.comparability import Key, difference
from orchestrator.steps.evaluate import is_noise_floor
from orchestrator.steps.kind import ActorStepKind
from orchestrator.steps.step import Step

SMALLER_PACKS = "the other conditions were scored in smaller packs"
AGAIN = "recorded under {was}; evaluated again with {now}, as {holder} was"
TWO_KINDS = (
    "computed with {was}, but {holder} in this run with {now}: what is compared must be computed alike; give {model} "
    "nodes of one kind and with the same packages (`labels` beside the model), or compare less with --keep-versions"
)


class _First(NamedTuple):
    """What the results of one group must agree with in this run."""

    key: Key
    """Without a pack plan while no evaluation has been computed in the packs of today."""
    holder: Step


class Alike:
    """The results of one run that are compared with each other."""

    def __init__(self, plan: Plan, here: Versions = NOTHING, *, keep_versions: bool = False) -> None:
        """here: the installed versions; keep_versions: nothing that is recorded is evaluated again."""
        self._plan, self._here, self._keep_versions = plan, here, keep_versions
        self.packs = PackSizes()
        self._groups = compared(plan)
        self._group_of = {step: group for group in self._groups for step in group}
        self._first: dict[tuple[str, ...], _First] = {}
        self._kept: frozenset[str] = frozenset()
        self._refused: set[str] = set()

    def load(self, committed: Mapping[str, Committed]) -> dict[str, str]:
        """Note what the record holds at the beginning of the run, and in which packs.

        Returns {step: why it must be evaluated again}, of the steps that are committed."""
        for step, found in committed.items():
            self.packs.learn(self._plan.steps[step], found)
        self._kept = frozenset(committed) if self._keep_versions else frozenset()
        return self._aimed_at(committed) | self.unlike(committed)

    def _aimed_at(self, committed: Mapping[str, Committed]) -> dict[str, str]:
        """The recorded perplexities between which a search of this run moves, where they will be evaluated again by the
        versions installed here: they come before the search."""
        if self._keep_versions:
            return {}
        searches = (step for step in self._plan.steps.values() if step.kind is match.KIND and step.id not in committed)
        aims = {step for search in searches for step in search.inputs.values()}
        again = evaluated_again(self._plan, committed, self._here)
        return {step: reason for step, reason in again.items() if step in aims}

    def unlike(self, committed: Mapping[str, Committed]) -> dict[str, str]:
        """{step: why it must be evaluated again}, of the steps that are committed."""
        reasons: dict[str, str] = {}
        for group in self._groups:
            reasons |= self._unlike_in(group, committed)
        return {step: reason for step, reason in reasons.items() if step not in self._kept}

    def _unlike_in(self, group: tuple[str, ...], committed: Mapping[str, Committed]) -> dict[str, str]:
        steps = [step for step in group if step in committed]
        reasons = {
            step: SMALLER_PACKS for step in steps if not self.packs.agree(self._plan.steps[step], committed[step])
        }
        keys = recorded_keys(self._plan, [step for step in steps if step not in reasons], committed)
        if first := self._first.get(group):
            key, holder = first
            odd: tuple[str, ...] = tuple(step for step, other in keys.items() if not other.agrees(key))
        elif found := unlike(keys, self._here):
            key, holder, odd = found.key, self._plan.steps[found.holder], found.steps
        else:
            return reasons
        for step in odd:
            was, now = difference(keys[step], key)
            reasons[step] = AGAIN.format(was=was, now=now, holder=f"{holder.name} {holder.condition}")
        return reasons

    def refusal(self, step: Step, tags: Mapping[str, str]) -> str:
        """Why a result that has just been computed cannot stand beside those of this run; empty where it can."""
        key, first = comparable_key(step, tags), self._first.get(self._group_of.get(step.id, ()))
        if key is None or first is None or self._keep_versions or key.agrees(first.key):
            return ""
        was, now = difference(key, first.key)
        return TWO_KINDS.format(was=was, now=now, holder=first.holder.title, model=step.model)

    def may_try_again(self, step: Step) -> bool:
        """Whether a refused step may be computed once more; true once a step."""
        again = step.id not in self._refused
        self._refused.add(step.id)
        return again

    def computed(self, step: Step, tags: Mapping[str, str]) -> bool:
        """Note the key of a result of this run; returns whether it says anything new of its group."""
        key, group = comparable_key(step, tags), self._group_of.get(step.id)
        if key is None or group is None:
            return False
        first = self._first.get(group)
        if first is None or (key.pack_plan and not first.key.pack_plan):
            self._first[group] = _First(key, step)
            return True
        return False

    def halve(self, step: Step, num_nodes: int, *, asked: int | None) -> int | None:
        """As `PackSizes.halve`, of the step in whose packs this one is scored.

        Results in the packs of before no longer say what the others must agree with.
        """
        source = step.kind.packs_of(step) if isinstance(step.kind, ActorStepKind) else None
        step = step if source is None else self._plan.steps[source]
        smaller = self.packs.halve(step, num_nodes, asked=asked)
        group = self._group_of.get(step.id, ())
        if smaller is not None and group in self._first and not is_noise_floor(step):
            first = self._first[group]
            self._first[group] = first._replace(key=first.key.engine)
        return smaller
