"""Names of experiments' branches, and what git says of them, as values. Pure."""

import re
from dataclasses import dataclass

from orchestrator.runs.identity import ID_PATTERN

STAMP_FORMAT = "%Y%m%d_%H%M%S"
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
        """Where the commit stays once the branch is deleted."""
        return f"refs/knockout/{self.experiment}/{self.stamp}"

    @classmethod
    def parse(cls, name: str) -> "BranchName":
        """Read a branch name; ValueError if it is not one of ours."""
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
    ref: str
    commit: str
    committed: int
    """Seconds since 1970."""
