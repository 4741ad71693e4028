"""What runs are scored on: the splits that a task names, and those that a search may look at."""

import pytest

from orchestrator.campaign.scored import objective_splits, split_metrics
from orchestrator.campaign.search_spec import ObjectiveSpec
from orchestrator.errors import SpecError

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
