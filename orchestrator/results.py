"""How runs ended, as their folders say, and who is at work in them: the truth, without the queue beside it."""

from collections.abc import Collection

from model.run_folder import HeldError, Result, RunFolder
from orchestrator.errors import RunError
from orchestrator.layout import Layout
from orchestrator.plan import Plan

UNREADABLE = (OSError, ValueError)
"""What reading a missing, cut or spoilt JSON file of a run folder raises; msgspec's errors are ValueErrors."""


def read_result(folder: RunFolder) -> Result | None:
    """Read a run's result.

    Raises:
        RunError: another version wrote it.
    """
    try:
        return folder.read_result()
    except ValueError as error:
        raise RunError(f"{error}; move {folder.path} away to train it again") from None


def finished_results(layout: Layout, plan: Plan, forget: Collection[str] = ()) -> dict[str, Result]:
    """Return the results that are there already.

    Args:
        layout: the campaign's folders.
        plan: the runs.
        forget: runs that are to be trained again; their results are removed, and not returned.

    Raises:
        RunError: a result was written by another version.
    """
    finished: dict[str, Result] = {}
    for planned in plan.runs:
        folder = layout.run(planned.id)
        result = read_result(folder)
        if result is not None and planned.id in forget:
            folder.result.unlink()
        elif result is not None:
            finished[planned.id] = result
    return finished


def count_ended(layout: Layout, plan: Plan) -> int:
    """Count the runs of a plan that have ended."""
    return len(finished_results(layout, plan))


def describe_holder(folder: RunFolder) -> str | None:
    """Say who is at work in a folder; None if nobody is."""
    try:
        holder = folder.holder()
    except HeldError as error:
        return str(error)
    return f"process {holder.pid} on {holder.host} is at work on it" if holder else None


def describe_forgotten(layout: Layout) -> list[str]:
    """Say how many run folders without a result an empty queue does not know of; nothing if there are none."""
    orders = (layout.run(path.parent.name) for path in layout.runs.glob("*/order.json"))
    count = sum(not folder.result.exists() for folder in orders)
    if count == 0:
        return []
    runs = "1 run folder has" if count == 1 else f"{count} run folders have"
    return [f"the queue is empty, but {runs} no result yet: `knockout rebuild` lets such runs wait again"]
