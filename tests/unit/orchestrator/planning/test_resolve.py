"""Names -> facts: local folders, the hub's refusals, digests that do not know paths."""

import hashlib
import json
import os
import shutil
import struct
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from huggingface_hub.hf_api import RepoSibling

from orchestrator.execution.sources import model_source
from orchestrator.planning.resolve import resolve
from orchestrator.scheduling.placement import Demand
from orchestrator.study_file.load import parse_spec
from studies.errors import StudyError
from tests import oracles
from tests.hub import COMMIT
from tests.tampering import flip, replace

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 64,
    "vocab_size": 10,
}
STUDY = """\
study: s
models:
  - {model}
profile: {{corpus: embedded}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate: [embedded_knowledge]
"""


def make_folder(folder, config=CONFIG, weights=True, tokenizer=True):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if weights:
        header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    if tokenizer:
        (folder / "tokenizer.json").write_text("{}")
    return folder


def resolved(tmp_path, model, preset="strict", **options):
    text = STUDY.format(model=model) + (f"preset: {preset}\n" if preset != "strict" else "")
    spec, located = parse_spec(text, "s.yaml", trusted=True)
    return resolve(spec, located, folder=tmp_path, digests=tmp_path / "digests.json", **options)


def refusal(tmp_path, model, **options) -> str:
    with pytest.raises(StudyError) as caught:
        resolved(tmp_path, model, **options)
    message = str(caught.value)
    assert message.startswith("s.yaml:") and "\n" not in message
    return message


def test_a_local_folder_is_pinned_by_its_contents_not_its_place(tmp_path):
    make_folder(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b")
    first = resolved(tmp_path, "./a").models[0]
    second = resolved(tmp_path, "{path: ./elsewhere/b, label: a}").models[0]
    assert first.digest == second.digest and first.path != second.path
    assert first.num_parameters == 6 and first.architecture.d_mlp == 16 and first.label == "a"
    (tmp_path / "a" / "tokenizer.json").write_text('{"changed": true}')
    assert resolved(tmp_path, "./a").models[0].digest != first.digest


@pytest.mark.parametrize("name", ["modeling_own.py", "qwen.tiktoken", "source.spm", "bpe.codes"])
def test_every_file_that_loading_reads_is_part_of_a_model(tmp_path, name):
    folder = make_folder(tmp_path / "a")
    digests = [resolved(tmp_path, "./a").models[0].digest]
    for content in ("one", "two"):
        (folder / name).write_text(content)
        digests.append(resolved(tmp_path, "./a").models[0].digest)
    assert len(set(digests)) == 3


def test_a_model_run_by_its_own_code_is_another_model(tmp_path):
    make_folder(tmp_path / "a")
    plain, trusted = (
        resolved(tmp_path, f"{{path: ./a, trust_remote_code: {trust}}}").models[0] for trust in ("false", "true")
    )
    assert trusted.digest == f"{plain.digest}+code" and trusted.files == plain.files


def test_actors_get_the_digest_of_every_file_of_the_folder_behind_a_link(tmp_path):
    folder = make_folder(tmp_path / "checkpoint-1000")
    (tmp_path / "checkpoint-latest").symlink_to(folder)
    model = resolved(tmp_path, "./checkpoint-latest").models[0]
    source = model_source(model, Demand(1, 0), 1)
    assert source.path == str(folder) and source.files == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }


@pytest.mark.parametrize("change", [flip, replace])
def test_weights_changed_behind_the_same_size_and_mtime_are_another_model(tmp_path, change):
    folder = make_folder(tmp_path / "a")
    before = resolved(tmp_path, "./a").models[0].digest
    change(folder / "model.safetensors")
    assert resolved(tmp_path, "./a").models[0].digest != before


def test_provenance_is_shown_and_does_not_change_the_digest(tmp_path):
    make_folder(tmp_path / "a")
    before = resolved(tmp_path, "./a").models[0]
    (tmp_path / "a" / "provenance.json").write_text('{"note": "dequantised"}')
    after = resolved(tmp_path, "./a").models[0]
    assert after.display == "a (dequantised)" and after.digest == before.digest


