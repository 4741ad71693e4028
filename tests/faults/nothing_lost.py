"""One campaign of faults on one machine, from the first fault to the last look."""

import time
from collections.abc import Callable

import pytest

from tests.faults.campaigns import Campaign
from tests.faults.machine import Counts
from tests.faults.storm import MOMENTS, SEED, Storm


def machines_of(*campaigns: Campaign) -> list[object]:
    """Return a parameter for each machine of the campaigns: the campaign and the machine's number."""
    return [
        pytest.param(campaign, number, id=f"{campaign.kinds.title}-{number}")
        for campaign in campaigns
        for number in campaign.numbers
    ]


def hurt(campaign: Campaign, number: int, request: pytest.FixtureRequest, tell: Callable[[str, Counts], None]) -> None:
    """Make a campaign's faults at random moments, and require that nothing is lost."""
    if not campaign.kinds.possible():
        pytest.skip("; ".join(sorted(set(campaign.kinds.impossible().values()))))
    machine, started = request.getfixturevalue(campaign.machine), time.monotonic()
    storm = Storm(machine, SEED + 100 * number, campaign.num_works)
    storm.rage(campaign.kinds, campaign.moments)
    storm.settle()
    machine.counts["seconds"] = round(time.monotonic() - started)
    tell(campaign.kinds.title, machine.counts)
    assert not machine.losses, "\n".join(machine.losses)
    if campaign.has_report or MOMENTS:
        machine.must("report")
    assert "nothing waited" in machine.must("work")
    states = {row["id"]: row["state"] for row in machine.rows()}
    machine.must("rebuild")
    assert {row["id"]: row["state"] for row in machine.rows()} == states
