"""Which runs wait and who works on them: the database, and how it is kept in step with the run folders.

It must never know a campaign, git or a verdict. The run folders are the truth; this package can be rebuilt from them.
"""

from orchestrator import open_door

NAMES = {
    "DRIVERS": "database",
    "LOCK_SECONDS": "database",
    "Listing": "control",
    "QueuedRun": "store",
    "Rebuilt": "rebuild",
    "Store": "store",
    "TRIALS": "troubles",
    "Wanted": "control",
    "connect_bounded": "database",
    "control": "",
    "count_states": "control",
    "database_name": "database",
    "describe_trouble": "troubles",
    "end_remaining_jobs": "reconcile",
    "find_remedy": "troubles",
    "held_rows": "reconcile",
    "is_refusal": "troubles",
    "listen_for_refusals": "database",
    "make_file": "database",
    "open_store": "store",
    "rebuild": "",
    "reconcile": "",
    "reconciled": "control",
    "requeue_interrupted": "reconcile",
    "waiting_run": "rows",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
