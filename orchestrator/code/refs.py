"""Names of experiments' branches, and what git says of their commits, as values. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from orchestrator.runs.identity import ID_PATTERN

OPEN = "refs/heads/experiment/"
"""Where the branches of experiments are."""
KEEPERS = "refs/tags/keeper/"
"""Where the tags on improved experiments are."""
RETIRED = "refs/knockout/"
"""Where the commits stay of branches that were deleted."""
STAMP_FORMAT = "%Y%m%d_%H%M%S"
MAX_BRANCHES_A_SECOND = 100
BRANCH_PATTERN = re.compile(rf"^experiment/(?P<id>{ID_PATTERN[1:-1]})-(?P<stamp>\d{{8}}_\d{{6}}(?:_\d+)?)$")


@dataclass(frozen=True)
class BranchName:
    """`experiment/E5-20260219_010041`; a second branch in the same second gets `_2` behind it."""

    experiment: str
    stamp: str

    def __str__(self) -> str:
        return f"experiment/{self.experiment}-{self.stamp}"

    @property
    def ref(self) -> str:
        """Full name of the branch."""
        return f"refs/heads/{self}"

    @property
    def kept_ref(self) -> str:
        """Ref that holds the commit once the branch is deleted."""
        return f"{RETIRED}{self.experiment}/{self.stamp}"

    @classmethod
    def parse(cls, name: str) -> "BranchName":
        """Read the name of a branch.

        Raises:
            ValueError: it is no experiment's branch.
        """
        match = BRANCH_PATTERN.match(name)
        if match is None:
            raise ValueError(f"`{name}` is no experiment's branch")
        return cls(match["id"], match["stamp"])


@dataclass(frozen=True)
class ExperimentCommit:
    """The commit that an experiment's runs execute, and the branch that holds it."""

    branch: str
    commit: str
    base_commit: str


@dataclass(frozen=True)
class KnownCommit:
    """A commit of an experiment, and one of the refs that keep it."""

    experiment: str
    stamp: str
    """Of its branch; empty for a keeper's tag."""
    ref: str
    commit: str
    committed: int
    """Seconds since 1970."""


def branch_names(experiment: str, now: datetime) -> Iterator[BranchName]:
    """Yield the names that a new branch of an experiment may have in one second."""
    stamp = now.strftime(STAMP_FORMAT)
    yield BranchName(experiment, stamp)
    for number in range(2, MAX_BRANCHES_A_SECOND + 1):
        yield BranchName(experiment, f"{stamp}_{number}")


def read_branch_ref(ref: str) -> BranchName | None:
    """Read the name of a branch from its ref, open or retired; None if it is no experiment's."""
    if not ref.startswith("refs/heads/"):
        folder, _, stamp = ref.rpartition("/")
        ref = f"experiment/{folder.removeprefix(RETIRED)}-{stamp}"
    match = BRANCH_PATTERN.match(ref.removeprefix("refs/heads/"))
    return BranchName(match["id"], match["stamp"]) if match else None


def read_known_commit(ref: str, *objects: str) -> KnownCommit | None:
    """Read a ref and its objects, each a name and a time in seconds since 1970.

    Returns:
        None for a ref that is no experiment's, or does not lead to a commit.
    """
    if ref.startswith(KEEPERS):
        name, stamp = ref.removeprefix(KEEPERS), ""
    elif (branch := read_branch_ref(ref)) is not None:
        name, stamp = branch.experiment, branch.stamp
    else:
        return None
    if len(objects) < 2 or not objects[-1].isdigit():
        return None
    # The commit stands last: an annotated tag is an object of its own, which stands before it.
    return KnownCommit(name, stamp, ref, objects[-2], int(objects[-1]))
