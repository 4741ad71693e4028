"""The one-change proof before a launch: whether what is queued would be confounded with what is there already."""

from collections.abc import Iterable, Sequence

from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.campaign.plan import Plan
from orchestrator.files import is_there
from orchestrator.launch.provenance import provenance
from orchestrator.launch.slots import Slot
from orchestrator.runs.order import read_order
from orchestrator.runs.paths import Layout
from orchestrator.runs.record import RunRecord, read_runs
from orchestrator.verdicts.confounds import find_confounds


def foresee_confounds(layout: Layout, plan: Plan, finished: Iterable[str], slot: Slot) -> list[str]:
    """Say which experiments would be confounded if their missing runs were trained here and now.

    Args:
        layout: the campaign's folders.
        plan: the campaign; each run that is not finished has its order.
        finished: runs that have their result.
        slot: a slot of the kind that would train the others.

    A run that cannot be read is compared with nothing; a report says what is wrong with it.

    Returns:
        One sentence an experiment, and one that counts those whose runs were never started.
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

    sentences: list[str] = []
    never: list[str] = []
    for arm, reference in _mixed(plan, done):
        ids = {seed: (plan.run_of[arm.id, seed], plan.run_of[reference.id, seed]) for seed in plan.campaign.seeds}
        both = {seed: pair for seed, pair in ids.items() if planned.keys() >= set(pair)}
        read = {seed: (record(ours), record(theirs)) for seed, (ours, theirs) in both.items()}
        pairs = {seed: (ours, theirs) for seed, (ours, theirs) in read.items() if ours and theirs}
        started = {seed: pair for seed, pair in pairs.items() if all(side.provenance for side in pair)}
        if pairs and not started:
            never.append(arm.id)
        sentences += _say_in_a_line(arm, find_confounds(arm, reference, started))
    return [*sentences, *_say_of_never_started(never)]


def _say_in_a_line(arm: Arm, confounds: Sequence[str]) -> list[str]:
    if not confounds:
        return []
    more = f"; and {len(confounds) - 1} more, which the report lists" if len(confounds) > 1 else ""
    return [f"{arm.id} would be confounded: {confounds[0]}{more}"]


def _say_of_never_started(names: Sequence[str]) -> list[str]:
    """Count the experiments that have nothing to compare: their code was refused, or that of their reference."""
    if not names:
        return []
    experiments = wording.counted(len(names), "experiment has", "experiments have")
    return [f"{experiments} no two runs that were both started, so there is nothing to compare: {', '.join(names)}"]


def _mixed(plan: Plan, done: frozenset[str]) -> list[tuple[Arm, Arm]]:
    """Return pairs of which some runs are done and some are not: others cannot differ yet, or any more."""
    pairs = [(arm, plan.arms[arm.reference]) for arm in plan.arms.values() if arm.reference]

    planned = {run.id for run in plan.runs}

    def is_mixed(arm: Arm, reference: Arm) -> bool:
        every = {plan.run_of[name, seed] for name in (arm.id, reference.id) for seed in plan.campaign.seeds}
        runs = every & planned
        return bool(runs & done) and not runs <= done

    return [pair for pair in pairs if is_mixed(*pair)]
