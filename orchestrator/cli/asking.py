"""What a command was asked: which campaign, which experiments, and whether its folders can be written."""

import argparse
from pathlib import Path

from orchestrator.api.surroundings import explain_place
from orchestrator.campaign.selection import Request, Selection
from orchestrator.cli.output import say
from orchestrator.errors import UsageError


def request_of(options: argparse.Namespace) -> Request:
    """Read what a command that concerns a campaign was asked."""
    return Request(
        file=options.file,
        profile=options.profile,
        seeds=getattr(options, "seeds", None),
        experiments=tuple(getattr(options, "experiments", ())),
        everything=getattr(options, "everything", False),
    )


def require_places(*places: Path) -> None:
    """Refuse now what could not be written at the end.

    Raises:
        UsageError: a folder is not there and cannot be made, or cannot be written to.
    """
    for place in places:
        if (problem := explain_place(place)) is not None:
            raise UsageError(problem)


def print_left_out(options: argparse.Namespace, selection: Selection) -> None:
    """Say how many of the file's experiments a command took that named none."""
    taken, there = len(selection.arms) - 1, len(selection.campaign.experiments)
    if taken < there and not options.experiments:
        say([f"{taken} of the file's {there} experiments: this profile's default ones; --all takes them all"])
