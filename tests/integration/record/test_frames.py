"""A recorded study as tidy tables."""

import pandas
import pytest

from orchestrator.record.frames import load_study
from orchestrator.record.mlflow_store import RecordError
from tests.integration.record.recorded import ITEMS, NEURONS, StoreFolder, commit, condition, profile


def test_a_study_as_tidy_frames(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    commit(record, profile(), "p", "profile", frames={"neurons.parquet": NEURONS}, metrics={"num_tokens": 9.0})
    for name, accuracy in (("wasserstein", 0.5), ("random", 0.75)):
        table = ITEMS.assign(correct=accuracy)
        results = {"frames": {"items/blimp.parquet": table}, "metrics": {"blimp/accuracy": accuracy}}
        commit(record, condition(name, seed="0"), f"b-{name}", **results)
    commit(record, condition("random", seed="0"), "q", "perplexity", frames={}, metrics={"perplexity": 40.0})
    frames = load_study(store.uri, study)
    table = frames.conditions.set_index("condition")
    assert sorted(table.index) == ["random", "wasserstein"] and set(table.model) == {"tiny"}
    assert table.loc["random", ["perplexity", "blimp/accuracy"]].tolist() == [40.0, 0.75]
    assert pandas.isna(table.loc["wasserstein", "perplexity"])
    assert table.fraction.dtype == float and table.fraction.tolist() == [0.01, 0.01]
    items = frames.items("blimp")
    assert list(items.columns) == ["model", "condition", *ITEMS.columns] and len(items) == 4
    assert items.groupby("condition").correct.mean().to_dict() == {"wasserstein": 0.5, "random": 0.75}
    assert frames.neurons("tiny").drop(columns="model").equals(NEURONS)
    with pytest.raises(RecordError, match=r"did you mean 'items/blimp.parquet'"):
        frames.items("blmp")
    with pytest.raises(RecordError, match="did you mean 'tiny'"):
        frames.neurons("tinny")
    with pytest.raises(RecordError, match=f"did you mean '{study}'"):
        load_study(store.uri, study + "s")
    store.artifact(store.runs(study, "profile")[0], "neurons.parquet").write_bytes(b"")
    with pytest.raises(RecordError, match="sha256 differs"):
        frames.neurons("tiny")
