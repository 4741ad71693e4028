"""The base of all configurations: closed, frozen, finite."""

import math
from typing import Annotated

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0.0)]
NonNegative = Annotated[float, Meta(ge=0.0)]
Count = Annotated[int, Meta(ge=1)]


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration: immutable and keyword-only; unknown fields and infinite numbers are errors."""

    def __post_init__(self) -> None:
        require_finite(self)


def require_finite(config: Struct) -> None:
    """Refuse a configuration with an infinite number or NaN, which parsers of JSON and YAML accept.

    Raises:
        ValueError: names the field.
    """
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`{name}` is {value}, it must be a finite number")
