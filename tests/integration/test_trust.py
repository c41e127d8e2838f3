"""How far a model's folder is trusted: no code of its own and no pickles unless the study file says so.

Folders whose code, or whose pickles, leave a file behind when they run; through every loader of the actors.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.ablation.reload import differing_config, plain_log_probabilities
from actors.hf_model import load_model
from actors.messages import EvaluateRequest, Intervention, ModelSource, Scored
from actors.scoring.actor import ScoreActor
from actors.tokens import load_tokenizer
from studies.benchmarks.texts import Sentences
from studies.errors import StudyError
from tests import oracles
from tests.integration.test_local_only import reachable
from tests.processes import one_process
from tests.sources import source_of

OWN_CODE = """\
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
Path({marker!r}).touch()
class OwnConfig(LlamaConfig):
    model_type = {model_type!r}
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
REMEDY = "where you trust them, convert them to safetensors yourself"
TEXTS = ("a keen fox", "the dogs bark", "zz")


@pytest.fixture
def folder(tmp_path) -> Path:
    return oracles.make_model(tmp_path / "tiny", "llama")


@pytest.fixture
def marker(tmp_path) -> Path:
    """What exists once foreign code has run."""
    return tmp_path / "ran"


def add_code(folder: Path, marker: Path, model_type: str = "llama") -> None:
    """Code of the repository's own, named where Transformers looks for it; for tokenizers it is the only one."""
    (folder / "own.py").write_text(OWN_CODE.format(marker=str(marker), model_type=model_type))
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change(folder / "config.json", model_type=model_type, auto_map=auto_map)
    tokenizer = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    change(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=tokenizer)


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def pickle_weights(folder: Path) -> None:
    """The folder's safetensors become `pytorch_model.bin`."""
    torch.save(oracles.load(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


class Malicious:
    """Unpickling makes the file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


# -- code ------------------------------------------------------------------------------------------------------------

LOADERS = {
    "config": lambda source: differing_config(source, source),
    "plain model": load_model,
    "score actor": ScoreActor,
    "tokenizer": load_tokenizer,
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_code_of_a_repository_runs_only_where_the_file_says_so(folder, marker, load):
    source = source_of(folder)
    add_code(folder, marker)
    try:
        load(source)
    except StudyError as error:
        assert_tells_the_field(error)
    assert not marker.exists()
    load(dataclasses.replace(source, trust_remote_code=True))
    assert marker.exists()


def assert_tells_the_field(error: StudyError) -> None:
    assert "\n" not in str(error) and "write trust_remote_code: true beside the model" in str(error)


@pytest.mark.parametrize("load", [load_model, lambda source: differing_config(source, source)])
def test_a_model_that_is_its_own_code_alone_is_refused_in_one_line(folder, marker, load):
    source = source_of(folder)
    add_code(folder, marker, model_type="own")
    with pytest.raises(StudyError) as caught:
        load(source)
    assert_tells_the_field(caught.value)
    assert not marker.exists()


# -- pickles ---------------------------------------------------------------------------------------------------------


def test_pickled_weights_are_those_of_the_safetensors(folder):
    source, ids = source_of(folder), [np.array([0, 17, 42, 99])]
    expected = plain_log_probabilities(source, ids)
    pickle_weights(folder)
    np.testing.assert_array_equal(plain_log_probabilities(dataclasses.replace(source, pickled=True), ids), expected)


def test_pickled_weights_are_not_read_where_the_source_does_not_say_so(folder):
    pickle_weights(folder)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load_model(source_of(folder))


def test_a_malicious_pickle_runs_nothing(folder, marker):
    torch.save({"w": Malicious(marker)}, folder / "pytorch_model.bin")
    load_model(source_of(folder))  # the safetensors beside it
    (folder / "model.safetensors").unlink()
    with pytest.raises(StudyError, match="its pickled weights hold more than tensors") as caught:
        load_model(source_of(folder, pickled=True))
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert marker.exists()


# -- the engine ------------------------------------------------------------------------------------------------------


def by_an_engine(source: ModelSource) -> tuple[list[float], list[str]]:
    """(log-probability of every text, ports that others can reach while the engine stands)."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    try:
        request = EvaluateRequest(benchmark="b", texts=Sentences(texts=TEXTS), interventions={"s": Intervention()})
        (scored,) = (one for one in actor.evaluate(request) if isinstance(one, Scored))
        return scored.sums.tolist(), reachable()
    finally:
        actor.close()


def refusal_of_an_engine(source: ModelSource) -> str:
    from actors.ablation.actor import AblationActor

    with pytest.raises(Exception) as caught:  # vLLM's loaders each have errors of their own
        AblationActor(source)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_an_engine_takes_pickles_without_code_and_stays_on_this_machine(folder, marker):
    plain = source_of(folder)
    tokenizer = load_tokenizer(plain)
    expected = [plain_log_probabilities(plain, [np.array(tokenizer(text)["input_ids"])]).sum() for text in TEXTS]
    pickle_weights(folder)
    change(folder / "config.json", auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"})
    (folder / "own.py").write_text(OWN_CODE.format(marker=str(marker), model_type="llama"))
    with one_process(timeout=500) as call:
        sums, ports = call(by_an_engine, dataclasses.replace(plain, pickled=True))
        np.testing.assert_allclose(sums, expected, atol=1e-3)
        assert ports == []
        assert "Cannot find any model weights" in call(refusal_of_an_engine, plain)
        torch.save({"w": Malicious(marker)}, folder / "pytorch_model.bin")
        refused = call(refusal_of_an_engine, dataclasses.replace(plain, pickled=True))
        assert refused == "StudyError: tiny: its pickled weights hold more than tensors and are not loaded; " + REMEDY
        own = folder.parent / "own"
        folder.rename(own)
        add_code(own, marker, model_type="own")
        refused = call(refusal_of_an_engine, dataclasses.replace(plain, path=str(own)))
        assert refused.startswith("StudyError: ") and "write trust_remote_code: true" in refused
    assert not marker.exists()
