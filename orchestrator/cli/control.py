"""`knockout status`, `queue list`, `stop`, `retry`, `cancel` and `rebuild`."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence

from orchestrator.api import control
from orchestrator.api.control import QueuedRun, RunState, Wanted, count_states
from orchestrator.cli.output import print_json, say
from orchestrator.cli.streams import is_read

MAX_LISTED = 200
"""With more runs than this, `status` lists only those that are not done."""
WATCH_SECONDS = 2.0
NOTHING = "no run has been queued yet; `knockout run` starts, `knockout queue add` queues"


def status(options: argparse.Namespace) -> int:
    """Show where every run stands; with --watch, again and again until nothing waits or runs."""
    wanted = Wanted(experiments=tuple(options.experiments), profile=options.profile, seeds=options.seeds)
    shown_problems: frozenset[str] = frozenset()
    while True:
        found = control.status(options.file, wanted)
        shown_problems = _print_problems(found.problems, shown_problems)
        if options.json:
            return print_json(found.rows)
        say(_status_lines(found.rows) if found.rows else found.forgotten or [NOTHING])
        if not options.watch or not is_read() or not found.is_open:
            return 0
        time.sleep(WATCH_SECONDS)


def _print_problems(problems: Iterable[str], shown: frozenset[str] = frozenset()) -> frozenset[str]:
    """Print each problem of a listing once, to standard error; return the problems that are printed by now."""
    for problem in problems:
        if problem not in shown:
            print(f"knockout: {problem}", file=sys.stderr)
    return shown | frozenset(problems)


def _status_lines(rows: Sequence[QueuedRun]) -> list[str]:
    listed = rows if len(rows) <= MAX_LISTED else [row for row in rows if row.state is not RunState.DONE]
    width = max((len(row.id) for row in listed), default=0)
    lines = [f"{row.id:{width}}  {row.state.value:11}  {row.reason.partition(chr(10))[0]}".rstrip() for row in listed]
    left_out = "; those that are done are not listed" if len(listed) < len(rows) else ""
    runs = f"{len(rows):,} run{'' if len(rows) == 1 else 's'}"
    return [*lines, f"{runs}: {count_states(rows)}{left_out}"]


def queue_list(options: argparse.Namespace) -> int:
    """List the runs that wait or run."""
    listing = control.queue_list(options.file)
    _print_problems(listing.problems)
    if options.json:
        return print_json(listing.rows)
    lines = [
        f"{row.id}  {row.state.value}  profile {row.profile}, attempt {row.attempt}{_describe_worker(row)}"
        for row in listing.rows
    ]
    return say(lines or ["no run waits and none is under way"])


def _describe_worker(row: QueuedRun) -> str:
    if row.state is not RunState.RUNNING:
        return ""
    return f", {row.reason or f'process {row.pid} on {row.host}'}"


def cancel(options: argparse.Namespace) -> int:
    """Take waiting runs out of the queue."""
    return say(control.cancel(options.file, options.runs))


def retry(options: argparse.Namespace) -> int:
    """Let failed runs wait again."""
    return say(control.retry(options.file, options.runs, all_failed=options.failed, failure=options.failure))


def stop(options: argparse.Namespace) -> int:
    """Ask every worker to let its trainings save and end, and to end too."""
    return say(control.stop(options.file))


def rebuild(options: argparse.Namespace) -> int:
    """Make the queue's database again from the run folders."""
    return say(control.rebuild(options.file).sentences())
