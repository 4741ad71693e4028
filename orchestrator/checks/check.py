"""`knockout check`: runs the baseline in true isolation, and says what it does and what its campaign file lacks."""

import stat
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, structs

from orchestrator.checks.asked import CheckedFile, read_checked, read_file
from orchestrator.checks.edits import Edited, put_in, show_difference
from orchestrator.checks.findings import (
    Facts,
    Finding,
    Runs,
    describe_resume,
    describe_runs,
    judge_resumed,
)
from orchestrator.checks.observed import Observed
from orchestrator.checks.observing import Asked, observe, observe_resumed
from orchestrator.checks.said import median
from orchestrator.checks.shadow import find_shadowed
from orchestrator.files import write_atomically
from orchestrator.launch.slots import find_devices
from orchestrator.scripts.trial import Place, find_place
from orchestrator.task.spec import TaskSpec
from orchestrator.wording import counted, describe_seconds

LIMIT_SECONDS = 600.0
"""Longest time of one run of a check."""
SEEDS = (0, 0, 1)
"""The same seed twice, and another one."""
MAX_ROUNDS = 5
"""Most checks of one call: each may find one more file that the command misses."""
FINE, FAULT, NOT_RUN = 0, 1, 2
"""Exit statuses: all holds, something does not, the command did not run."""

Tell = Callable[[str], object]


class CheckOptions(Struct, frozen=True, kw_only=True):
    """How `knockout check` goes about it."""

    profile: str | None = None
    sets: tuple[str, ...] = ()
    """Parameters to change, as `name=value`."""
    with_resume: bool = False
    """Whether a run is stopped and resumed too."""
    is_writing: bool = False
    """Whether the lines that are offered are written into the file."""
    limit_seconds: float = LIMIT_SECONDS


class Checked(Struct, frozen=True, kw_only=True):
    """What a check found."""

    findings: tuple[Finding, ...]
    status: int
    difference: str = ""
    """A unified diff of the lines that are offered, or written."""
    num_offered: int = 0
    is_written: bool = False


def check_campaign(file: Path, options: CheckOptions, tell: Tell) -> Checked:
    """Check the command of a campaign file.

    With `is_writing`, a command that misses data is checked again once they are named.

    Args:
        file: the campaign file.
        options: how.
        tell: takes a sentence when a run begins.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: the file has no command of its own, or a parameter cannot be set.
        CodeError: git refuses a checkout.
        OSError: a run cannot be started, or the file cannot be written.
    """
    read_file(file)
    before = _text_of(file)
    checked = _check_once(file, options, tell)
    for _ in range(MAX_ROUNDS - 1):
        if checked.status != NOT_RUN or not checked.is_written:
            break
        tell("what was missing is named now; checking again")
        checked = _check_once(file, options, tell)
    after = _text_of(file)
    if before == after:
        return checked
    return structs.replace(checked, difference=show_difference(before, after, file.name), is_written=True)


def _text_of(file: Path) -> str:
    # Bytes, since reading as text would change the line ends of Windows.
    return file.read_bytes().decode()


def _check_once(file: Path, options: CheckOptions, tell: Tell) -> Checked:
    source = read_file(file)
    read = read_checked(source, options.profile, options.sets)
    place = find_place(file.resolve().parent)
    asked = Asked(
        root=place.root,
        task=read.task,
        params=read.params,
        metrics=read.metrics,
        devices=_choose_devices(read.task),
        limit_seconds=options.limit_seconds,
    )
    facts = Facts(
        task=read.task,
        metrics=read.metrics,
        tracked=place.tracked,
        in_git=bool(place.commit),
        root=str(place.root),
        has_guards=read.has_guards,
    )
    runs = _run_all(asked, place, tell)
    findings = [*_shadowed(asked), *describe_runs(facts, runs)]
    if runs.failed is None:
        findings.append(_resume(asked, place, facts, runs, options, tell))
    return _conclude(file, findings, read, runs, options)


