"""The processes of this machine that belong to a run, including those that have left its process group."""

import signal

from orchestrator.processes import MARK, Process, find_members, run_mark, signal_group
from orchestrator.runs.folder import RunFolder


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
