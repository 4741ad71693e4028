"""What a search may suggest, and what a suggestion makes of the stack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaign.arms import Arm, configs_of
from orchestrator.campaign.configs import Configs
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.search_spec import FloatSpace, IntSpace, SearchSpec, Space
from orchestrator.errors import SpecError
from orchestrator.search.space import contains, default_point, require_possible, suggest, work_out_point

FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}
GAMMA = {"loss.gamma": {"kind": "float", "low": 0.1, "high": 5.0}}


@pytest.fixture(scope="module")
def stack(a_plan: Callable[..., Plan]) -> Arm:
    return a_plan({"E5": FOCAL}).arms["E5"]


@pytest.fixture(scope="module")
def configs(a_plan: Callable[..., Plan]) -> Configs:
    return configs_of(a_plan({"E5": FOCAL}).campaign, Path())


def a_search(space: dict[str, Any], **fields: Any) -> SearchSpec:
    return msgspec.convert({"title": "Focus", "on": "E5", "space": space} | fields, SearchSpec)


def refused(stack: Arm, configs: Configs, space: dict[str, Any], **fields: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        require_possible("focal", a_search(space, **fields), stack, configs)
    return caught.value


def test_a_suggestion_moves_only_what_differs_from_the_stack(stack: Arm, configs: Configs) -> None:
    params = work_out_point(configs, stack, {"loss.gamma": 2.0, "loss.label_smoothing": 0.1}).params
    assert (params["loss"]["gamma"], params["loss"]["label_smoothing"]) == (2.0, 0.1)


def test_the_default_point_is_the_stack_itself(stack: Arm, configs: Configs) -> None:
    space = a_search(GAMMA | {"loss.label_smoothing": {"kind": "float", "low": 0.0, "high": 0.2}}).space
    found = work_out_point(configs, stack, default_point(space, stack.params))
    assert (found.params, found.reads) == (stack.params, stack.reads)


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("focal", {"loss.kind": "focal", "loss.gamma": 2.0, "loss.label_smoothing": 0.0}),
        ("cross_entropy", {"loss.kind": "focal"}),
    ],
)
def test_the_default_point_has_no_knob_whose_condition_fails_there(
    stack: Arm, kind: str, default: dict[str, Any]
) -> None:
    """E5 is at focal, so a knob that waits for another kind, and one that waits for that knob, are not searched."""
    space = a_search(
        {
            "loss.kind": {"kind": "categorical", "choices": ["focal", "cross_entropy"]},
            "loss.gamma": {"kind": "float", "low": 0.1, "high": 5.0, "when": {"loss.kind": kind}},
            "loss.label_smoothing": {"kind": "float", "low": 0.0, "high": 0.2, "when": {"loss.gamma": 2.0}},
        }
    ).space
    assert default_point(space, stack.params) == default


def test_a_knob_is_asked_for_only_where_its_condition_holds() -> None:
    space = a_search(
        {
            "loss.kind": {"kind": "categorical", "choices": ["focal", "cross_entropy"]},
            "loss.gamma": {"kind": "float", "low": 0.1, "high": 5.0, "when": {"loss.kind": ["focal"]}},
        }
    ).space

    def ask(kind: str) -> dict[str, Any]:
        return suggest(space, lambda knob, within: kind if knob == "loss.kind" else 3.0)

    assert ask("focal") == {"loss.kind": "focal", "loss.gamma": 3.0}
    assert ask("cross_entropy") == {"loss.kind": "cross_entropy"}


def test_a_real_number_is_suggested_as_it_can_be_written() -> None:
    assert suggest(a_search(GAMMA).space, lambda knob, within: 1.23456789012) == {"loss.gamma": 1.23457}


@given(st.floats(0.0, 0.999), st.integers(1, 50), st.integers(0, 60))
def test_the_steps_of_a_space_are_inside_it(low: float, num_steps: int, number: int) -> None:
    within: Space = FloatSpace(low=low, high=low + num_steps * 0.1, step=0.1)
    assert contains(within, low + number * 0.1) == (low + number * 0.1 <= low + num_steps * 0.1)
    assert not contains(within, low + 0.05)


@pytest.mark.parametrize(("value", "inside"), [(2, True), (2.5, False), (True, False), (9, False), ("2", False)])
def test_a_whole_number_is_no_other_value(value: object, inside: bool) -> None:
    assert contains(IntSpace(low=1, high=4), value) is inside


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "low 2.0 must be below high 1.0"),
        ({"low": 0.0, "high": 1.0, "log": True}, "with log, low must be above 0"),
        ({"low": 1.0, "high": 2.0, "log": True, "step": 0.1}, "log and step exclude each other"),
    ],
)
def test_a_range_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FloatSpace(**fields)


@pytest.mark.parametrize("choices", [[1, 1], ["focal", "cross_entropy", "focal"], [1, 1.0], [None, None]])
def test_a_choice_that_is_given_twice_is_refused(choices: list[Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"`choices` has {choices[-1]!r} twice; keep one of them"):
        a_search({"loss.kind": {"kind": "categorical", "choices": choices}})


@pytest.mark.parametrize(
    ("space", "message", "where"),
    [
        ({"loss.gama": {"kind": "float", "low": 0.1, "high": 1.0}}, "there is no knob `loss.gama`", "loss.gama"),
        ({"loss.gamma": {"kind": "float", "low": 0.0, "high": 1.0}}, "Expected `float` > 0.0", "loss.gamma"),
        ({"seed": {"kind": "int", "low": 1, "high": 9}}, "is not for an experiment to change", "seed"),
        (GAMMA | {"model.dim": {"kind": "int", "low": 8, "high": 64, "when": {"loss.gama": 1}}}, "earlier", "when"),
        (GAMMA | {"model.dim": {"kind": "int", "low": 8, "high": 64, "when": {"loss.gamma": 9}}}, "is never 9", "when"),
    ],
)
def test_a_space_that_cannot_be_searched_says_where(
    stack: Arm, configs: Configs, space: dict[str, Any], message: str, where: str
) -> None:
    error = refused(stack, configs, space)
    assert message in str(error)
    assert error.where[:3] == ("searches", "focal", "space")
    assert where in error.where


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"loss.gamma": 9.0}, "`9.0` is outside the space of `loss.gamma`"),
        ({"loss.gama": 1.0}, "`loss.gama` is not searched here; did you mean `loss.gamma`?"),
        ({"loss.gamma": 1.0, "model.dim": 32}, "its condition does not hold at this point"),
        ({"model.dim": 32}, "is not searched here"),
    ],
)
def test_a_first_point_outside_the_space_says_where(
    stack: Arm, configs: Configs, point: dict[str, Any], message: str
) -> None:
    space = GAMMA | {"model.dim": {"kind": "int", "low": 8, "high": 64, "when": {"loss.gamma": 2.0}}}
    error = refused(stack, configs, space, enqueue=[{"at": point}])
    assert message in str(error)
    assert error.where[:4] == ("searches", "focal", "enqueue", "[0]")


def test_a_first_point_needs_every_knob(stack: Arm, configs: Configs) -> None:
    space = GAMMA | {"loss.label_smoothing": {"kind": "float", "low": 0.0, "high": 0.2}}
    error = refused(stack, configs, space, enqueue=[{"at": {"loss.gamma": 1.0}}])
    assert "`loss.label_smoothing` is missing" in str(error)
