"""`knockout run`, `report` and `next`."""

import argparse
from collections import Counter
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator import wording
from orchestrator.api import report as api_report
from orchestrator.api import run as api_run
from orchestrator.api import train
from orchestrator.api.queue import RunOptions
from orchestrator.api.report import Outcome, SeedDecisionState, VerdictRow
from orchestrator.cli.live import LiveTable, print_failures
from orchestrator.cli.output import describe_kept, print_json, say, say_if
from orchestrator.cli.request import read_request
from orchestrator.cli.terminal import OUT, cell, show, styled
from orchestrator.errors import INTERRUPTED
from orchestrator.wording import counted, describe_seconds


def run(options: argparse.Namespace) -> int:
    """Queue and train what is missing, judge, and write the report."""
    run_options = RunOptions(
        slots=options.slots,
        snapshot=options.snapshot,
        retry=options.retry,
        until_decided=options.until_decided,
        budget_seconds=options.budget,
    )
    with LiveTable() as table:
        outcome = api_run.run(read_request(options), run_options, table)
    for note in outcome.notes:
        show(note, style="dim")
    show(_count_trained(outcome))
    print_outcome(outcome)
    say_if(outcome.default_note)
    say(problem for problem in outcome.problems if problem not in table.shown_problems)
    say(_staged_lines(outcome))
    if not outcome.is_complete:
        command = "knockout run --until-decided" if options.until_decided else "knockout run"
        show(f"interrupted: {describe_kept(command)}")
        return INTERRUPTED
    return max(print_failures(outcome.rows), 1 if outcome.problems else 0)


def _count_trained(outcome: Outcome) -> str:
    if outcome.decisions is None and outcome.num_finished_before == len(outcome.plan.runs):
        return f"nothing to train: all {outcome.num_finished_before} runs have their result already"
    return f"{outcome.num_trained} runs trained, {outcome.num_finished_before} had their result already"


def report(options: argparse.Namespace) -> int:
    """Judge what the runs left and write the report."""
    outcome = api_report.report(read_request(options))
    say(outcome.notes)
    print_outcome(outcome)
    say(outcome.problems)
    return 0


def print_outcome(outcome: Outcome) -> None:
    """Print the verdicts, and where the report is."""
    campaign = outcome.plan.campaign
    title = f"{campaign.name}, profile {campaign.profile}: {outcome.scale.metric.name} {outcome.scale.arrow}"
    table = Table(title=cell(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("experiment", "on", outcome.scale.metric.unit or "score", "delta", "interval", "seeds", "verdict"):
        is_text = heading in ("experiment", "on", "verdict")
        # Where there is no room, a verdict with its mark is folded and nothing is cut off.
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=heading != "verdict")
    for row in outcome.verdict_rows:
        table.add_row(*_verdict_cells(row))
    OUT.print(table)
    unit = f" in {outcome.scale.unit}" if outcome.scale.unit else ""
    show(f"delta: difference{unit} to the experiment it stands on, mean over seeds", style="dim")
    if campaign.staging:
        usual = wording.coverage(campaign.judging.level)
        show(f"interval: of the look that decided; it covers more than {usual}, the report says how much", style="dim")
    say([f"report: {_relative(outcome.report)}"])


def _relative(path: Path) -> Path:
    """Shorten a path below the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _verdict_cells(row: VerdictRow) -> list[str]:
    return [
        row.experiment,
        row.reference or "",
        *row.words,
        str(row.num_seeds or ""),
        (row.verdict if row.is_open else styled(row.verdict)) + row.marks,
    ]


def _staged_lines(outcome: Outcome) -> list[str]:
    """Return what the looks came to; nothing for a run that gives out no seeds look by look."""
    if outcome.decisions is None:
        return []
    count = Counter(decision.state for decision in outcome.decisions.values())
    exhausted, undecided = count[SeedDecisionState.EXHAUSTED], count[SeedDecisionState.UNDECIDED]
    unconfirmed = sum(
        each.state is SeedDecisionState.DECIDED and bool(each.wants) for each in outcome.decisions.values()
    )
    lines = [f"decided: {count[SeedDecisionState.DECIDED]} of {len(outcome.decisions)}"]
    if unconfirmed:
        lines[0] += f", of which to be confirmed on fresh seeds: {unconfirmed}"
    if exhausted:
        lines[0] += f"; undecided after all their seeds: {exhausted}"
    if undecided:
        lines[0] += f"; to be given more seeds: {undecided}"
    if outcome.is_budget_spent:
        runs = counted(outcome.num_wanted, "run")
        lines.append(f"the budget is spent; wanted next: {runs}, `knockout run --until-decided` goes on")
    return lines


def next_run(options: argparse.Namespace) -> int:
    """Show the run that would help most."""
    found = train.next_run(read_request(options))
    if options.json:
        return print_json(found)
    if found is None:
        return say(["no run is wanted: every experiment is decided or has had all its seeds"])
    takes = "" if found.seconds is None else f"; a run takes about {describe_seconds(found.seconds)}"
    return say([f"{found.experiment} at seed {found.seed}: {found.reason}{takes}", f"  {found.command}"])
