"""What the runs of a campaign are scored on: by the metrics of its file, or by the splits that its task names. Pure."""

from collections.abc import Mapping
from typing import cast

from msgspec import Struct, structs

from orchestrator import wording
from orchestrator.campaign.fields import Where
from orchestrator.campaign.search_spec import ObjectiveSpec, SearchSpec
from orchestrator.campaign.spec import Campaign
from orchestrator.errors import SpecError
from orchestrator.task.ask import About
from orchestrator.task.metric_spec import (
    Direction,
    ItemsSource,
    Margin,
    MetricSpec,
    ProgressSource,
    Role,
    check_for_search,
    column_of,
)
from orchestrator.task.spec import ItemsSpec
from orchestrator.wording import did_you_mean

PREDICTIONS = ItemsSpec(file="{run_folder}/predictions.npz", key="key", stratum="device", reader="predictions")
"""The table that a built-in study writes for each split."""
VALIDATE, CHOOSE = "validate", "choose"
"""Roles of splits: what training looks at after each epoch, and what searches choose on."""
ACCURACY = "val_accuracy"
"""The value of the progress of a built-in study that a pruner reads, a share from 0 to 1."""


def with_metrics(campaign: Campaign, metrics: Mapping[str, MetricSpec]) -> Campaign:
    """Return a campaign with the metrics of its file, and what the task says of its items."""
    task = campaign.task
    judged = next(metric for metric in metrics.values() if metric.role == "judged")
    return structs.replace(
        campaign,
        metrics=dict(metrics),
        splits={name: metric.role for name, metric in metrics.items()},
        items=task.items,
        labels=task.labels,
        margin=judged.margin.value if judged.margin else 0.0,
    )


def with_answer(campaign: Campaign, about: About) -> Campaign:
    """Return a campaign with what its task says of the baseline: splits, metrics and notes.

    Args:
        campaign: with the metrics of its file, or without any.
        about: what the task says of the baseline.
    """
    notes = structs.replace(campaign, notes=about.notes)
    if campaign.metrics or not about.splits:
        return notes
    # Also the splits of validation: a run's predictions are on all of them, and are checked against its result.
    scored = {split: structs.replace(PREDICTIONS, sessions=about.sessions.get(split, ())) for split in about.splits}
    return structs.replace(
        notes,
        task=structs.replace(campaign.task, items=scored),
        metrics=split_metrics(about.splits, campaign.margin),
        splits=about.splits,
        items={split: scored[split] for split, role in about.splits.items() if role != VALIDATE},
        labels=campaign.task.labels,
    )


def split_metrics(splits: Mapping[str, str], margin: float) -> dict[str, MetricSpec]:
    """Return a metric for each split that is scored at the end: its accuracy in percent."""
    roles: dict[str, Role] = {name: cast(Role, role) for name, role in splits.items() if role != VALIDATE}
    return {
        name: MetricSpec(
            name=name,
            better="higher",
            source=ItemsSource(items=name, mean="100 * correct"),
            role=role,
            margin=Margin(value=margin) if role == "judged" else None,
            unit="%",
        )
        for name, role in roles.items()
    }


MISLEADING = (
    "validation accuracy misleads: models that validate best at the locations of their training often do worse at "
    "a new one, as the source study says of its own"
)


def objective_splits(objective: ObjectiveSpec, splits: Mapping[str, str], where: Where) -> tuple[str, ...]:
    """Return the splits that a search scores its points on.

    Args:
        objective: what the file says.
        splits: name -> role, at the campaign's profile.
        where: the path of the objective in the file.

    Raises:
        SpecError: there is no such split, one is given twice, or a search must not use it.
    """
    choose, validate = (tuple(name for name in splits if splits[name] == role) for role in (CHOOSE, VALIDATE))
    names = objective.captures or choose
    here = (*where, "captures") if objective.captures else where
    if not names:
        raise SpecError("a search needs a location to choose on; name one under `data.choose`", here)
    for place, name in enumerate(names):
        if name in names[:place]:
            raise SpecError(f"`{name}` is given twice, so its bursts count twice; keep one", (*here, f"[{place}]"))
        if splits.get(name, CHOOSE) not in (CHOOSE, VALIDATE):
            what = f"`{name}` is for the report alone: what is chosen on it says nothing about a new location"
            raise SpecError(f"{what}; choose on {', '.join(choose) or 'a capture of `data.choose`'}", here)
    if set(names) <= set(choose):
        return names
    # An epoch records one accuracy over all of `validate`, so a part of these splits has no accuracy of its own.
    if set(names) != set(validate):
        wanted = "captures of `data.choose`, or all of `data.validate`"
        raise SpecError(f"an objective is on {wanted}, found {', '.join(names)}", here)
    if not objective.insist:
        raise SpecError(f"{MISLEADING}; choose on a capture of `data.choose`, or say `insist: true`", here)
    return names


