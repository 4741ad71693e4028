"""Faults of all kinds at random moments: every run ends once, with the numbers of one that was never stopped."""

import time
from typing import Any

import pytest

from tests.faults.campaigns import CAMPAIGNS, Campaign
from tests.faults.storm import SEED, Storm

MACHINES = [
    pytest.param(campaign, number, id=f"{campaign.kinds.title}-{number}")
    for campaign in CAMPAIGNS
    for number in campaign.numbers
]


@pytest.mark.parametrize(("campaign", "number"), MACHINES)
def test_nothing_is_lost_when(campaign: Campaign, number: int, request: pytest.FixtureRequest, tell: Any) -> None:
    """Laws 2, 3, 4 and 6: no run is trained again, no finished epoch is lost, and the checkout is not touched."""
    if not campaign.kinds.possible():
        pytest.skip("; ".join(sorted(set(campaign.kinds.impossible().values()))))
    machine, started = request.getfixturevalue(campaign.machine), time.monotonic()
    storm = Storm(machine, SEED + 100 * number, campaign.num_works)
    storm.rage(campaign.kinds, campaign.moments)
    storm.settle()
    machine.counts["seconds"] = round(time.monotonic() - started)
    tell(campaign.kinds.title, machine.counts)
    assert not machine.losses, "\n".join(machine.losses)
    machine.must("report")
    assert "nothing waited" in machine.must("work")
    states = {row["id"]: row["state"] for row in machine.rows()}
    machine.must("rebuild")
    assert {row["id"]: row["state"] for row in machine.rows()} == states
