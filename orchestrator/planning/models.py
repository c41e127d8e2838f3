"""Model names -> pinned models: a local folder, a folder under a model root, or a commit on the hub.

Owns what enters a model's digest, how many parameters it has, whether its weights are pickles, and that its code is its
own. Reads configs and headers of weight files, never the weights themselves; a pickle is not opened at all. Raises
StudyError without a place; `resolve` adds file and line.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.engine_limits import refuse_unsupported
from actors.messages.model import DTYPE_BYTES
from actors.model_files import PROVENANCE_FILE, blob_digest, model_files, sha256
from actors.sites import Architecture, architecture
from orchestrator.planning.digest_cache import DigestCache
from orchestrator.planning.model_folder import num_parameters_of, read_json, require_config, require_folder
from orchestrator.planning.places import Places
from orchestrator.study_file.models import CheckpointsSpec, ModelSpec
from studies.benchmarks.hub import about_to_ask
from studies.errors import StudyError, first_line, is_utf8, one_line
from studies.files import MAX_SMALL, require_ordinary

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
MAX_NOTE = 300
"""Characters of a model's note: it stands beside the model's name, and in a tag of MLflow."""
WEIGHTS, WEIGHTS_INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of pickled weights, whole or sharded, as every loader looks for them."""


class Checkpoint(NamedTuple):
    """Where a model stands in the training of its architecture."""

    series: str
    """Display name of the series."""
    step: int
    cohort: str
    """Label of the model at which the series selects its neurons."""
    before: str | None
    """Label of the checkpoint before this one; None for the first."""


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
    """sha256 of the folder's config, weights, tokenizer and code; or repository@SHA. Either ends in `+code` where the
    repository's own code may run."""
    files: Mapping[str, str] = field(default_factory=dict)
    """See `ModelSource.files`."""
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
    def dtype(self) -> str:
        """Of the numbers that its actors compute with, as it was resolved."""
        assert self.spec.dtype is not None, "`pin` fills it in"
        return self.spec.dtype

    @property
    def display(self) -> str:
        """The label, with the note if there is one."""
        return f"{self.label} ({self.note})" if self.note else self.label

    @property
    def selects_itself(self) -> bool:
        """Whether its neurons are selected from its own profile, not from that of its series' cohort."""
        return self.checkpoint is None or self.checkpoint.cohort == self.label

    def document(self) -> dict[str, Any]:
        """The model as plain JSON, for the record."""
        place = self.checkpoint
        return {
            "label": self.label,
            "path": self.path,
            "revision": self.revision,
            "digest": self.digest,
            "family": self.architecture.family,
            "layers": self.architecture.num_layers,
            "d_mlp": self.architecture.d_mlp,
            "dtype": self.dtype,
            "parameters": self.num_parameters,
            "note": self.note,
            "checkpoint": place
            and {"series": place.series, "step": place.step, "cohort": place.cohort, "before": place.before},
        }


def pin(entry: ModelSpec, places: Places, cache: DigestCache) -> ResolvedModel:
    """The model that an entry names. Raises StudyError where it cannot be found or is not supported."""
    local = _local_folder(entry, places)
    model = _local_model(entry, local, cache) if local else hub_model(entry, _hub_name(entry))
    if entry.trust_remote_code:  # loaders then prefer the repository's code to their own
        model = replace(model, digest=f"{model.digest}+code")
    width, ranks = model.architecture.d_mlp, entry.tensor_parallel or int(entry.gpus or 0)
    if ranks and width % ranks:
        raise StudyError(f"the {width} neurons of a layer do not divide over tensor_parallel: {ranks}")
    return model


def in_series(series: CheckpointsSpec, models: Sequence[ResolvedModel]) -> tuple[ResolvedModel, ...]:
    """The models of a series, one for each revision, with their places in the training."""
    cohort = series.label_of(series.cohort or series.revisions[-1].name)
    checkpoints: list[ResolvedModel] = []
    for model, revision in zip(models, series.revisions, strict=True):
        before = checkpoints[-1].label if checkpoints else None
        checkpoint = Checkpoint(series=series.display, step=revision.step, cohort=cohort, before=before)
        checkpoints.append(replace(model, checkpoint=checkpoint))
    return tuple(checkpoints)


def other_architecture(model: ResolvedModel, first: ResolvedModel) -> str:
    """How a model's architecture or tokenizer differs from the first checkpoint's; empty where it does not."""
    for name in ("family", "num_layers", "d_model", "d_mlp", "vocabulary", "activation", "context"):
        here, there = (getattr(which.architecture, name) for which in (model, first))
        if here != there:
            return f"{name} is {here}, {there} at {first.label}"
    if model.tokenizer != first.tokenizer and model.tokenizer and first.tokenizer:
        return f"its tokenizer differs from that of {first.label}"
    return ""


def _local_folder(entry: ModelSpec, places: Places) -> Path | None:
    """The model's folder on this machine; None where only the hub can have it."""
    if entry.path is not None:
        path = places.path(entry.path)
        require_folder(path)
        return path
    inside = entry.revision or "."
    name = _hub_name(entry)
    folders = (root / folder / inside for root in places.model_roots for folder in (name, Path(name).name))
    return next((folder for folder in folders if os.path.isdir(folder)), None)


