"""`knockout why`: why a run would be trained again, and how a verdict was reached."""

import argparse

from orchestrator.api import accept as api_accept
from orchestrator.api import why as api_why
from orchestrator.cli.output import print_json, say
from orchestrator.cli.request import read_request


def why(options: argparse.Namespace) -> int:
    """Work a verdict out, or say what differs between a run and the plan; with --accept, take the run's result."""
    request = read_request(options)
    if options.accept:
        return say(api_accept.accept(request, options.run))
    explanation = api_why.why(request, options.run)
    return print_json(explanation.content) if options.json else say(explanation.sentences)
