"""What a stranger's script takes: read in its syntax tree, or asked of a copy of its code; and a first campaign file.

It must never know a campaign type, a queue or a run.
"""

from orchestrator import open_door

NAMES = {
    "EXAMPLES": "text",
    "InitOptions": "init",
    "Place": "trial",
    "Written": "init",
    "direction_of": "names",
    "find_place": "trial",
    "init_campaign": "init",
    "interrupted_by_any_signal": "trial",
    "metric_rank": "names",
    "scalar": "text",
    "throw_away_code": "trial",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
