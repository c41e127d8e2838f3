"""YAML text -> plain data that knows on which line each value is.

Owns safe loading (no tags, no duplicate keys, no expansion bombs, only values that fit into a message) and the map from
a key path such as ("conditions", "random", "seeds") to its line. Knows nothing of what the keys mean.
Invariant: every problem is a StudyError whose text is one line, `file:line: path.to.key: problem`.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import yaml
from yaml.constructor import SafeConstructor

from studies.errors import StudyError, first_line

KeyPath = tuple[str | int, ...]
"""Keys of mappings and indices of lists, from the top of the file to one value."""

P = ParamSpec("P")
T = TypeVar("T")

MAX_NODES = 100_000
"""Values in one file with aliases expanded; a few lines of nested aliases would otherwise fill the memory."""
MAX_TEXT = 1000
"""Characters of one value. Values are numbers, names and paths, and a message must be able to hold any of them."""
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}


class Located:
    """The data of one study file and the line of each of its values."""

    data: dict[str | int, Any]
    """Mappings, lists and scalars, as in the file."""

    def __init__(self, text: str, name: str) -> None:
        """Parse `text`; `name` is the file's name in messages. Raises StudyError unless it is a YAML mapping."""
        self.name = name
        self._lines: dict[KeyPath, int] = {}
        self._num_nodes = 0
        data = self._parse(text)
        if data is None:
            raise StudyError(f"{name}: the file is empty; a study needs at least study, models, conditions, evaluate")
        if not isinstance(data, dict):
            raise StudyError(f"{name}:1: a study file is a mapping of keys to values; found {quote(data)}")
        self.data = data

    def line(self, path: KeyPath) -> int:
        """The line of the value at `path`, or of its nearest parent in the file; the first line is 1."""
        while path not in self._lines and path:
            path = path[:-1]
        return self._lines.get(path, 1)

    def error(self, path: KeyPath, problem: str) -> StudyError:
        """A StudyError that reads `file:line: path.to.key: problem`."""
        where = ".".join(map(str, path))
        return StudyError(f"{self.name}:{self.line(path)}: {where}{': ' if where else ''}{problem}")

    def attribute(self, path: KeyPath, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call `function` for the value at `path`. Its StudyError or OSError is raised again with that place."""
        try:
            return function(*arguments, **options)
        except StudyError as error:
            raise self.error(path, str(error)) from None
        except OSError as error:  # the file exists and may not be read
            raise self.error(path, f"{error.filename} cannot be read: {error.strerror}") from None

    def _parse(self, text: str) -> Any:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            return None if node is None else self._plain(node, (), set())
        except yaml.YAMLError as error:
            raise StudyError(f"{self.name}{_place(error, text)}: not valid YAML: {_yaml_problem(error)}") from None
        except ValueError as error:
            raise StudyError(f"{self.name}: not valid YAML: {error}") from None
        except RecursionError:
            raise StudyError(f"{self.name}: not a study file: brackets are nested too deeply") from None

    def _plain(self, node: yaml.Node, path: KeyPath, ancestors: set[int]) -> Any:
        """The node as plain data; notes its line. `ancestors`: ids of the nodes that contain it."""
        self._lines[path] = node.start_mark.line + 1
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            raise self._refused(node, f"more than {MAX_NODES} values; put neurons into a .parquet or .csv file")
        if id(node) in ancestors:
            raise self._refused(node, "an alias that contains itself")
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node)
            if not _fits_into_a_message(value):
                raise self._refused(node, f"{quote(value)} is not one printable line of at most {MAX_TEXT} characters")
            return value
        if node.tag not in _TAGS:
            raise self._refused(node, f"the tag {quote(node.tag.replace('tag:yaml.org,2002:', '!!'))} is not allowed")
        ancestors = ancestors | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*path, i), ancestors) for i, child in enumerate(node.value)]
        plain: dict[str | int, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in plain:
                raise self._refused(key_node, f"the key {key!r} occurs twice")
            plain[key] = self._plain(value_node, (*path, key), ancestors)
            self._lines[(*path, key)] = key_node.start_mark.line + 1
        return plain

    def _key(self, node: yaml.Node) -> str | int:
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(key, bool):
            key = node.value  # YAML reads on, off, yes and no as booleans; as keys they are words
        if not isinstance(key, str | int) or not _fits_into_a_message(key):
            raise self._refused(node, "a key must be a plain word")
        return key

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            if node.tag not in _TAGS:  # a date, a merge key, or a tag of the user's
                raise ValueError(node.tag)
            value = SafeConstructor().construct_object(node)
            str(value).encode()  # fails for an integer of thousands of digits and for half a surrogate pair
        except (yaml.YAMLError, ValueError, OverflowError, LookupError):
            raise self._refused(node, f"{quote(node.value)} cannot be read; quote it if it is text") from None
        return value

    def _refused(self, node: yaml.Node, problem: str) -> StudyError:
        return StudyError(f"{self.name}:{node.start_mark.line + 1}: {problem}")


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


def _place(error: yaml.YAMLError, text: str) -> str:
    """`:LINE` of a YAML error, empty where it names none. The parser gives a mark, the reader a character position."""
    if (position := getattr(error, "position", None)) is not None:
        return f":{text.count(chr(10), 0, position) + 1}"
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _yaml_problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or first_line(error)


def _fits_into_a_message(value: Any) -> bool:
    """Whether a one-line message can show the value."""
    return (text := str(value)).isprintable() and len(text) <= MAX_TEXT
