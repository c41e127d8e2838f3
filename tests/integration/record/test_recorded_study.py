"""A recorded study as tidy tables."""

from collections.abc import Callable

import pandas
import pytest

import halfwave
from orchestrator.record.client.failures import RecordError
from tests.integration.record.recorded import ITEMS, NEURONS, StoreFolder, broken_artifact, commit, condition, profile


def test_a_study_as_tidy_frames(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    commit(record, profile(), "p", "profile", frames={"neurons.parquet": NEURONS}, metrics={"num_tokens": 9.0})
    for name, accuracy in (("wasserstein", 0.5), ("random", 0.75)):
        table = ITEMS.assign(correct=accuracy)
        results = {"frames": {"items/blimp.parquet": table}, "metrics": {"blimp/accuracy": accuracy}}
        commit(record, condition(name, seed="0"), f"b-{name}", **results)
    commit(record, condition("random", seed="0"), "q", "perplexity", frames={}, metrics={"perplexity": 40.0})
    frames = halfwave.load(store.uri, study)
    table = frames.conditions.set_index("condition")
    assert sorted(table.index) == ["random", "wasserstein"] and set(table.model) == {"tiny"}
    assert table.loc["random", ["perplexity", "blimp/accuracy"]].tolist() == [40.0, 0.75]
    assert pandas.isna(table.loc["wasserstein", "perplexity"])
    assert table.fraction.dtype == float and table.fraction.tolist() == [0.01, 0.01]
    items = frames.items("blimp")
    assert list(items.columns) == ["model", "condition", *ITEMS.columns] and len(items) == 4
    assert items.groupby("condition").correct.mean().to_dict() == {"wasserstein": 0.5, "random": 0.75}
    assert frames.neurons("tiny").drop(columns="model").equals(NEURONS)
    (scored,) = store.runs(study, "profile")
    store.artifact(scored, "neurons.parquet").write_bytes(b"")
    refused: list[tuple[Callable[[], object], str]] = [
        (
            lambda: frames.items("blmp"),
            "no run of this study recorded items/blmp.parquet; did you mean 'blimp'?",
        ),
        (lambda: frames.neurons("tinny"), "no profile of model 'tinny'; did you mean 'tiny'?"),
        (
            lambda: halfwave.load(store.uri, study + "s"),
            f"MLflow at {store.uri} has no study '{study}s'; did you mean '{study}'?",
        ),
        (lambda: frames.neurons("tiny"), broken_artifact(store.uri, "neurons.parquet", scored.info.run_id)),
    ]
    for read, message in refused:
        with pytest.raises(RecordError) as error:
            read()
        assert str(error.value) == message
