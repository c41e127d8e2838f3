"""Loading from a simulated hub: names are pinned to commits, and weights are fetched once per node."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests import oracles
from tests.hub import COMMIT, Hub
from tests.integration import made_up
from tests.integration.made_up import assert_same, command, numbers, write_study
from tests.sources import source_of

STUDY = """\
study: hub
models:
  - org/tiny
profile: {{corpus: {root}/text.txt, tokens: 2000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 640}}
noise_floor: false
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = oracles.make_model(tmp_path / "llama", "llama")
    num_parameters = sum(tensor.size for tensor in load_file(folder / "model.safetensors").values())
    server = Hub(folder, "org/tiny", num_parameters=num_parameters, slow=3.0)
    yield server
    server.close()


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """The environment of a process that knows this hub alone and has an empty cache."""
    return os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}


def test_two_actors_of_a_node_fetch_the_weights_once(hub: Hub, environment: dict[str, str], tmp_path: Path) -> None:
    source = asdict(source_of(tmp_path / "llama")) | {"path": "org/tiny", "revision": COMMIT}
    code = (
        "import json, sys; from actors.messages.model import ModelSource; from actors.hf_model import load_model; "
        "print(load_model(ModelSource(**json.loads(sys.argv[1]))).num_parameters())"
    )
    loaders = [
        subprocess.Popen([sys.executable, "-c", code, json.dumps(source)], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert len({loader.communicate(timeout=200)[0] for loader in loaders}) == 1
    assert [loader.returncode for loader in loaders] == [0, 0]
    assert hub.fetched["model.safetensors"] == 1


@pytest.mark.long
@pytest.mark.usefixtures("no_process_outlives_its_driver")
def test_a_study_pins_a_commit_of_the_hub_and_fetches_it_once(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=10)
    study_file = write_study(tmp_path, "hub.yaml", STUDY)
    done = subprocess.run(command(study_file, tmp_path / "work"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert hub.fetched["model.safetensors"] == 1, "for the score actor, the engine and both tokenizers"
    resolved = json.loads(next((tmp_path / "work" / "artifacts").rglob("resolved.json")).read_text())
    assert COMMIT in json.dumps(resolved)
    hub.close()
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    again = subprocess.run(command(study_file, tmp_path / "work"), env=offline, capture_output=True, text=True)
    assert again.returncode == 0 and "0 steps computed" in again.stdout, "the cache is the same model"
    anew = subprocess.run(command(study_file, tmp_path / "anew"), env=offline, capture_output=True, text=True)
    assert anew.returncode == 0, anew.stderr
    assert_same(numbers(tmp_path / "anew", "hub"), numbers(tmp_path / "work", "hub"))
