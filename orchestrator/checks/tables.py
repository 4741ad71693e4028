"""Finds tables of numbers that a run wrote and its campaign file does not name."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import structs

from orchestrator.checks.observed import TableSeen
from orchestrator.errors import KnockoutError
from orchestrator.files import UNREADABLE, content_hash, read_plain
from orchestrator.reading.helper import REPORTED, SCORES, SCORES_ENDING
from orchestrator.reading.metrics import read_reported
from orchestrator.reading.tables import read_csv

RUN_FOLDER = "{run_folder}"
MAX_BYTES = 2**20
"""Largest file that is looked at."""
MAX_FILES = 50
"""Most files that are looked at."""
ENDINGS = (".csv", ".tsv", ".json", ".jsonl")
_NUMBER = re.compile(r"(?<=[-_])\d+(?=/)")


def find_tables(folder: Path, checkout: Path, paths: Iterable[str]) -> tuple[TableSeen, ...]:
    """Return the tables of the helper, and those among the files that a run wrote.

    Args:
        folder: the run folder.
        checkout: the folder that the command worked in.
        paths: what it wrote there, or into its outputs, from that folder.
    """
    found = [*_of_helper(folder)]
    for path in sorted(paths)[:MAX_FILES]:
        # Tools number folders by steps and versions; another run may have other numbers.
        shown = _NUMBER.sub("*", path)
        if Path(path).suffix in ENDINGS and (seen := _look(checkout / path, shown)) is not None:
            found.append(seen)
    return tuple(found)


def _of_helper(folder: Path) -> Iterable[TableSeen]:
    reported = folder / REPORTED
    if reported.exists():
        try:
            rows = read_reported(reported)
        except KnockoutError:
            rows = []
        names = tuple(dict.fromkeys(name for row in rows for name in row.values))
        # A line without a step is about the finished training.
        steps = {name for row in rows if row.step is not None for name in row.values}
        # Numbers of the finished training come first: they are what a study is about.
        ordered = (*(name for name in names if name not in steps), *(name for name in names if name in steps))
        yield TableSeen(path=REPORTED, kind="reported", names=ordered, content=_hash(reported))
    for path in sorted((folder / SCORES).glob(f"*{SCORES_ENDING}")):
        if (seen := _look(path, f"{RUN_FOLDER}/{SCORES}/{path.name}")) is not None:
            yield structs.replace(seen, kind="scores")


def _hash(path: Path) -> str:
    try:
        return content_hash(read_plain(path, MAX_BYTES))
    except UNREADABLE:  # it is too large: then it says nothing about the seed
        return ""


def _look(path: Path, shown: str) -> TableSeen | None:
    try:
        if path.suffix in (".csv", ".tsv"):
            return TableSeen(path=shown, kind="csv", names=tuple(read_csv(path).there), content=_hash(path))
        seen = _look_at_json(path, shown)
        return None if seen is None else structs.replace(seen, content=_hash(path))
    except (KnockoutError, *UNREADABLE):  # it is no table
        return None


def _look_at_json(path: Path, shown: str) -> TableSeen | None:
    content = read_plain(path, MAX_BYTES)
    if path.suffix == ".jsonl":
        keys = [name for line in content.splitlines() for name in _number_keys(json.loads(line))]
        return TableSeen(path=shown, kind="jsonl", names=tuple(dict.fromkeys(keys)))
    whole = json.loads(content)
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        keys = [name for entry in whole["log_history"] for name in _number_keys(entry)]
        return TableSeen(path=shown, kind="trainer_state", names=tuple(dict.fromkeys(keys)))
    names = tuple(_number_keys(whole))
    return TableSeen(path=shown, kind="json", names=names) if names else None


def _number_keys(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [name for name, one in value.items() if isinstance(one, int | float) and not isinstance(one, bool)]
