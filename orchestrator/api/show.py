"""`knockout show`, `schema` and `init`: an experiment worked out, what a campaign file may say, and a first one."""

from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from model.config import JobConfig
from orchestrator.campaign.schema import campaign_schema
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.scripts.init import InitOptions, Written, init_campaign
from orchestrator.task.ask import describe_jobs
from orchestrator.task.knobs import difference

__all__ = ["InitOptions", "Shown", "Written", "init", "schema", "show"]


class Shown(Struct, frozen=True, kw_only=True):
    """An experiment worked out at one profile."""

    experiment: str
    title: str
    profile: str
    reference_stack: tuple[str, ...] | None
    """The baseline and the experiments whose changes the reference carries; None for the baseline itself."""
    same_as: str | None
    """An earlier experiment with the same configuration, whose runs it shares."""
    config: JobConfig
    difference: dict[str, Any]
    """Dotted knob -> its values in the reference and here."""
    tokens: int | None
    """Tokens a burst."""
    parameters: int | None


def show(request: Request, experiment: str) -> Shown:
    """Work an experiment out: its configuration, its difference to the reference, its size.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: there is no such experiment.
    """
    selection = open_campaign(structs.replace(request, experiments=(experiment,)))
    arm = selection.arms[experiment]
    reference = selection.arms[arm.reference] if arm.reference else None
    size = describe_jobs([arm.config], selection.paths.root, with_data=False)[0]
    return Shown(
        experiment=arm.id,
        title=arm.title,
        profile=selection.campaign.profile,
        reference_stack=("baseline", *reference.stack) if reference else None,
        same_as=arm.same_as,
        config=arm.config,
        difference=difference(reference.config, arm.config) if reference else {},
        tokens=size.tokens,
        parameters=size.parameters,
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a campaign file."""
    return campaign_schema()


def init(script: Path, file: Path, options: InitOptions | None = None) -> Written:
    """Look at a script and write a campaign file for it, which a person then trims.

    Args:
        script: the script that trains.
        file: the campaign file, which must not exist.
        options: how.

    Raises:
        UsageError: something is in the way, or the script cannot be read.
    """
    return init_campaign(script, file, options or InitOptions())
