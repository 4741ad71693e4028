"""`run`, `report`: what judges and writes."""

import argparse
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator import wording
from orchestrator.api import run
from orchestrator.api.run import Outcome
from orchestrator.campaign.selection import open_study
from orchestrator.console.asking import print_left_out, request_of, require_places
from orchestrator.console.live import LiveTable
from orchestrator.console.output import say
from orchestrator.console.terminal import OUT, cell, show, styled
from orchestrator.console.working import INTERRUPTED, print_failures
from orchestrator.errors import UsageError
from orchestrator.ordering import RunOptions
from orchestrator.report_sections import Confirmation, confirmation, is_compared, marks
from orchestrator.verdicts.judgement import Judgement


def run_campaign(options: argparse.Namespace) -> int:
    """Queue and train what is missing, judge, and write the report."""
    if options.budget is not None:
        raise UsageError("--budget is for --until-decided; say both")
    study = open_study(request_of(options))
    run_options = RunOptions(slots=options.slots, snapshot=options.snapshot, retry=options.retry)
    require_places(study.layout.runs, study.layout.reports)
    with LiveTable() as table:
        outcome = run.run(study, run_options, table)
    for note in outcome.notes:
        show(note, style="dim")
    if outcome.num_finished_before == len(outcome.plan.runs):
        show(f"nothing to train: all {outcome.num_finished_before} runs have their result already")
    else:
        show(f"{outcome.num_trained} runs trained, {outcome.num_finished_before} had their result already")
    print_outcome(outcome)
    print_left_out(options, study)
    say(problem for problem in outcome.problems if problem not in table.told)
    if not outcome.is_complete:
        show("interrupted: finished epochs are kept, `knockout run` goes on from them")
        return INTERRUPTED
    return max(print_failures(outcome.rows), 1 if outcome.problems else 0)


def write_report(options: argparse.Namespace) -> int:
    """Judge what is there and write the report."""
    request = request_of(options)
    study = open_study(request)
    require_places(study.layout.reports)
    outcome = run.report(study, request)
    say(outcome.notes)
    print_outcome(outcome)
    say(outcome.problems)
    return 0


def print_outcome(outcome: Outcome) -> None:
    """Print the verdicts, and where the report is."""
    profiled = outcome.plan.campaign
    title = f"{profiled.name}, profile {profiled.profile}: accuracy on {profiled.data.report[0]}"
    table = Table(title=cell(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("experiment", "on", "%", "delta", "interval", "seeds", "verdict"):
        is_word = heading in ("experiment", "on", "verdict")
        # Where there is no room, a verdict with its mark is folded and nothing is cut off.
        table.add_column(heading, justify="left" if is_word else "right", no_wrap=heading != "verdict")
    for name, judgement in outcome.judgements.items():
        table.add_row(*_verdict_cells(name, judgement))
    OUT.print(table)
    show("delta: points of accuracy against the experiment it stands on, mean over seeds", style="dim")
    if profiled.staging:
        usual = wording.coverage(profiled.judging.level)
        show(f"interval: of the look that decided; it covers more than {usual}, the report says how much", style="dim")
    say([f"report: {_relative(outcome.report)}"])


def _relative(path: Path) -> Path:
    """Shorten a path below the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _verdict_cells(name: str, judgement: Judgement) -> list[str]:
    delta, interval = (judgement.delta_points, judgement.interval_points) if is_compared(judgement) else (None, None)
    verdict = judgement.verdict.value if judgement.verdict else ""
    is_open = confirmation(judgement) in (Confirmation.WAITS, Confirmation.NOT_CONFIRMED)
    return [
        name,
        judgement.reference or "",
        "" if judgement.accuracy_percent is None else f"{judgement.accuracy_percent:.1f}",
        "" if delta is None else f"{delta:+.1f}",
        "" if interval is None else f"{interval[0]:+.1f} to {interval[1]:+.1f}",
        str(len(judgement.accuracy_percent_of) or ""),
        (verdict if is_open else styled(verdict)) + marks(judgement),
    ]
