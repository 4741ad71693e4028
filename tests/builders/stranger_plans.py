"""A stranger's campaign: a script of any kind with metrics of any kind, and its runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from orchestrator.campaign.plan import Plan
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.runs.scores import Score, measure_of
from orchestrator.stats.item_pairs import RunItems
from orchestrator.task.metric_spec import ItemsSource, parse_metrics
from orchestrator.task.spec import ItemsSpec, LabelsSpec, TaskSpec, parse_task
from tests.orchestrator.conftest import build_plan

EXPERIMENTS: dict[str, dict[str, Any]] = {
    name: {"change": {"optim.learning_rate": rate}} for name, rate in (("slow", 1e-5), ("fast", 1e-2), ("wild", 0.1))
}
"""Three changes of one knob; what they change does not matter to a verdict."""
TABLE = ItemsSpec(file="{run_folder}/test.csv", key="key", cluster="trial")
SCRIPT = parse_task({"command": ["python3", "train.py", "--seed={seed}", "{params}"], "code": ["train.py", "lib"]})
Columns = Mapping[str, NDArray[np.float64]]


def build_stranger(
    metrics: Mapping[str, Any], *, items: ItemsSpec = TABLE, task: TaskSpec = SCRIPT, **fields: Any
) -> Plan:
    """Lay out a campaign with metrics as its file writes them, all items being of the split `test`."""
    plan = build_plan(fields.pop("experiments", EXPERIMENTS), **{"question": "Which rate?"} | fields)
    campaign = structs.replace(
        plan.campaign, metrics=parse_metrics(metrics), items={"test": items}, labels=LabelsSpec(), notes=(), task=task
    )
    # The arms are worked out by the radio study, which alone says how to train by hand.
    arms = {
        name: structs.replace(arm, about=structs.replace(arm.about, command=None)) for name, arm in plan.arms.items()
    }
    return structs.replace(plan, campaign=campaign, arms=arms)


def build_told(plan: Plan, experiment: str, seed: int, **scores: Score) -> RunRecord:
    """Build a run that is done and tells some metrics, and nothing of its epochs."""
    run_id = plan.run_of[experiment, seed]
    planned = next(run for run in plan.runs if run.id == run_id)
    return RunRecord(
        id=run_id,
        experiment=planned.experiment,
        seed=planned.seed,
        params=planned.params,
        provenance={},
        epochs=(),
        result=Result(state="done", reason="it is done", epochs=0),
        scores=scores,
    )


def build_numbers(
    plan: Plan, values: Mapping[str, Mapping[str, Sequence[float]]], resolution: float | None = None
) -> dict[str, RunRecord]:
    """Build runs that tell one number a metric: experiment -> metric -> a value for each seed."""
    return {
        run.id: run
        for experiment, of in values.items()
        for place, seed in enumerate(plan.campaign.seeds)
        for run in [
            build_told(
                plan,
                experiment,
                seed,
                **{name: Score(value=told[place], resolution=resolution) for name, told in of.items()},
            )
        ]
    }


def score_items(
    plan: Plan,
    metric: str,
    columns: Columns,
    trial_B: NDArray[Any] | None = None,
    keys: NDArray[np.str_] | None = None,
) -> Score:
    """Score one run by a metric of its items; items of one trial depend on each other."""
    source = plan.campaign.metrics[metric].source
    assert isinstance(source, ItemsSource)
    measure = measure_of(source)
    size = len(next(iter(columns.values())))
    items = RunItems(
        keys_B=np.array([f"i{number:05}" for number in range(size)]) if keys is None else keys,
        stratum_B=np.full(size, "", dtype=np.str_),
        cluster_B=None if trial_B is None else trial_B.astype(np.str_),
        columns={name: columns[name] for name in measure.columns},
    )
    return Score(value=measure(items.columns).value, items=items, num_items=size)
