"""What an experiment does to the code of its reference, as git is told of it. Pure."""

from msgspec import Struct

SPEC_FILE = ".knockout/experiment.json"
"""What an experiment's commit adds to its base."""


class CodeStep(Struct, frozen=True, kw_only=True):
    """One change to the code of `model/`: a diff that is applied, or a ref whose code is taken."""

    patch: str | None = None
    """A path beside the campaign file."""
    ref: str | None = None
    """A branch, tag or commit."""


class BranchContent(Struct, frozen=True, kw_only=True):
    """What the branch of an experiment is made of."""

    experiment: str
    steps: tuple[CodeStep, ...]
    """All that its stack does to the code, its own step last."""
    message: str
    spec: bytes
    """The content of `SPEC_FILE`."""
