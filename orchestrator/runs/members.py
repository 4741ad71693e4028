"""The processes of this machine that belong to a run, also those that have left its process group."""

import signal

from model.train.run_folder import RunFolder
from orchestrator.processes import MARK, Process, find_members, mark_of, signal_group


def marks_of(folder: RunFolder) -> dict[str, str]:
    """Return the variable that tells the processes of a run, wherever they go."""
    return {MARK: mark_of(folder.path)}


def members_of(folder: RunFolder) -> list[Process]:
    """Return the processes of this machine that belong to a run."""
    holder = folder.last_holder()
    recorded = Process(holder.host, holder.pid, holder.born) if holder is not None and holder.born else None
    return find_members(folder.path, folder.lock, recorded)


def end_members(folder: RunFolder) -> list[str]:
    """End whatever a job has left behind, also what has left its group; return what could not be ended, in words."""
    refused = []
    for member in members_of(folder):
        try:
            signal_group(member, signal.SIGKILL)
        except PermissionError:
            refused.append(f"process {member.pid} on {member.host}")
    return refused