def test_a_model_root_comes_before_the_hub(tmp_path):
    make_folder(tmp_path / "root" / "org" / "name")
    make_folder(tmp_path / "root" / "short")
    for name in ("org/name", "other/short"):
        assert resolved(tmp_path, name, model_roots=[tmp_path / "root"]).models[0].revision is None


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        ({"weights": False}, "no .safetensors weights"),
        ({"tokenizer": False}, "no tokenizer"),
        ({"config": {**CONFIG, "model_type": "lama"}}, "'lama' is not in the site table; did you mean 'llama'?"),
        ({"config": {**CONFIG, "num_local_experts": 8}}, "mixture-of-experts"),
        ({"config": {k: v for k, v in CONFIG.items() if k != "hidden_act"}}, "no 'hidden_act'"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, change, piece):
    make_folder(tmp_path / "a", **change)
    assert piece in refusal(tmp_path, "./a")


def test_a_config_that_the_engine_does_not_honour_is_refused_with_its_file(tmp_path):
    folder = make_folder(tmp_path / "a", config={**CONFIG, "hidden_act": "gelu"})
    message = f'{folder}/config.json: hidden_act is "gelu"; vLLM 0.32 runs llama with silu; take another checkpoint'
    assert refusal(tmp_path, "./a") == f"s.yaml:3: models.0: {message}"


FOREIGN_CODE = (
    "auto_map takes AutoModelForCausalLM from another repository (other/code--modeling.Model), whose code the model's "
    "digest does not cover; take a checkpoint that brings its own code or needs none"
)


@pytest.mark.parametrize("trusted", ["false", "true"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_is_refused_even_if_trusted(tmp_path, name, trusted):
    folder = make_folder(tmp_path / "a")
    known = CONFIG if name == "config.json" else {}
    (folder / name).write_text(json.dumps({**known, "auto_map": {"AutoModelForCausalLM": "modeling.Model"}}))
    model = f"{{path: ./a, trust_remote_code: {trusted}}}"
    assert resolved(tmp_path, model).models[0].label == "a"
    for classes in ("other/code--modeling.Model", ["other/code--modeling.Model", None]):
        (folder / name).write_text(json.dumps({**known, "auto_map": {"AutoModelForCausalLM": classes}}))
        assert refusal(tmp_path, model) == f"s.yaml:3: models.0: {folder}/{name}: {FOREIGN_CODE}"


WINDOWED = """\
study: s
preset: {preset}
models:
  - ./a
  - ./closing
profile: {{corpus: embedded{profile}}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: negative}}
evaluate:
  - embedded_knowledge
  - perplexity: {{corpus: embedded{perplexity}}}
"""


def windowed(tmp_path, preset="strict", profile="", perplexity=""):
    """A study of two models: the tokenizer of `a` has no BOS, that of `closing` adds BOS and EOS to every text."""
    for name, template in (("a", "$A"), ("closing", "<s> $A </s>")):
        if not (tmp_path / name).exists():
            oracles.make_tokenizer(make_folder(tmp_path / name), template)
    config = tmp_path / "a" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"bos_token": None}))
    spec, located = parse_spec(WINDOWED.format(preset=preset, profile=profile, perplexity=perplexity), "s.yaml")
    return resolve(spec, located, folder=tmp_path, digests=tmp_path / "digests.json")


def added(study, model):
    """{texts: (in front of the first window or text, at later windows, behind)}."""
    found = study.special_tokens(model)
    places = {name: (one.first, one.later, one.last) for name, one in found.items()}
    return {name: tuple("".join(token.text for token in place) for place in at) for name, at in places.items()}


