"""What a report shows: words, tables, figures and pages.

It reads the findings that `verdicts.findings` worked out, and lays them out for readers. It must never draw a
conclusion of its own, and it knows no command and no terminal.
"""

from orchestrator import open_door

NAMES = {
    "Outlook": "power",
    "Question": "power",
    "describe_latest": "place",
    "describe_unread": "markdown",
    "foresee": "power",
    "is_compared": "sections",
    "judged_plan": "power",
    "learn": "power",
    "marks": "sections",
    "say_steps": "steps",
    "sentences": "searches",
    "write_report": "write",
    "write_search_report": "searches",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
