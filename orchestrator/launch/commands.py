"""How the run of a task is started on this machine: its command, its environment and what lies in its checkout."""

import os
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from msgspec import structs

import orchestrator
from orchestrator.errors import RunError
from orchestrator.launch.local import JobCommand, StandbyCommand
from orchestrator.launch.slots import MASK, THREAD_VARIABLES, Slot
from orchestrator.processes import MARK, STANDBY_MARK
from orchestrator.reading.helper import CHECKPOINTS, REPORTED, SCORES, place_helper, run_variables
from orchestrator.reading.live import TableKind
from orchestrator.runs.folder import SET_ASIDE, RunConfig, RunFolder
from orchestrator.runs.members import mark_variables
from orchestrator.runs.order import Order
from orchestrator.runs.paths import Paths
from orchestrator.supervisor.launch_file import CHECKPOINT, LaunchFile, Progress, ProgressFile, Resume
from orchestrator.supervisor.preloaded import split_python
from orchestrator.task.command import HIDDEN, Launch, Places, build_launch
from orchestrator.task.spec import GRACE_SECONDS, ResumeSpec, TaskSpec
from orchestrator.task.templates import PARAMS_VARIABLE, PYTHON, ROOT, RUN_FOLDER, SEED, field_names, fill

SUPERVISORS = "orchestrator.launch.supervisors"
"""The module that runs a command as a run, and forks processes that do."""
PACKAGE = Path(orchestrator.__file__).parents[1]
"""The folder in which Python finds that module."""
DEFAULTS = {"PYTHONUNBUFFERED": "1"}
"""Variables of every command. With a buffer, the lines of a Python script reach the log only at its end."""
FOR_GPU = "--gpu"
"""What a standby for jobs on a GPU is told."""


def prepare_job(order: Order, config: RunConfig, folder: RunFolder, checkout: Path, slot: Slot) -> JobCommand:
    """Return how the job of a run is started.

    Args:
        order: its order; `root` is the campaign's folder on this machine.
        config: what it trains.
        folder: its folder.
        checkout: where it works.
        slot: the place that it gets.

    Raises:
        SpecError: a parameter cannot be passed on, or a file cannot be merged into.
        OSError: a file cannot be read or written.
    """
    if order.task.supervised:
        return supervisor_command(folder)
    return build_own_job(order, config, folder, checkout, slot)


def supervisor_command(folder: RunFolder) -> JobCommand:
    """Return how the supervisor of a run is started, which reads `launch.json`."""
    # The mark is the command's. A supervisor with the mark would be ended by the sweep of the next one.
    path = str(folder.path.resolve())
    start = (sys.executable, "-m", SUPERVISORS)
    return JobCommand(
        arguments=(*start, path),
        folder=PACKAGE,
        standby=StandbyCommand(arguments=start, code=SUPERVISORS, words=(path,)),
        is_supervisor=True,
    )


def build_own_job(order: Order, config: RunConfig, folder: RunFolder, checkout: Path, slot: Slot) -> JobCommand:
    """Return how a job is started that holds its own run folder, by itself or from its task's standby."""
    task = order.task
    launch = build_launch(task, config.params, config.seed, _find_places(order, folder, checkout, slot))
    added = {name: launch.environment[name] for name in task.env.values}
    arguments = _resolve(launch.arguments, checkout, order, added)
    return JobCommand(
        arguments=arguments,
        folder=checkout,
        environment=slot.environment | added | mark_variables(folder),
        standby=None if task.standby is None else _build_standby(task.standby, order, arguments, slot),
    )


def _build_standby(command: tuple[str, ...], order: Order, arguments: tuple[str, ...], slot: Slot) -> StandbyCommand:
    words = fill_own(command, order)
    # Threads and allocator are read when a process begins. CUDA starts only after the fork, so jobs on different
    # GPUs share a standby.
    shared = {name: value for name, value in slot.environment.items() if name != MASK}
    return StandbyCommand(
        arguments=(*words, *((FOR_GPU,) if slot.gpu is not None else ())),
        environment=shared | {MARK: STANDBY_MARK},
        code=order.code.tree,
        words=words_of(arguments),
    )


def fill_own(command: tuple[str, ...], order: Order) -> tuple[str, ...]:
    """Return the words of a command of the task's own, such as its standby."""
    return tuple(fill(word, {PYTHON: sys.executable, ROOT: order.root}) for word in command)


