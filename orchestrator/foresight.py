"""The one-change proof before a launch: whether what is queued would be confounded with what is there already."""

from collections.abc import Iterable

from orchestrator.evidence import RunRecord, read_runs
from orchestrator.launchers.local import Slot
from orchestrator.layout import Layout
from orchestrator.orders import read_order
from orchestrator.plain_files import is_there
from orchestrator.plan import Arm, Plan
from orchestrator.proof import find_confounds
from orchestrator.provenance import provenance


def foresee_confounds(layout: Layout, plan: Plan, finished: Iterable[str], slot: Slot) -> list[str]:
    """Say which experiments would be confounded if their missing runs were trained here and now.

    Args:
        layout: the campaign's folders.
        plan: the campaign; each run that is not finished has its order.
        finished: runs that have their result.
        slot: a slot of the kind that would train the others.

    A run that cannot be read is compared with nothing; a report says what is wrong with it.
    """
    done = frozenset(finished)
    planned = {run.id: run for run in plan.runs}

    def record(run_id: str) -> RunRecord | None:
        folder = layout.run(run_id)
        if run_id in done or is_there(folder.provenance):
            return read_runs(layout, [run_id]).records.get(run_id)
        run = planned[run_id]
        return RunRecord(
            id=run_id,
            experiment=run.experiment,
            seed=run.seed,
            config=run.config,
            provenance=provenance(read_order(folder), run.seed, layout.root, slot),
            epochs=(),
            result=None,
            bursts={},
        )

    sentences = []
    for arm, reference in _mixed(plan, done):
        ids = {seed: (plan.run_of[arm.id, seed], plan.run_of[reference.id, seed]) for seed in plan.campaign.seeds}
        both = {seed: pair for seed, pair in ids.items() if planned.keys() >= set(pair)}
        read = {seed: (record(ours), record(theirs)) for seed, (ours, theirs) in both.items()}
        pairs = {seed: (ours, theirs) for seed, (ours, theirs) in read.items() if ours and theirs}
        sentences += [f"{arm.id} would be confounded: {found}" for found in find_confounds(arm, reference, pairs)]
    return sentences


def _mixed(plan: Plan, done: frozenset[str]) -> list[tuple[Arm, Arm]]:
    """Return pairs of which some runs are done and some are not: others cannot differ yet, or any more."""
    pairs = [(arm, plan.arms[arm.reference]) for arm in plan.arms.values() if arm.reference]

    planned = {run.id for run in plan.runs}

    def is_mixed(arm: Arm, reference: Arm) -> bool:
        every = {plan.run_of[name, seed] for name in (arm.id, reference.id) for seed in plan.campaign.seeds}
        runs = every & planned
        return bool(runs & done) and not runs <= done

    return [pair for pair in pairs if is_mixed(*pair)]
