"""`knockout run`, `report` and `next`: trains, judges and tells."""

import argparse
import time
from collections import Counter
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator import wording
from orchestrator.api import run
from orchestrator.api.queue import RunOptions
from orchestrator.api.run import Outcome
from orchestrator.api.until_decided import Budget, Ended, choose_next, run_until_decided
from orchestrator.campaign.selection import Selection, open_campaign
from orchestrator.cli.asking import print_left_out, request_of, require_places
from orchestrator.cli.live import LiveTable
from orchestrator.cli.output import print_json, say
from orchestrator.cli.terminal import OUT, cell, show, styled
from orchestrator.cli.work import print_failures
from orchestrator.errors import INTERRUPTED, UsageError
from orchestrator.report.sections import is_compared, marks
from orchestrator.verdicts.judgement import Judgement
from orchestrator.verdicts.staged import SeedDecisionState
from orchestrator.wording import counted, describe_seconds


def run_campaign(options: argparse.Namespace) -> int:
    """Queue and train what is missing, judge, and write the report."""
    if options.budget is not None:
        raise UsageError("--budget is for --until-decided; say both")
    selection = open_campaign(request_of(options))
    run_options = RunOptions(slots=options.slots, snapshot=options.snapshot, retry=options.retry)
    require_places(selection.paths.runs, selection.paths.reports)
    with LiveTable() as table:
        outcome = run.run(selection, run_options, table)
    for note in outcome.notes:
        show(note, style="dim")
    if outcome.num_finished_before == len(outcome.plan.runs):
        show(f"nothing to train: all {outcome.num_finished_before} runs have their result already")
    else:
        show(f"{outcome.num_trained} runs trained, {outcome.num_finished_before} had their result already")
    print_outcome(outcome)
    print_left_out(options, selection)
    say(problem for problem in outcome.problems if problem not in table.told)
    if not outcome.is_complete:
        show("interrupted: finished epochs are kept, `knockout run` goes on from them")
        return INTERRUPTED
    return max(print_failures(outcome.rows), 1 if outcome.problems else 0)


def write_report(options: argparse.Namespace) -> int:
    """Judge what is there and write the report."""
    request = request_of(options)
    selection = open_campaign(request)
    require_places(selection.paths.reports)
    outcome = run.report(selection, request)
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
    return [
        name,
        judgement.reference or "",
        "" if judgement.accuracy_percent is None else f"{judgement.accuracy_percent:.1f}",
        "" if delta is None else f"{delta:+.1f}",
        "" if interval is None else f"{interval[0]:+.1f} to {interval[1]:+.1f}",
        str(len(judgement.accuracy_percent_of) or ""),
        (verdict if judgement.is_unconfirmed else styled(verdict)) + marks(judgement),
    ]


def train_until_decided(options: argparse.Namespace) -> int:
    """Train what the looks ask for until every experiment is decided, has had its seeds, or the budget is spent."""
    selection = _open(options)
    run_options = RunOptions(slots=options.slots, snapshot=options.snapshot, retry=options.retry)
    require_places(selection.paths.runs, selection.paths.reports)
    with LiveTable() as table:
        ended = run_until_decided(selection, run_options, table, Budget(time.monotonic, options.budget))
    outcome = ended.outcome
    for note in outcome.notes:
        show(note, style="dim")
    show(f"{outcome.num_trained} runs trained, {outcome.num_finished_before} had their result already")
    print_outcome(outcome)
    print_left_out(options, selection)
    say(problem for problem in outcome.problems if problem not in table.told)
    say(_sentences(ended))
    if not outcome.is_complete:
        show("interrupted: finished epochs are kept, `knockout run --until-decided` goes on from them")
        return INTERRUPTED
    return max(print_failures(outcome.rows), 1 if outcome.problems else 0)


def _open(options: argparse.Namespace) -> Selection:
    if options.seeds is not None:
        raise UsageError("the looks choose the seeds themselves, as `staging` says; leave --seeds out")
    return open_campaign(request_of(options))


def _sentences(ended: Ended) -> list[str]:
    count = Counter(decision.state for decision in ended.decisions.values())
    exhausted, undecided = count[SeedDecisionState.EXHAUSTED], count[SeedDecisionState.UNDECIDED]
    unconfirmed = sum(each.state is SeedDecisionState.DECIDED and bool(each.wants) for each in ended.decisions.values())
    lines = [f"decided: {count[SeedDecisionState.DECIDED]} of {len(ended.decisions)}"]
    if unconfirmed:
        lines[0] += f", of which to be confirmed on fresh seeds: {unconfirmed}"
    if exhausted:
        lines[0] += f"; undecided after all their seeds: {exhausted}"
    if undecided:
        lines[0] += f"; to be given more seeds: {undecided}"
    if ended.is_budget_spent:
        runs = counted(ended.num_wanted, "run")
        lines.append(f"the budget is spent; wanted next: {runs}, `knockout run --until-decided` goes on")
    return lines


def show_next(options: argparse.Namespace) -> int:
    """Show the run that would help most."""
    found = choose_next(_open(options))
    if options.json:
        return print_json(found)
    if found is None:
        return say(["no run is wanted: every experiment is decided or has had all its seeds"])
    takes = "" if found.seconds is None else f"; a run takes about {describe_seconds(found.seconds)}"
    return say([f"{found.experiment} at seed {found.seed}: {found.reason}{takes}", f"  {found.command}"])
