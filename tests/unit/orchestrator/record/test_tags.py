"""The tags of runs: their exact names and values."""

from orchestrator.record.tags import environment_tags, run_tags
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
