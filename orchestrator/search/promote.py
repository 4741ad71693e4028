"""`knockout promote`: the best point of a search becomes an experiment of the campaign file.

A person wrote the file: each of its bytes stays, and so does its mode. The new experiment comes after the last one.
The whole new text is read and checked before it replaces the file.
"""

import io
import re
import stat
from pathlib import Path
from typing import Any

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import MappingNode, Node

from orchestrator import wording
from orchestrator.campaign.arms import Arm, configs_of, resolve_arms
from orchestrator.campaign.load import at_profile, load_campaign, wrong_id
from orchestrator.errors import SpecError, UsageError
from orchestrator.files import write_atomically
from orchestrator.search.results import Searched, TrialRecord, describe_score, name_point
from orchestrator.search.space import moved_knobs
from orchestrator.task.knobs import Change

GROUP = "search"
"""Group of the new experiment."""
WIDTH = 4096
"""Longest line in characters. The YAML writer leaves a blank at the end of a line that it breaks."""


class Promoted(Struct, frozen=True, kw_only=True):
    """The new experiment of the campaign file."""

    experiment: str
    trial: TrialRecord
    fresh_seeds: str
    """Seeds that the search never used, as `--seeds` takes them, such as `3-5`."""


def require_begun(name: str, storage: Path | None) -> None:
    """Require the file of a search's trials. To open them would make it.

    Args:
        name: the search.
        storage: the file; None for a database server, which answers for itself.

    Raises:
        UsageError: there is no such file.
    """
    if storage is not None and not storage.exists():
        raise UsageError(_unbegun(name))


def _unbegun(name: str) -> str:
    return f"search `{name}` has no finished trial yet; `knockout search {name}` trains some"


def promote(file: Path, found: Searched, name: str | None = None) -> Promoted:
    """Write the best point into the campaign file as an experiment on the search's stack.

    Args:
        file: the campaign file.
        found: what the search has found.
        name: name of the experiment; None for the search's name with `-best`.

    Raises:
        UsageError: an experiment cannot have this name, there is no best point, or it is the stack itself.
        SpecError: the file has an experiment of this name, or would not be a valid campaign any more.
    """
    name = f"{found.name}-best" if name is None else name
    if wrong := wrong_id(name, {*found.campaign.searches, found.name}):
        raise UsageError(f"--as: {wrong}")
    if not found.scored:
        raise UsageError(_unbegun(found.name))
    best, stack = found.scored[0], _stack_of(file, found).params
    change = moved_knobs(stack, best.change)
    if not change:
        what = f"the best point of search `{found.name}` is {found.stack} itself"
        raise UsageError(f"{what}; there is nothing to promote")
    # Read as text, a file with Windows line ends would lose them.
    text = insert_experiment(file.read_bytes().decode(), name, describe(found, best, change), file)
    _require_campaign(file, text, found)
    _replace(file.resolve(), text)
    # The best point is best partly by the chance of its seeds. Only seeds that did not choose it are a fair test.
    first = max((*found.seeds, -1)) + 1
    num_seeds = max(2, len(found.campaign.seeds))
    return Promoted(experiment=name, trial=best, fresh_seeds=f"{first}-{first + num_seeds - 1}")


def _stack_of(file: Path, found: Searched) -> Arm:
    """Return the arm whose knobs a search moves, as the search had it."""
    return resolve_arms(found.campaign, configs_of(found.campaign, file.resolve().parent)).arms[found.stack]


def describe(found: Searched, best: TrialRecord, change: Change) -> dict[str, Any]:
    """Return the experiment's entry for the file."""
    score = best.score
    assert score is not None
    scored = f"{describe_score(found.objective, score.mean)}, {wording.seeds(found.seeds)}"
    entry: dict[str, Any] = {"on": found.stack} if found.stack != "baseline" else {}
    return entry | {
        "title": f"{found.spec.title}, {name_point(best.change)}",
        "group": GROUP,
        "hypothesis": f"Best of {len(found.scored)} points of search {found.name} at profile "
        f"{found.campaign.profile}, {scored}.",
        "change": change,
    }


def insert_experiment(text: str, name: str, entry: dict[str, Any], file: Path) -> str:
    """Return the text of a campaign file with an experiment after the last one. Every other line stays.

    Raises:
        SpecError: the file has an experiment of this name, or writes its experiments within braces.
    """
    section = _find(YAML().compose(text), "experiments")
    lines, newline = text.splitlines(keepends=True), _newline_of(text)
    if section is None:
        return _ended(text, newline) + _dump({"experiments": {name: entry}}, 0, newline)
    if not isinstance(section, MappingNode) or section.flow_style or not section.value:
        raise SpecError(f"{file}: `experiments` is not written as indented lines, so nothing can be put after them")
    taken = {key.value: key.start_mark.line + 1 for key, _ in section.value}
    if name in taken:
        raise SpecError(f"{file}:{taken[name]}: there is an experiment `{name}` already; name another with --as")
    indent = section.value[0][0].start_mark.column
    place = _last_line(section) + 1
    before = _ended("".join(lines[:place]), newline)
    return before + _dump({name: entry}, indent, newline) + "".join(lines[place:])


def _find(root: Node, key: str) -> Node | None:
    assert isinstance(root, MappingNode)
    return next((value for name, value in root.value if name.value == key), None)


def _last_line(node: Node) -> int:
    """Return the number, from 0, of the last line with text of a node."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1][1])
    end = node.end_mark
    # The parser ends a block where the next node begins. At column 0 that line holds nothing of the block.
    return int(end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line)


def _newline_of(text: str) -> str:
    first = re.search(r"\r\n|\n|\r", text)
    return first[0] if first else "\n"


def _ended(text: str, newline: str) -> str:
    return text if text.endswith(("\n", "\r")) or not text else text + newline


def _dump(values: dict[str, Any], indent: int, newline: str) -> str:
    yaml = YAML()
    yaml.width = WIDTH
    for entry in values.values():
        for inner in (entry, *(each for each in entry.values() if isinstance(each, dict))):
            if "change" in inner:
                change = CommentedMap(inner["change"])
                change.fa.set_flow_style()
                inner["change"] = change
    stream = io.StringIO()
    yaml.dump(values, stream)
    return "".join(f"{' ' * indent}{line}{newline}" for line in stream.getvalue().splitlines())


def _require_campaign(file: Path, text: str, found: Searched) -> None:
    """Read and check the whole new text, before it replaces the file."""
    try:
        spec, source = load_campaign(file, text)
        campaign = at_profile(spec, source, found.campaign.profile)
        with source.locating():
            resolve_arms(campaign, configs_of(campaign, file.resolve().parent))
    except SpecError as error:
        raise SpecError(f"{error}; so the file would be no campaign any more, and nothing was written") from None


def _replace(file: Path, text: str) -> None:
    mode = stat.S_IMODE(file.stat().st_mode)
    write_atomically(file, text.encode())
    file.chmod(mode)
