"""`knockout queue add` and `knockout work`."""

import argparse

from orchestrator.api import queue
from orchestrator.api import work as api_work
from orchestrator.api.control import count_states
from orchestrator.api.queue import RunOptions
from orchestrator.api.work import Worked, WorkOptions
from orchestrator.cli.live import LiveTable, print_failures
from orchestrator.cli.output import describe_kept, say, say_if
from orchestrator.cli.request import read_request
from orchestrator.cli.terminal import show
from orchestrator.errors import INTERRUPTED


def queue_add(options: argparse.Namespace) -> int:
    """Queue what has no result yet."""
    added = queue.queue_add(read_request(options), RunOptions(snapshot=options.snapshot))
    say(added.notes)
    say(f"{experiment} is rejected: {why}" for experiment, why in added.rejected.items())
    say([f"{added.num_runs} runs: {count_states(added.rows)}; `knockout work` trains what waits"])
    say_if(added.default_note)
    return 1 if added.rejected else 0


def work(options: argparse.Namespace) -> int:
    """Train what waits, whoever queued it."""
    with LiveTable() as table:
        worked = api_work.work(options.file, WorkOptions(slots=options.slots, stays=options.stay), table)
    say(problem for problem in worked.problems if problem not in table.shown_problems)
    say([_count_ended(worked)])
    if not worked.is_complete:
        show(f"stopped: {describe_kept('knockout work')}")
        return INTERRUPTED
    return max(print_failures(worked.rows), 1 if worked.problems else 0)


def _count_ended(worked: Worked) -> str:
    if not worked.rows:
        return "nothing waited" if worked.is_complete and not worked.problems else "no run ended"
    return f"{len(worked.rows)} run{'' if len(worked.rows) == 1 else 's'} ended: {count_states(worked.rows)}"
