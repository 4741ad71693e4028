"""Finding a run by a name that a person writes, or by its identity."""

import difflib
from collections.abc import Iterable, Sequence

from orchestrator.errors import RunError, UsageError
from orchestrator.files import is_there
from orchestrator.runs.order import read_order
from orchestrator.runs.paths import Paths

NUM_LISTED = 5
"""Most runs that a message lists for an ambiguous word."""


def pick_run(word: str, ids: Iterable[str]) -> str:
    """Return the run id that equals a word, or the only one that begins with it.

    Raises:
        UsageError: no id, or several ids, begin with it.
    """
    known = sorted(ids)
    begun = [run_id for run_id in known if run_id.startswith(word)]
    if word in known:
        return word
    if len(begun) == 1:
        return begun[0]
    if begun:
        listed = ", ".join(begun[:NUM_LISTED]) + (" and more" if len(begun) > NUM_LISTED else "")
        raise UsageError(f"`{word}` may be any of {listed}; write more of the run's id")
    hint = f"the nearest is `{_nearest(word, known)}`" if known else "there is none at all yet"
    raise UsageError(f"there is no run `{word}`; {hint}")


def _nearest(word: str, known: Sequence[str]) -> str:
    """Return the run whose beginning is most similar to the word; the first if several are."""
    return max(known, key=lambda run_id: difflib.SequenceMatcher(None, word, run_id[: len(word)]).ratio())


def find_same(paths: Paths, identity: str, names: Iterable[str]) -> str | None:
    """Return the first run folder, by name, whose order has this identity; None if there is none.

    Args:
        paths: the campaign's folders.
        identity: the whole hash.
        names: of the folders that are read.
    """
    return next((name for name in sorted(names) if _identity(paths, name) == identity), None)


def _identity(paths: Paths, name: str) -> str | None:
    folder = paths.run(name)
    try:
        return read_order(folder).identity if is_there(folder.config) else None
    except (OSError, RunError):
        return None
