"""`run`, `work`, `report`: what trains, judges and writes."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from orchestrator import campaign
from orchestrator.campaign import Outcome, RunOptions, Worked, WorkOptions
from orchestrator.console.asking import print_left_out, request_of
from orchestrator.console.live import LiveTable
from orchestrator.console.output import layout_of, say
from orchestrator.console.terminal import OUT, styled
from orchestrator.judgement import Judgement
from orchestrator.states import RunState
from orchestrator.store import QueuedRun
from orchestrator.study import open_study
from orchestrator.waiting import count_states

INTERRUPTED = 130


def run_campaign(options: argparse.Namespace) -> int:
    """Queue and train what is missing, judge, and write the report."""
    study = open_study(request_of(options))
    run_options = RunOptions(slots=options.slots, snapshot=options.snapshot, retry=options.retry)
    with LiveTable() as table:
        outcome = campaign.run(study, run_options, table)
    for note in outcome.notes:
        OUT.print(note, style="dim", soft_wrap=True, markup=False)
    if outcome.num_finished_before == len(outcome.plan.runs):
        OUT.print(f"nothing to train: all {outcome.num_finished_before} runs have their result already")
    else:
        OUT.print(f"{outcome.num_trained} runs trained, {outcome.num_finished_before} had their result already")
    _print_outcome(outcome)
    print_left_out(options, study)
    say(outcome.problems)
    if not outcome.is_complete:
        OUT.print("interrupted: finished epochs are kept, `knockout run` goes on from them")
        return INTERRUPTED
    return max(_print_failures(outcome.rows), 1 if outcome.problems else 0)


def add_runs(options: argparse.Namespace) -> int:
    """Queue what has no result yet."""
    study = open_study(request_of(options))
    queued, rows = campaign.queue(study, snapshot=options.snapshot)
    say(queued.notes)
    say(f"{experiment} is rejected: {why}" for experiment, why in queued.rejected.items())
    say([f"{len(queued.plan.runs)} runs: {count_states(rows)}; `knockout work` trains what waits"])
    print_left_out(options, study)
    return 1 if queued.rejected else 0


def work(options: argparse.Namespace) -> int:
    """Train what waits, whoever queued it."""
    with LiveTable() as table:
        worked = campaign.work(layout_of(options), WorkOptions(slots=options.slots, stays=options.stay), table)
    say(worked.problems)
    say([_count_ended(worked)])
    if not worked.is_complete:
        OUT.print("stopped: finished epochs are kept, `knockout work` goes on from them")
        return INTERRUPTED
    return max(_print_failures(worked.rows), 1 if worked.problems else 0)


def _count_ended(worked: Worked) -> str:
    if not worked.rows:
        return "nothing waited" if worked.is_complete and not worked.problems else "no run ended"
    return f"{len(worked.rows)} run{'' if len(worked.rows) == 1 else 's'} ended: {count_states(worked.rows)}"


def write_report(options: argparse.Namespace) -> int:
    """Judge what is there and write the report."""
    request = request_of(options)
    outcome = campaign.report(open_study(request), request)
    say(outcome.notes)
    _print_outcome(outcome)
    say(outcome.problems)
    return 0


def _print_outcome(outcome: Outcome) -> None:
    profiled = outcome.plan.campaign
    title = f"{profiled.name}, profile {profiled.profile}: accuracy on {profiled.data.report[0]}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("experiment", "on", "%", "delta", "95 % interval", "seeds", "verdict"):
        is_word = heading in ("experiment", "on", "verdict")
        table.add_column(heading, justify="left" if is_word else "right", no_wrap=True)
    for name, judgement in outcome.judgements.items():
        table.add_row(*_verdict_cells(name, judgement))
    OUT.print(table)
    OUT.print("delta: points of accuracy against the experiment it stands on, mean over seeds", style="dim")
    say([f"report: {_relative(outcome.report)}"])


def _relative(path: Path) -> Path:
    """Shorten a path below the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _verdict_cells(name: str, judgement: Judgement) -> list[str]:
    interval = judgement.interval_points
    verdict = judgement.verdict.value if judgement.verdict else ""
    return [
        name,
        judgement.reference or "",
        "" if judgement.accuracy_percent is None else f"{judgement.accuracy_percent:.1f}",
        "" if judgement.delta_points is None else f"{judgement.delta_points:+.1f}",
        "" if interval is None else f"{interval[0]:+.1f} to {interval[1]:+.1f}",
        str(len(judgement.accuracy_percent_of) or ""),
        styled(verdict) + (" (confounded)" if judgement.confounds else ""),
    ]


def _print_failures(rows: Sequence[QueuedRun]) -> int:
    failed = [row for row in rows if row.state is RunState.FAILED]
    for row in failed:
        say([f"{row.id} failed ({row.failure}): {row.reason}"])
    if failed:
        say(["`knockout retry --failed` lets failed runs wait again, `knockout run --retry` trains them"])
    return 1 if failed else 0
