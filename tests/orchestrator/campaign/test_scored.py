"""What runs are scored on: the splits that a task names, and those that a search may look at."""

from typing import Any

import msgspec
import pytest

from orchestrator.campaign.scored import Objective, find_objective, objective_splits, split_metrics, with_metrics
from orchestrator.campaign.search_spec import ObjectiveSpec, SearchSpec
from orchestrator.campaign.spec import BaselineSpec, Campaign
from orchestrator.errors import SpecError
from orchestrator.runs.order import GuardSpec
from orchestrator.task.metric_spec import parse_metrics
from orchestrator.task.spec import parse_task

WHERE = ("searches", "focal", "objective")


def the_splits(**roles: list[str]) -> dict[str, str]:
    """Return split -> role, as a task names them."""
    named = {"judged": ["LocD"], "choose": ["LocC", "LocC2"], "validate": ["LocB"]} | roles
    return {name: role for role, names in named.items() for name in names}


def captures_of(*names: str, insist: bool = False) -> tuple[str, ...]:
    return objective_splits(ObjectiveSpec(captures=names, insist=insist), the_splits(), WHERE)


def test_the_captures_for_choosing_are_the_objective() -> None:
    assert captures_of() == ("LocC", "LocC2")
    assert captures_of("LocC2") == ("LocC2",)


@pytest.mark.parametrize("names", [("LocD",), ("LocC", "LocD")])
def test_a_capture_for_the_report_is_never_the_objective(names: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match=r"`LocD` is for the report alone.*choose on LocC, LocC2") as caught:
        captures_of(*names, insist=True)
    assert caught.value.where == (*WHERE, "captures")


def test_validation_accuracy_is_refused_with_the_reason_unless_the_user_insists() -> None:
    with pytest.raises(SpecError, match=r"validation accuracy misleads.*`insist: true`"):
        captures_of("LocB")
    assert captures_of("LocB", insist=True) == ("LocB",)


@pytest.mark.parametrize("names", [("LocC", "LocC"), ("LocB", "LocB")])
def test_a_capture_that_is_given_twice_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match=r"`Loc[BC]` is given twice, so its bursts count twice; keep one") as caught:
        captures_of(*names, insist=True)
    assert caught.value.where == (*WHERE, "captures", "[1]")


@pytest.mark.parametrize("names", [("LocA",), ("LocB", "LocC"), ("LocX",)])
def test_other_captures_are_no_objective(names: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match=r"captures of `data.choose`, or all of `data.validate`, found"):
        captures_of(*names, insist=True)


def test_a_campaign_without_a_location_to_choose_on_is_not_searched() -> None:
    with pytest.raises(SpecError, match=r"name one under `data.choose`"):
        objective_splits(ObjectiveSpec(), the_splits(choose=[]), WHERE)


def test_each_split_but_those_of_validation_is_a_metric_and_the_judged_one_has_the_margin() -> None:
    metrics = split_metrics({"LocD": "judged", "LocE": "shown", "LocC": "choose", "LocB": "validate"}, 1.5)
    assert {name: metric.role for name, metric in metrics.items()} == {
        "LocD": "judged",
        "LocE": "shown",
        "LocC": "choose",
    }
    assert [metric.margin.value for metric in metrics.values() if metric.margin] == [1.5]


HERE = ("searches", "rate")
METRICS = {
    "val_loss": {"better": "lower", "margin": 0.02},
    "train_loss": {"better": "lower", "role": "choose", "unit": "nats"},
}


def read_from(**source: Any) -> dict[str, Any]:
    """Return the metrics, with another source of the one that is chosen by."""
    return METRICS | {"train_loss": METRICS["train_loss"] | {"from": source}}


def objective_of(metrics: dict[str, Any], pruner: dict[str, Any] | None = None, **fields: Any) -> Objective:
    """Return the objective of a search of a script with some metrics; `fields` are those of the objective."""
    space = {"rate": {"kind": "float", "low": 0.1, "high": 1.0}}
    values = {"title": "Rate", "space": space, "pruner": pruner, "objective": fields}
    campaign = with_metrics(a_campaign(), parse_metrics(metrics))
    return find_objective(msgspec.convert(values, SearchSpec), campaign, HERE)


def a_campaign() -> Campaign:
    return Campaign(
        name="tiny",
        title="Tiny",
        question="",
        profile="default",
        about="",
        task=parse_task({"command": ["python3", "train.py", "{params}"], "code": ["train.py"]}),
        seeds=(0,),
        guards=GuardSpec(),
        baseline=BaselineSpec(),
        experiments={},
    )


def test_the_only_metric_for_choosing_is_the_objective_with_its_direction_and_unit() -> None:
    found = objective_of(METRICS)
    assert (found.name, found.better, found.sign, found.watch) == ("train_loss", "lower", -1, "train_loss")
    assert (found.score(0.61234), found.size(0.01), found.difference(-0.1)) == ("0.6123 nats", "0.01 nats", "-0.1")


def test_a_metric_of_items_names_its_split() -> None:
    top = {"better": "higher", "role": "choose", "unit": "%", "from": {"items": "dev", "mean": "100 * right"}}
    assert objective_of(METRICS | {"top": top}, metric="top").name == "top on dev"


def test_a_pruner_reads_another_value_in_its_own_direction() -> None:
    found = objective_of(METRICS, watch="reward", watch_better="higher")
    assert (found.better, found.watch, found.watch_better) == ("lower", "reward", "higher")


@pytest.mark.parametrize(
    ("metrics", "fields", "where", "message"),
    [
        ({"val_loss": METRICS["val_loss"]}, {}, ("metrics",), "a search looks only at metrics with `role: choose`"),
        (read_from(progress="train_loss", pick={"best": "val_loss"}), {},
         ("metrics", "train_loss", "from", "pick"), "a search may not pick the best row by `val_loss`"),
        (METRICS | {"other": METRICS["train_loss"]}, {}, (*HERE, "objective"),
         "several metrics have `role: choose`; say by `metric` which: train_loss, other"),
        (METRICS, {"metric": "train_los"}, (*HERE, "objective", "metric"),
         "no metric `train_los`; did you mean `train_loss`"),
        (METRICS, {"metric": "val_loss"}, (*HERE, "objective", "metric"), "`val_loss` is for the report alone"),
        (METRICS, {"captures": ("LocC",)}, (*HERE, "objective", "captures"),
         "names no captures.* `metric: train_loss`"),
        (read_from(progress="val_loss"), {}, (*HERE, "objective"),
         "`train_loss` is the same number as `val_loss`"),
        (METRICS, {"watch": "val_loss"}, (*HERE, "objective", "watch"), "`val_loss` is for the report alone"),
        (METRICS, {"watch": "reward"}, (*HERE, "objective", "watch"), "which direction of `reward` is better"),
        (read_from(file="out/scores.json", key="loss"), {"pruner": {"kind": "median"}}, (*HERE, "pruner"),
         "`train_loss` is no column of it; name a value of the progress as `objective.watch`"),
    ],
)  # fmt: skip
def test_what_is_no_objective_is_refused_where_the_file_says_it(
    metrics: dict[str, Any], fields: dict[str, Any], where: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        objective_of(metrics, **fields)
    assert caught.value.where == where


def test_a_metric_and_captures_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="`metric` and `captures` exclude each other"):
        ObjectiveSpec(metric="loss", captures=("LocC",))
