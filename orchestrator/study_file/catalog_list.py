"""What is said of a study of the catalog: its models, conditions and needs, as a line and as JSON.

Invariant: what a study file says is counted as it is written; seeds, fractions and groups of layers multiply the
conditions of a plan.
"""

from typing import Any, NamedTuple

from orchestrator.study_file.catalog import Entry
from orchestrator.study_file.load import parse_spec


class Listed(NamedTuple):
    """One study of the catalog."""

    name: str
    study: str
    """Its name in the record."""
    about: str
    needs: tuple[str, ...]
    models: tuple[str, ...]
    """Labels; every checkpoint of a series is a model."""
    conditions: tuple[str, ...]
    """Names, without the baseline."""


def listed(entry: Entry) -> Listed:
    """A study of the catalog, read."""
    spec, _ = parse_spec(entry.text, entry.name, trusted=True)  # nothing of it is run
    models = tuple(model.display for model in spec.all_models)
    return Listed(entry.name, spec.study, entry.about, entry.needs, models, tuple(spec.conditions))


def catalog_json(study: Listed) -> dict[str, Any]:
    """A study of the list as plain JSON. Every key is written out, so that renaming a field changes no output."""
    return {
        "name": study.name,
        "study": study.study,
        "about": study.about,
        "needs": list(study.needs),
        "models": list(study.models),
        "conditions": list(study.conditions),
    }
