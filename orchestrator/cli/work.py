"""`knockout queue add` and `knockout work`."""

import argparse
from collections.abc import Sequence

from orchestrator.api.queue import RunOptions, queue_alone
from orchestrator.api.work import Worked, WorkOptions
from orchestrator.api.work import work as train_waiting
from orchestrator.campaign.selection import open_campaign
from orchestrator.cli.asking import print_left_out, request_of, require_places
from orchestrator.cli.live import LiveTable
from orchestrator.cli.output import paths_of, say
from orchestrator.cli.terminal import show
from orchestrator.errors import INTERRUPTED
from orchestrator.queue.control import count_states
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.states import RunState


def add_runs(options: argparse.Namespace) -> int:
    """Queue what has no result yet."""
    selection = open_campaign(request_of(options))
    require_places(selection.paths.runs)
    queued, rows = queue_alone(selection, RunOptions(snapshot=options.snapshot))
    say(queued.notes)
    say(f"{experiment} is rejected: {why}" for experiment, why in queued.rejected.items())
    say([f"{len(queued.plan.runs)} runs: {count_states(rows)}; `knockout work` trains what waits"])
    print_left_out(options, selection)
    return 1 if queued.rejected else 0


def work(options: argparse.Namespace) -> int:
    """Train what waits, whoever queued it."""
    with LiveTable() as table:
        worked = train_waiting(paths_of(options), WorkOptions(slots=options.slots, stays=options.stay), table)
    say(problem for problem in worked.problems if problem not in table.told)
    say([_count_ended(worked)])
    if not worked.is_complete:
        show("stopped: finished epochs are kept, `knockout work` goes on from them")
        return INTERRUPTED
    return max(print_failures(worked.rows), 1 if worked.problems else 0)


def _count_ended(worked: Worked) -> str:
    if not worked.rows:
        return "nothing waited" if worked.is_complete and not worked.problems else "no run ended"
    return f"{len(worked.rows)} run{'' if len(worked.rows) == 1 else 's'} ended: {count_states(worked.rows)}"


def print_failures(rows: Sequence[QueuedRun]) -> int:
    """Say why runs failed; return the exit status."""
    failed = [row for row in rows if row.state is RunState.FAILED]
    for row in failed:
        say([f"{row.id} failed ({row.failure}): {row.reason}"])
    if failed:
        say(["`knockout retry --failed` lets failed runs wait again, `knockout run --retry` trains them"])
    return 1 if failed else 0
