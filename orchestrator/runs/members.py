"""The processes of this machine that belong to a run, wherever they went, and the sweep that ends them.

The run's mark finds those in sessions and groups of their own too.
"""

import signal
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from orchestrator.processes import MARK, Process, ask_to_end, find_members, run_mark, signal_group
from orchestrator.runs.folder import RunFolder

TERM_SECONDS = 3.0
"""How long processes have to end by themselves after SIGTERM."""
KILL_SECONDS = 10.0
"""Longest wait for the end of killed processes. One that waits for a disk ends only when the disk answers."""
SETTLE_SECONDS = 0.5
"""How long helpers of a command that has ended have to notice its end; only what is there later has outlived it."""
POLL_SECONDS = 0.02


class Swept(Struct, frozen=True, kw_only=True):
    """What a sweep found and did."""

    ended: tuple[int, ...] = ()
    """Numbers of the processes that were there and are gone."""
    left: tuple[int, ...] = ()
    """Those that live on: they belong to another user, or wait for a disk."""


def mark_variables(folder: RunFolder) -> dict[str, str]:
    """Return the environment variable that marks the processes of a run."""
    return {MARK: run_mark(folder.path)}


def list_members(folder: RunFolder) -> list[Process]:
    """Return the processes of this machine that belong to a run."""
    holder = folder.last_holder()
    recorded = Process(holder.host, holder.pid, holder.born) if holder is not None and holder.born else None
    return find_members(folder.path, folder.lock, recorded)


def end_members(folder: RunFolder) -> list[str]:
    """Kill the processes of a run; return a phrase for each that belongs to another user and lives on."""
    refused = []
    for member in list_members(folder):
        try:
            signal_group(member, signal.SIGKILL)
        except PermissionError:
            refused.append(f"process {member.pid} on {member.host}")
    return refused


def wait_for_end(folder: RunFolder, seconds: float = SETTLE_SECONDS) -> bool:
    """Wait until no process of a run is left, but not longer than so many seconds; return whether all are gone."""
    return not _wait_until_gone(folder, {}, seconds, lambda: None)


def end_processes(folder: RunFolder, term_seconds: float = TERM_SECONDS, kill_seconds: float = KILL_SECONDS) -> Swept:
    """Ask the processes of a run to end, then kill those that are left; this process is not among them.

    Args:
        folder: the run folder, whose mark they carry.
        term_seconds: how long they have to end by themselves; 0 kills them at once.
        kill_seconds: the longest wait for the end of killed processes.
    """
    found = list_members(folder)
    seen = dict.fromkeys(member.pid for member in found)
    if found and term_seconds > 0:
        _ask_all(found)
        found = _wait_until_gone(folder, seen, term_seconds, lambda: None)
    if found:
        # A process may start others while it is being ended. So the sweep is repeated until it finds nothing.
        found = _wait_until_gone(folder, seen, kill_seconds, lambda: end_members(folder))
    left = tuple(member.pid for member in found)
    return Swept(ended=tuple(sorted(seen.keys() - left)), left=left)


def _ask_all(members: Sequence[Process]) -> None:
    for member in members:
        try:
            ask_to_end(member)
        except PermissionError:  # the end of the sweep names it
            continue


def _wait_until_gone(
    folder: RunFolder, seen: dict[int, None], seconds: float, act: Callable[[], object]
) -> list[Process]:
    """Wait for the end of a run's processes, with `act` before each look; return those that are left."""
    deadline = time.monotonic() + seconds
    while True:
        found = list_members(folder)
        seen.update(dict.fromkeys(member.pid for member in found))
        act()
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(POLL_SECONDS)
