"""`plan`, `show`, `schema`: what is looked up, and starts nothing."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.table import Table

from orchestrator.api.plan import preview
from orchestrator.campaign.schema import campaign_schema
from orchestrator.campaign.selection import describe, open_campaign
from orchestrator.cli.asking import print_left_out, request_of
from orchestrator.cli.output import print_json, say
from orchestrator.cli.terminal import OUT, cell, show
from orchestrator.task.knobs import difference


def show_plan(options: argparse.Namespace) -> int:
    """Show what would run."""
    selection = open_campaign(request_of(options))
    shown = preview(selection)
    if options.json:
        return print_json(shown)
    table = Table(title=cell(f"{selection.campaign.name}, profile {selection.campaign.profile}"), title_justify="left")
    for heading in ("experiment", "on", "change", "to train", "there already"):
        table.add_column(heading)
    for row in shown.rows:
        to_train = "rejected" if row.rejected else _seeds(row.to_train)
        cells = (row.experiment, row.reference or "", row.change, to_train, _seeds(row.finished))
        table.add_row(*map(cell, cells))
    OUT.print(table)
    say(f"{row.experiment} would be rejected: {row.rejected}" for row in shown.rows if row.rejected)
    say((*shown.cost.sentences(), *shown.notes))
    print_left_out(options, selection)
    return 0


def _seeds(seeds: Sequence[int]) -> str:
    return "seed " + ", ".join(map(str, seeds)) if seeds else ""


def show_experiment(options: argparse.Namespace) -> int:
    """Show an experiment worked out."""
    request = msgspec.structs.replace(request_of(options), experiments=(options.experiment,))
    selection = open_campaign(request)
    arm = selection.arms[options.experiment]
    size = describe(selection, arm.id)
    before = selection.arms[arm.reference].config if arm.reference else None
    changes = difference(before, arm.config) if before else {}
    if options.json:
        content = {"config": arm.config, "difference": changes, "tokens": size.tokens, "parameters": size.parameters}
        return print_json(content)
    show(f"{arm.id}: {arm.title}", style="bold")
    stack = " + ".join(("baseline", *selection.arms[arm.reference].stack)) if arm.reference else "none"
    show(f"profile {selection.campaign.profile}; reference: {stack}")
    if arm.same_as:
        show(f"the same configuration as {arm.same_as}, so the two share their runs")
    for knob, (old, new) in changes.items():
        show(f"  {knob}: {json.dumps(old)} -> {json.dumps(new)}")
    show(f"{size.tokens} tokens a burst, {size.parameters:,} parameters")
    show(_as_yaml(msgspec.to_builtins(arm.config)))
    return 0


def _as_yaml(values: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
            lines += [f"{indent}{key}:", _as_yaml(value, indent + "  ")]
        elif isinstance(value, dict):
            inner = ", ".join(f"{name}: {json.dumps(entry)}" for name, entry in value.items())
            lines.append(f"{indent}{key}: {{{inner}}}")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}")
    return "\n".join(lines)


def show_schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a campaign file."""
    print(json.dumps(campaign_schema(), indent=2))
    return 0
