"""Model names -> pinned models: a local folder, a folder under a model root, or a hub revision's commit."""

import json
import os
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from actors.messages import DTYPE_BYTES
from actors.sites import Architecture, architecture
from orchestrator.planning.digest_cache import DigestCache
from orchestrator.study_file.located import Located
from orchestrator.study_file.models import CheckpointsSpec, ModelSpec
from orchestrator.workspace import expand
from studies.errors import StudyError

PROVENANCE_FILE = "provenance.json"


TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


_IDENTITY_SUFFIXES = {".json", ".safetensors", ".model", ".txt", ".jinja"}


PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of pickled weights, whole or sharded, as every loader looks for them."""


_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Checkpoint(NamedTuple):
    """Where a model stands in the training of its architecture."""

    series: str
    """Shown name of the series."""
    step: int
    cohort: str
    """Label of the model at which the series selects its neurons."""
    before: str | None
    """Label of the checkpoint before this one; None of the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """One pinned model."""

    spec: ModelSpec
    label: str
    path: str
    """Local folder, or the hub's repository name."""
    revision: str | None
    """Commit SHA on the hub; None for a local folder."""
    digest: str
    """sha256 of the folder's config, weights and tokenizer; or repository@SHA."""
    architecture: Architecture
    num_parameters: int
    tokenizer: str = ""
    """Digest of a local folder's tokenizer; '' on the hub, where the revision pins it."""
    note: str
    """Shown wherever the model's numbers are (for example dequantised weights); empty when there is nothing to say."""
    pickled: bool = False
    """Whether its weights are pickles; else they are safetensors."""
    checkpoint: Checkpoint | None = None
    """Its place in a series of checkpoints."""

    @property
    def display(self) -> str:
        return f"{self.label} ({self.note})" if self.note else self.label

    @property
    def selects_itself(self) -> bool:
        """Whether its neurons are its own choice: not of the checkpoints that follow their series' cohort."""
        return self.checkpoint is None or self.checkpoint.cohort == self.label


def _model(entry: ModelSpec, roots: Sequence[Path], folder: Path, cache: DigestCache) -> ResolvedModel:
    local = _local_folder(entry, roots, folder)
    model = _local_model(entry, local, cache) if local else _hub_model(entry)
    width, ranks = model.architecture.d_mlp, entry.tensor_parallel or int(entry.gpus or 0)
    if ranks and width % ranks:
        raise StudyError(f"the {width} neurons of a layer do not divide over tensor_parallel: {ranks}")
    return model


def _series(
    series: CheckpointsSpec, path: tuple, located: Located, roots: Sequence[Path], folder: Path, cache: DigestCache
) -> tuple[ResolvedModel, ...]:
    """The checkpoints of a series, in the order of training; all of one architecture and vocabulary."""
    cohort = f"{series.display}@{series.cohort or series.revisions[-1].name}"
    found: list[ResolvedModel] = []
    for j, (entry, revision) in enumerate(zip(series.models, series.revisions, strict=True)):
        where = (*path, "revisions", j)
        model = located.attribute(where, _model, entry, roots, folder, cache)
        if found and (difference := _other_architecture(model, found[0])):
            raise located.error(where, f"{revision.name} is no checkpoint of the same model: {difference}")
        before = found[-1].label if found else None
        checkpoint = Checkpoint(series=series.display, step=revision.step, cohort=cohort, before=before)
        found.append(replace(model, checkpoint=checkpoint))
    return tuple(found)


def _other_architecture(model: ResolvedModel, first: ResolvedModel) -> str:
    """In what a model differs from the first of its series; empty where it may follow it."""
    for name in ("family", "num_layers", "d_model", "d_mlp", "vocabulary", "activation", "context"):
        one, other = (getattr(which.architecture, name) for which in (model, first))
        if one != other:
            return f"{name} is {one}, {other} at {first.label}"
    if model.tokenizer != first.tokenizer and model.tokenizer and first.tokenizer:
        return f"its tokenizer is another than that of {first.label}"
    return ""


def _local_folder(entry: ModelSpec, roots: Sequence[Path], folder: Path) -> Path | None:
    if entry.path is not None:
        path = expand(entry.path, folder)
        if not os.path.isdir(path):  # `Path.is_dir` raises for a name that is too long
            raise StudyError(f"there is no model folder {path}")
        return path
    inside = entry.revision or "."
    places = (root / name / inside for root in roots for name in (entry.name, Path(entry.name).name))
    return next((place for place in places if os.path.isdir(place)), None)


def _local_model(entry: ModelSpec, folder: Path, cache: DigestCache) -> ResolvedModel:
    config = _read_json(folder / "config.json")
    num_parameters, pickled = _weights(entry, folder, config)
    provenance = folder / PROVENANCE_FILE
    note = str(_read_json(provenance).get("note", "")) if provenance.is_file() else ""
    suffixes = _IDENTITY_SUFFIXES | ({".bin"} if pickled else set())
    files = [path for path in sorted(folder.iterdir()) if path.suffix in suffixes and path != provenance]
    return ResolvedModel(
        spec=entry,
        label=entry.display,
        path=str(folder.resolve()),
        revision=None,
        digest=cache.digest(files),
        tokenizer=cache.digest(path for path in files if path.name in TOKENIZER_FILES),
        architecture=architecture(config),
        num_parameters=num_parameters,
        note=note,
        pickled=pickled,
    )


