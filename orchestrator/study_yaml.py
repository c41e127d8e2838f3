"""YAML text -> plain data that remembers on which line every value stands.

Owns safe loading (no tags, no duplicate keys) and the map from a path such as ("conditions", "random", "seeds") to its
line, so that every error can name the place.
"""

from typing import Any

import yaml

from studies.errors import StudyError

Path = tuple[str | int, ...]


class Located:
    """Data of one study file and the line of every node."""

    def __init__(self, text: str, name: str):
        self.name = name
        self._lines: dict[Path, int] = {}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or str(error).split("\n")[0]
            raise StudyError(f"{name}{line}: not valid YAML: {problem}") from None
        except ValueError as error:
            raise StudyError(f"{name}: not valid YAML: {error}") from None
        if node is None:
            raise StudyError(f"{name}: the file is empty; a study needs at least study, models, conditions, evaluate")
        self.data = self._plain(node, (), set())
        if not isinstance(self.data, dict):
            raise StudyError(f"{name}:1: a study file is a mapping of keys to values, found {type(self.data).__name__}")

    def line(self, path: Path) -> int:
        """The line of the node at `path`, or of its nearest parent that is in the file."""
        while path not in self._lines and path:
            path = path[:-1]
        return self._lines.get(path, 1)

    def error(self, path: Path, problem: str) -> StudyError:
        """`file:line: path.to.key: problem`."""
        where = ".".join(map(str, path))
        return StudyError(f"{self.name}:{self.line(path)}: {where}{': ' if where else ''}{problem}")

    def _plain(self, node: yaml.Node, path: Path, above: set[int]) -> Any:
        self._lines[path] = node.start_mark.line + 1
        if id(node) in above:
            raise StudyError(f"{self.name}:{node.start_mark.line + 1}: an alias that contains itself")
        above = above | {id(node)}
        if isinstance(node, yaml.MappingNode):
            plain = {}
            for key_node, value_node in node.value:
                key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
                if not isinstance(key, str | int) or isinstance(key, bool):
                    raise StudyError(f"{self.name}:{key_node.start_mark.line + 1}: a key must be a plain word")
                if key in plain:
                    raise StudyError(f"{self.name}:{key_node.start_mark.line + 1}: the key {key!r} stands twice")
                plain[key] = self._plain(value_node, (*path, key), above)
                self._lines[(*path, key)] = key_node.start_mark.line + 1
            return plain
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*path, i), above) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        constructor = yaml.SafeLoader("")
        try:
            return constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            raise StudyError(
                f"{self.name}:{node.start_mark.line + 1}: {node.value!r} cannot be read; quote it if it is text"
            ) from None
        finally:
            constructor.dispose()
