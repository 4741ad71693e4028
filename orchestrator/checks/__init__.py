"""What a stranger's command does when it runs: what it reads, writes and prints, and what its campaign file lacks.

It must never know the queue or a verdict.
"""

from orchestrator import open_door

NAMES = {
    "CheckOptions": "check",
    "Checked": "check",
    "Finding": "findings",
    "Tell": "check",
    "check_campaign": "check",
    "find_shadowed": "shadow",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