def _hub_name(entry: ModelSpec) -> str:
    """The name of a model that has no path."""
    assert entry.name is not None, "a ModelSpec has a name or a path"
    return entry.name


def _local_model(entry: ModelSpec, folder: Path, cache: DigestCache) -> ResolvedModel:
    folder = folder.resolve()  # once: a link such as checkpoint-latest may soon point elsewhere
    if not is_utf8(folder):
        raise StudyError(f"the name of the folder {folder} is not UTF-8, and tokenizers could not open it; rename it")
    require_config(folder, entry.path or _hub_name(entry))
    _refuse_adapter([path.name for path in folder.iterdir()], str(folder))
    provenance = folder / PROVENANCE_FILE
    model_files(folder, pickled=True)  # refuses what is endless before anything is read
    require_ordinary(provenance, MAX_SMALL)
    config = read_json(folder / "config.json")
    known = _supported(folder, str(folder), "")
    num_parameters, pickled = _weights(entry, folder, config)
    note = read_json(provenance).get("note") if provenance.is_file() else None
    files = model_files(folder, pickled=pickled)
    return ResolvedModel(
        spec=_with_dtype(entry, config),
        label=entry.display,
        path=str(folder),
        revision=None,
        digest=cache.digest(files.values()),
        files={name: cache.sha256(path) for name, path in files.items()},
        tokenizer=cache.digest(path for name, path in files.items() if name in TOKENIZER_FILES),
        architecture=known,
        num_parameters=num_parameters,
        note=one_line(note, MAX_NOTE) if isinstance(note, str) else "",
        pickled=pickled,
    )


def _weights(entry: ModelSpec, folder: Path, config: dict[str, Any]) -> tuple[int, bool]:
    """How many parameters the weights in a folder have, and whether they are pickled."""
    weights = _safetensors(folder)
    pickled = not weights and _may_be_pickled(entry, [path.name for path in folder.iterdir()])
    if not weights and not pickled:
        raise StudyError(f"{folder} holds no .safetensors weights{_other_weights(entry)}")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise StudyError(f"{folder} holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json)")
    if not pickled:
        return sum(map(num_parameters_of, weights)), False
    return sum(path.stat().st_size for path in folder.glob("*.bin")) // _config_bytes(config), True


def _safetensors(folder: Path) -> list[Path]:
    """The weight files that loaders read: those of the index, else `model.safetensors`, else all that there are."""
    files = {path.name: path for path in sorted(folder.glob("*.safetensors"))}
    index = folder / WEIGHTS_INDEX
    named = read_json(index).get("weight_map") if index.is_file() else None
    shards = {name for name in named.values() if isinstance(name, str)} if isinstance(named, dict) else set()
    return [files[name] for name in sorted(shards & files.keys() or files.keys() & {WEIGHTS} or files.keys())]


def _refuse_adapter(names: Collection[str], where: str) -> None:
    """Raise StudyError for an adapter, with which Transformers loads, or merges in, weights of another repository."""
    if ADAPTER in names:
        raise StudyError(
            f"{where} holds {ADAPTER}: adapters are not supported; merge it into the weights of its base model, with "
            "peft's `merge_and_unload`, and save the result without it"
        )


def _cached_model(entry: ModelSpec, name: str) -> ResolvedModel:
    """A hub model from the local cache, for when HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants, errors, snapshot_download

    revision = entry.revision or "main"
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        raise StudyError(
            f"{name} at {revision} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set; "
            f"unset it, copy the model there, or put it under --model-root as {name}"
        ) from None
    config = read_json(folder / "config.json")
    num_parameters, pickled = _weights(entry, folder, config)
    files = {file: blob_digest(path) or sha256(path) for file, path in model_files(folder, pickled=pickled).items()}
    return _of_hub(entry, name, folder.name, folder, files, num_parameters, pickled)


def hub_model(entry: ModelSpec, name: str) -> ResolvedModel:
    """A model of the hub, pinned to the commit that its revision names now. Raises StudyError, with the remedy."""
    about_to_ask()
    from huggingface_hub import HfApi, constants, errors, hf_hub_download

    if constants.HF_HUB_OFFLINE:
        return _cached_model(entry, name)
    inside = f"/{entry.revision}" if entry.revision else ""
    remedy = f"; or put a local copy under --model-root as {name}{inside}"
    try:
        info = HfApi().model_info(name, revision=entry.revision, timeout=30, files_metadata=True)
        # by the revision's name, so that the cache knows it when offline; unless that has moved on meanwhile
        file = Path(hf_hub_download(name, "config.json", revision=entry.revision))
        if file.parent.name != info.sha:
            file = Path(hf_hub_download(name, "config.json", revision=info.sha))
        with suppress(errors.EntryNotFoundError):
            hf_hub_download(name, "tokenizer_config.json", revision=info.sha)
        config = read_json(file)
    except errors.GatedRepoError:
        raise StudyError(
            f"{name} is gated: ask for access on its page, then run `hf auth login` or set HF_TOKEN{remedy}"
        ) from None
    except errors.RevisionNotFoundError:
        raise StudyError(f"{name} has no revision {entry.revision!r} on the hub") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise StudyError(
            f"there is no model {name!r} on the hub (or it is private and no token is set){remedy}"
        ) from None
    except Exception as error:  # offline, time-outs, proxies: `huggingface_hub` lets many transports' errors through
        raise StudyError(f"{name} cannot be looked up on the hub: {first_line(error)}{remedy}") from error
    num_parameters, pickled = _hub_weights(entry, name, info, config)
    commit = info.sha or file.parent.name
    return _of_hub(entry, name, commit, file.parent, _hub_files(info), num_parameters, pickled)


def _hub_weights(entry: ModelSpec, name: str, info: "ModelInfo", config: dict[str, Any]) -> tuple[int, bool]:
    """Like `_weights`, from the hub's metadata of a repository."""
    if info.safetensors is not None:
        return info.safetensors.total, False
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()} if entry.pickled_weights else {}
    if not _may_be_pickled(entry, sizes):
        raise StudyError(f"{name} has no safetensors weights on the hub{_other_weights(entry)}")
    size = sum(size or 0 for file, size in sizes.items() if re.fullmatch(r"pytorch_model.*\.bin", file))
    return size // _config_bytes(config), True


