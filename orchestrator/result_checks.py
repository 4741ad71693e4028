"""Looks at a run that has just ended before its result is believed; what is doubtful is set aside, never deleted."""

import msgspec

from model.run_folder import Result, RunFolder
from orchestrator.errors import DataError
from orchestrator.runs.consistency import why_not_believed
from orchestrator.runs.fingerprints import changed_captures
from orchestrator.runs.order import Order
from orchestrator.runs.paths import Layout
from orchestrator.runs.states import Failure


def refuse_doubtful(layout: Layout, folder: RunFolder, order: Order) -> str | None:
    """Set aside a result that cannot be believed; return why, in a sentence; None where it stands.

    Where a capture has other bytes than those that the run is named by, nobody knows since when. Then no epoch counts.
    Where only the result contradicts its predictions, the checkpoint stays, and the run is scored again from there.

    Raises:
        OSError: a file cannot be set aside.
    """
    try:
        changed = changed_captures(order.captures, layout.root, layout.fingerprints)
    except DataError as error:
        folder.set_result_aside()
        return f"{error}; its result cannot be checked and is set aside: run again to score it"
    if changed:
        folder.set_result_aside()
        for path in (folder.checkpoint, folder.epochs):
            if path.exists():
                folder.set_aside(path)
        return (
            f"{layout.root / changed[0]}: the capture changed while the run trained, so its result is set aside; "
            "put the capture back and run again, or queue a run on the new one"
        )
    reason = why_not_believed(folder)
    if reason is None:
        return None
    folder.set_result_aside()
    return f"{folder.path}: {reason}; the result is set aside: run again to score it anew"


def tell_of_second_try(folder: RunFolder, result: Result) -> Result:
    """Let a run that ran out of memory twice say so, in its folder too."""
    if result.failure != Failure.OUT_OF_MEMORY:
        return result
    told = msgspec.structs.replace(result, reason=f"at the second try, alone on its device: {result.reason}")
    folder.write_result(told)
    return told
