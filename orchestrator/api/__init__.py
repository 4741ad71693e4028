"""One function for each verb of `knockout`.

It takes a request or a campaign file, returns values, and prints nothing. It must never know a terminal or a browser.
"""

from orchestrator import open_door

NAMES = {
    "Budget": "plan",
    "CheckOptions": "check",
    "Checked": "check",
    "EmulateSpec": "data",
    "Finding": "doctor",
    "InitOptions": "init",
    "LiveRun": "work",
    "Outcome": "report",
    "QueuedRun": "control",
    "Request": "plan",
    "RunOptions": "queue",
    "RunState": "control",
    "SearchOptions": "search",
    "SeedDecisionState": "report",
    "VerdictRow": "report",
    "Wanted": "control",
    "WorkOptions": "work",
    "Worked": "work",
    "accept": "",
    "check": "",
    "control": "",
    "count_states": "control",
    "data": "",
    "doctor": "",
    "gc": "",
    "init": "",
    "plan": "",
    "queue": "",
    "report": "",
    "run": "",
    "search": "",
    "show": "",
    "train": "",
    "why": "",
    "work": "",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
