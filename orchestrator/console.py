"""What the commands show: one function a verb, each a call of the campaign and a table."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from orchestrator import __version__, campaign, doctor, explain, housekeeping, rebuild, waiting
from orchestrator.campaign import Outcome, Request, RunOptions, Study
from orchestrator.errors import UsageError
from orchestrator.fingerprints import fingerprint_files
from orchestrator.judgement import Judgement
from orchestrator.knobs import difference
from orchestrator.launchers.inline import emulate_captures, shard_captures
from orchestrator.layout import Layout
from orchestrator.schema import campaign_schema
from orchestrator.spec import BASELINE, EmulateSpec
from orchestrator.states import RunState
from orchestrator.store import QueuedRun
from orchestrator.watcher import LiveRun

OUT = Console(soft_wrap=False, highlight=False)
NUM_SHOWN = 5
"""Of the runs that ended, and of those that wait, in the live table."""
STYLES = {
    "done": "green",
    "improved": "bold green",
    "regression": "red",
    "too_slow": "yellow",
    "failed": "bold red",
    "running": "cyan",
    "interrupted": "magenta",
}


def show_version(options: argparse.Namespace) -> int:
    """Print the version, or what commands there are."""
    print(f"knockout {__version__}" if options.version else "knockout: name a command; `knockout --help` lists them")
    return 0 if options.version else 2


def _request(options: argparse.Namespace) -> Request:
    return Request(
        file=options.file,
        profile=options.profile,
        seeds=getattr(options, "seeds", None),
        experiments=tuple(getattr(options, "experiments", ())),
        everything=getattr(options, "everything", False),
    )


def run_campaign(options: argparse.Namespace) -> int:
    """Train what is missing, judge, and write the report."""
    study = campaign.open_study(_request(options))
    run_options = RunOptions(slots=options.slots, snapshot=options.snapshot, retry=options.retry)
    with LiveTable(study) as table:
        outcome = campaign.run(study, run_options, table)
    for note in outcome.notes:
        OUT.print(note, style="dim", soft_wrap=True)
    if outcome.num_finished_before == len(outcome.plan.runs):
        OUT.print(f"nothing to train: all {outcome.num_finished_before} runs have their result already")
    else:
        OUT.print(f"{outcome.num_trained} runs trained, {outcome.num_finished_before} had their result already")
    _print_outcome(outcome)
    _print_left_out(options, study)
    if not outcome.is_complete:
        OUT.print("interrupted: finished epochs are kept, `knockout run` goes on from them")
        return 130
    return _print_failures(outcome.rows)


def _print_left_out(options: argparse.Namespace, study: campaign.Study) -> None:
    taken, there = len(study.arms) - 1, len(study.campaign.experiments)
    if taken < there and not options.experiments:
        what = f"{taken} of the file's {there} experiments: this profile's default ones; --all takes them all"
        OUT.print(what, soft_wrap=True)


def write_report(options: argparse.Namespace) -> int:
    """Judge what is there and write the report."""
    _print_outcome(campaign.report(campaign.open_study(_request(options))))
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
    OUT.print(f"report: {_relative(outcome.report)}", soft_wrap=True)


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
        f"[{STYLES.get(verdict, 'default')}]{verdict}[/]",
    ]


def _print_failures(rows: Sequence[QueuedRun]) -> int:
    failed = [row for row in rows if row.state is RunState.FAILED]
    for row in failed:
        OUT.print(f"{row.id} failed ({row.failure}): {row.reason}", markup=False, soft_wrap=True)
    if failed:
        OUT.print("`knockout run --retry` trains failed runs again")
    return 1 if failed else 0


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class LiveTable:
    """The runs under way, refreshed in place on a terminal, as lines elsewhere."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._live = Live(console=OUT, refresh_per_second=4, transient=True)
        self._told: set[tuple[str, str]] = set()

    def __enter__(self) -> "LiveTable":
        if OUT.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        """Take the queue's rows and the runs under way."""
        if OUT.is_terminal:
            self._live.update(self._table(rows, live))
        for row in rows:
            if row.state.is_final and (row.id, row.state) not in self._told:
                self._told.add((row.id, row.state))
                if not OUT.is_terminal:
                    OUT.print(
                        f"{row.id}: {row.state.value}; {row.reason.splitlines()[0]}", markup=False, soft_wrap=True
                    )

    def _table(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> Table:
        left = seconds_left(self._study, rows, live)
        ended = [row for row in rows if row.state.is_final]
        waiting = [row for row in rows if row.state is RunState.QUEUED]
        title = f"{len(ended)} of {len(rows)} runs ended, {len(waiting)} waiting{_about(left)}"
        table = Table(title=title, title_justify="left")
        for heading in ("experiment", "seed", "epoch", "val loss", "s/epoch", "state", "left"):
            table.add_column(heading, justify="right" if heading not in ("experiment", "state") else "left")
        followed = {run.run.id: run for run in live}
        # A terminal may have 24 lines: what runs, the last that ended, and the next that wait.
        for row in (*ended[-NUM_SHOWN:], *(row for row in rows if row.id in followed), *waiting[:NUM_SHOWN]):
            cells = _live_cells(followed[row.id]) if row.id in followed else ["", "", ""]
            remaining = _about(_run_seconds_left(followed[row.id])) if row.id in followed else ""
            state = f"[{STYLES.get(row.state.value, 'default')}]{row.state.value}[/]"
            table.add_row(row.experiment, str(row.seed), *cells, state, remaining.removeprefix(", "))
        return table


def _live_cells(live: LiveRun) -> list[str]:
    total = live.run.config.optim.epochs
    if not live.epochs:
        return [f"0/{total}", "", ""]
    last = live.epochs[-1]
    loss = "not finite" if last.val_loss is None else f"{last.val_loss:.3f}"
    return [f"{last.epoch}/{total}", loss, f"{last.seconds:.2f}"]


def _run_seconds_left(live: LiveRun) -> float | None:
    if not live.epochs:
        return None
    return (live.run.config.optim.epochs - len(live.epochs)) * live.epochs[-1].seconds


def seconds_left(study: Study, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> float | None:
    """Estimate the seconds until the last run ends, from the epochs under way; None before the first one."""
    known = [seconds for run in live if (seconds := _run_seconds_left(run)) is not None]
    if not known:
        return None
    epoch_seconds = [run.epochs[-1].seconds for run in live if run.epochs]
    whole_run = sum(epoch_seconds) / len(epoch_seconds) * study.arms["baseline"].config.optim.epochs
    waiting = sum(row.state is RunState.QUEUED for row in rows) * whole_run
    return (sum(known) + waiting) / max(1, len(live))


def _about(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", about {minutes}:{rest:02d} left"


def _print_json(value: object) -> int:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    return 0


def show_plan(options: argparse.Namespace) -> int:
    """Show what would run."""
    study = campaign.open_study(_request(options))
    preview = campaign.preview(study)
    if options.json:
        return _print_json(preview)
    table = Table(title=f"{study.campaign.name}, profile {study.campaign.profile}", title_justify="left")
    for heading in ("experiment", "on", "change", "to train", "there already"):
        table.add_column(heading)
    for row in preview.rows:
        table.add_row(row.experiment, row.reference or "", row.change, _seeds(row.to_train), _seeds(row.finished))
    OUT.print(table)
    for note in preview.notes:
        OUT.print(note, soft_wrap=True)
    _print_left_out(options, study)
    return 0


def _seeds(seeds: Sequence[int]) -> str:
    return "seed " + ", ".join(map(str, seeds)) if seeds else ""


def show_status(options: argparse.Namespace) -> int:
    """Show where every run stands."""
    study = campaign.open_study(_request(options))
    rows = campaign.status(study)
    if options.json:
        return _print_json(rows)
    if not rows:
        OUT.print("no run has been queued yet; `knockout run` starts")
        return 0
    table = Table()
    for heading in ("run", "experiment", "seed", "state", "reason"):
        table.add_column(heading)
    for row in rows:
        state = f"[{STYLES.get(row.state.value, 'default')}]{row.state.value}[/]"
        table.add_row(row.id, row.experiment, str(row.seed), state, row.reason.partition("\n")[0])
    OUT.print(table)
    return 0


def show_experiment(options: argparse.Namespace) -> int:
    """Show an experiment worked out."""
    request = msgspec.structs.replace(_request(options), experiments=(options.experiment,))
    study = campaign.open_study(request)
    arm = study.arms[options.experiment]
    size = campaign.describe(study, arm.id)
    before = study.arms[arm.reference].config if arm.reference else None
    changes = difference(before, arm.config) if before else {}
    if options.json:
        content = {"config": arm.config, "difference": changes, "tokens": size.tokens, "parameters": size.parameters}
        return _print_json(content)
    OUT.print(f"{arm.id}: {arm.title}", style="bold", markup=False)
    stack = " + ".join(("baseline", *arm.stack[:-1]))
    OUT.print(f"profile {study.campaign.profile}; reference: {stack if arm.reference else 'none'}", markup=False)
    if arm.same_as:
        OUT.print(f"the same configuration as {arm.same_as}, so the two share their runs")
    for knob, (old, new) in changes.items():
        OUT.print(f"  {knob}: {json.dumps(old)} -> {json.dumps(new)}", markup=False, soft_wrap=True)
    OUT.print(f"{size.tokens} tokens a burst, {size.parameters:,} parameters")
    OUT.print(_as_yaml(msgspec.to_builtins(arm.config)), markup=False, soft_wrap=True)
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


def explain_run(options: argparse.Namespace) -> int:
    """Say why a run is, or is not, what would be trained now."""
    comparison = explain.why(_layout(options), _request(options), options.run)
    return _print_json(comparison) if options.json else _say(comparison.sentences())


def _say(sentences: Iterable[str]) -> int:
    for sentence in sentences:
        OUT.print(sentence, markup=False, soft_wrap=True)
    return 0


def _layout(options: argparse.Namespace) -> Layout:
    """Find the folders of a campaign that need not be read; a typo in -f must not look like an empty queue."""
    if not options.file.is_file():
        raise UsageError(f"{options.file}: there is no such file; name the campaign with -f FILE")
    return Layout(options.file.resolve().parent)


def list_queue(options: argparse.Namespace) -> int:
    """List the runs that wait or run."""
    rows = waiting.waiting_rows(_layout(options))
    if options.json:
        return _print_json(rows)
    lines = [f"{row.id}  {row.state.value}  profile {row.profile}, attempt {row.attempt}{_where(row)}" for row in rows]
    return _say(lines or ["no run waits and none is under way"])


def _where(row: QueuedRun) -> str:
    return f", process {row.pid} on {row.host}" if row.state is RunState.RUNNING else ""


def cancel_runs(options: argparse.Namespace) -> int:
    """Take waiting runs out of the queue."""
    return _say(waiting.cancel(_layout(options), options.runs))


def rebuild_queue(options: argparse.Namespace) -> int:
    """Make the database again from the run folders."""
    return _say(rebuild.rebuild(_layout(options)).sentences())


def collect_garbage(options: argparse.Namespace) -> int:
    """Remove worktrees and branches that no run needs any more."""
    return _say(housekeeping.tidy(_layout(options), dry_run=options.dry_run))


def check_out_experiment(options: argparse.Namespace) -> int:
    """Put an experiment's newest commit into a new folder."""
    return _say(housekeeping.look(_layout(options), options.experiment, options.path))


def show_group_help(options: argparse.Namespace) -> int:
    """Say what a command of two words can do."""
    options.parser.print_help(sys.stderr)
    return 2


def emulate(options: argparse.Namespace) -> int:
    """Make emulated captures."""
    spec = EmulateSpec(seed=options.seed, packets=options.packets, samples=options.samples)
    OUT.print(emulate_captures(options.folder, spec).strip(), soft_wrap=True, markup=False)
    return 0


def shard(options: argparse.Namespace) -> int:
    """Cut shards out of a profile's captures, which are made first where they are missing and emulated."""
    study = campaign.open_study(_request(options))
    for line in campaign.make_captures(study).splitlines():
        OUT.print(line, soft_wrap=True, markup=False)
    data = study.arms[BASELINE].config.data
    paths = [capture.path for capture in data.captures.values()]
    hashes = fingerprint_files(paths, study.layout.root, study.layout.fingerprints)
    OUT.print(shard_captures(options.out, data, study.layout.root, hashes).strip(), soft_wrap=True, markup=False)
    return 0


def examine(options: argparse.Namespace) -> int:
    """Check this machine."""
    findings: Iterable[doctor.Finding] = doctor.examine(Layout(Path.cwd()))
    if options.gpu:
        study = campaign.open_study(Request(file=options.file, profile=options.profile, experiments=(BASELINE,)))
        findings = doctor.examine_gpu(study.arms[BASELINE].config, study.layout.root)
    is_bad = False
    for finding in findings:
        mark = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[bold red]bad [/]"}[finding.kind]
        OUT.print(f"{mark} {finding.what}", soft_wrap=True)
        is_bad = is_bad or finding.kind == "bad"
    return 2 if is_bad else 0


def show_schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a campaign file."""
    print(json.dumps(campaign_schema(), indent=2))
    return 0
