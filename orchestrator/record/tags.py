"""The tags that the record sets on MLflow's runs: their names, and the functions that write their values.

Stores keep these names and values for years, so nothing here is derived from the name of a class or field. The tag that
commits a step is written in `commits`, the lease in `lease`.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from orchestrator.record.keys import RunKey, Slot

KIND, MODEL, CONDITION, IDENTITY = "halfwave.kind", "halfwave.model", "halfwave.condition", "halfwave.identity"
"""Slot and identity of a run. A run without `KIND` is not ours."""
STEP = "step."
"""Followed by the name of a step: the tag that commits it."""
INVOCATION = "invocation."
"""Followed by its starting time: the tag of an invocation on the parent run; its value is a status."""
ADOPTED = "adopted_from"
"""The run whose results were last copied onto this one."""
SUPERSEDED = "superseded_by"
"""The run that took this one's slot over; only superseded runs have it."""
DEFINITION, REPORTED = "halfwave.last_run.", "halfwave.report."
"""Prefixes on the parent run, followed by the names in `definition_tags`: what the study was last run from, and what
its last report was made from."""
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
VIEW = "mlflow.sharedViewState.halfwave"
"""On the experiment: its saved view. Every study's experiment has it."""

RESERVED = (STEP, "halfwave.", INVOCATION, SUPERSEDED, ADOPTED)
"""Prefixes of names that no step may use for its own tags."""

_INVOCATION_TIME = "%Y%m%dT%H%M%S.%fZ"

ADOPTED_FROM_OUTBOX = "the spool"
"""The value of `ADOPTED` where the results were copied before they had reached any run."""


def shown_tags(tags: Mapping[str, str], step_name: str) -> dict[str, str]:
    """Those of a step's tags that stand on its run. What ends in the step's own name, such as `route.evaluate.blimp`,
    is bookkeeping: the tag that commits the step holds it, as it holds all of them, and the run's page stays short."""
    return {name: value for name, value in tags.items() if not name.endswith(f".{step_name}")}


class Definition(NamedTuple):
    """The study file that a study was run from."""

    file: str
    """Its path, relative to its project."""
    digest: str
    """sha256 of what it says."""
    started: str = ""
    """When that run began, in ISO 8601 with its offset from UTC."""


def definition_tags(definition: Definition, prefix: str) -> dict[str, str]:
    """The tags of the parent run that say what it was run from. prefix: `DEFINITION` or `REPORTED`."""
    return {
        f"{prefix}study_file": definition.file,
        f"{prefix}definition_sha256": definition.digest,
        f"{prefix}started": definition.started,
    }


def tagged_definition(tags: Mapping[str, str], prefix: str) -> Definition | None:
    """What `definition_tags` has written; None where it has not, as in stores of earlier versions."""
    values = [tags.get(prefix + name) for name in ("study_file", "definition_sha256", "started")]
    file, digest, started = values
    return Definition(file, digest, started) if file and digest and started else None


def invocation_name(started: datetime) -> str:
    """The name of the invocation that began then (UTC), which follows `INVOCATION` in its tag. Names sort by time."""
    return f"{started:{_INVOCATION_TIME}}"


def invocation_started(name: str) -> datetime | None:
    """When the invocation of this name began; None for a name that is not one."""
    try:
        return datetime.strptime(name, _INVOCATION_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def invocation_names(tags: Iterable[str]) -> list[str]:
    """The names of the invocations that the tags of a study's own run tell of, in their order."""
    return sorted(tag.removeprefix(INVOCATION) for tag in tags if tag.startswith(INVOCATION))


def run_tags(key: RunKey, parent_id: str = "") -> dict[str, str]:
    """The tags of the run for `key`. `parent_id`: run id of the study's own run, for all but that run itself."""
    tags = {**key.tags, "mlflow.source.name": "halfwave", "mlflow.source.type": "LOCAL", KIND: key.kind}
    if key.kind == "study":
        return tags
    return {**tags, MODEL: key.model, CONDITION: key.condition, IDENTITY: key.identity, PARENT: parent_id}


def slot_of(tags: Mapping[str, str]) -> Slot:
    """The slot of one of our runs, from its tags; the study's own run has neither model nor condition."""
    return Slot(tags[KIND], tags.get(MODEL, ""), tags.get(CONDITION, ""))


def place_of(tags: Mapping[str, str]) -> tuple[Slot, str]:
    """Slot and identity of one of our runs, from its tags: equal to the `slot_and_identity` of its key."""
    return slot_of(tags), tags.get(IDENTITY, "")


def environment_tags(environment: Mapping[str, object]) -> dict[str, str]:
    """The environment's plain values as `environment.<name>`; commit and user also under MLflow's own names."""
    plain = {name: str(value) for name, value in environment.items() if isinstance(value, str | int | float)}
    tags = {f"environment.{name}": value for name, value in plain.items()}
    for name, tag in (("git_commit", "mlflow.source.git.commit"), ("user", "mlflow.user")):
        if name in plain:
            tags[tag] = plain[name]
    return tags
