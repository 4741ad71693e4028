"""One process that runs one command as a run: `python -m orchestrator.supervisor RUN_FOLDER`.

It holds the run folder's lock, starts the command, follows what it tells, and writes the result last. It must never
know a campaign, the queue or git.
"""

from orchestrator import open_door

NAMES = {
    "CHECKPOINT": "launch_file",
    "LaunchFile": "launch_file",
    "Progress": "follow",
    "ProgressFile": "launch_file",
    "Resume": "launch_file",
    "SERVER": "preloaded",
    "SIGN": "log",
    "collect_outputs": "checkout",
    "is_of_one_run": "preloaded",
    "read_attempts": "attempts",
    "server_environment": "preloaded",
    "split_python": "preloaded",
    "supervise": "",
    "write_launch": "launch_file",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