def _choose_devices(task: TaskSpec) -> tuple[str, ...]:
    """Return the GPUs of one run: as many as the task says, or one where there is any."""
    wanted = 1 if task.devices.gpus is None else task.devices.gpus
    return tuple(device.name for device in find_devices()[:wanted])


def _shadowed(asked: Asked) -> list[Finding]:
    sentence = find_shadowed(asked.root, asked.task.command[0])
    return [] if sentence is None else [Finding(label="python", text=sentence, kind="problem")]


def _run_all(asked: Asked, place: Place, tell: Tell) -> Runs:
    seen: list[Observed] = []
    for number, seed in enumerate(SEEDS, 1):
        tell(f"run {number} of {len(SEEDS)}: seed {seed}")
        seen.append(observe(asked, place, seed))
        # A command that cannot run once cannot run again either.
        if not seen[-1].ran:
            break
    first, again, other = (*seen, None, None)[: len(SEEDS)]
    assert first is not None
    return Runs(first=first, again=again, other=other)


def _resume(asked: Asked, place: Place, facts: Facts, runs: Runs, options: CheckOptions, tell: Tell) -> Finding:
    if not options.with_resume or asked.task.resume is None:
        return describe_resume(facts, is_asked=options.with_resume)
    stop_seconds = 0.5 * runs.first.seconds
    tell(f"a fourth run: seed {SEEDS[0]}, stopped after {describe_seconds(stop_seconds)} and resumed")
    stopped, resumed = observe_resumed(asked, place, SEEDS[0], stop_seconds)
    return judge_resumed(facts, runs, stopped, resumed)


def _conclude(file: Path, findings: list[Finding], read: CheckedFile, runs: Runs, options: CheckOptions) -> Checked:
    text = _text_of(file)
    # Metrics may name items and progress that are offered too, so the task comes first.
    offers = sorted((offer for finding in findings for offer in finding.offers), key=lambda one: one.where[0] != "task")
    edited = put_in(text, offers, lambda new: read_checked(read_file(file, new), options.profile, options.sets))
    findings = [*findings, *_refusals(edited)]
    # What can be offered is a note: only what a person must mend makes the status bad.
    has_problem = any(one.kind == "problem" for one in findings)
    status = NOT_RUN if runs.failed is not None else FAULT if has_problem else FINE
    if options.is_writing and edited.taken:
        _write(file, edited.text)
    findings.append(_last_line(file, status, read, runs, edited, is_written=options.is_writing))
    return Checked(
        findings=tuple(findings),
        status=status,
        difference=show_difference(text, edited.text, file.name),
        num_offered=len(edited.taken),
        is_written=options.is_writing and bool(edited.taken),
    )


def _refusals(edited: Edited) -> list[Finding]:
    return [
        Finding(label="offer", text=f"`{line}` was not taken: {why}", kind="note")
        for line, why in edited.refused.items()
    ]


def _write(file: Path, text: str) -> None:
    """Write the file that a link leads to; its mode stays."""
    target = file.resolve()
    mode = stat.S_IMODE(target.stat().st_mode)
    write_atomically(target, text.encode())
    target.chmod(mode)


def _last_line(file: Path, status: int, read: CheckedFile, runs: Runs, edited: Edited, *, is_written: bool) -> Finding:
    lines = counted(len(edited.taken), "line")
    offered = ""
    if edited.taken:
        # An earlier round may have added others, so no number is told.
        offered = f"; lines were added to {file.name}" if is_written else f"; `knockout check --write` adds {lines}"
    if status == NOT_RUN:
        return Finding(label="stop", text=f"the command did not run to its end{offered}", kind="problem")
    if status == FAULT:
        return Finding(label="mend", text=f"mend what is marked above, and check again{offered}", kind="problem")
    num_runs = read.num_experiments * read.num_seeds
    seconds = num_runs * median([run.seconds for run in runs.all])
    scale = f" at profile {read.profile}" if read.profile else ""
    what = f"{counted(read.num_experiments, 'experiment')} x {counted(read.num_seeds, 'seed')}"
    text = f"`knockout run` would train {what}, {describe_seconds(seconds)} of training{scale}{offered}"
    return Finding(label="fine", text=text)