def words_of(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a Python program is given: its arguments after `python -m module`, or after `python script`."""
    return arguments[3:] if arguments[1:2] == ("-m",) else arguments[2:]


def build_launch_file(order: Order, config: RunConfig, folder: RunFolder, checkout: Path, slot: Slot) -> LaunchFile:
    """Work out how the supervisor starts the command of a run, which finds the helper; see `describe_launch`."""
    return with_helper(describe_launch(order, config, folder, checkout, slot), Paths(Path(order.root)).helper)


def describe_launch(order: Order, config: RunConfig, folder: RunFolder, checkout: Path, slot: Slot) -> LaunchFile:
    """Work out how the supervisor starts the command of a run; nothing is written.

    Args:
        order: its order; `root` is the campaign's folder on this machine.
        config: what it trains.
        folder: its folder, which exists.
        checkout: the folder that the command works in.
        slot: the place that it gets.

    Raises:
        RunError: the slot has too few GPUs.
        SpecError: a parameter cannot be passed on, or a file cannot be merged into.
        OSError: a file cannot be read.
    """
    task, where = order.task, _find_places(order, folder, checkout, slot)
    _require_gpus(task, slot)
    launch = build_launch(task, config.params, config.seed, where)
    resume, run_folder = task.resume or ResumeSpec(when="-"), Path(where.run_folder)
    names = {RUN_FOLDER: where.run_folder, SEED: str(config.seed)}
    around = DEFAULTS | _surroundings(task, slot) | _told(folder, config, launch)
    return LaunchFile(
        checkout=str(checkout.absolute()),
        top=str(_find_top(checkout.absolute())),
        arguments=_resolve(launch.arguments, checkout, order, launch.environment),
        environment=around | launch.environment,
        hidden=HIDDEN,
        shown=task.env.keep,
        files=launch.files,
        data=_find_links(task, Path(order.root)),
        outputs=task.outputs,
        fresh=_find_fresh(folder),
        resume=_build_resume(order, config, checkout, launch, where) if _goes_on(order) else None,
        stop_signal=resume.signal,
        grace_seconds=resume.grace_seconds if task.resume is not None else GRACE_SECONDS,
        run_seconds=order.guards.run_seconds,
        progress=_find_progress(task, run_folder, names),
    )


def _find_places(order: Order, folder: RunFolder, checkout: Path, slot: Slot) -> Places:
    task = order.task
    merged = [name for name, how in task.files.items() if how == "merge" and (checkout / name).is_file()]
    return Places(
        run_folder=str(folder.path.resolve()),
        data={name: str(find_data(one.path, Path(order.root))) for name, one in task.data.items()},
        gpus=count_slot_gpus(slot) if task.devices.gpus is None else task.devices.gpus,
        python=sys.executable,
        root=order.root,
        texts={name: (checkout / name).read_text(encoding="utf-8") for name in merged},
    )


def find_data(path: str, root: Path) -> Path:
    """Return where data lie that a campaign names: variables are replaced, a relative path begins at its folder."""
    return Path(os.path.normpath(root / os.path.expandvars(path))).absolute()


def _find_links(task: TaskSpec, root: Path) -> dict[str, str]:
    """Return path in the checkout -> the user's file or folder, for data that are named by a relative path."""
    named = [os.path.expandvars(one.path) for one in task.data.values()]
    inside = [path for path in named if not Path(path).is_absolute()]
    found = [one for path in inside for one in (_match(path, root) if set(path) & set("*?[") else [path])]
    return {os.path.normpath(one): str(find_data(one, root)) for one in found}


def _match(pattern: str, root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in sorted(root.glob(pattern))]


def _find_top(checkout: Path) -> Path:
    """Return the top of the worktree that a campaign's folder lies in; the folder itself outside a repository."""
    return next((folder for folder in (checkout, *checkout.parents) if (folder / ".git").exists()), checkout)


def count_slot_gpus(slot: Slot) -> int:
    """Count the GPUs of a slot."""
    return len(slot.gpu.split(",")) if slot.gpu else 0


def _require_gpus(task: TaskSpec, slot: Slot) -> None:
    wanted, there = task.devices.gpus or 0, count_slot_gpus(slot)
    if wanted > there:
        raise RunError(
            f"the task wants {wanted} GPUs (`devices.gpus`), and a slot of this worker has {there}; start a worker "
            "where a slot has as many, or ask for fewer"
        )


def _surroundings(task: TaskSpec, slot: Slot) -> dict[str, str]:
    """Return the variables of a slot, as far as the task does not ask for other devices."""
    threads = {} if task.devices.cpus is None else dict.fromkeys(THREAD_VARIABLES, str(task.devices.cpus))
    hidden = {MASK: ""} if task.devices.gpus == 0 else {}
    return slot.environment | threads | hidden


def _told(folder: RunFolder, config: RunConfig, launch: Launch) -> dict[str, str]:
    """Return the variables by which the processes of a run know it."""
    (mark,) = mark_variables(folder).values()
    return run_variables(folder.path.resolve(), mark, config.seed, Path(launch.environment[PARAMS_VARIABLE]))


def with_helper(launch: LaunchFile, place: Path) -> LaunchFile:
    """Put a folder with the helper `import knockout` in front of where Python looks.

    Raises:
        OSError: the helper cannot be written there.
    """
    others = launch.environment.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    search = os.pathsep.join(filter(None, (str(place_helper(place)), others)))
    return structs.replace(launch, environment={**launch.environment, "PYTHONPATH": search})


def _goes_on(order: Order) -> bool:
    """Whether a stopped run goes on from its checkpoint; it starts over where that would change its numbers."""
    resume = order.task.resume
    return resume is not None and (resume.exact or order.guards.rerun != "resumed")


def _build_resume(order: Order, config: RunConfig, checkout: Path, fresh: Launch, where: Places) -> Resume:
    task = order.task
    assert task.resume is not None
    again = build_launch(task, config.params, config.seed, structs.replace(where, checkpoint=CHECKPOINT))
    differing = {name: text for name, text in again.environment.items() if fresh.environment.get(name) != text}
    return Resume(
        when=fill(task.resume.when, {RUN_FOLDER: where.run_folder, SEED: str(config.seed)}),
        arguments=_resolve(again.arguments, checkout, order, again.environment),
        environment=differing,
    )


def _find_fresh(folder: RunFolder) -> tuple[str, ...]:
    """Return what a command wrote into its run folder: all that is neither ours nor hidden."""
    own = {path.name for path in (*folder.kept, folder.progress, folder.outputs)}
    there = {path.name for path in folder.path.iterdir() if not path.name.startswith(".")}
    aside = {name for name in there if name.endswith(SET_ASIDE)}
    return tuple(sorted({REPORTED, SCORES, CHECKPOINTS} | (there - own - aside)))


def _find_progress(task: TaskSpec, run_folder: Path, names: Mapping[str, str]) -> Progress:
    reported = ProgressFile(kind="reported", path=str(run_folder / REPORTED), step="step")
    spec = task.progress
    if spec is None:
        return Progress(files=(reported,))
    step = task.epoch or spec.step
    tables: dict[TableKind, str] = {
        "csv": spec.csv,
        "jsonl": spec.jsonl,
        "tensorboard": spec.tensorboard,
        "trainer_state": spec.trainer_state,
    }
    files = [ProgressFile(kind=kind, path=fill(path, names), step=step) for kind, path in tables.items() if path]
    return Progress(patterns=spec.patterns, step=step, files=(*files, reported))


def _resolve(arguments: tuple[str, ...], checkout: Path, order: Order, variables: Mapping[str, str]) -> tuple[str, ...]:
    return (resolve_program(arguments[0], checkout, Path(order.root), variables.get("PATH")), *arguments[1:])


def resolve_program(word: str, checkout: Path, root: Path, search_path: str | None = None) -> str:
    """Return the path of the program that a command names; the word itself where it is not found.

    Args:
        word: a name on PATH, or a path. `.venv/bin/python` lies in the user's folder and in no checkout.
        checkout: where a relative path is looked up first.
        root: the campaign's folder, where it is looked up next.
        search_path: PATH; that of this process if None.
    """
    if os.sep not in word:
        return shutil.which(word, path=search_path) or word
    # Links are not followed: the Python of a virtual environment is known by the link's own place.
    found = (base / word for base in (checkout.absolute(), root.absolute()))
    return next((str(path) for path in found if path.is_file()), word)


@cache
def _read_shebang(program: str) -> str | None:
    try:
        with Path(program).open("rb") as file:
            line = file.readline(512)
    except OSError:
        return None
    return os.fsdecode(line[2:].strip()) if line.startswith(b"#!") else None


def find_interpreter(program: str) -> str | None:
    """Return the Python that runs a program: the program itself, or the one that its first line names."""
    if _is_python(program):
        return program
    words = (_read_shebang(program) or "").split()
    if words and Path(words[0]).name == "env":
        words = [found for word in words[1:2] if (found := shutil.which(word))]
    return words[0] if words and _is_python(words[0]) else None


def _is_python(program: str) -> bool:
    return Path(program).name.rstrip("0123456789.t") in ("python", "pypy")


def find_preload_problem(task: TaskSpec, arguments: tuple[str, ...]) -> str | None:
    """Return why the commands of a task cannot be forked with modules imported, as a sentence; None if they can.

    Args:
        task: the task.
        arguments: the command of a run, with its program resolved.
    """
    if not _is_python(arguments[0]):
        return f"`{Path(arguments[0]).name}` is no Python, so each run starts by itself; take `preload` out"
    if split_python(arguments) is None:
        return "only `python script` and `python -m module` can be forked, so each run starts by itself"
    own = next((name for name, text in task.env.values.items() if field_names(text)), None)
    if own is not None:
        return f"`env.{own}` differs from run to run, and Python may read it at its start; each run starts by itself"
    return None
