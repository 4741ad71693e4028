"""`doctor`, `data`, `gc`, `checkout`, `rebuild`: what is around the trainings."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from orchestrator import __version__
from orchestrator.api import checkout, doctor, gc
from orchestrator.api.surroundings import Finding
from orchestrator.campaign.captures import make_captures, refuse_shared_bursts
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.cli.asking import request_of, require_places
from orchestrator.cli.output import paths_of, say
from orchestrator.cli.terminal import OUT, cell, show
from orchestrator.errors import DataError
from orchestrator.queue import rebuild
from orchestrator.runs.fingerprints import changed_captures, fingerprint_files
from orchestrator.runs.paths import Paths
from orchestrator.task.ask import EmulateSpec, emulate_captures, shard_captures


def show_version(options: argparse.Namespace) -> int:
    """Print the version, or what commands there are."""
    print(f"knockout {__version__}" if options.version else "knockout: name a command; `knockout --help` lists them")
    return 0 if options.version else 2


def show_group_help(options: argparse.Namespace) -> int:
    """Say what a command of two words can do."""
    options.parser.print_help(sys.stderr)
    return 2


def rebuild_queue(options: argparse.Namespace) -> int:
    """Make the database again from the run folders."""
    return say(rebuild.rebuild(paths_of(options)).sentences())


def collect_garbage(options: argparse.Namespace) -> int:
    """Remove worktrees and branches that no run needs any more."""
    return say(gc.tidy(paths_of(options), dry_run=options.dry_run))


def check_out_experiment(options: argparse.Namespace) -> int:
    """Put an experiment's newest commit into a new folder."""
    return say(checkout.look(paths_of(options), options.experiment, options.path))


def emulate(options: argparse.Namespace) -> int:
    """Make emulated captures."""
    require_places(options.folder)
    spec = EmulateSpec(seed=options.seed, packets=options.packets, samples=options.samples)
    show(emulate_captures(options.folder, spec).strip())
    return 0


def shard(options: argparse.Namespace) -> int:
    """Cut shards out of a profile's captures, which are made first where they are missing and emulated."""
    selection = open_campaign(request_of(options))
    require_places(options.out)
    for line in make_captures(selection).splitlines():
        show(line)
    data = selection.arms[BASELINE].config.data
    paths = [capture.path for capture in data.captures.values()]
    hashes = fingerprint_files(paths, selection.paths.root, selection.paths.fingerprints)
    refuse_shared_bursts([data], selection.paths)
    show(shard_captures(options.out, data, selection.paths.root, hashes).strip())
    for path in changed_captures(hashes, selection.paths.root, selection.paths.fingerprints):
        raise DataError(f"{path}: the capture changed while shards were cut out of it; remove {options.out}, run again")
    return 0


def examine(options: argparse.Namespace) -> int:
    """Check this machine."""
    findings: Iterable[Finding] = doctor.examine(Paths(Path.cwd()))
    if options.gpu:
        selection = open_campaign(Request(file=options.file, profile=options.profile, experiments=(BASELINE,)))
        findings = doctor.examine_gpu(selection.arms[BASELINE].config, selection.paths.root)
    is_bad = False
    for finding in findings:
        mark = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[bold red]bad [/]"}[finding.kind]
        OUT.print(f"{mark} {cell(finding.what)}", soft_wrap=True)
        is_bad = is_bad or finding.kind == "bad"
    return 2 if is_bad else 0