@pytest.mark.parametrize(
    ("preset", "perplexity", "expected"),
    [
        ("strict", "", (("<s>", "<s>", ""), ("<s>", "<s>", ""))),
        ("paper", "", (("<s>", "", ""), ("<s>", "", ""))),
        ("paper", ", bos: none", (("<s>", "", ""), ("", "", ""))),
    ],
)
def test_a_study_knows_what_its_texts_get(tmp_path, preset, perplexity, expected):
    study = windowed(tmp_path, preset=preset, perplexity=perplexity)
    of_profile, of_perplexity = expected
    bare, closing = study.models
    knowledge = {"embedded_knowledge": ("<s>", "", "")}
    assert added(study, closing) == {"profile": of_profile, **knowledge, "perplexity": of_perplexity}
    assert set(added(study, bare).values()) == {("", "", "")}


@pytest.mark.parametrize(
    ("where", "line"), [("profile", "s.yaml:6: profile: a: "), ("perplexity", "s.yaml:11: evaluate.1: a: ")]
)
def test_a_bos_that_a_tokenizer_lacks_is_refused_before_anything_starts(tmp_path, where, line):
    with pytest.raises(StudyError) as caught:
        windowed(tmp_path, **{where: ", bos: every_window"})
    assert str(caught.value) == f"{line}bos: every_window needs a tokenizer with BOS, and this one has none"


def pickled(folder, size=4096):
    make_folder(folder, weights=False)
    (folder / "pytorch_model.bin").write_bytes(bytes(size))
    return folder


def test_pickled_weights_need_the_files_word(tmp_path):
    folder = pickled(tmp_path / "a")
    assert "if they are pickled, write pickled_weights: true beside the model" in refusal(tmp_path, "./a")
    model = resolved(tmp_path, "{path: ./a, pickled_weights: true}").models[0]
    assert model.pickled and model.num_parameters == 1024
    assert model_source(model, Demand(1, 0), 1).pickled
    (folder / "pytorch_model.bin").write_bytes(bytes(4095) + b"x")
    assert resolved(tmp_path, "{path: ./a, pickled_weights: true}").models[0].digest != model.digest
    (folder / "config.json").write_text(json.dumps({**CONFIG, "torch_dtype": "float16"}))
    assert resolved(tmp_path, "{path: ./a, pickled_weights: true}").models[0].num_parameters == 2048
    (folder / "pytorch_model.bin").rename(folder / "other.bin")
    assert "and no pytorch_model.bin or" in refusal(tmp_path, "{path: ./a, pickled_weights: true}")


@pytest.mark.parametrize(
    ("config", "entry", "preset", "dtype"),
    [
        ({"dtype": "bfloat16"}, "{path: ./a, gpus: 1}", "strict", "bfloat16"),
        ({"torch_dtype": "float16"}, "{path: ./a, gpus: 0.5}", "strict", "float16"),
        ({"torch_dtype": "torch.bfloat16"}, "{path: ./a, tensor_parallel: 2}", "strict", "bfloat16"),
        ({}, "{path: ./a, gpus: 1}", "strict", "float32"),
        ({"dtype": "float64"}, "{path: ./a, gpus: 1}", "strict", "float32"),
        ({"dtype": ["bfloat16"]}, "{path: ./a, gpus: 1}", "strict", "float32"),
        ({"dtype": "bfloat16"}, "{path: ./a, gpus: 1, dtype: float32}", "strict", "float32"),
        ({"dtype": "bfloat16"}, "{path: ./a, gpus: 0}", "strict", "float32"),
        ({"dtype": "bfloat16"}, "{path: ./a, cpus: 2}", "strict", "float32"),
        ({"dtype": "bfloat16"}, "./a", "strict", "float32"),
        ({"dtype": "bfloat16"}, "{path: ./a, gpus: 1}", "paper", "float32"),
        ({"dtype": "bfloat16"}, "{path: ./a, gpus: 1, dtype: bfloat16}", "paper", "bfloat16"),
        ({"dtype": "bfloat16"}, "./a", "paper", "float32"),
        ({"dtype": "bfloat16"}, "{path: ./a, dtype: null}", "strict", "float32"),
        ({"dtype": "bfloat16"}, "{path: ./a, gpus: 1, dtype: null}", "strict", "bfloat16"),
        ({"dtype": "bfloat16"}, "{path: ./a, gpus: 1, dtype: null}", "paper", "float32"),
    ],
)
def test_the_dtype_follows_the_file_and_on_gpus_the_checkpoint(tmp_path, config, entry, preset, dtype):
    folder = make_folder(tmp_path / "a")
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    model = resolved(tmp_path, entry, preset).models[0]
    assert model.dtype == model_source(model, Demand(1, 0), 1).dtype == model.document()["dtype"] == dtype


