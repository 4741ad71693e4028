"""What a stranger's script takes: read in its syntax tree, or asked of a copy of its code; and a first campaign file.

It must never know a campaign type, a queue or a run.
"""

from orchestrator import open_door

NAMES: dict[str, str] = {}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
