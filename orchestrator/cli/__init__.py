"""The terminal: each command calls the function of the same name in `orchestrator.api` and prints what it returns.

Only this package prints. It knows nothing of the orchestrator but `api`.
"""

from orchestrator import open_door

NAMES = {
    "main": "",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
