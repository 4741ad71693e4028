"""Git: the code of an experiment, patches, branches and worktrees.

Of an experiment it knows the name and the steps that change its code. It must never know a campaign, a queue or a
verdict.
"""

from orchestrator import open_door

NAMES = {
    "ArmCode": "sources",
    "BranchContent": "steps",
    "BranchName": "refs",
    "Checkouts": "checkouts",
    "Code": "sources",
    "CodeStep": "steps",
    "ExperimentCommit": "refs",
    "Git": "git",
    "GitCode": "sources",
    "KnownCommit": "refs",
    "Leftover": "checkouts",
    "Repository": "repository",
    "SPEC_FILE": "steps",
    "find_code": "sources",
    "leftover_worktrees": "checkouts",
    "look_at_code": "sources",
    "remove_worktree": "checkouts",
    "split_zeros": "git",
    "worktrees": "",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
