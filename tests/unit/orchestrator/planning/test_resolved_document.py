"""`resolved.json` as it is stored, word for word."""

import json

from tests.plans import study, training


def test_a_model_as_it_is_stored() -> None:
    (model,) = study().document()["models"]
    assert json.dumps(model) == (
        '{"label": "a", "path": "/somewhere/a", "revision": null, "digest": "d1", "family": "llama", "layers": 2, '
        '"d_mlp": 64, "dtype": "float32", "parameters": 1000, "note": "", "checkpoint": null}'
    )


def test_a_checkpoint_as_it_is_stored() -> None:
    _, model, _ = training().study.document()["models"]
    assert json.dumps(model["checkpoint"]) == ('{"series": "m", "step": 10, "cohort": "m@step10", "before": "m@step0"}')


def test_data_as_it_is_stored() -> None:
    document = study().document()
    assert list(document) == ["study", "models", "corpus", "benchmarks"]
    assert list(document["corpus"]) == ["label", "source", "digest"]
    assert [list(benchmark) for benchmark in document["benchmarks"]] == [["name", "label", "digest"]] * 3
    assert document["study"]["conditions"]["treated"]["fraction"] == 0.1
