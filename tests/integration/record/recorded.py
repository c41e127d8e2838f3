"""A store in a folder, what tests commit to it, and ways for it to fail."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.outbox import Outbox
from orchestrator.record.record import Record

WRITES = ("create_run", "log_batch", "set_tag", "update_run", "set_terminated", "delete_run")
"""Methods of MLflow's client that write."""
ENVIRONMENT = {"git_commit": "4f2a91c", "user": "ada", "vllm": "0.32.0", "gpus": ["none"]}
ITEMS = pandas.DataFrame({"uid": ["a", "b"], "pair": [0, 1], "correct": [1.0, 0.5]})
NEURONS = pandas.DataFrame({"layer": [0, 0], "neuron": [0, 1], "wasserstein_distance": [0.25, 0.5]})

DIFFERS, MISSING = "is not what was recorded (its sha256 differs)", "is missing"


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


@dataclass
class StoreFolder:
    """An MLflow store, with its artifacts and the outboxes of its studies in a folder."""

    uri: str
    folder: Path

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def record(self, study: str | None, outbox: str | None = None) -> Record:
        """A record with an outbox of this name, by default the study's own; the study is opened unless it is None."""
        record = Record(self.uri, outbox=self.outbox(outbox or study or "none").folder)
        if study is not None:
            record.open_study(study, definition=f"study: {study}\n", resolved={"a": [1]}, environment=ENVIRONMENT)
        return record

    def outbox(self, name: str) -> Outbox:
        """The outbox of this name."""
        return Outbox(self.folder / "outboxes" / name)

    def runs(self, study: str, kind: str, view: int = ViewType.ACTIVE_ONLY) -> list[Any]:
        """The study's runs of a kind, by name."""
        experiment = self.client.get_experiment_by_name(study)
        runs = self.client.search_runs([experiment.experiment_id], f"tags.`halfwave.kind` = '{kind}'", view)
        return sorted(runs, key=lambda run: run.info.run_name)

    def artifact(self, run: Any, path: str) -> Path:
        """The file of an artifact."""
        return self.folder / "artifacts" / run.info.run_id / "artifacts" / path


def condition(name: str = "wasserstein", identity: str = "aa11", **params: Any) -> RunKey:
    params = {"model": "tiny", "condition": name, "fraction": "0.01"} | params
    return RunKey(
        kind="condition", model="tiny", condition=name, identity=identity, name=f"tiny · {name}", params=params
    )


def profile(identity: str = "bb22") -> RunKey:
    return RunKey(kind="profile", model="tiny", name="tiny · profile", identity=identity, params={"model": "tiny"})


def commit(record: Record, key: RunKey, step_id: str, step: str = "evaluate.blimp", **more: Any) -> Committed:
    """Commit a step; its id starts with the study, because ids are looked up in the whole store."""
    results = {"metrics": {"blimp/accuracy": 0.8125}, "frames": {"items/blimp.parquet": ITEMS}, "documents": {}} | more
    return record.commit(key, f"{record.study}-{step_id}", step, **results)


def known(record: Record, study: str, *step_ids: str) -> dict[str, Committed]:
    """Those of the study's steps that are done, by the ids that `commit` was given."""
    steps = record.known([f"{study}-{step_id}" for step_id in step_ids])
    return {step_id.removeprefix(f"{study}-"): step for step_id, step in steps.items()}


def broken_artifact(uri: str, path: str, run_id: str, problem: str = DIFFERS) -> str:
    """The message of an artifact that is not in the store as it was recorded."""
    return (
        f"artifact {path} of run {run_id} in MLflow at {uri} {problem}; "
        "put the file back, or run the study again: its step will be recomputed"
    )


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """Make every write of MLflow's client fail; returns the list of the calls made from now on."""
    calls: list[str] = []

    def fail(name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> None:
            calls.append(name)
            raise error

        return method

    for name in WRITES:
        monkeypatch.setattr(MlflowClient, name, fail(name))
    return calls


def fail_at_step_tag(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every write through except the tag that commits a step."""
    log_batch = MlflowClient.log_batch

    def method(client: MlflowClient, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        if any(tag.key.startswith("step.") for tag in tags):
            raise error
        log_batch(client, run_id, metrics=metrics, params=params, tags=tags)

    monkeypatch.setattr(MlflowClient, "log_batch", method)
