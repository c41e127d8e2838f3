"""The comparability key of an evaluation: what results must have in common to be compared item by item.

Owns the text that stands on a result's run, and what can be read from it. The text is stored, so it never changes.
Knows neither which results are compared nor what becomes of those that differ.
"""

from collections.abc import Mapping
from typing import NamedTuple

from actors.messages.ablation import Scored
from actors.messages.model import EngineFacts

TAG = "comparability."
"""Followed by the name of the evaluation's step: the tag with its key."""
PLAN_DIGITS = 16
"""Hexadecimal digits of the pack plan in a key."""


class Key(NamedTuple):
    """What a result was computed with."""

    route: str
    pack_plan: str
    """The first digits of its digest; empty where it does not matter, as for the noise floor."""
    dtype: str
    device: str
    versions: tuple[tuple[str, str], ...]
    """(package, version), in the order of the packages."""

    @property
    def text(self) -> str:
        """As it is stored."""
        versions = " ".join(f"{name}-{version}" for name, version in self.versions)
        return f"{self.route} {self.pack_plan} {self.dtype} {self.device} {versions}"

    @property
    def engine(self) -> "Key":
        """The key on whatever packs."""
        return self._replace(pack_plan="")

    def agrees(self, other: "Key") -> bool:
        """Whether results may be compared; an empty pack plan agrees with all."""
        same_packs = self.pack_plan == other.pack_plan or not (self.pack_plan and other.pack_plan)
        return same_packs and self.engine == other.engine

    def with_versions(self, versions: Mapping[str, str]) -> "Key":
        """The key with other versions of its packages; those that are not given stay."""
        return self._replace(versions=tuple((name, versions.get(name, was)) for name, was in self.versions))


def key_of(engine: EngineFacts, scored: Scored) -> Key:
    """The key of a result that this engine has computed."""
    versions = tuple(sorted(engine.versions.items()))
    return Key(str(scored.route), scored.pack_plan[:PLAN_DIGITS], engine.dtype, engine.device, versions)


def recorded_key(step_name: str, tags: Mapping[str, str]) -> Key | None:
    """The key on a recorded result, by its tags; None where it has none."""
    text = tags.get(TAG + step_name)
    if text is None:
        return None
    route, pack_plan, dtype, device, *versions = [*text.split(), "", "", "", ""]
    pairs = (word.partition("-") for word in versions if word)
    return Key(route, pack_plan, dtype, device, tuple((name, version) for name, _, version in pairs))


def difference(one: Key, other: Key) -> tuple[str, str]:
    """What either key has that the other lacks, in words: `torch 2.12.0` and `torch 2.13.0`."""
    return _words(one, other), _words(other, one)


def _words(key: Key, other: Key) -> str:
    others = dict(other.versions)
    words = [f"{name} {version}" for name, version in key.versions if others.get(name) != version]
    words += [f"{field} {getattr(key, field)}" for field in ("device", "dtype", "route") if _differ(key, other, field)]
    if key.pack_plan and other.pack_plan and key.pack_plan != other.pack_plan:
        words.append(f"pack plan {key.pack_plan[:8]}")
    return ", ".join(words) or "nothing else"


def _differ(key: Key, other: Key, field: str) -> bool:
    return getattr(key, field) != getattr(other, field)
