"""The JSON Schema of a campaign file, made from the same types that check it."""

from typing import Any

import msgspec

from model.config import JobConfig
from orchestrator.campaign.spec import CampaignSpec, DataSpec
from orchestrator.task.knobs import knob_names

REFERENCE = "#/$defs/{name}"
SECTIONS = ("model", "loss", "augment", "optim", "runtime")
NOT_TO_CHANGE = ("format", "experiment", "profile", "seed")


def campaign_schema() -> dict[str, Any]:
    """Return the schema. It lists the knobs of `baseline`, `data` and every `change`, so that editors complete them."""
    (top, job, data), definitions = msgspec.json.schema_components(
        [CampaignSpec, JobConfig, DataSpec], ref_template=REFERENCE
    )
    del job
    knobs: dict[str, Any] = {name: {} for name in knob_names(JobConfig) if name not in NOT_TO_CHANGE}
    change = {"type": "object", "properties": knobs, "additionalProperties": False, "minProperties": 1}
    definitions["Change"] = change
    experiment = definitions["ExperimentSpec"]["properties"]
    experiment["change"] = {"$ref": "#/$defs/Change"}
    experiment["change_in"]["additionalProperties"] = {"$ref": "#/$defs/Change"}
    job_properties = definitions["JobConfig"]["properties"]
    for section in SECTIONS:
        definitions["BaselineSpec"]["properties"][section] = _without_default(job_properties[section])
    sections = {section: _without_default(job_properties[section]) for section in SECTIONS}
    definitions["ProfileSpec"]["properties"]["baseline"] = {
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
    }
    partial_data = definitions["DataSpec"] | {"required": []}
    definitions["ProfileSpec"]["properties"]["data"] = partial_data
    definitions["CampaignSpec"]["properties"]["data"] = data
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": definitions}


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "default"}
