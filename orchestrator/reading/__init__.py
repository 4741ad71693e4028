"""What a run tells: log lines, files, progress, items, and the helper that a script may import.

Everything is read afterwards from kept files, so a wrong pattern costs no training. It must never know a campaign, a
verdict or the queue.
"""

from orchestrator import open_door

NAMES = {
    "Better": "sources",
    "CHECKPOINTS": "helper",
    "ItemTable": "sources",
    "Items": "items",
    "LogFollower": "progress",
    "PRESET": "metrics",
    "Pick": "sources",
    "REPORTED": "helper",
    "Reading": "sources",
    "ReadingError": "sources",
    "Row": "progress",
    "SCORES": "helper",
    "SCORES_ENDING": "helper",
    "TableKind": "live",
    "build_reader": "presets",
    "clean_lines": "patterns",
    "explain_absent": "presets",
    "find_file": "metrics",
    "place_helper": "helper",
    "read_csv": "tables",
    "read_items": "items",
    "read_metric": "metrics",
    "read_progress": "progress",
    "read_reported": "metrics",
    "read_table": "live",
    "recognise": "presets",
    "row_seconds": "progress",
    "run_variables": "helper",
    "scores_file": "helper",
    "settle_attempts": "progress",
    "sources": "",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
