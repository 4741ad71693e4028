"""What an experiment changes in the code of its reference, and what its branch holds. Pure."""

from msgspec import Struct

SPEC_FILE = ".knockout/experiment.json"
"""File that an experiment's commit adds to its base: what the experiment is."""


class CodeStep(Struct, frozen=True, kw_only=True):
    """One change to the code: either a diff is applied, or the code of a ref takes its place."""

    patch: str | None = None
    """Path of the diff, relative to the campaign's folder."""
    ref: str | None = None
    """A branch, tag or commit."""


class BranchContent(Struct, frozen=True, kw_only=True):
    """What git needs to make the branch of an experiment."""

    experiment: str
    steps: tuple[CodeStep, ...]
    """All changes of its stack, its own last."""
    message: str
    """Of the commit."""
    spec: bytes
    """The content of `SPEC_FILE`."""
