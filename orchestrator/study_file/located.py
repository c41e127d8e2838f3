"""YAML text -> plain data that remembers on which line every value stands.

Owns safe loading (no tags, no duplicate keys, no expansion bombs) and the map from a path such as
("conditions", "random", "seeds") to its line, so that every error can name the place.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import yaml
from yaml.constructor import SafeConstructor

from studies.errors import StudyError

Path = tuple[str | int, ...]

P = ParamSpec("P")
T = TypeVar("T")

MAX_NODES = 100_000
"""Values in one file, aliases expanded; a few lines of nested aliases would otherwise fill the memory."""
MAX_TEXT = 1000
"""Characters of one value; they are numbers, names and paths, and every one may have to stand in a message."""
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}


class Located:
    """Data of one study file and the line of every node."""

    def __init__(self, text: str, name: str):
        self.name = name
        self._lines: dict[Path, int] = {}
        self._num_nodes = 0
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data = None if node is None else self._plain(node, (), set())
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            position = getattr(error, "position", None)
            line = f":{mark.line + 1}" if mark else ""
            line = f":{text.count(chr(10), 0, position) + 1}" if position is not None else line
            problem = getattr(error, "problem", None) or str(error).split("\n")[0]
            raise StudyError(f"{name}{line}: not valid YAML: {problem}") from None
        except ValueError as error:
            raise StudyError(f"{name}: not valid YAML: {error}") from None
        except RecursionError:
            raise StudyError(f"{name}: not a study file: brackets are nested too deeply") from None
        if self.data is None:
            raise StudyError(f"{name}: the file is empty; a study needs at least study, models, conditions, evaluate")
        if not isinstance(self.data, dict):
            raise StudyError(f"{name}:1: a study file is a mapping of keys to values; found {quote(self.data)}")

    def line(self, path: Path) -> int:
        """The line of the node at `path`, or of its nearest parent that is in the file."""
        while path not in self._lines and path:
            path = path[:-1]
        return self._lines.get(path, 1)

    def error(self, path: Path, problem: str) -> StudyError:
        """`file:line: path.to.key: problem`."""
        where = ".".join(map(str, path))
        return StudyError(f"{self.name}:{self.line(path)}: {where}{': ' if where else ''}{problem}")

    def attribute(self, path: Path, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function whose errors are the fault of the node at `path`: a StudyError or OSError then names it."""
        try:
            return function(*arguments, **options)
        except StudyError as error:
            raise self.error(path, str(error)) from None
        except OSError as error:  # what is there and may not be read
            raise self.error(path, f"{error.filename} cannot be read: {error.strerror}") from None

    def _plain(self, node: yaml.Node, path: Path, above: set[int]) -> Any:
        self._lines[path] = node.start_mark.line + 1
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            raise self._refused(node, f"more than {MAX_NODES} values; put neurons into a .parquet or .csv file")
        if id(node) in above:
            raise self._refused(node, "an alias that contains itself")
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node)
            if not _fits_on_a_line(value):
                raise self._refused(node, f"{quote(value)} is not one printable line of at most {MAX_TEXT} characters")
            return value
        if node.tag not in _TAGS:
            raise self._refused(node, f"the tag {quote(node.tag.replace('tag:yaml.org,2002:', '!!'))} is not allowed")
        above = above | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*path, i), above) for i, child in enumerate(node.value)]
        plain = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if isinstance(key, bool):
                key = key_node.value  # YAML reads on, off, yes and no as truth values; as keys they are words
            if not isinstance(key, str | int) or not _fits_on_a_line(key):
                raise self._refused(key_node, "a key must be a plain word")
            if key in plain:
                raise self._refused(key_node, f"the key {key!r} stands twice")
            plain[key] = self._plain(value_node, (*path, key), above)
            self._lines[(*path, key)] = key_node.start_mark.line + 1
        return plain

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            if node.tag not in _TAGS:  # a date, a merge key, or a tag of the user's
                raise ValueError(node.tag)
            value = SafeConstructor().construct_object(node)
            str(value).encode()  # a whole number of thousands of digits or half a surrogate pair cannot be shown
        except (yaml.YAMLError, ValueError, OverflowError, LookupError):
            raise self._refused(node, f"{quote(node.value)} cannot be read; quote it if it is text") from None
        return value

    def _refused(self, node: yaml.Node, problem: str) -> StudyError:
        return StudyError(f"{self.name}:{node.start_mark.line + 1}: {problem}")


def _fits_on_a_line(value: Any) -> bool:
    """Whether a message can name it."""
    return (text := str(value)).isprintable() and len(text) <= MAX_TEXT


def quote(value: Any) -> str:
    """A value as a message shows it: short, on one line, in YAML's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:45]}...{text[-10:]}"
