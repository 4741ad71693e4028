"""The base of a campaign's typed values: no unknown fields, no changes, no infinite numbers."""

import math
from typing import Annotated

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0)]


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a campaign file's values: immutable, keyword-only. Unknown fields and infinite numbers are errors."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{name}` is {value}, it must be a finite number")
