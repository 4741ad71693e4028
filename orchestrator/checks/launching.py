"""The command of one checked run, as the supervisor takes it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from orchestrator.checks import listen
from orchestrator.processes import run_mark
from orchestrator.reading.helper import place_helper, run_variables
from orchestrator.supervisor.launch_file import CHECKPOINT, LaunchFile, Resume
from orchestrator.task.command import HIDDEN, Launch, Places, build_launch
from orchestrator.task.spec import TaskSpec
from orchestrator.task.templates import fill

SEARCH_PATH = "PYTHONPATH"


class Commanded(Struct, frozen=True, kw_only=True):
    """What one checked run trains, and where."""

    task: TaskSpec
    params: dict[str, Any]
    seed: int
    root: Path
    """The user's own folder of the campaign file."""
    folder: Path
    """The run folder."""
    checkout: Path
    scratch: Path
    """A folder for the helper and the listener."""
    search_path: str = ""
    """PYTHONPATH of the user."""
    gpus: int = 0
    limit_seconds: float | None = None


def opened_file(folder: Path) -> Path:
    """Return the file of a run that takes what its Pythons tell."""
    return folder / "opened.txt"


def build_checked_launch(asked: Commanded) -> LaunchFile:
    """Return how a checked run is started.

    Raises:
        SpecError: a parameter cannot be spelled, or a file cannot be merged into.
        OSError: the helper or the listener cannot be written.
    """
    start = _build(asked, "")
    resume, task = None, asked.task
    values = {"seed": str(asked.seed), "run_folder": str(asked.folder)}
    if task.resume is not None:
        again = _build(asked, CHECKPOINT)
        arguments = _resolved(again.arguments, asked)
        resume = Resume(when=fill(task.resume.when, values), arguments=arguments)
    return LaunchFile(
        checkout=str(asked.checkout),
        arguments=_resolved(start.arguments, asked),
        environment=start.environment | _surroundings(asked, start.environment),
        hidden=HIDDEN,
        shown=task.env.keep,
        files=start.files,
        data={path: str(asked.root / path) for path in linked_data(task)},
        outputs=task.outputs,
        resume=resume,
        stop_signal=task.resume.signal if task.resume else "SIGTERM",
        grace_seconds=task.resume.grace_seconds if task.resume else 0.0,
        run_seconds=asked.limit_seconds,
    )


def linked_data(task: TaskSpec) -> tuple[str, ...]:
    """Return the data that lie in the user's own checkout, and are linked into that of a run."""
    return tuple(one.path for one in task.data.values() if not Path(one.path).is_absolute())


def _build(asked: Commanded, checkpoint: str) -> Launch:
    texts = {
        path: (asked.checkout / path).read_text(encoding="utf-8")
        for path, how in asked.task.files.items()
        if how == "merge" and (asked.checkout / path).is_file()
    }
    data = {name: str(asked.root / one.path) for name, one in asked.task.data.items()}
    places = Places(run_folder=str(asked.folder), data=data, gpus=asked.gpus, checkpoint=checkpoint, texts=texts)
    return build_launch(asked.task, asked.params, asked.seed, places)


def _resolved(arguments: tuple[str, ...], asked: Commanded) -> tuple[str, ...]:
    """Name an interpreter beside the campaign file, such as `.venv/bin/python`, by its whole path."""
    program, *rest = arguments
    own = asked.root / program
    # A link stays a link: by its place Python knows the environment that it belongs to.
    if "/" in program and not Path(program).is_absolute() and not (asked.checkout / program).exists() and own.exists():
        program = str(own)
    return (program, *rest)


def _surroundings(asked: Commanded, said: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which the run is known, and by which its Pythons find the helper."""
    helper = place_helper(asked.scratch / "helper")
    params = asked.folder / "params.json"
    told = run_variables(asked.folder, run_mark(asked.folder), asked.seed, params)
    search = said.get(SEARCH_PATH) or asked.search_path
    folders = [str(helper), *([search] if search else [])]
    return told | {SEARCH_PATH: os.pathsep.join(folders), "PYTHONUNBUFFERED": "1"}


def with_listener(launch: LaunchFile, scratch: Path, folder: Path) -> LaunchFile:
    """Let every Python of a command tell what it opens.

    Args:
        launch: the command.
        scratch: takes the listener.
        folder: the run folder, which takes what is told.

    Raises:
        OSError: the listener cannot be written.
    """
    place = scratch / "listener"
    place.mkdir(parents=True, exist_ok=True)
    source = Path(listen.__file__).read_text(encoding="utf-8")
    (place / f"{listen.NAME}.py").write_text(source, encoding="utf-8")
    # First of all: the listener itself loads the `sitecustomize` that it hides.
    search = os.pathsep.join([str(place), launch.environment[SEARCH_PATH]])
    told = {SEARCH_PATH: search, listen.VARIABLE: str(opened_file(folder))}
    return structs.replace(launch, environment=launch.environment | told)