def _weights(entry: ModelSpec, folder: Path, config: Mapping[str, Any]) -> tuple[int, bool]:
    """How many parameters the weights in a folder have, and whether they are pickled."""
    weights = sorted(folder.glob("*.safetensors"))
    pickled = not weights and _may_be_pickled(entry, [path.name for path in folder.iterdir()])
    if not weights and not pickled:
        raise StudyError(f"{folder} holds no .safetensors weights{_other_weights(entry)}")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise StudyError(f"{folder} holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json)")
    if not pickled:
        return sum(map(_num_parameters, weights)), False
    return sum(path.stat().st_size for path in folder.glob("*.bin")) // _config_bytes(config), True


def _cached_model(entry: ModelSpec) -> ResolvedModel:
    """A model of the hub where that must not be asked: what its cache holds."""
    from huggingface_hub import constants, errors, snapshot_download

    revision = entry.revision or "main"
    try:
        folder = Path(snapshot_download(entry.name, revision=revision, local_files_only=True))
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        raise StudyError(
            f"{entry.name} at {revision} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set; "
            f"unset it, copy the model there, or put it under --model-root as {entry.name}"
        ) from None
    config = _read_json(folder / "config.json")
    num_parameters, pickled = _weights(entry, folder, config)
    return _of_hub(entry, folder.name, config, num_parameters, pickled)


def _hub_model(entry: ModelSpec) -> ResolvedModel:
    from huggingface_hub import HfApi, constants, errors, hf_hub_download

    if constants.HF_HUB_OFFLINE:
        return _cached_model(entry)
    inside = f"/{entry.revision}" if entry.revision else ""
    remedy = f"; or put a local copy under --model-root as {entry.name}{inside}"
    try:
        info = HfApi().model_info(entry.name, revision=entry.revision, timeout=30, files_metadata=entry.pickled_weights)
        # by the revision's name, so that the cache knows it when offline; unless that has moved on meanwhile
        file = Path(hf_hub_download(entry.name, "config.json", revision=entry.revision))
        if file.parent.name != info.sha:
            file = Path(hf_hub_download(entry.name, "config.json", revision=info.sha))
        config = _read_json(file)
    except errors.GatedRepoError:
        raise StudyError(
            f"{entry.name} is gated: ask for access on its page, then run `hf auth login` or set HF_TOKEN{remedy}"
        ) from None
    except errors.RevisionNotFoundError:
        raise StudyError(f"{entry.name} has no revision {entry.revision!r} on the hub") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise StudyError(
            f"there is no model {entry.name!r} on the hub (or it is private and no token is set){remedy}"
        ) from None
    except Exception as error:  # offline, time-outs, proxies: `huggingface_hub` lets many transports' errors through
        first_line = str(error).strip().split("\n")[0][:200]
        raise StudyError(f"{entry.name} cannot be looked up on the hub: {first_line}{remedy}") from error
    sizes = {file.rfilename: file.size for file in info.siblings} if entry.pickled_weights else {}
    pickled = info.safetensors is None and _may_be_pickled(entry, sizes)
    if info.safetensors is None and not pickled:
        raise StudyError(f"{entry.name} has no safetensors weights on the hub{_other_weights(entry)}")
    size = sum(size or 0 for name, size in sizes.items() if re.fullmatch(r"pytorch_model.*\.bin", name))
    num_parameters = size // _config_bytes(config) if pickled else info.safetensors.total
    return _of_hub(entry, info.sha, config, num_parameters, pickled)


def _of_hub(
    entry: ModelSpec, commit: str, config: Mapping[str, Any], num_parameters: int, pickled: bool
) -> ResolvedModel:
    return ResolvedModel(
        spec=entry,
        label=entry.display,
        path=entry.name,
        revision=commit,
        digest=f"{entry.name}@{commit}",
        architecture=architecture(config),
        num_parameters=num_parameters,
        note="",
        pickled=pickled,
    )


def _may_be_pickled(entry: ModelSpec, files: Collection[str]) -> bool:
    """Whether pickles are what every loader will take of these files: the study file says so, and nothing is safer."""
    safe = any(name.endswith(".safetensors") for name in files)
    return entry.pickled_weights and not safe and any(name in files for name in PICKLES)


def _other_weights(entry: ModelSpec) -> str:
    if entry.pickled_weights:
        return f", and no {' or '.join(PICKLES)}"
    return "; convert them, or, if they are pickled, write pickled_weights: true beside the model"


def _config_bytes(config: Mapping[str, Any]) -> int:
    """Bytes of one pickled weight, as the config says: a pickle is not opened to count them."""
    return DTYPE_BYTES.get(config.get("dtype") or config.get("torch_dtype"), 4)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path} is not a JSON object")
    return content


def _num_parameters(path: Path) -> int:
    """Parameters of a safetensors file, from its header."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 2**27)))
    except (OSError, ValueError, struct.error) as error:
        raise StudyError(f"{path} is not a safetensors file: {error}") from None
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            start, stop = tensor["data_offsets"]
            total += (stop - start) // _BYTES.get(tensor["dtype"], 1)
    return total
