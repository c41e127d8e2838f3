"""The tags of runs: their exact names and values."""

import pytest

from orchestrator.record.tags import (
    DEFINITION,
    REPORTED,
    Definition,
    definition_tags,
    environment_tags,
    run_tags,
    tagged_definition,
)
from tests.unit.orchestrator.record.examples import KEY, STUDY_KEY


def test_the_tags_of_the_parent_run_are_written_as_ever() -> None:
    assert run_tags(STUDY_KEY) == {
        "environment.torch": "2.13.0",
        "mlflow.source.name": "halfwave",
        "mlflow.source.type": "LOCAL",
        "halfwave.kind": "study",
    }


def test_the_tags_of_a_condition_run_are_written_as_ever() -> None:
    assert run_tags(KEY, "run1") == {
        "model.note": "é",
        "mlflow.source.name": "halfwave",
        "mlflow.source.type": "LOCAL",
        "halfwave.kind": "condition",
        "halfwave.model": "tiny",
        "halfwave.condition": "wasserstein",
        "halfwave.identity": "aa11",
        "mlflow.parentRunId": "run1",
    }


def test_plain_values_of_the_environment_are_tags() -> None:
    environment = {"git_commit": "4f2a91c", "user": "ada", "cpus": 4, "gpus": ["none"], "note": None}
    assert environment_tags(environment) == {
        "environment.git_commit": "4f2a91c",
        "environment.user": "ada",
        "environment.cpus": "4",
        "mlflow.source.git.commit": "4f2a91c",
        "mlflow.user": "ada",
    }
    assert environment_tags({"torch": "2.13.0"}) == {"environment.torch": "2.13.0"}


@pytest.mark.parametrize(("prefix", "stored"), [(DEFINITION, "halfwave.last_run."), (REPORTED, "halfwave.report.")])
def test_what_a_study_was_run_from_is_written_as_ever_and_read_back(prefix: str, stored: str) -> None:
    definition = Definition("studies/a.yaml", "5d41", "2026-11-29T21:03:07+00:00")
    tags = definition_tags(definition, prefix)
    assert tags == {
        f"{stored}study_file": "studies/a.yaml",
        f"{stored}definition_sha256": "5d41",
        f"{stored}started": "2026-11-29T21:03:07+00:00",
    }
    assert tagged_definition(tags, prefix) == definition
    assert tagged_definition({}, prefix) is None
