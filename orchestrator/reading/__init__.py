"""What a run tells: log lines, files, progress, items, and the helper that a script may import.

Everything is read afterwards from kept files, so a wrong pattern costs no training. It must never know a campaign, a
verdict or the queue.
"""

from orchestrator import open_door

NAMES = {
    "Better": "sources",
    "ItemTable": "sources",
    "Pick": "sources",
    "REPORTED": "helper",
    "Reading": "sources",
    "ReadingError": "sources",
    "find_file": "metrics",
    "read_csv": "tables",
    "read_items": "items",
    "read_metric": "metrics",
    "scores_file": "helper",
    "sources": "",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
