"""`knockout show` and `knockout schema`: an experiment worked out, and what a campaign file may say."""

from typing import Any

from msgspec import Struct, structs

from orchestrator.campaign.arms import Arm
from orchestrator.campaign.load import DEFAULT_TASK, read_task
from orchestrator.campaign.schema import campaign_schema
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.campaign.source import Source
from orchestrator.task.ask import ask_schema, check_configs
from orchestrator.task.command import Places, build_launch
from orchestrator.task.knobs import difference
from orchestrator.task.templates import RUN_FOLDER

__all__ = ["Shown", "schema", "show"]


class Shown(Struct, frozen=True, kw_only=True):
    """An experiment worked out at one profile."""

    experiment: str
    title: str
    profile: str
    reference_stack: tuple[str, ...] | None
    """The baseline and the experiments whose changes the reference carries; None for the baseline itself."""
    same_as: str | None
    """An earlier experiment with the same configuration, whose runs it shares."""
    params: dict[str, Any]
    """Every parameter, resolved."""
    difference: dict[str, Any]
    """Dotted knob -> its values in the reference and here."""
    command: tuple[str, ...]
    """The words that start it at the first seed, its run folder written as `{run_folder}`; empty for a task whose jobs
    hold their own folder."""
    facts: dict[str, Any]
    """What the task says of it, such as the number of its parameters; empty where the task does not check."""


def show(request: Request, experiment: str) -> Shown:
    """Work an experiment out: its configuration, its difference to the reference, its size.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: there is no such experiment.
    """
    selection = open_campaign(structs.replace(request, experiments=(experiment,)))
    arm = selection.arms[experiment]
    reference = selection.arms[arm.reference] if arm.reference else None
    task = selection.campaign.task
    facts = check_configs(task, selection.paths.root, [arm.params], deep=True)[0].facts
    return Shown(
        experiment=arm.id,
        title=arm.title,
        profile=selection.campaign.profile,
        reference_stack=("baseline", *reference.stack) if reference else None,
        same_as=arm.same_as,
        params=arm.params,
        difference=difference(reference.params, arm.params, task.cosmetic) if reference else {},
        command=_build_command(selection, arm),
        facts=facts,
    )


def _build_command(selection: Selection, arm: Arm) -> tuple[str, ...]:
    task = selection.campaign.task
    if not task.supervised:
        return ()
    data = {name: one.path for name, one in task.data.items()}
    places = Places(
        run_folder=f"{{{RUN_FOLDER}}}", data=data, gpus=task.devices.gpus or 0, root=str(selection.paths.root)
    )
    # The files that get parameters lie in a checkout, and here is none.
    return build_launch(
        structs.replace(task, files={}), arm.params, selection.seeds[0] + arm.seed_shift, places
    ).arguments


def schema(request: Request | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a campaign file, with the parameters of its task.

    Args:
        request: names the file; without one, or if there is none, the task is the radio study.

    Raises:
        SpecError: the task of the file is refused.
        DataError: the task gave no schema.
    """
    file = (request or Request()).file
    source = Source(file) if file.is_file() else Source(file, f"task: {{from: {DEFAULT_TASK}}}")
    task = read_task(source)
    return campaign_schema(ask_schema(task, file.resolve().parent) if task.check is not None else {})
