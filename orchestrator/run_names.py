"""Which run is meant by a word on the command line: its id, or enough of its beginning. Pure."""

import difflib
from collections.abc import Iterable, Sequence

from orchestrator.errors import UsageError

NUM_LISTED = 5
"""Of the runs that a word may mean, in the message about it."""


def pick_run(word: str, ids: Iterable[str]) -> str:
    """Return the run id that is `word`, or the only one that begins with it.

    Raises:
        UsageError: none or several do.
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
    """Return the run whose beginning is most like the word, the first of several."""
    return max(known, key=lambda run_id: difflib.SequenceMatcher(None, word, run_id[: len(word)]).ratio())
