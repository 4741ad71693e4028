"""What a change makes of the configuration that it is put on."""

from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaign.configs import ABSENT, Configs, look_up, order_by_reference
from orchestrator.campaign.spec import ExperimentSpec
from orchestrator.errors import SpecError
from orchestrator.task.knobs import Change
from tests.orchestrator.conftest import RADIO

CAPTURE = {"devices": [0, 2], "packets": [0, 4]}


def an_experiment(on: str = "baseline") -> ExperimentSpec:
    return ExperimentSpec(title="t", group="g", hypothesis="h", change={"model.depth": 2}, on=on)


@pytest.fixture(scope="module")
def configs() -> Configs:
    captures = {name: CAPTURE | {"path": f"{name}.h5"} for name in ("A", "V", "D")}
    data = {"captures": captures, "train": ["A"], "validate": ["V"], "report": ["D"]}
    return Configs(RADIO, Path(), {"data": data})


@given(st.permutations(["a", "b", "c", "d"]))
def test_references_come_first_whatever_the_order_of_the_file(names: list[str]) -> None:
    on = {"a": "baseline", "b": "a", "c": "b", "d": "a"}
    order = order_by_reference({name: an_experiment(on[name]) for name in names})
    assert sorted(order) == ["a", "b", "c", "d"]
    assert all(on[name] == "baseline" or order.index(on[name]) < order.index(name) for name in order)


def test_a_change_leaves_the_stack_as_it_was(configs: Configs) -> None:
    stack = configs.answer_baseline().params
    before = deepcopy(stack)
    changed = configs.vary(stack, {"model.depth": 2, "loss.kind": "focal"}).params
    assert (changed["model"]["depth"], changed["loss"]["gamma"]) == (2, 2.0)
    assert stack == before


@pytest.mark.parametrize(
    ("change", "message", "knob"),
    [
        ({"model.dept": 2}, "there is no knob `model.dept`; did you mean `model.depth`", "model.dept"),
        ({"seed": 2}, "`seed` is not for an experiment to change", "seed"),
        ({"model.depth": 4}, "`model.depth: 4` changes nothing", "model.depth"),
        (
            {"runtime.checkpoint_epochs": 2},
            "changes nothing in the resolved configuration",
            "runtime.checkpoint_epochs",
        ),
        ({"loss.gamma": 1.0}, "`gamma` has no effect here: only kind `focal` has it", "loss.gamma"),
    ],
)
def test_a_change_that_cannot_be_made_is_told_with_its_knob(
    configs: Configs, change: Change, message: str, knob: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        configs.vary(configs.answer_baseline().params, change, ("experiments", "E5", "change"))
    assert caught.value.where == ("experiments", "E5", "change", knob)


def test_a_knob_that_is_not_there_is_no_null() -> None:
    values = {"test_time": None, "loss": {"kind": "focal"}}
    assert look_up(values, "loss.kind") == "focal"
    assert look_up(values, "test_time") is None
    assert look_up(values, "test_time.copies") is look_up(values, "loss.gamma") is ABSENT
