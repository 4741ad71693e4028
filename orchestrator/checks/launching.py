"""The command of one checked run, as the supervisor takes it."""

import os
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from orchestrator.checks import listen
from orchestrator.launch.commands import describe_launch, with_helper
from orchestrator.launch.slots import MASK, Slot
from orchestrator.runs.folder import RunConfig, RunFolder
from orchestrator.runs.order import GuardSpec, Order, OrderedCode
from orchestrator.supervisor.launch_file import LaunchFile
from orchestrator.task.spec import TaskSpec

SEARCH_PATH = "PYTHONPATH"
NAME = "check"
"""Stands where a queued run has its experiment and its code."""


class Commanded(Struct, frozen=True, kw_only=True):
    """What one checked run trains, and where."""

    task: TaskSpec
    params: dict[str, Any]
    seed: int
    root: Path
    """The user's own folder of the campaign file."""
    folder: RunFolder
    checkout: Path
    scratch: Path
    """A folder for the helper and the listener."""
    devices: tuple[str, ...] = ()
    """The GPUs of the run, as CUDA_VISIBLE_DEVICES names them."""
    limit_seconds: float | None = None


def opened_file(folder: RunFolder) -> Path:
    """Return the file of a run that takes what its Pythons tell."""
    return folder.path / "opened.txt"


def build_checked_launch(asked: Commanded) -> LaunchFile:
    """Return how a checked run is started: as a queued one, and every Python of it tells what it opens.

    Raises:
        RunError: this machine has too few GPUs.
        SpecError: a parameter cannot be spelled, or a file cannot be merged into.
        OSError: the helper or the listener cannot be written.
    """
    config = RunConfig(experiment=NAME, profile=NAME, seed=asked.seed, params=asked.params)
    slot = Slot(NAME, {MASK: ",".join(asked.devices)} if asked.devices else {})
    launch = describe_launch(_made_up_order(asked), config, asked.folder, asked.checkout, slot)
    # In the scratch folder, since a check writes nothing into the user's own.
    return with_listener(with_helper(launch, asked.scratch / "helper"), asked.scratch, asked.folder)


def _made_up_order(asked: Commanded) -> Order:
    """Return the order that a queued run has. A check asks no queue, so only task, place and time limit count."""
    return Order(
        run=NAME,
        identity=NAME,
        queued=NAME,
        code=OrderedCode(tree=NAME),
        files={},
        guards=GuardSpec(run_seconds=asked.limit_seconds),
        task=asked.task,
        root=str(asked.root),
    )


def with_listener(launch: LaunchFile, scratch: Path, folder: RunFolder) -> LaunchFile:
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
    search = os.pathsep.join(filter(None, (str(place), launch.environment.get(SEARCH_PATH, ""))))
    told = {SEARCH_PATH: search, listen.VARIABLE: str(opened_file(folder))}
    return structs.replace(launch, environment=launch.environment | told)
