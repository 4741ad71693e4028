"""The JSON Schema of a campaign file, made from the types that check it and from the schema of its task."""

from typing import Any

import msgspec

from orchestrator.campaign.spec import BaselineSpec, CampaignSpec
from orchestrator.task.kinds import Schema, knob_names
from orchestrator.task.spec import FROM

REFERENCE = "#/$defs/{name}"
TYPES = "https://json-schema.org/draft/2020-12/schema"
DATA = "data"


def campaign_schema(task: Schema) -> dict[str, Any]:
    """Return the schema. It lists the knobs of `baseline`, `data` and every `change`, so that editors complete them.

    Args:
        task: the JSON Schema of the task's parameters; empty where it has none.
    """
    (top, baseline), definitions = msgspec.json.schema_components([CampaignSpec, BaselineSpec], ref_template=REFERENCE)
    definitions |= task.get("$defs", {})
    sections = task.get("properties", {})
    if sections:
        _list_knobs(definitions, task)
        _list_sections(definitions, sections)
    fields = definitions["CampaignSpec"]
    fields["properties"]["baseline"] = baseline
    fields["properties"]["task"] = _task(definitions["TaskSpec"])
    fields["properties"]["metrics"] = {"type": "object"}
    # A file without a task trains the radio study.
    fields["required"] = [name for name in fields["required"] if name != "task"]
    return {"$schema": TYPES, **top, "$defs": definitions}


def _list_knobs(definitions: dict[str, Any], task: Schema) -> None:
    knobs: dict[str, Any] = {name: {} for name in knob_names(task)}
    definitions["Change"] = {
        "type": "object",
        "properties": knobs,
        "additionalProperties": False,
        "minProperties": 1,
    }
    experiment = definitions["ExperimentSpec"]["properties"]
    experiment["change"] = {"$ref": "#/$defs/Change"}
    experiment["change_in"]["additionalProperties"] = {"$ref": "#/$defs/Change"}


def _list_sections(definitions: dict[str, Any], sections: dict[str, Any]) -> None:
    parameters = {name: _without_default(one) for name, one in sections.items() if name != DATA}
    definitions["BaselineSpec"]["properties"] |= parameters
    profile = definitions["ProfileSpec"]["properties"]
    profile["baseline"] = {"type": "object", "properties": parameters, "additionalProperties": False}
    if DATA in sections:
        data = _without_default(sections[DATA])
        definitions["CampaignSpec"]["properties"][DATA] = data
        named = definitions.get(str(data.get("$ref", "")).rpartition("/")[2], data)
        profile[DATA] = named | {"required": []}


def _task(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the section `task`: short forms are allowed, and the rest may stand in another file."""
    fields = spec["properties"]
    named = {name: {"type": "object"} for name in ("data", "items", "forms", "files", "env")}
    own = {**fields, **named, FROM: {"type": "string", "description": "a file with the rest of this section"}}
    question = {"type": "string", "description": "the question of the campaign, as earlier versions wrote it"}
    return {"anyOf": [{"type": "object", "properties": own, "additionalProperties": False}, question]}


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "default"}