def test_safetensors_come_before_pickles_and_leave_the_digest_as_it_was(tmp_path):
    folder = make_folder(tmp_path / "a")
    before = resolved(tmp_path, "./a").models[0]
    (folder / "pytorch_model.bin").write_bytes(bytes(4096))
    after = resolved(tmp_path, "{path: ./a, pickled_weights: true}").models[0]
    assert after.digest == before.digest and not after.pickled and after.num_parameters == 6
    files = sorted(path for path in folder.iterdir() if path.suffix != ".bin")
    lines = (f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in files)
    assert before.digest == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_weights_are_counted_without_opening_a_pickle(tmp_path):
    (pickled(tmp_path / "a") / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR." + bytes(4096))
    assert resolved(tmp_path, "{path: ./a, pickled_weights: true}").models[0].num_parameters > 1000
    assert not (tmp_path / "ran").exists()


def test_a_folder_whose_name_is_not_utf8_is_no_model(tmp_path):
    make_folder(tmp_path / "r\udcfc" / "a")
    with pytest.raises(
        StudyError, match=r"^s.yaml:3: models.0: the name of the folder .* is not UTF-8, and tokenizers"
    ):
        resolved(tmp_path, "a", model_roots=[tmp_path / "r\udcfc"])


def test_a_folder_of_checkpoints_is_no_model(tmp_path):
    for step in (1, 2, 10, 20, 30):
        make_folder(tmp_path / "run" / f"step{step}")
    assert refusal(tmp_path, "./run") == (
        f"s.yaml:3: models.0: {tmp_path}/run is a folder of models (step1, step10, step2, step20 and 1 more), not a "
        "model: name one of them, ./run/step1, or all of a training run under checkpoints: {of: ./run, "
        "revisions: [...]}"
    )
    make_folder(tmp_path / "final")
    make_folder(tmp_path / "final" / "checkpoint-500")
    assert resolved(tmp_path, "./final").models[0].label == "final"


ODD_HEADERS = (
    b"[]", b"3", b"null", b'{"w": 3}', b'{"w": {}}', b'{"w": {"dtype": "F32", "data_offsets": [0]}}',
    b'{"w": {"dtype": "F32", "data_offsets": "ab"}}', b'{"w": {"dtype": "F32", "data_offsets": [8, 0]}}',
    b"[" * 100_000, b"\xff\xfe",
)  # fmt: skip


@pytest.mark.parametrize("header", ODD_HEADERS, ids=lambda header: repr(header[:50]))
def test_weights_with_an_odd_header_are_one_line(tmp_path, header):
    folder = make_folder(tmp_path / "a")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert f"{folder}/model.safetensors is not a safetensors file: " in refusal(tmp_path, "./a")


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "shards"])
def test_weights_that_lie_there_twice_count_once(tmp_path, sharded):
    """Mistral's repositories hold the same weights in shards and in `consolidated.safetensors`."""
    folder = make_folder(tmp_path / "a")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "consolidated.safetensors").write_bytes(content)
    if sharded:
        (folder / "model.safetensors").unlink()
        shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        for shard in shards:
            (folder / shard).write_bytes(content)
        index = {"weight_map": dict(zip("ab", shards, strict=True))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolved(tmp_path, "./a").models[0].num_parameters == (12 if sharded else 6)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": 3}', '{"weight_map": {"w": null}}'])
def test_an_odd_index_leaves_the_weights_that_there_are(tmp_path, index):
    folder = make_folder(tmp_path / "a")
    (folder / "model.safetensors.index.json").write_text(index)
    assert resolved(tmp_path, "./a").models[0].num_parameters == 6


def test_an_adapter_is_refused(tmp_path):
    """With `peft` installed Transformers loads the base model that it names, which nobody has pinned."""
    folder = make_folder(tmp_path / "a")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    assert refusal(tmp_path, "./a") == (
        f"s.yaml:3: models.0: {folder} holds adapter_config.json: adapters are not supported; merge it into the "
        "weights of its base model, with peft's `merge_and_unload`, and save the result without it"
    )


ODD_CONFIGS = {
    "null": (b"null", "config.json is not a JSON object"),
    "too deep": (b"[" * 100_000, "config.json is not JSON: maximum recursion depth exceeded"),
    "other bytes": (b'{"a": "\xff"}', "config.json is not JSON: it is not UTF-8 text"),
    "cut off": (b'{"model_type": "lla', "config.json is not JSON: Unterminated string"),
}


@pytest.mark.parametrize(("content", "piece"), ODD_CONFIGS.values(), ids=ODD_CONFIGS)
def test_a_config_that_is_no_json_object_is_one_line(tmp_path, content, piece):
    folder = make_folder(tmp_path / "a")
    (folder / "config.json").write_bytes(content)
    assert f"s.yaml:3: models.0: {folder}/{piece}" in refusal(tmp_path, "./a")


ODD_TABLES = {
    "nothing.csv": (b"", "cannot be read: No columns to parse from file"),
    "no_rows.csv": (b"layer,neuron\n", "lists no neuron"),
    "bytes.csv": (b"layer,neuron\n0,\xff\n", "cannot be read: it is not UTF-8 text"),
    "negative.csv": (
        b"layer,neuron\n0,1\n0,-1\n",
        "row 2: the column neuron must hold whole numbers from 0 on; found -1",
    ),
    "truth.csv": (b"layer,neuron\nTrue,1\n", "row 1: the column layer must hold whole numbers from 0 on; found True"),
    "huge.csv": (b"layer,neuron\n0,1e300\n", "a: layer 0 has neurons 0 to 15; found "),
    "absent_layer.csv": (b"layer,neuron\n2,1\n", "a: there is no layer 2; layers are 0 to 1"),
    "no_table.parquet": (b"no parquet", "cannot be read: "),
    "folder.csv": (None, "cannot be read: Is a directory"),
    "absent.csv": (None, "cannot be read: No such file or directory"),
    "pipe.csv": (None, "cannot be read: it is not an ordinary file"),
}


@pytest.mark.parametrize(("name", "content", "piece"), [(name, *rest) for name, rest in ODD_TABLES.items()])
def test_a_table_of_neurons_that_cannot_be_meant_is_one_line(tmp_path, name, content, piece):
    make_folder(tmp_path / "a")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    text = STUDY.format(model="./a").replace("select: top, fraction: 0.1", f"select: explicit, neurons: {name}")
    with pytest.raises(StudyError) as caught:
        spec, located = parse_spec(text, "s.yaml")
        resolve(spec, located, folder=tmp_path, digests=tmp_path / "digests.json")
    assert str(caught.value).startswith("s.yaml:6: conditions.top.neurons: ") and piece in str(caught.value)
    assert str(caught.value).isprintable()


def test_places_and_sizes_that_are_wrong(tmp_path):
    assert "s.yaml:3: models.0: there is no model folder" in refusal(tmp_path, "./nowhere")
    make_folder(tmp_path / "a")
    assert "16 neurons" in refusal(tmp_path, "{path: ./a, tensor_parallel: 3}")
    (tmp_path / "a" / "model.safetensors").write_bytes(b"no")
    assert "not a safetensors file" in refusal(tmp_path, "./a")


@pytest.mark.parametrize("name", ["x" * 300, "/x" * 450, "~no-such-user/x"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  - ./a", "  - {{path: {name}}}"),
        ("models:", "model_root: {name}\nmodels:"),
        ("models:", "data: {{root: {name}}}\nmodels:"),
        ("corpus: embedded", "corpus: {name}"),
        ("[embedded_knowledge]", "[{{pairs: {name}}}]"),
        ("[embedded_knowledge]", "[{{surprisal: {{corpus: {name}}}}}]"),
        ("select: top, fraction: 0.1", "select: explicit, neurons: {name}.csv"),
    ],
)
def test_names_that_no_file_can_have_are_one_line(tmp_path, name, old, new):
    """`Path.is_dir` raises for the first two and `Path.expanduser` for the last."""
    make_folder(tmp_path / "a")
    text = STUDY.format(model="./a")
    assert old in text
    with pytest.raises(StudyError) as caught:
        spec, located = parse_spec(text.replace(old, new.format(name=name)), "s.yaml")
        resolve(spec, located, folder=tmp_path, digests=tmp_path / "digests.json")
    assert str(caught.value).startswith("s.yaml:") and str(caught.value).isprintable()


def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    make_folder(tmp_path / "a")

    def refuse(cache, files):
        raise PermissionError(13, "Permission denied", "config.json")

    monkeypatch.setattr("orchestrator.planning.resolve.DigestCache.digest", refuse)
    assert "models.0: config.json cannot be read: Permission denied" in refusal(tmp_path, "./a")


def test_a_layer_that_a_model_does_not_have(tmp_path):
    make_folder(tmp_path / "a")
    text = STUDY.format(model="./a").replace("fraction: 0.1", "fraction: 0.1, layers: [0, 2]")
    spec, located = parse_spec(text, "s.yaml")
    with pytest.raises(StudyError) as error:
        resolve(spec, located, folder=tmp_path, digests=tmp_path / "digests.json")
    assert str(error.value) == "s.yaml:6: conditions.top.layers: a: there is no layer 2; layers are 0 to 1"


ENGINE_OPTIONS = {
    **{
        f"{option}: false": f"engine option '{option}' is set by Halfwave and cannot be changed"
        for option in ("enforce_eager", "load_format", "download_dir", "worker_cls", "logits_processors")
    },
    "hf_token: hf_secret": ("a study file is recorded and must not hold a token; set HF_TOKEN in the environment"),
}


@pytest.mark.parametrize(("option", "message"), ENGINE_OPTIONS.items(), ids=ENGINE_OPTIONS)
def test_an_engine_option_that_loses_the_intervention_loads_another_model_or_tells_a_secret_is_refused(option, message):
    with pytest.raises(StudyError) as error:
        parse_spec(STUDY.format(model=f"{{path: ./a, engine: {{{option}}}}}"), "s.yaml")
    assert str(error.value) == f"s.yaml:3: models.0.engine.{option.split(':')[0]}: {message}"


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def hub_error(kind):
    response = SimpleNamespace(headers={}, request=None, status_code=403, url="")
    return kind("refused", response=response)


@pytest.mark.parametrize(
    ("error", "piece"),
    [
        (lambda: hub_error(errors.GatedRepoError), "org/m is gated: ask for access on its page"),
        (lambda: hub_error(errors.RepositoryNotFoundError), "there is no model 'org/m' on the hub"),
        (lambda: hub_error(errors.RevisionNotFoundError), "no revision 'x'"),
        (lambda: ConnectionError("no route\nto host"), "cannot be looked up on the hub: no route"),
    ],
)
def test_the_hubs_refusals_are_one_line_with_a_remedy(tmp_path, monkeypatch, online, error, piece):
    def fail(*arguments, **options):
        raise error()

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    assert piece in refusal(tmp_path, "{name: org/m, revision: x}")


def test_the_hub_revision_becomes_a_commit(tmp_path, monkeypatch, online):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    siblings = [
        RepoSibling("model.safetensors", blob_id="b" * 40, lfs=SimpleNamespace(sha256="a" * 64)),
        RepoSibling("config.json", blob_id="c" * 40),
        RepoSibling("README.md"),
    ]
    info = SimpleNamespace(sha="c0ffee", safetensors=SimpleNamespace(total=123), siblings=siblings)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *a, **k: info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: str(tmp_path / "config.json"))
    model = resolved(tmp_path, "{name: org/m, revision: step1000}").models[0]
    assert (model.revision, model.digest, model.label) == ("c0ffee", "org/m@c0ffee", "m@step1000")
    assert model.files == {"model.safetensors": "a" * 64, "config.json": "c" * 40}
    info.safetensors = None
    assert "no safetensors weights" in refusal(tmp_path, "org/m")


