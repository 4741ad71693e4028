"""The schema that editors complete from says what the loader accepts."""

from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from orchestrator.campaign.schema import campaign_schema
from orchestrator.task.ask import ask_schema
from tests.orchestrator.conftest import RADIO, ROOT


@pytest.fixture
def campaign() -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / "experiments.yaml").read_text())


def test_the_campaign_of_this_repository_fits_its_schema(campaign: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(campaign_schema(ask_schema(RADIO, ROOT)))
    jsonschema.validate(campaign, campaign_schema(ask_schema(RADIO, ROOT)))


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ((), "margim"),
        (("baseline", "model"), "dmi"),
        (("experiments", "E5", "change"), "loss.gama"),
        (("data",), "trian"),
    ],
)
def test_a_misspelt_key_does_not_fit(campaign: Any, where: tuple[str, ...], key: str) -> None:
    node = campaign
    for part in where:
        node = node[part]
    node[key] = 1
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate(campaign, campaign_schema(ask_schema(RADIO, ROOT)))


@pytest.mark.parametrize(
    "asked",
    [
        {"slots_per_gpu": 2},
        {"interactions": [["E5", "H2"]], "ablate": ["E5", ["H2", "I1"], "tag:augmentation"], "aa": 3},
        {"experiments": {"chance": {"title": "t", "group": "g", "hypothesis": "h", "control": "shuffled_labels"}}},
    ],
)
def test_what_is_to_be_generated_fits(campaign: Any, asked: dict[str, Any]) -> None:
    jsonschema.validate(campaign | asked, campaign_schema(ask_schema(RADIO, ROOT)))


@pytest.mark.parametrize(
    "asked",
    [
        {"slots_per_gpu": 9},
        {"slots_per_gpu": 1.5},
        {"interactions": [["E5"]]},
        {"interactions": [["E5", "H2", "I1"]]},
        {"interactions": [["E5", "tag:augmentation"]]},
        {"ablate": [["E 5"]]},
        {"ablate": [[]]},
        {"aa": -1},
        {"experiments": {"chance": {"title": "t", "group": "g", "hypothesis": "h", "control": "aa"}}},
    ],
)
def test_what_cannot_be_generated_does_not_fit(campaign: Any, asked: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(campaign | asked, campaign_schema(ask_schema(RADIO, ROOT)))