class Objective(Struct, frozen=True, kw_only=True):
    """What a search makes better, and what its pruner reads."""

    metric: str = ""
    """The metric; empty for the accuracy over all items of the splits."""
    splits: tuple[str, ...] = ()
    """The splits whose items are scored; empty for a metric without items."""
    better: Direction = "higher"
    unit: str = "%"
    watch: str = ACCURACY
    """The value of the progress that a pruner reads; empty if there is none."""
    watch_better: Direction = "higher"

    @property
    def sign(self) -> int:
        """1 where a higher score is better, -1 where a lower one is."""
        return 1 if self.better == "higher" else -1

    @property
    def name(self) -> str:
        """What a score is, as words: `accuracy on LocC`, `loss`."""
        name = self.metric or "accuracy"
        return f"{name} on {wording.listed(self.splits)}" if self.splits else name

    def number(self, value: float) -> str:
        """Write a score without its unit."""
        return f"{value:.4g}" if self.metric else f"{value:.1f}"

    def score(self, value: float) -> str:
        """Write a score with its unit: 85.0 %, 0.123 m."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def size(self, value: float) -> str:
        """Write the size of a difference with its unit: 1.2 points, 0.01 m."""
        return f"{self.number(value)} {'points' if self.unit == '%' else self.unit}".rstrip()

    def difference(self, value: float) -> str:
        """Write a difference without its unit: +1.2."""
        return f"{value:+.4g}" if self.metric else f"{value:+.1f}"


def find_objective(search: SearchSpec, campaign: Campaign, where: Where) -> Objective:
    """Return what a search makes better.

    Args:
        search: what the file says of the search.
        campaign: at its profile, with what its task says.
        where: the path of the search in the file.

    Raises:
        SpecError: there is nothing to choose by, or the report is to judge or to show it.
    """
    here = (*where, "objective")
    if scores_splits(campaign):
        return _pooled(search.objective, campaign, here)
    check_for_search(campaign.metrics)
    metric = _choose_metric(search.objective, campaign.metrics, here)
    watch = search.objective.watch or (column_of(metric) if isinstance(metric.source, ProgressSource) else "")
    if search.pruner is not None and not watch:
        what = f"a pruner reads the progress, and `{metric.name}` is no column of it"
        raise SpecError(f"{what}; name a value of the progress as `objective.watch`", (*where, "pruner"))
    return Objective(
        metric=metric.name,
        splits=(metric.source.items,) if isinstance(metric.source, ItemsSource) else (),
        better=metric.better,
        unit=metric.unit,
        watch=watch,
        watch_better=_watch_direction(search.objective, watch, campaign.metrics, here) if watch else metric.better,
    )


def scores_splits(campaign: Campaign) -> bool:
    """Whether a search pools the items of splits, as in a built-in study; otherwise it has one metric."""
    return any(
        items.reader == PREDICTIONS.reader and split in campaign.splits for split, items in campaign.items.items()
    )


def _pooled(objective: ObjectiveSpec, campaign: Campaign, where: Where) -> Objective:
    captures = (objective.metric,) if objective.metric else objective.captures
    splits = objective_splits(structs.replace(objective, metric="", captures=captures), campaign.splits, where)
    watch = objective.watch or ACCURACY
    if watch == ACCURACY:
        return Objective(splits=splits)
    return Objective(
        splits=splits, watch=watch, watch_better=_watch_direction(objective, watch, campaign.metrics, where)
    )


def _choose_metric(objective: ObjectiveSpec, metrics: Mapping[str, MetricSpec], where: Where) -> MetricSpec:
    chosen = [name for name, metric in metrics.items() if metric.role == CHOOSE]
    if objective.captures:
        what = "this task names no captures; a search is scored by a metric"
        raise SpecError(f"{what}: write `metric: {chosen[0]}`", (*where, "captures"))
    if not objective.metric and len(chosen) > 1:
        raise SpecError(f"several metrics have `role: choose`; say by `metric` which: {', '.join(chosen)}", where)
    name = objective.metric or chosen[0]
    here = (*where, "metric") if objective.metric else where
    if name not in metrics:
        raise SpecError(f"there is no metric `{name}`{did_you_mean(name, metrics)}", here)
    if name not in chosen:
        what = f"`{name}` is for the report alone: what is chosen by it cannot be judged by it"
        raise SpecError(f"{what}; choose by {', '.join(chosen)}", here)
    same = [one.name for one in metrics.values() if one.role != CHOOSE and one.source == metrics[name].source]
    if same:
        raise SpecError(f"`{name}` is the same number as `{same[0]}`, which the report judges or shows", here)
    return metrics[name]


def _watch_direction(
    objective: ObjectiveSpec, watch: str, metrics: Mapping[str, MetricSpec], where: Where
) -> Direction:
    """Return the direction in which the value that a pruner reads is better."""
    here = (*where, "watch")
    named = [metric for metric in metrics.values() if watch in (metric.name, column_of(metric))]
    if any(metric.role != CHOOSE for metric in named):
        raise SpecError(f"`{watch}` is for the report alone, so no point is pruned by it; watch another value", here)
    better = objective.watch_better or next((metric.better for metric in named), None)
    if better is None:
        what = f"nothing says which direction of `{watch}` is better"
        raise SpecError(f"{what}; write `watch_better: lower` beside it, or higher", here)
    return better
