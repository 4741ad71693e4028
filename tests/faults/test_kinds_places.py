"""Disks, users, name spaces and the server fail at random moments: every run ends once, with the right numbers."""

from typing import Any

import pytest

from tests.faults.campaigns import PLACES, Campaign
from tests.faults.nothing_lost import hurt, machines_of


@pytest.mark.parametrize(("campaign", "number"), machines_of(*PLACES))
def test_nothing_is_lost_when(campaign: Campaign, number: int, request: pytest.FixtureRequest, tell: Any) -> None:
    """Laws 2, 3, 4 and 6: no run is trained again, no finished epoch is lost, and the checkout is not touched."""
    hurt(campaign, number, request, tell)
