"""The base of typed values takes no unknown field and no infinite number."""

import math

import msgspec
import pytest

from orchestrator.closed import Config


class Limits(Config, frozen=True, kw_only=True):
    low: float = 0.0


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="`high`"):
        msgspec.convert({"high": 1.0}, Limits)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"`low` is .*, it must be a finite number"):
        Limits(low=value)
