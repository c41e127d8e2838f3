"""YAML text -> plain data that knows on which line each value is.

Owns safe loading (no tags, no duplicate keys, no expansion bombs, only values that fit into a message), the map from a
key path such as ("conditions", "random", "seeds") to its line, and how a file's problems are told: all of them, in the
order of the file. Knows nothing of what the keys mean.
Invariant: every problem is one line, `file:line: path.to.key: problem`. What is no YAML mapping at all is a StudyError;
a value that cannot be read is noted in `problems`, and None stands in its place.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import yaml
from yaml.constructor import SafeConstructor

from orchestrator.redaction import redacted
from studies.errors import Mistakes, StudyError, first_line

KeyPath = tuple[str | int, ...]
"""Keys of mappings and indices of lists, from the top of the file to one value."""

MAX_NODES = 100_000
"""Values in one file with aliases expanded; a few lines of nested aliases would otherwise fill the memory."""
MAX_TEXT = 1000
"""Characters of one value. Values are numbers, names and paths, and a message must be able to hold any of them."""
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}


MAX_PROBLEMS = 50
"""Most problems of a file that are told at once."""


class Problem(NamedTuple):
    """One thing that is wrong with a study file."""

    line: int
    message: str
    """One line: file, line, key path and problem."""
    path: KeyPath = ()
    """The value that is wrong, or the mapping that lacks a key."""


class Located:
    """The data of one study file and the line of each of its values."""

    data: dict[str | int, Any]
    """Mappings, lists and scalars, as in the file; None in place of a value that cannot be read."""
    problems: list[Problem]
    """Values and keys that cannot be read; of a key, the path is that of its mapping with an empty key behind."""

    def __init__(self, text: str, name: str) -> None:
        """Parse `text`; `name` is the file's name in messages. Raises StudyError unless it is a YAML mapping."""
        self.name = name
        self._lines: dict[KeyPath, int] = {}
        self._num_nodes = 0
        self.problems = []
        data = self._parse(text)
        if data is None:
            self.refuse(self.problems)
            raise StudyError(f"{name}: the file is empty; a study needs at least study, models, conditions, evaluate")
        if not isinstance(data, dict):
            raise StudyError(f"{name}:1: a study file is a mapping of keys to values; found {quote(data)}")
        self.data = data

    @property
    def digest(self) -> str:
        """sha256 of what the file says, without secrets; comments and layout do not enter."""
        return hashlib.sha256(redacted(json.dumps(self.data)).encode()).hexdigest()

    def line(self, path: KeyPath) -> int:
        """The line of the value at `path`, or of its nearest parent in the file; the first line is 1."""
        while path not in self._lines and path:
            path = path[:-1]
        return self._lines.get(path, 1)

    def problem(self, path: KeyPath, text: str) -> Problem:
        """A problem of the value at `path`, which reads `file:line: path.to.key: text`."""
        where = ".".join(map(str, path))
        line = self.line(path)
        return Problem(line, f"{self.name}:{line}: {where}{': ' if where else ''}{text}", path)

    def error(self, path: KeyPath, text: str) -> StudyError:
        """The same as a StudyError."""
        return StudyError(self.problem(path, text).message)

    def mistakes(self, problems: Iterable[Problem]) -> StudyError:
        """An error of these problems, one at least, in the order of the file."""
        found = sorted(problems, key=lambda problem: problem.line)
        lines = list(dict.fromkeys(problem.message for problem in found))
        if len(lines) > MAX_PROBLEMS:
            lines[MAX_PROBLEMS:] = [f"{self.name}: {len(lines) - MAX_PROBLEMS} more mistakes are not listed"]
        return Mistakes(lines) if len(lines) > 1 else StudyError(lines[0])

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Raise the error of these problems; return if there are none."""
        if problems:
            raise self.mistakes(problems)

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
            problem = f"more than {MAX_NODES} values; put neurons into a .parquet or .csv file"
            raise StudyError(f"{self.name}:{node.start_mark.line + 1}: {problem}")
        try:
            if id(node) in ancestors:
                raise _UnreadableError("an alias that contains itself")
            if isinstance(node, yaml.ScalarNode):
                return _scalar(node)
            if node.tag not in _TAGS:
                name = quote(node.tag.replace("tag:yaml.org,2002:", "!!"))
                raise _UnreadableError(f"the tag {name} is not allowed")
        except _UnreadableError as error:
            self._note(node, path, error)
            return None
        ancestors = ancestors | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*path, i), ancestors) for i, child in enumerate(node.value)]
        plain: dict[str | int, Any] = {}
        last: str | int = ""
        for i, (key_node, value_node) in enumerate(node.value):
            if i and (number := _number_with_comma(node.value[i - 1][1], key_node, value_node)):
                self._note(key_node, (*path, last), _UnreadableError(number))
                plain[last] = None
                continue
            try:
                key = _key(key_node)
                if key in plain:
                    raise _UnreadableError(f"the key {key!r} occurs twice")
            except _UnreadableError as error:
                self._note(key_node, (*path, ""), error)
                continue
            plain[key], last = self._plain(value_node, (*path, key), ancestors), key
            self._lines[(*path, key)] = key_node.start_mark.line + 1
        return plain

    def _note(self, node: yaml.Node, path: KeyPath, error: "_UnreadableError") -> None:
        line = node.start_mark.line + 1
        self.problems.append(Problem(line, f"{self.name}:{line}: {error}", path))


class _UnreadableError(Exception):
    """A value or a key that cannot be read; its text says why."""


def _key(node: yaml.Node) -> str | int:
    if node.tag == "tag:yaml.org,2002:merge":
        raise _UnreadableError("merge keys (<<) are not read; write the keys out")
    key = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(key, bool):
        key = node.value  # YAML reads on, off, yes and no as booleans; as keys they are words
    if not isinstance(key, str | int):
        raise _UnreadableError("a key must be a plain word")
    return key


def _number_with_comma(before: yaml.Node, key: yaml.Node, value: yaml.Node) -> str:
    """What is wrong with `{fraction: 0,01}`, which YAML reads as a 0 and a key 01; empty where nothing is."""
    parts = [node.value for node in (before, key) if isinstance(node, yaml.ScalarNode) and node.value.isdecimal()]
    if len(parts) < 2 or value.tag != "tag:yaml.org,2002:null" or value.value:
        return ""
    whole, decimals = parts
    return f"{whole},{decimals} is two values; write {whole}.{decimals}, with a point"


def _scalar(node: yaml.ScalarNode) -> Any:
    """A number, a text, a truth value or None. Raises _UnreadableError."""
    try:
        if node.tag not in _TAGS:  # a date, a merge key, or a tag of the user's
            raise ValueError(node.tag)
        value = SafeConstructor().construct_object(node)
        str(value).encode()  # fails for an integer of thousands of digits and for half a surrogate pair
    except (yaml.YAMLError, ValueError, OverflowError, LookupError):
        raise _UnreadableError(f"{quote(node.value)} cannot be read; quote it if it is text") from None
    if not _fits_into_a_message(value):
        raise _UnreadableError(f"{quote(value)} is not one printable line of at most {MAX_TEXT} characters")
    return value


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
    """What is wrong, and where YAML's own words do not say it, what to do about it."""
    problem = getattr(error, "problem", None) or first_line(error)
    begins = getattr(error, "context_mark", None)
    opened = re.match(r"expected ',' or '([]}])'", problem)
    if r"character '\t'" in problem:
        return "found a tab; write spaces in its place"
    if opened and begins:
        return f"{problem}; close the bracket of line {begins.line + 1} with {opened[1]}"
    if problem.startswith("expected <block end>") and begins:
        return f"the indentation does not fit the block that begins in line {begins.line + 1}"
    if problem == "mapping values are not allowed here":
        return "found a colon where no key is expected; quote a text that holds one, and indent keys alike"
    return problem


def _fits_into_a_message(value: Any) -> bool:
    """Whether a one-line message can show the value."""
    return (text := str(value)).isprintable() and len(text) <= MAX_TEXT
