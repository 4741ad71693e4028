"""A campaign file as YAML: its size is bounded, and each value has its line for messages."""

import codecs
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from orchestrator.campaign.fields import Where
from orchestrator.errors import SpecError
from orchestrator.files import read_plain
from orchestrator.runs.identity import ID_PATTERN
from orchestrator.task.knobs import describe_validation_error
from orchestrator.wording import one_line

MAX_BYTES = 4 * 2**20
"""Most bytes of a campaign file."""
MAX_NODES = 100_000
"""Most values of a file: aliases can make a small file expand without end."""
MAX_DEPTH = 50
"""Deepest nesting of mappings and lists."""
MAX_INTEGER = 2**53
"""Largest whole number: up to here every program that reads JSON keeps it exact."""
MAX_SHOWN = 80
"""Most letters of a found value that a message shows."""

_STEP = re.compile(r"\[\d+\]|[^\[\]]+")
T = TypeVar("T", bound=Struct)


class Source:
    """A campaign file as plain values, with the line of every key."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        self.path = path
        self.lines: dict[Where, int] = {(): 1}
        self.profile = ""
        """The chosen profile, where messages look for a key first; empty before one is chosen."""
        self._num_nodes = 0
        self._yaml = YAML(typ="safe", pure=True)
        self.values = self._parse(self._read() if text is None else text)

    def _read(self) -> str:
        try:
            content = read_plain(self.path, MAX_BYTES)
        except FileNotFoundError:
            raise SpecError(f"{self.path}: there is no such file; name the campaign with -f FILE") from None
        except OSError as error:
            raise SpecError(f"{self.path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise SpecError(f"{self.path}: this is no campaign file: {error}") from None
        return self._decode(content)

    def _decode(self, content: bytes) -> str:
        """Decode UTF-8, with or without the byte order mark that Windows writes."""
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise SpecError(f"{self.path}:1: this is UTF-16; save the file as UTF-8")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            byte = content[error.start]
            raise SpecError(
                f"{self.path}:{line}: this is not UTF-8 (byte {byte:#04x}); save the file as UTF-8"
            ) from None

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            # `compose` returns nodes with their lines.
            # `load` would return plain values, and no message could name a line.
            node = self._yaml.compose(text)
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SpecError(f"{self.path}:{line}: this is not YAML: {error.problem}") from None
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            sign = one_line(str(error.character))
            raise SpecError(f"{self.path}:{line}: YAML cannot hold the sign `{sign}`; take it out") from None
        except (YAMLError, ValueError) as error:
            raise SpecError(f"{self.path}: this is not YAML: {one_line(str(error), MAX_SHOWN)}") from None
        except RecursionError:
            raise SpecError(f"{self.path}: lists and mappings lie too deep in each other; make it flatter") from None
        if not isinstance(node, MappingNode):
            raise SpecError(f"{self.path}:1: a campaign is a mapping (`campaign: my-study` and so on)")
        return self._mapping(node, ())

    def _value(self, node: Node, where: Where) -> Any:
        # Counted while aliases are expanded.
        # Example: ten lists that each name the one before ten times are ten billion values.
        self._num_nodes += 1
        line = node.start_mark.line + 1
        if self._num_nodes > MAX_NODES:
            raise SpecError(f"{self.path}: more than {MAX_NODES} values; are aliases nested in each other?")
        if len(where) > MAX_DEPTH:
            raise SpecError(
                f"{self.path}:{line}: lists and mappings lie more than {MAX_DEPTH} deep in each other; is an alias "
                "inside of what it names?"
            )
        if isinstance(node, MappingNode):
            return self._mapping(node, where)
        if isinstance(node, SequenceNode):
            return [self._item(item, (*where, f"[{index}]")) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: Node, where: Where) -> Any:
        self.lines[where] = node.start_mark.line + 1
        return self._value(node, where)

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                raise SpecError(f"{self.path}:{line}: a key must be a word")
            key = str(key_node.value)
            if key in values:
                first = self.lines[(*where, key)]
                raise SpecError(f"{self.path}:{line}: `{key}` is given twice, first in line {first}; keep one of them")
            self.lines[(*where, key)] = line
            values[key] = self._value(value_node, (*where, key))
        return values

    def _scalar(self, node: Node) -> Any:
        line, shown = node.start_mark.line + 1, one_line(str(node.value), MAX_SHOWN)
        try:
            value = self._yaml.constructor.construct_object(node, deep=True)
        except (MarkedYAMLError, ValueError, ArithmeticError, LookupError):
            raise SpecError(f"{self.path}:{line}: cannot read `{shown}`") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(f"{self.path}:{line}: `{shown}` reads as the number {value}; quote it if it is a word")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise SpecError(f"{self.path}:{line}: `{shown}` is larger than any number of a campaign ({MAX_INTEGER})")
        if not isinstance(value, str | int | float | bool | None):
            raise SpecError(f"{self.path}:{line}: `{shown}` reads as a {type(value).__name__}; quote it")
        return value

    def line_of(self, where: Where) -> int:
        """Return the line of a key, or of the nearest key around it."""
        # A field that the file leaves out has no line. The whole file, `()`, always has one, so the loop ends.
        while where not in self.lines:
            where = where[:-1]
        return self.lines[where]

    def _in_profile(self, where: Where) -> Where:
        """Return where a key stands: in the chosen profile if it is there, else in the file at large."""
        differing = ("profiles", self.profile, *where)
        return differing if differing in self.lines else where

    def found(self, where: Where) -> str:
        """Return what stands at a key, as the end of a message."""
        node: Any = self.values
        for part in where:
            if isinstance(node, list):
                node = dict(zip((f"[{index}]" for index in range(len(node))), node, strict=True))
            if not isinstance(node, dict) or part not in node:
                return ""
            node = node[part]
        return "" if isinstance(node, dict) else f", found `{one_line(repr(node), MAX_SHOWN)}`"

    def refuse(self, message: str, where: Where) -> SpecError:
        """Return an error that begins with file and line."""
        where = self._in_profile(where)
        dotted = ".".join(where).replace(".[", "[")
        found = self.found(where) if message.startswith("Expected") else ""
        label = f"{dotted}: " if dotted else ""
        return SpecError(f"{self.path}:{self.line_of(where)}: {label}{message}{found}")

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Put file and line in front of every SpecError that is raised inside the block."""
        try:
            yield
        except SpecError as error:
            raise self.refuse(str(error), error.where) from None

    def convert(self, values: object, kind: type[T], where: Where) -> T:
        """Check plain values against a type.

        Raises:
            SpecError: names file, line, what was found and the nearest valid name.
        """
        try:
            return msgspec.convert(values, kind)
        except msgspec.ValidationError as error:
            message, path = describe_validation_error(error, kind)
            steps = [step for part in path for step in _STEP.findall(part)]
            raise self.refuse(message, (*where, *steps)) from None


def ill_formed(name: str) -> str:
    """Say what is wrong with a name; return an empty text if nothing is."""
    what = "a name is letters and digits joined by single `.`, `_` or `-`, and begins with a letter"
    return "" if re.fullmatch(ID_PATTERN, name) else f"{what}, found `{name}`"
