"""An experiment worked out, and the schema of a campaign file."""

from typing import Any

import pytest

from orchestrator.api.show import Shown, schema, show
from orchestrator.campaign.selection import Request
from orchestrator.errors import UsageError
from orchestrator.task.ask import Answer

AGAIN = "  K1: {title: Again, group: loss, hypothesis: Why., change: {loss.kind: focal, loss.gamma: 2.0}}\n"


@pytest.fixture(autouse=True)
def unsized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size of every model: to ask `model` for it takes seconds, and the flows do so."""
    size = Answer(facts={"tokens": 16, "parameters": 1000})
    monkeypatch.setattr("orchestrator.api.show.check_configs", lambda *asked, **options: [size])


def shown(study: Any, experiment: str) -> Shown:
    return show(Request(file=study.file), experiment)


def test_an_experiment_differs_from_its_reference_by_its_change(study: Any) -> None:
    found = shown(study, "H2")
    assert (found.title, found.profile, found.reference_stack) == ("Heads", "quick", ("baseline", "E5"))
    assert found.difference == {"model.num_heads": (8, 4)}
    assert found.params["loss"]["gamma"] == 2.0
    assert found.facts == {"tokens": 16, "parameters": 1000}


def test_the_baseline_has_no_reference(study: Any) -> None:
    found = shown(study, "baseline")
    assert (found.reference_stack, found.difference, found.same_as) == (None, {}, None)


def test_the_earlier_experiment_with_the_same_configuration_is_named(study: Any) -> None:
    study.file.write_text(study.file.read_text() + AGAIN)
    assert shown(study, "K1").same_as == "E5"


def test_an_experiment_that_is_not_there_is_refused(study: Any) -> None:
    with pytest.raises(UsageError, match="there is no experiment `E6`"):
        shown(study, "E6")


def test_the_schema_requires_what_every_campaign_has() -> None:
    found = schema()
    required = found["$defs"]["CampaignSpec"]["required"]
    assert set(required) == {"campaign", "seeds"}
