"""The same identity is the same run, whatever it is called: a plan takes what is there already under another's name.

A search trains `focal-t007-s0-80f6c361`; written into the campaign file its point is an experiment of another name, and
an experiment may be renamed. Neither is a reason to train again.
"""

from collections import defaultdict
from collections.abc import Sequence

from msgspec import structs

from orchestrator.plan import Plan, PlannedRun
from orchestrator.runs.find import find_same
from orchestrator.runs.paths import Layout


def share_runs(plan: Plan, layout: Layout) -> Plan:
    """Give the runs of a plan that have no folder the id of one that is the same, where there is one."""
    names: dict[str, list[str]] = defaultdict(list)
    for path in layout.runs.iterdir() if layout.runs.is_dir() else ():
        names[path.name.rpartition("-")[2]].append(path.name)
    there = {run.id: _place(layout, run, names[run.identity[:8]]) for run in plan.runs}
    return structs.replace(
        plan,
        runs=tuple(structs.replace(run, id=there[run.id]) for run in plan.runs),
        run_of={cell: there[run_id] for cell, run_id in plan.run_of.items()},
    )


def _place(layout: Layout, run: PlannedRun, names: Sequence[str]) -> str:
    """Return the run's own id, where it has a folder or no other one will do."""
    return run.id if run.id in names else find_same(layout, run.identity, names) or run.id
