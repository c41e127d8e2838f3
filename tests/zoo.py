"""Plans of the catalog's studies without the hub: published sizes of the models, real benchmarks, no weights."""

from pathlib import Path

import pytest

from actors.sites import Architecture
from orchestrator.planning import models
from orchestrator.planning.plan import Plan, build_plan
from orchestrator.planning.resolve import resolve
from orchestrator.study_file.load import load_spec
from orchestrator.study_file.models import ModelSpec

SIZES = {
    "EleutherAI/pythia-70m": ("gpt_neox", 6, 512, 2048, 70_426_624),
    "EleutherAI/pythia-160m": ("gpt_neox", 12, 768, 3072, 162_322_944),
    "EleutherAI/pythia-410m": ("gpt_neox", 24, 1024, 4096, 405_334_016),
    "EleutherAI/pythia-1b": ("gpt_neox", 16, 2048, 8192, 1_011_781_632),
    "EleutherAI/pythia-1.4b": ("gpt_neox", 24, 2048, 8192, 1_414_647_808),
    "EleutherAI/pythia-2.8b": ("gpt_neox", 32, 2560, 10240, 2_775_208_960),
    "EleutherAI/pythia-6.9b": ("gpt_neox", 32, 4096, 16384, 6_857_302_016),
    "EleutherAI/pythia-12b": ("gpt_neox", 36, 5120, 20480, 11_846_072_320),
    "meta-llama/Llama-3.1-8B": ("llama", 32, 4096, 14336, 8_030_261_248),
    "meta-llama/Llama-3.2-1B": ("llama", 16, 2048, 8192, 1_235_814_400),
    "mistralai/Mistral-7B-v0.3": ("mistral", 32, 4096, 14336, 7_248_023_552),
    "Qwen/Qwen3-8B": ("qwen3", 36, 4096, 12288, 8_190_735_360),
    "facebook/opt-1.3b": ("opt", 24, 2048, 8192, 1_315_758_080),
    "facebook/opt-6.7b": ("opt", 32, 4096, 16384, 6_658_473_984),
    "HuggingFaceTB/SmolLM2-135M": ("llama", 30, 576, 1536, 134_515_008),
}
"""{name on the hub: (family, layers, d_model, d_mlp, parameters)}."""


def hub_model(entry: ModelSpec, name: str) -> models.ResolvedModel:
    """In place of `models.hub_model`."""
    family, num_layers, d_model, d_mlp, num_parameters = SIZES[name]
    architecture = Architecture(
        family=family,
        num_layers=num_layers,
        d_model=d_model,
        d_mlp=d_mlp,
        activation="relu" if family == "opt" else "silu",
        context=2048,
        vocabulary=50_000,
    )
    return models.ResolvedModel(
        spec=entry,
        label=entry.display,
        path=name,
        revision="0" * 40,
        digest=f"{name}@{entry.revision}",
        architecture=architecture,
        num_parameters=num_parameters,
        note="",
    )


def catalog_plan(path: Path, data_root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a study file that names models of the hub; scratch: a folder for the digest cache."""
    monkeypatch.setattr(models, "hub_model", hub_model)
    spec, located = load_spec(path)
    return build_plan(resolve(spec, located, folder=path.parent, digests=scratch / "digests.json", data_root=data_root))
