"""A file that a run opened. Values alone."""

from typing import Literal

from msgspec import Struct

Kind = Literal["read", "missing", "write"]


class Opened(Struct, frozen=True):
    """A file or folder that was opened, by its whole path."""

    kind: Kind
    path: str