def _hub_files(info: "ModelInfo") -> dict[str, str]:
    """{file: its sha256, or, of a file outside of LFS, the id that git gives it}, as far as the hub says."""
    digests = {item.rfilename: item.lfs.sha256 if item.lfs else item.blob_id for item in info.siblings or ()}
    return {file: digest for file, digest in digests.items() if digest}


def _of_hub(
    entry: ModelSpec,
    name: str,
    commit: str,
    snapshot: Path,
    files: Mapping[str, str],
    num_parameters: int,
    pickled: bool,
) -> ResolvedModel:
    _refuse_adapter(files, name)
    known = _supported(snapshot, name, name)
    return ResolvedModel(
        spec=_with_dtype(entry, read_json(snapshot / "config.json")),
        label=entry.display,
        path=name,
        revision=commit,
        digest=f"{name}@{commit}",
        files=files,
        architecture=known,
        num_parameters=num_parameters,
        note="",
        pickled=pickled,
    )


def _supported(folder: Path, where: str, repository: str) -> Architecture:
    """The architecture of the model in a folder, or in a snapshot of the hub's.

    where: the folder as messages name it. repository: the model's own on the hub; '' for a local folder. Raises
    StudyError if the actors are known not to support the model, or if it takes code from another repository.
    """
    config = read_json(folder / "config.json")
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            _refuse_foreign_code(read_json(folder / name), f"{where}/{name}", repository)
    known = architecture(config, f"{where}/config.json")
    refuse_unsupported(config, known, f"{where}/config.json")
    return known


def _refuse_foreign_code(config: dict[str, Any], where: str, repository: str) -> None:
    """Raise StudyError where `auto_map`, or a kernel of attention, names another repository: no digest of this model
    covers its code."""
    for name in ("attn_implementation", "_attn_implementation"):
        if "/" in str(config.get(name, "")):
            raise StudyError(f"{where}: {name} takes compiled code from another repository ({config[name]}); remove it")
    auto_map = config.get("auto_map")
    for name, classes in (auto_map if isinstance(auto_map, dict) else {}).items():
        for reference in classes if isinstance(classes, list) else [classes]:
            other = str(reference).rpartition("--")[0]
            if other and other != repository:
                raise StudyError(
                    f"{where}: auto_map takes {name} from another repository ({reference}), whose code the model's "
                    "digest does not cover; take a checkpoint that brings its own code or needs none"
                )


def _may_be_pickled(entry: ModelSpec, files: Collection[str]) -> bool:
    """Whether every loader will read the pickles among these files: it is allowed, and there are no safetensors."""
    safe = any(name.endswith(".safetensors") for name in files)
    return entry.pickled_weights and not safe and any(name in files for name in PICKLES)


def _other_weights(entry: ModelSpec) -> str:
    if entry.pickled_weights:
        return f", and no {' or '.join(PICKLES)}"
    return "; convert them, or, if they are pickled, write pickled_weights: true beside the model"


def _own_dtype(config: dict[str, Any]) -> str:
    """The dtype that config.json gives for the checkpoint; float32 where it gives none that is supported."""
    named = str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch.")
    return named if named in DTYPE_BYTES else "float32"


def _with_dtype(entry: ModelSpec, config: dict[str, Any]) -> ModelSpec:
    """The entry with the checkpoint's own dtype where it has none."""
    return entry if entry.dtype is not None else entry.model_copy(update={"dtype": _own_dtype(config)})


def _config_bytes(config: dict[str, Any]) -> int:
    """Bytes of one pickled weight, as the config says: a pickle is not opened to count them."""
    return DTYPE_BYTES[_own_dtype(config)]
