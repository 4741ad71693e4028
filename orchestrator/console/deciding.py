"""`run --until-decided`, `next`: what gives out seeds look by look."""

import argparse
import time
from collections import Counter

from orchestrator.campaign.selection import Study, open_study
from orchestrator.console.asking import print_left_out, request_of, require_places
from orchestrator.console.live import LiveTable
from orchestrator.console.output import print_json, say
from orchestrator.console.terminal import show
from orchestrator.console.training import print_outcome
from orchestrator.console.working import INTERRUPTED, print_failures
from orchestrator.errors import UsageError
from orchestrator.ordering import RunOptions
from orchestrator.until_decided import Budget, Ended, choose_next, run_until_decided
from orchestrator.verdicts.staged import DecisionState
from orchestrator.wording import counted, describe_seconds


def train_until_decided(options: argparse.Namespace) -> int:
    """Train what the looks ask for until every experiment is decided, has had its seeds, or the budget is spent."""
    study = _open(options)
    run_options = RunOptions(slots=options.slots, snapshot=options.snapshot, retry=options.retry)
    require_places(study.layout.runs, study.layout.reports)
    with LiveTable() as table:
        ended = run_until_decided(study, run_options, table, Budget(time.monotonic, options.budget))
    outcome = ended.outcome
    for note in outcome.notes:
        show(note, style="dim")
    show(f"{outcome.num_trained} runs trained, {outcome.num_finished_before} had their result already")
    print_outcome(outcome)
    print_left_out(options, study)
    say(problem for problem in outcome.problems if problem not in table.told)
    say(_sentences(ended))
    if not outcome.is_complete:
        show("interrupted: finished epochs are kept, `knockout run --until-decided` goes on from them")
        return INTERRUPTED
    return max(print_failures(outcome.rows), 1 if outcome.problems else 0)


def _open(options: argparse.Namespace) -> Study:
    if options.seeds is not None:
        raise UsageError("the looks choose the seeds themselves, as `staging` says; leave --seeds out")
    return open_study(request_of(options))


def _sentences(ended: Ended) -> list[str]:
    count = Counter(decision.state for decision in ended.decisions.values())
    exhausted, undecided = count[DecisionState.EXHAUSTED], count[DecisionState.UNDECIDED]
    unconfirmed = sum(each.state is DecisionState.DECIDED and bool(each.wants) for each in ended.decisions.values())
    lines = [f"decided: {count[DecisionState.DECIDED]} of {len(ended.decisions)}"]
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
