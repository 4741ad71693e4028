"""What a command that concerns a campaign is asked, and what it leaves out."""

import argparse
from pathlib import Path

from orchestrator.campaign.selection import Request, Study
from orchestrator.console.output import say
from orchestrator.errors import UsageError
from orchestrator.surroundings import explain_place


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


def print_left_out(options: argparse.Namespace, study: Study) -> None:
    """Say how many of the file's experiments a command took that named none."""
    taken, there = len(study.arms) - 1, len(study.campaign.experiments)
    if taken < there and not options.experiments:
        say([f"{taken} of the file's {there} experiments: this profile's default ones; --all takes them all"])
