"""What a command that concerns a campaign is asked, and what it leaves out."""

import argparse

from orchestrator.console.output import say
from orchestrator.study import Request, Study


def request_of(options: argparse.Namespace) -> Request:
    """Read what a command that concerns a campaign was asked."""
    return Request(
        file=options.file,
        profile=options.profile,
        seeds=getattr(options, "seeds", None),
        experiments=tuple(getattr(options, "experiments", ())),
        everything=getattr(options, "everything", False),
    )


def print_left_out(options: argparse.Namespace, study: Study) -> None:
    """Say how many of the file's experiments a command took that named none."""
    taken, there = len(study.arms) - 1, len(study.campaign.experiments)
    if taken < there and not options.experiments:
        say([f"{taken} of the file's {there} experiments: this profile's default ones; --all takes them all"])
