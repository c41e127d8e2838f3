"""How far a model's folder is trusted: no code runs, and no pickles are read, unless the study file allows it.

The folders' code and pickles leave a file behind when they run; every loader of the actors gets them.
"""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.ablation.reload import differing_config
from actors.hf_model import load_model
from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from actors.messages.model import ModelSource
from actors.probe import log_probabilities
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
MORE_THAN_TENSORS = (
    "tiny: its pickled weights hold more than tensors and are not loaded; "
    "if you trust them, convert them to safetensors yourself"
)
RUNS_CODE = (
    "tiny cannot be loaded without running code from its repository; read it, and if you trust it write "
    "trust_remote_code: true beside the model and run with --trust-study"
)
TEXTS = ("a keen fox", "the dogs bark", "zz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return oracles.make_model(tmp_path / "tiny", "llama")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists once foreign code has run."""
    return tmp_path / "ran"


def add_code(folder: Path, marker: Path, model_type: str = "llama") -> None:
    """Add code to the folder, named where Transformers looks for it; the tokenizer has no other class."""
    (folder / "own.py").write_text(OWN_CODE.format(marker=str(marker), model_type=model_type))
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change(folder / "config.json", model_type=model_type, auto_map=auto_map)
    tokenizer = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    change(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=tokenizer)


def change(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def pickle_weights(folder: Path) -> None:
    """Replace the folder's safetensors by a `pytorch_model.bin`."""
    torch.save(oracles.load(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


class Malicious:
    """Unpickling it creates the file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.marker,)


# -- code ------------------------------------------------------------------------------------------------------------

Loader = Callable[[ModelSource], object]

LOADERS: dict[str, Loader] = {
    "config": lambda source: differing_config(source, source),
    "plain model": load_model,
    "score actor": ScoreActor,
    "tokenizer": load_tokenizer,
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_code_of_a_repository_runs_only_where_the_study_file_allows_it(
    folder: Path, marker: Path, load: Loader
) -> None:
    source = source_of(folder)
    add_code(folder, marker)
    try:
        load(source)
    except StudyError as error:
        assert str(error) == RUNS_CODE
    assert not marker.exists()
    load(dataclasses.replace(source, trust_remote_code=True))
    assert marker.exists()


@pytest.mark.parametrize("load", [load_model, lambda source: differing_config(source, source)])
def test_a_model_that_exists_only_as_code_is_refused_in_one_line(folder: Path, marker: Path, load: Loader) -> None:
    source = source_of(folder)
    add_code(folder, marker, model_type="own")
    with pytest.raises(StudyError) as error:
        load(source)
    assert str(error.value) == RUNS_CODE
    assert not marker.exists()


# -- pickles ---------------------------------------------------------------------------------------------------------


def test_pickled_weights_equal_those_of_the_safetensors(folder: Path) -> None:
    source, ids = source_of(folder), [np.array([0, 17, 42, 99])]
    expected = log_probabilities(load_model(source), ids)
    pickle_weights(folder)
    np.testing.assert_array_equal(
        log_probabilities(load_model(dataclasses.replace(source, pickled=True)), ids), expected
    )


def test_pickled_weights_are_not_read_unless_the_source_says_so(folder: Path) -> None:
    pickle_weights(folder)
    with pytest.raises(OSError) as error:
        load_model(source_of(folder))
    assert re.fullmatch(rf"Error no file named model\.safetensors.* {re.escape(str(folder))}\.?", str(error.value))


def test_a_malicious_pickle_runs_nothing(folder: Path, marker: Path) -> None:
    torch.save({"w": Malicious(marker)}, folder / "pytorch_model.bin")
    load_model(source_of(folder))  # the safetensors beside it
    (folder / "model.safetensors").unlink()
    with pytest.raises(StudyError) as error:
        load_model(source_of(folder, pickled=True))
    assert str(error.value) == MORE_THAN_TENSORS
    assert not marker.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert marker.exists()


# -- the engine ------------------------------------------------------------------------------------------------------


def by_an_engine(source: ModelSource) -> tuple[list[float], list[str]]:
    """(log-probability of every text, ports that other machines can reach while the engine runs)."""
    from actors.ablation.actor import AblationActor

    actor = AblationActor(source)
    try:
        request = EvaluateRequest(benchmark="b", texts=Sentences(texts=TEXTS), interventions={"s": Intervention()})
        (scored,) = (message for message in actor.evaluate(request) if isinstance(message, Scored))
        return scored.sums.tolist(), reachable()
    finally:
        actor.close()


def refusal_of_an_engine(source: ModelSource) -> str:
    """The error that starting an engine raises."""
    from actors.ablation.actor import AblationActor

    with pytest.raises(Exception) as caught:  # each of vLLM's loaders raises its own errors
        AblationActor(source)
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.long
def test_an_engine_reads_pickles_without_code_and_stays_on_this_machine(folder: Path, marker: Path) -> None:
    plain = source_of(folder)
    tokenizer = load_tokenizer(plain)
    model = load_model(plain)
    expected = [log_probabilities(model, [np.array(tokenizer(text)["input_ids"])]).sum() for text in TEXTS]
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
        assert refused == f"StudyError: {MORE_THAN_TENSORS}"
        own = folder.parent / "own"
        folder.rename(own)
        add_code(own, marker, model_type="own")
        refused = call(refusal_of_an_engine, dataclasses.replace(plain, path=str(own)))
        assert refused == f"StudyError: {RUNS_CODE}"
    assert not marker.exists()
