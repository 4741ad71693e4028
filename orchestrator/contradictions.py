"""Runs that were ruled too slow although another seed of the same arm was not: which they are, and which try again."""

from collections.abc import Mapping

from model.run_folder import Result
from orchestrator.layout import Layout
from orchestrator.probes import read_probes
from orchestrator.states import RunState

RunOf = Mapping[tuple[str, int], str]
"""(experiment, seed) -> run id."""


def find_contradicted(run_of: RunOf, results: Mapping[str, Result]) -> set[str]:
    """Return the runs that were ruled too slow while another seed of their experiment was done.

    Args:
        run_of: (experiment, seed) -> run id.
        results: run id -> how it ended; runs without a result are not there.
    """
    states: dict[str, dict[str, str]] = {}
    for (experiment, _), run in run_of.items():
        if run in results:
            states.setdefault(experiment, {})[run] = results[run].state
    return {
        run
        for of_seeds in states.values()
        if RunState.DONE in of_seeds.values()
        for run, state in of_seeds.items()
        if state == RunState.TOO_SLOW
    }


def find_second_tries(layout: Layout, run_of: RunOf, results: Mapping[str, Result]) -> set[str]:
    """Return the contradicted runs that a probe has ruled too slow once: they are tried again, and only once."""
    return {
        run
        for run in find_contradicted(run_of, results)
        if sum(probe.is_slow for probe in read_probes(layout.run(run))) == 1
    }
