"""What a run tells: log lines, files, progress, items, and the helper that a script may import.

Everything is read afterwards from kept files, so a wrong pattern costs no training. It must never know a campaign, a
verdict or the queue.
"""

from orchestrator import open_door

NAMES = {
    "CHECKPOINTS": "helper",
    "LogFollower": "progress",
    "REPORTED": "helper",
    "Row": "progress",
    "SCORES": "helper",
    "TableKind": "live",
    "build_reader": "presets",
    "place_helper": "helper",
    "read_progress": "progress",
    "read_table": "live",
    "row_seconds": "progress",
    "run_variables": "helper",
    "settle_attempts": "progress",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
