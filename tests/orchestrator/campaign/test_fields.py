"""Names and limits of a campaign file: which names and seeds fit, and what a source may claim."""

from typing import Any

import msgspec
import pytest

from orchestrator.campaign.fields import ExperimentId, Named, Reported, SearchId, Seeds
from orchestrator.runs.identity import MAX_ID_LENGTH


def fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "fitting"), [("E5", True), ("tag:loss", True), ("tag:", False), ("E 5", False), ("tag E5", False)]
)
def test_an_experiment_or_a_group_is_named(name: str, fitting: bool) -> None:
    assert fits(name, Named) == fitting


def test_a_trial_of_the_longest_search_has_a_name_that_an_experiment_may_have() -> None:
    longest = "s" * (MAX_ID_LENGTH - len("-t0123"))
    assert fits(longest, SearchId)
    assert fits(f"{longest}-t0123", ExperimentId)
    assert not fits(f"{longest}s", SearchId)


@pytest.mark.parametrize("seeds", [1, 10_000, (0,), (7, 2**32 - 1)])
def test_seeds_are_a_number_or_a_list(seeds: object) -> None:
    assert fits(seeds, Seeds)


@pytest.mark.parametrize("seeds", [0, -1, 10_001, (), (-1,), (2**32,), "3"])
def test_seeds_that_no_campaign_has_do_not_fit(seeds: object) -> None:
    assert not fits(seeds, Seeds)


@pytest.mark.parametrize("claim", [{"accuracy": 101}, {"accuracy": -1}, {"bursts": 0}, {"acuracy": 50}])
def test_a_claim_that_cannot_be_does_not_fit(claim: dict[str, Any]) -> None:
    assert not fits(claim, Reported)
