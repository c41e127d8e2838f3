"""Which results of a study are compared with each other, and which recorded ones cannot be.

All conditions of one model on one benchmark are compared, the baseline among them; the noise floor is compared with the
baseline. Owns the rule that says which of them are evaluated again where their comparability keys differ. Pure: what is
recorded and which versions are installed comes in as data.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.steps.comparability import Key, difference, recorded_key
from orchestrator.steps.evaluate import is_noise_floor
from orchestrator.steps.step import Step

Versions = Mapping[str, str]
"""{package: version}."""

AGAIN = "cached under {was}; evaluated again with {now} because {holder} is"


class Unlike(NamedTuple):
    """Recorded results that cannot be compared with the others."""

    key: Key
    """What the others were computed with."""
    holder: str
    """One of the others: a step id."""
    steps: tuple[str, ...]


def compared(plan: Plan) -> list[tuple[str, ...]]:
    """The steps of every model and benchmark, the baseline's first and once each; equal models share theirs."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for (model, _), steps in plan.evaluations.items():
        for benchmark, step in steps.items():
            groups.setdefault((model, benchmark), {})[step] = None
    return list(dict.fromkeys(tuple(steps) for steps in groups.values()))


def comparable_key(step: Step, tags: Mapping[str, str]) -> Key | None:
    """The key of a result; the packs of the noise floor do not matter. None where the result has none."""
    key = recorded_key(step.name, tags)
    return key.engine if key and is_noise_floor(step) else key


def recorded_keys(plan: Plan, steps: Sequence[str], committed: Mapping[str, Committed]) -> dict[str, Key]:
    """{step: its key}, of the steps that are recorded."""
    keys = {step: comparable_key(plan.steps[step], committed[step].tags) for step in steps if step in committed}
    return {step: key for step, key in keys.items() if key is not None}


def unlike(keys: Mapping[str, Key], here: Versions) -> Unlike | None:
    """The recorded results of one group that differ from the others; None where all agree.

    here: the installed versions. Results of these versions stay, else those of the most frequent key.
    """
    whole = {step: key for step, key in keys.items() if key.pack_plan} or keys
    current = {step: key for step, key in whole.items() if key.with_versions(here) == key} or whole
    if not current:
        return None
    ((key, _),) = Counter(current.values()).most_common(1)
    others = tuple(step for step, other in keys.items() if not other.agrees(key))
    return Unlike(key, next(step for step, other in whole.items() if other == key), others) if others else None


def evaluated_again(
    plan: Plan, cached: Mapping[str, Committed], here: Versions, *, idle: Collection[str] = ()
) -> dict[str, str]:
    """{recorded evaluation: why it will be evaluated again}, by the versions that are installed here.

    idle: steps that are not recorded and will not run.
    """
    reasons: dict[str, str] = {}
    for steps in compared(plan):
        keys = recorded_keys(plan, steps, cached)
        odd = unlike(keys, here)
        if odd is not None:
            holder = _name(plan.steps[odd.holder])
            for step in odd.steps:
                was, now = difference(keys[step], odd.key.with_versions(here))
                reasons[step] = AGAIN.format(was=was, now=now, holder=holder)
        new = [step for step in steps if step not in cached and step not in idle] + list(odd.steps if odd else ())
        for step, key in keys.items() if new else ():
            planned = key.with_versions(here)
            if step not in reasons and planned != key:
                was, now = difference(key, planned)
                first = _name(plan.steps[new[0]])
                reasons[step] = AGAIN.format(was=was, now=now, holder=first)
    return reasons


def _name(step: Step) -> str:
    return f"{step.name} {step.condition}"
