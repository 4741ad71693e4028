"""What a command that concerns a campaign asks for."""

import argparse

from orchestrator.api.plan import Request


def read_request(options: argparse.Namespace) -> Request:
    """Return what a command asks for."""
    return Request(
        file=options.file,
        profile=options.profile,
        seeds=getattr(options, "seeds", None),
        experiments=tuple(getattr(options, "experiments", ())),
        everything=getattr(options, "everything", False),
    )
