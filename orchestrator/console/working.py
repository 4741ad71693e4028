"""`queue add`, `work`: what queues and trains."""

import argparse
from collections.abc import Sequence

from orchestrator import working
from orchestrator.campaign.selection import open_study
from orchestrator.console.asking import print_left_out, request_of, require_places
from orchestrator.console.live import LiveTable
from orchestrator.console.output import layout_of, say
from orchestrator.console.terminal import show
from orchestrator.ordering import RunOptions, queue_alone
from orchestrator.queue.control import count_states
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.states import RunState
from orchestrator.working import Worked, WorkOptions

INTERRUPTED = 130


def add_runs(options: argparse.Namespace) -> int:
    """Queue what has no result yet."""
    study = open_study(request_of(options))
    require_places(study.layout.runs)
    queued, rows = queue_alone(study, RunOptions(snapshot=options.snapshot))
    say(queued.notes)
    say(f"{experiment} is rejected: {why}" for experiment, why in queued.rejected.items())
    say([f"{len(queued.plan.runs)} runs: {count_states(rows)}; `knockout work` trains what waits"])
    print_left_out(options, study)
    return 1 if queued.rejected else 0


def work(options: argparse.Namespace) -> int:
    """Train what waits, whoever queued it."""
    with LiveTable() as table:
        worked = working.work(layout_of(options), WorkOptions(slots=options.slots, stays=options.stay), table)
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
