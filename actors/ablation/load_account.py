"""Watches a checkpoint being loaded, and keeps account of where the elements of its tensors go.

A dispatch mode that sees every tensor operation while a model's weight loaders run: it follows each tensor's storage
through views, slices, transpositions and conversions, whoever makes them, until it is copied into a parameter. So it
needs no map from the checkpoint's names to the model's. What moves elements in any other way is not followed, and the
tensor counts as left out. Knows nothing of vLLM.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from actors.ablation import coverage
from actors.ablation.coverage import Account, Hop, Path, Region, num_covered

aten = torch.ops.aten
NEW_COPIES = (aten.clone.default, aten._to_copy.default)
"""Operations that copy a whole tensor into a new storage."""
CONSTANTS = (aten.fill_.Scalar, aten.fill_.Tensor, aten.zero_.default)
"""Operations with which a weight loader fills the padding of a vocabulary."""

Key = tuple[StorageWeakRef, int]
"""A storage and the bytes of an element. The weak reference keeps its address from being given to another storage."""


class Tying(NamedTuple):
    """Word embeddings to which config.json ties the head."""

    shape: tuple[int, ...]
    """[vocabulary, d_model], as the checkpoint has them."""
    embeddings: frozenset[str]
    """Parameters with the word embeddings."""
    heads: frozenset[str]
    """Parameters with the head's weights."""


@dataclass(slots=True)
class _Storage:
    """A storage with tensors of the checkpoint."""

    num_elements: int
    tensors: dict[str, Region] = field(default_factory=dict)
    paths: list[Path] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    """The parameters that its elements were copied into."""


@dataclass(slots=True)
class _Copy:
    """The elements of a checkpoint's storage, there or on their way."""

    origin: _Storage
    hops: tuple[Hop, ...] = ()


@dataclass(slots=True)
class _Destination:
    """A storage with a parameter or a buffer of the model."""

    name: str
    region: Region
    num_elements: int
    copied: list[Path] = field(default_factory=list)
    constant: list[Path] = field(default_factory=list)

    @property
    def num_filled(self) -> int:
        """Elements that were copied into it. Constants count as padding beside them, but fill nothing on their own."""
        return num_covered(self.region, self.num_elements, self.copied + self.constant) if self.copied else 0


class LoadAccount(TorchDispatchMode):
    """An account, open while it is entered. The weights must be read through `reading`."""

    def __init__(self, model: nn.Module, expected: Mapping[str, int], tying: Tying | None):
        """expected: {name of a parameter that must be filled: number of elements}; tying: None if the head is not."""
        super().__init__()
        self._model, self._expected, self._tying = model, expected, tying
        self._storages: list[_Storage] = []
        self._copies: dict[Key, _Copy] = {}
        self._destinations: dict[Key, _Destination] = {}
        self._of_tied_shape: list[tuple[str, Tensor, _Storage]] = []

    def reading(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Pass a checkpoint's tensors on and open an account for each."""
        for name, tensor in weights:
            copy = self._copies.get(_key(tensor))
            if copy is None:
                self._storages.append(_Storage(_storage_elements(tensor)))
                copy = self._copies[_key(tensor)] = _Copy(self._storages[-1])
            copy.origin.tensors[name] = _region(tensor)
            if self._tying is not None and tuple(tensor.shape) == self._tying.shape:
                self._of_tied_shape.append((name, tensor, copy.origin))
            yield name, tensor

    def result(self) -> Account:
        """The account of this rank. Compares the checkpoint's head with its word embeddings where they are tied."""
        tensors = {
            name: coverage.Tensor(region, storage.num_elements, storage.paths)
            for storage in self._storages
            for name, region in storage.tensors.items()
        }
        filled = {name: (0, num_elements) for name, num_elements in self._expected.items()}
        for destination in self._destinations.values():
            if destination.copied:
                there = max(destination.num_filled, filled.get(destination.name, (0, 0))[0])
                filled[destination.name] = there, destination.region.num_elements
        return Account(tensors, filled, *self._tied_heads())

    def _tied_heads(self) -> tuple[list[str], tuple[str, str] | None]:
        """(copies of the word embeddings, equal in every element; (head, word embeddings) where they differ)."""
        equal: list[str] = []
        if self._tying is None:
            return equal, None
        embeddings = [one for one in self._of_tied_shape if one[2].reached & self._tying.embeddings]
        for name, tensor, storage in self._of_tied_shape:
            if not storage.reached or storage.reached & self._tying.heads:
                for embedding, values, _ in embeddings:
                    if not torch.equal(tensor, values.to(tensor.dtype)):
                        return equal, (name, embedding)
                    equal.append(name)
        return equal, None

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if operation is aten.copy_.default:
            self._copied(args[0], args[1])
        elif operation in NEW_COPIES:
            self._duplicated(args[0], result)
        elif operation in CONSTANTS and (destination := self._destination(args[0])):
            destination.constant.append(Path((), _region(args[0])))
        return result

    def _copied(self, target: Tensor, source: Tensor) -> None:
        """Note a copy into a parameter. A parameter without memory of its own takes nothing in."""
        copy = None if target.is_meta else self._copies.get(_key(source))
        if copy is not None and (destination := self._destination(target)):
            destination.copied.append(Path((), _region(target)))
            copy.origin.reached.add(destination.name)
            copy.origin.paths.append(Path(copy.hops, _region(source)))

    def _duplicated(self, source: Tensor, result: Tensor) -> None:
        """Follow a copy in a new storage."""
        copy = self._copies.get(_key(source))
        if copy is not None:
            hop = Hop(_region(source), _region(result), _storage_elements(result))
            self._copies[_key(result)] = _Copy(copy.origin, (*copy.hops, hop))

    def _destination(self, tensor: Tensor) -> _Destination | None:
        """The parameter or buffer whose memory a tensor shares. Loaders may give the model new ones at any time."""
        key = _key(tensor)
        if key not in self._destinations:
            for name, own in itertools.chain(self._model.named_parameters(), self._model.named_buffers()):
                self._destinations.setdefault(_key(own), _Destination(name, _region(own), _storage_elements(own)))
        return self._destinations.get(key)


def _key(tensor: Tensor) -> Key:
    return StorageWeakRef(tensor.untyped_storage()), tensor.element_size()


def _storage_elements(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _region(tensor: Tensor) -> Region:
    return Region(tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset())
