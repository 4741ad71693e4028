import math

import pytest

from model.config.base import Config


class Knobs(Config, frozen=True, kw_only=True):
    width: int = 1
    rate: float = 0.1


@pytest.mark.parametrize("rate", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_refused_by_name(rate: float) -> None:
    assert Knobs(rate=-1e300).rate == -1e300
    with pytest.raises(ValueError, match=r"`rate` is .*, it must be a finite number"):
        Knobs(rate=rate)
