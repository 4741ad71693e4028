"""What the runs of a campaign are scored on: by the metrics of its file, or by the splits that its task names. Pure."""

from collections.abc import Mapping
from typing import cast

from msgspec import structs

from orchestrator.campaign.fields import Where
from orchestrator.campaign.search_spec import ObjectiveSpec
from orchestrator.campaign.spec import Campaign
from orchestrator.errors import SpecError
from orchestrator.task.ask import About
from orchestrator.task.metric_spec import ItemsSource, Margin, MetricSpec, Role
from orchestrator.task.spec import ItemsSpec

PREDICTIONS = ItemsSpec(file="{run_folder}/predictions.npz", key="key", stratum="device", reader="predictions")
"""The table that a built-in study writes for each split."""
VALIDATE, CHOOSE = "validate", "choose"
"""Roles of splits: what training looks at after each epoch, and what searches choose on."""


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
    scored = {split: PREDICTIONS for split in about.splits}
    return structs.replace(
        notes,
        task=structs.replace(campaign.task, items=scored),
        metrics=split_metrics(about.splits, campaign.margin),
        splits=about.splits,
        items={split: PREDICTIONS for split, role in about.splits.items() if role != VALIDATE},
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
