"""The lines of `plan`, and what `plan --json` prints."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.planning.power import PlannedPower, power_records
from orchestrator.scheduling.forecast import Forecast
from orchestrator.steps.step import Step


class PlannedStep(NamedTuple):
    """One line of `plan`."""

    step: Step
    cached: bool
    reason: str
    """Why it is not cached; empty if it is."""
    flops: float
    """Estimated floating-point operations."""
    again: bool = False
    """Whether it is recorded, and will be evaluated again under the versions installed here."""
    idle: bool = False
    """Whether there is nothing to compute, because of the finding of a recorded step."""


def plan_json(
    study: str,
    planned: Iterable[PlannedStep],
    special_tokens: Mapping[str, Any],
    forecast: Forecast,
    power: Sequence[PlannedPower] = (),
) -> dict[str, Any]:
    """What `plan --json` prints. Every key is written out, so that renaming a field changes no output."""
    steps = [
        {
            "id": entry.step.id,
            "step": entry.step.title,
            "cached": entry.cached,
            "reason": entry.reason,
            "flops": entry.flops,
        }
        for entry in planned
    ]
    after = {"special_tokens": special_tokens, "power": power_records(power), "forecast": forecast.as_json()}
    return {"study": study, "steps": steps} | after
