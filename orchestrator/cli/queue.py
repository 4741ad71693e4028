"""`knockout status`, `queue`, `work`, `stop`, `retry` and `cancel`."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence

from orchestrator.cli.output import paths_of, print_json, say
from orchestrator.cli.streams import is_read
from orchestrator.errors import UsageError
from orchestrator.queue import control
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.results import describe_forgotten
from orchestrator.runs.states import OPEN, RunState

MAX_LISTED = 200
"""Above so many runs, `status` lists only those that are not done."""
WATCH_SECONDS = 2.0
NOTHING = "no run has been queued yet; `knockout run` starts, `knockout queue add` queues"


def show_status(options: argparse.Namespace) -> int:
    """Show where every run stands; with --watch, again and again until nothing waits or runs."""
    paths = paths_of(options)
    wanted = control.Wanted(experiments=tuple(options.experiments), profile=options.profile, seeds=options.seeds)
    told: frozenset[str] = frozenset()
    while True:
        listing = control.list_rows(paths, wanted)
        rows = listing.rows
        told = _complain(listing.problems, told)
        if options.json:
            return print_json(rows)
        say(_status_lines(rows) if rows else describe_forgotten(paths) or [NOTHING])
        if not options.watch or not is_read() or not any(row.state in OPEN for row in rows):
            return 0
        time.sleep(WATCH_SECONDS)


def _complain(problems: Iterable[str], told: frozenset[str] = frozenset()) -> frozenset[str]:
    """Say beside the listing, once, what is missing in it; return what has been said by now."""
    for problem in problems:
        if problem not in told:
            print(f"knockout: {problem}", file=sys.stderr)
    return told | frozenset(problems)


def _status_lines(rows: Sequence[QueuedRun]) -> list[str]:
    listed = rows if len(rows) <= MAX_LISTED else [row for row in rows if row.state is not RunState.DONE]
    width = max((len(row.id) for row in listed), default=0)
    lines = [f"{row.id:{width}}  {row.state.value:11}  {row.reason.partition(chr(10))[0]}".rstrip() for row in listed]
    left_out = "; those that are done are not listed" if len(listed) < len(rows) else ""
    runs = f"{len(rows):,} run{'' if len(rows) == 1 else 's'}"
    return [*lines, f"{runs}: {control.count_states(rows)}{left_out}"]


def list_queue(options: argparse.Namespace) -> int:
    """List the runs that wait or run."""
    listing = control.list_rows(paths_of(options))
    _complain(listing.problems)
    rows = [row for row in listing.rows if row.state in OPEN]
    if options.json:
        return print_json(rows)
    lines = [f"{row.id}  {row.state.value}  profile {row.profile}, attempt {row.attempt}{_where(row)}" for row in rows]
    return say(lines or ["no run waits and none is under way"])


def _where(row: QueuedRun) -> str:
    if row.state is not RunState.RUNNING:
        return ""
    return f", {row.reason or f'process {row.pid} on {row.host}'}"


def cancel_runs(options: argparse.Namespace) -> int:
    """Take waiting runs out of the queue."""
    return say(control.cancel(paths_of(options), options.runs))


def retry_runs(options: argparse.Namespace) -> int:
    """Let failed runs wait again."""
    if bool(options.runs) == options.failed or (options.failure and not options.failed):
        raise UsageError("name the runs to try again, or say --failed for all that failed, with --class for some")
    return say(control.retry(paths_of(options), options.runs, options.failure))


def stop_workers(options: argparse.Namespace) -> int:
    """Ask every worker to end after its trainings' epochs."""
    return say(control.stop(paths_of(options)))
