"""An intervention added from outside the product, in a study over a tiny model: real Ray, vLLM and MLflow."""

import hashlib
import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import halfwave
from orchestrator.execution import pool
from orchestrator.steps.step import Role, State
from orchestrator.study import Study
from studies.neurons.clamps import CLAMP_KINDS
from tests import oracles
from tests.integration import made_up
from tests.toys.intervention import NAME, ROW

pytestmark = pytest.mark.usefixtures("no_process_outlives_its_driver")

STUDY = """\
study: halfway
models: [{{path: {root}/llama}}]
profile: {{corpus: {root}/text.txt, tokens: 640, window: 64, bins: 64, calibration_windows: 2}}
conditions:
  halfway: {{select: top, fraction: 0.1, clamp: halfway_to_mean}}
evaluate: [{{pairs: {root}/pairs.jsonl}}]
noise_floor: false
"""


@pytest.mark.long
def test_a_study_with_an_added_intervention(tmp_path, monkeypatch):
    folder = oracles.make_model(tmp_path / "llama", "llama")
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=12)
    monkeypatch.setitem(CLAMP_KINDS, NAME, ROW)
    monkeypatch.setitem(pool.ACTOR_CLASSES, Role.ABLATION, "tests.toys.intervening_actor:InterveningActor")
    study_file = made_up.write_study(tmp_path, "halfway.yaml", STUDY)
    study = Study.open(study_file, workdir=tmp_path / "work")
    result = study.run()
    assert set(result.states.values()) == {State.DONE}, result.reasons
    record = study.record()
    recorded = record.latest("halfway")
    neurons = record.frame(recorded["llama", "halfway", "select"], "neuron_set.parquet")
    table = record.frame(recorded["llama", "", "profile"], "neurons.parquet")
    chosen = neurons.merge(table, on=["layer", "neuron"], validate="one_to_one").sort_values(["layer", "neuron"])
    check_receipt(
        record.document(recorded["llama", "halfway", "evaluate.pairs"], "receipts/evaluate.pairs.json"), chosen
    )
    items = halfwave.load(study.tracking_uri, "halfway").items("pairs").query("condition == 'halfway'")
    plain, wanted = by_transformers(folder, tmp_path / "pairs.jsonl", chosen)
    found = items.sort_values("pair", key=lambda pairs: pairs.astype(int))[["logprob_good", "logprob_bad"]].to_numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
    assert np.abs(found - plain).max() > 1e-3, "it changes what the model says"


def check_receipt(document, chosen):
    """The receipt's digest is that of columns and means, computed here from the recorded tables."""
    receipt, layers = document["receipt"], hashlib.sha256()
    for _, rows in chosen.groupby("layer"):
        own = rows["mean"].to_numpy(np.float32).astype(np.float64)
        buffers = np.stack([rows["neuron"].to_numpy(np.float64), own, own])
        layers.update(hashlib.sha256(NAME.encode() + buffers.tobytes()).digest())
    assert receipt["neurons_per_layer"] == [26, 26, 26] and receipt["layers_matched"] == 3
    assert receipt["digest"] == layers.hexdigest() and receipt["clipped_fraction"] == 1.0


@torch.no_grad()
def by_transformers(folder, pairs, chosen):
    """[pairs, 2] log-probability of each sentence, without and with a plain forward hook on every gate projection."""
    model, tokenizer = oracles.load(folder), AutoTokenizer.from_pretrained(folder)
    sentences = [json.loads(line) for line in pairs.read_text().splitlines()]

    def scores():
        texts = [[pair["sentence_good"], pair["sentence_bad"]] for pair in sentences]
        ids = [[tokenizer(text)["input_ids"] for text in both] for both in texts]
        return np.array([[float(oracles.token_log_probabilities(model, one).sum()) for one in both] for both in ids])

    plain = scores()
    for layer, rows in chosen.groupby("layer"):
        columns, means = torch.tensor(rows["neuron"].to_numpy()), torch.tensor(rows["mean"].to_numpy(np.float32))

        def hook(module, arguments, output, columns=columns, means=means):
            output[..., columns] = (output[..., columns] + means) / 2

        model.model.layers[layer].mlp.gate_proj.register_forward_hook(hook)
    return plain, scores()
