"""Puts lines into a campaign file that a person wrote. Every other byte stays, and nothing is replaced. Pure."""

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.errors import SpecError
from orchestrator.scripts.text import EXAMPLES, scalar

Where = tuple[str, ...]


class Offer(Struct, frozen=True, kw_only=True):
    """A line that a campaign file lacks."""

    where: Where
    """Path of keys."""
    value: Any
    """Plain values. A list is added to the one that is there; nothing else that is there is changed."""

    @property
    def line(self) -> str:
        """How the offer reads: `task.data: {mnist: data/mnist}`."""
        *sections, last = self.where
        return f"{'.'.join(sections) + '.' if sections else ''}{last}: {scalar(self.value)}"


class Edited(Struct, frozen=True, kw_only=True):
    """A campaign file with offers put in."""

    text: str
    taken: tuple[Offer, ...]
    refused: dict[str, str]
    """Line of an offer that would make the file invalid -> why."""


def put_in(text: str, offers: Iterable[Offer], check: Callable[[str], object] = lambda text: None) -> Edited:
    """Put offers into the text of a campaign file, one after the other.

    Args:
        text: the file, which can be read.
        offers: the lines to add.
        check: raises SpecError for a text that is no valid file; the offer that made it so is then left out.
    """
    taken, refused = [], {}
    for offer in offers:
        # A person has said something there already, and knows better.
        new = insert(text, offer)
        if new == text:
            continue
        try:
            check(new)
        except SpecError as error:
            refused[offer.line] = str(error)
            continue
        text = new
        taken.append(offer)
    return Edited(text=text, taken=tuple(taken), refused=refused)


def insert(text: str, offer: Offer) -> str:
    """Return a text with one offer put in; the same text if a person has written something there."""
    root = YAML().compose(text)
    assert isinstance(root, MappingNode)
    node: Node = root
    for depth, key in enumerate(offer.where):
        if not isinstance(node, MappingNode):
            return text
        found = _value(node, key)
        if found is None:
            return _add_key(text, node, key, _nest(offer.where[depth + 1 :], offer.value), is_top=depth == 0)
        node = found
    if isinstance(node, SequenceNode) and isinstance(offer.value, list | tuple):
        there = [one.value for one in node.value if isinstance(one, ScalarNode)]
        return _add_items(text, node, [one for one in offer.value if str(one) not in there])
    return text


def _value(node: MappingNode, key: str) -> Node | None:
    return next((value for name, value in node.value if name.value == key), None)


def _nest(keys: Sequence[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _add_key(text: str, node: MappingNode, key: str, value: Any, *, is_top: bool) -> str:
    if node.flow_style:
        return _put_before_end(text, node, _flow_pair(key, value))
    lines, newline = text.splitlines(keepends=True), _newline_of(text)
    indent = " " * node.start_mark.column
    # A new section stands where a reader looks for it: `metrics` after `task`, anything else at the end.
    after = _value(node, "task") if is_top and key == "metrics" else None
    place = _last_line(after if after is not None else node) + 1
    block = _block(key, value, indent, newline)
    if (example := _find_example(lines, key, indent)) is not None:
        return "".join((*lines[: example.start], block, *lines[example.stop :]))
    if is_top:
        # Comments that are indented belong to the section before.
        while place < len(lines) and re.match(r"[ \t]+#", lines[place]):
            place += 1
        block = newline + block
    head = "".join(lines[:place])
    return head + ("" if head.endswith(("\n", "\r")) else newline) + block + "".join(lines[place:])


def _find_example(lines: Sequence[str], key: str, indent: str) -> range | None:
    """Return the lines in which `knockout init` shows how a key is written; None where a person took them out."""
    if key not in EXAMPLES:
        return None
    begin, end = f"{indent}# {key}:", f"  # {EXAMPLES[key]}"
    first = next(
        (place for place, line in enumerate(lines) if line.startswith(begin) and line.rstrip().endswith(end)), None
    )
    if first is None:
        return None
    # What stands in the section is indented behind the sign of the comment.
    inside = itertools.takewhile(lambda line: line.startswith(f"{indent}#   "), lines[first + 1 :])
    return range(first, first + 1 + len(list(inside)))


def _block(key: str, value: Any, indent: str, newline: str) -> str:
    if not isinstance(value, dict) or not value or not all(isinstance(one, dict) for one in value.values()):
        return f"{indent}{_flow_pair(key, value)}{newline}"
    # One line for each entry, so that a person sees it at a glance.
    inner = "".join(f"{indent}  {_flow_pair(name, one)}{newline}" for name, one in value.items())
    return f"{indent}{_key(key)}:{newline}{inner}"


def _flow_pair(key: str, value: Any) -> str:
    return scalar({key: value})[1:-1]


def _key(key: str) -> str:
    return scalar({key: 0}).removesuffix(": 0}")[1:]


def _add_items(text: str, node: SequenceNode, items: Sequence[Any]) -> str:
    if not items:
        return text
    if node.flow_style:
        return _put_before_end(text, node, ", ".join(scalar(one) for one in items))
    lines, newline = text.splitlines(keepends=True), _newline_of(text)
    place, indent = _last_line(node) + 1, " " * node.start_mark.column
    head = "".join(lines[:place])
    added = "".join(f"{indent}- {scalar(one)}{newline}" for one in items)
    return head + ("" if head.endswith(("\n", "\r")) else newline) + added + "".join(lines[place:])


def _put_before_end(text: str, node: MappingNode | SequenceNode, added: str) -> str:
    """Put something before the closing bracket of a mapping or list that is written in braces."""
    end = node.end_mark.index - 1
    head = text[:end].rstrip()
    between = text[len(head) : end]
    comma = "" if not node.value or head.endswith(",") else ","
    blank = " " if node.value else ""
    return head + comma + blank + added + between + text[end:]


def _last_line(node: Node) -> int:
    """Return the number, from 0, of the last line with text of a node."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1][1])
    if isinstance(node, SequenceNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1])
    end = node.end_mark
    # The parser ends a block where the next node begins. At column 0 that line holds nothing of the block.
    return int(end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line)


def _newline_of(text: str) -> str:
    first = re.search(r"\r\n|\n|\r", text)
    return first[0] if first else "\n"


def show_difference(before: str, after: str, name: str) -> str:
    """Return a unified diff of two texts of one file; empty if they are alike."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} (checked)", n=1
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
