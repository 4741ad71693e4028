"""`knockout doctor`, `data`, `gc` and `checkout`: what is around the trainings."""

import argparse

from orchestrator.api import data
from orchestrator.api import doctor as api_doctor
from orchestrator.api import gc as api_gc
from orchestrator.api.data import EmulateSpec
from orchestrator.cli.output import say
from orchestrator.cli.request import read_request
from orchestrator.cli.terminal import OUT, cell, show

MARKS = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[bold red]bad [/]"}
"""Kind of a finding -> how its line begins."""


def gc(options: argparse.Namespace) -> int:
    """Remove worktrees and branches that no run needs any more."""
    return say(api_gc.gc(options.file, dry_run=options.dry_run))


def checkout(options: argparse.Namespace) -> int:
    """Put an experiment's newest commit into a new folder."""
    return say(api_gc.checkout(options.file, options.experiment, options.path))


def data_emulate(options: argparse.Namespace) -> int:
    """Make emulated captures."""
    spec = EmulateSpec(seed=options.seed, packets=options.packets, samples=options.samples)
    show(data.data_emulate(options.folder, spec))
    return 0


def data_shard(options: argparse.Namespace) -> int:
    """Cut shards out of a profile's captures; missing captures are made first where they are emulated."""
    show(data.data_shard(read_request(options), options.out, show))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Check this machine; return 2 if something is bad."""
    is_bad = False
    for finding in api_doctor.doctor(read_request(options), gpu=options.gpu):
        OUT.print(f"{MARKS[finding.kind]} {cell(finding.what)}", soft_wrap=True)
        is_bad = is_bad or finding.kind == "bad"
    return 2 if is_bad else 0
