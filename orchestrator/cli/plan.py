"""`knockout plan`, `show` and `schema`: they start nothing."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from orchestrator.api import plan as api_plan
from orchestrator.api import show as api_show
from orchestrator.api.plan import Budget, Request
from orchestrator.cli import terminal
from orchestrator.cli.output import print_json, say, say_if
from orchestrator.cli.request import read_request
from orchestrator.cli.terminal import OUT, cell
from orchestrator.wording import shell_command


def plan(options: argparse.Namespace) -> int:
    """Show what would run."""
    planned = api_plan.plan(read_request(options), Budget(**options.budget) if options.budget else None)
    preview = planned.preview
    if options.json:
        return print_json(preview)
    table = Table(title=cell(f"{planned.campaign}, profile {planned.profile}"), title_justify="left")
    for heading in ("experiment", "on", "change", "to train", "there already"):
        table.add_column(heading)
    for row in preview.rows:
        to_train = "rejected" if row.rejected else _list_seeds(row.to_train)
        cells = (row.experiment, row.reference or "", row.change, to_train, _list_seeds(row.finished))
        table.add_row(*map(cell, cells))
    OUT.print(table)
    say(f"{row.experiment} would be rejected: {row.rejected}" for row in preview.rows if row.rejected)
    say((*preview.cost.sentences(), *preview.outlook_notes, *preview.notes))
    return say_if(planned.default_note)


def _list_seeds(seeds: Sequence[int]) -> str:
    return "seed " + ", ".join(map(str, seeds)) if seeds else ""


def show(options: argparse.Namespace) -> int:
    """Show an experiment worked out."""
    shown = api_show.show(read_request(options), options.experiment)
    if options.json:
        told = {"params": shown.params, "difference": shown.difference, "facts": shown.facts}
        return print_json(told | ({"command": shown.command} if shown.command else {}))
    terminal.show(f"{shown.experiment}: {shown.title}", style="bold")
    reference = " + ".join(shown.reference_stack) if shown.reference_stack else "none"
    terminal.show(f"profile {shown.profile}; reference: {reference}")
    if shown.same_as:
        terminal.show(f"the same configuration as {shown.same_as}, so the two share their runs")
    for knob, (old, new) in shown.difference.items():
        terminal.show(f"  {knob}: {json.dumps(old)} -> {json.dumps(new)}")
    if shown.facts:
        terminal.show(", ".join(f"{_say_fact(value)} {name}" for name, value in shown.facts.items()))
    terminal.show(_as_yaml(shown.params))
    if shown.command:
        terminal.show(f"command line: {shell_command(shown.command)}")
    return 0


def _say_fact(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


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


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a campaign file."""
    print(json.dumps(api_show.schema(Request(file=options.file)), indent=2))
    return 0