def test_a_config_of_the_hub_is_held_to_the_same_limits(tmp_path, monkeypatch, online):
    info = SimpleNamespace(sha="c0ffee", safetensors=SimpleNamespace(total=123), siblings=None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *a, **k: info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: str(tmp_path / "config.json"))
    for classes, refused in (("org/m--modeling.Model", False), ("other/code--modeling.Model", True)):
        config = {**CONFIG, "auto_map": {"AutoModelForCausalLM": classes}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        if refused:
            assert refusal(tmp_path, "org/m") == f"s.yaml:3: models.0: org/m/config.json: {FOREIGN_CODE}"
        else:
            assert resolved(tmp_path, "org/m").models[0].revision == "c0ffee"
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "sliding_window": 8}))
    assert "org/m/config.json: sliding_window is 8; vLLM 0.32 attends to" in refusal(tmp_path, "org/m")


@pytest.mark.parametrize(
    ("files", "parameters"),
    [
        ({"pytorch_model.bin": 400, "training_args.bin": 9, "tf_model.h5": 400}, 100),
        ({f"pytorch_model-0000{i}-of-00002.bin": 200 for i in (1, 2)} | {"pytorch_model.bin.index.json": 10}, 100),
        ({"flax_model.msgpack": 400}, None),
        ({"pytorch_model.bin": 400, "other.safetensors": 9}, None),
    ],
)
def test_pickled_weights_of_the_hub(tmp_path, monkeypatch, online, files, parameters):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    siblings = [RepoSibling(name, size=size) for name, size in files.items()]
    info = SimpleNamespace(sha="c0ffee", safetensors=None, siblings=siblings)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *a, **k: info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: str(tmp_path / "config.json"))
    assert "write pickled_weights: true" in refusal(tmp_path, "org/m")
    if parameters is None:
        assert "org/m has no safetensors weights on the hub, and no" in refusal(
            tmp_path, "{name: org/m, pickled_weights: true}"
        )
    else:
        model = resolved(tmp_path, "{name: org/m, pickled_weights: true}").models[0]
        assert model.pickled and model.num_parameters == parameters and model.digest == "org/m@c0ffee"


def test_offline_the_cache_says_which_commit_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    missing = refusal(tmp_path, "{name: org/m, revision: step1000}")
    assert f"org/m at step1000 is not in the cache {hub}, and HF_HUB_OFFLINE is set; unset it, copy" in missing
    repository = hub / "models--org--m"
    make_folder(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "step1000").write_text(COMMIT)
    model = resolved(tmp_path, "{name: org/m, revision: step1000}").models[0]
    assert (model.path, model.revision, model.digest) == ("org/m", COMMIT, f"org/m@{COMMIT}")
    assert model.num_parameters == 6 and "is not in the cache" in refusal(tmp_path, "org/m")
    weights = repository / "snapshots" / COMMIT / "model.safetensors"
    copied = model.files["model.safetensors"]
    assert copied == hashlib.sha256(weights.read_bytes()).hexdigest()
    (repository / "blobs").mkdir()
    weights.rename(repository / "blobs" / ("a" * 64))
    weights.symlink_to(repository / "blobs" / ("a" * 64))
    model = resolved(tmp_path, "{name: org/m, revision: step1000}").models[0]
    assert model.files["model.safetensors"] == "a" * 64, "as the hub named it; actors read the content"
