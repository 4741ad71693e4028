"""`why`: of a run, what differs from what would be trained; of an experiment, how its verdict came about."""

import argparse

from orchestrator.api.accept import accept
from orchestrator.api.why import explain_verdict, is_experiment, why
from orchestrator.cli.asking import request_of
from orchestrator.cli.output import paths_of, print_json, say
from orchestrator.report.steps import say_steps


def explain_run(options: argparse.Namespace) -> int:
    """Say why a run is, or is not, what would be trained now; of an experiment, how its verdict came about."""
    paths, request, word = paths_of(options), request_of(options), options.run
    if options.accept:
        return say(accept(paths, request, word))
    if is_experiment(request, word):
        steps = explain_verdict(request, word)
        return print_json(steps) if options.json else say(say_steps(steps))
    comparison = why(paths, request, word)
    return print_json(comparison) if options.json else say(comparison.sentences())
