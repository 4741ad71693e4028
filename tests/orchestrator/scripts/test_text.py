"""A draft as YAML: it reads back as the same values, and each line is explained."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.campaign.source import Source
from orchestrator.scripts.draft import Draft, LeftOut
from orchestrator.scripts.options import Option
from orchestrator.scripts.prints import Metric, Pattern
from orchestrator.scripts.text import render, scalar
from orchestrator.task.metric_spec import parse_metrics
from orchestrator.task.rules import check_task
from orchestrator.task.spec import parse_task
from orchestrator.task.spelling import Flags


def read(text: str) -> dict[str, Any]:
    return Source(Path("experiments.yaml"), text).values


@pytest.mark.parametrize(
    "value",
    [0, -3, 1e-05, 1e16, 0.1, True, None, "plain", "no", "NULL", "", " a", "a: b", "a #b", "1e-3", "0x10", "~", "*a",
     "{params}", ".venv/bin/python", ".inf", "./x", "a\nb", "ü", "\x7f", '"', "\\", "-x", [1, "a, b"], [], [[1.0]],
     {"a": 1, "b c": "x"}, "inf", "2024-01-01", "=", "!x", "%x", "@x", "`x", "1_000", "<<"],
)  # fmt: skip
def test_a_value_reads_back_as_itself(value: Any) -> None:
    found = read(f"x: {scalar(value)}\ny: [{scalar(value)}]")
    assert found == {"x": value, "y": [value]}
    assert type(found["x"]) is type(value)


@settings(deadline=None, max_examples=50)
@given(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False),
              st.text(), st.lists(st.text(), max_size=3)),
    st.text(min_size=1),
)  # fmt: skip
def test_any_plain_value_and_any_name_read_back(value: Any, name: str) -> None:
    text = render(Draft(script="x", campaign="x", command=("x",), style="argparse", code=("x",),
                        kept=(Option(name=name, default=value, help=name),)))  # fmt: skip
    assert read(text)["baseline"] == {name: value}
    text.encode()


DRAFT = Draft(
    script="train.py",
    campaign="digits",
    command=("python", "train.py", "--seed={seed}", "{params}"),
    style="argparse",
    code=("train.py", "net/*.py"),
    kept=(
        Option(name="lr", kind="number", default=0.1, help="the rate: # of a step\nor so"),
        Option(name="opt", default="sgd", choices=("sgd", "adam")),
        Option(name="bias", kind="true or false", default=True, form=Flags(if_true="", if_false="--no_bias")),
        Option(name="on", kind="list", default=[1, 2], form="comma", is_guess=True),
    ),
    left=(
        LeftOut(option=Option(name="data_dir", default="./data", help="where data lie"), reason="it is a path"),
        LeftOut(option=Option(name="out", default="runs"), reason="it is a path"),
        LeftOut(option=Option(name="x", expression="f(\n1)"), reason="its default is worked out: f(\n1)"),
        LeftOut(option=Option(name="debug", kind="true or false", default=False, form="switch"), reason="shown"),
    ),
    seed="seed",
    patterns=(
        Pattern(text="epoch {epoch}: loss {loss}", quantities=("loss",)),
        Pattern(text='Test "set": {correct}/{total}', quantities=("correct/total",)),
    ),
    metrics=(
        Metric(name="accuracy", progress="correct/total", better="higher"),
        Metric(name="loss", progress="loss", better="lower"),
    ),
)


def test_the_text_is_a_campaign_that_every_rule_accepts() -> None:
    values = read(render(DRAFT))
    task = parse_task(values["task"])
    check_task(task)
    assert (task.command, task.code) == (DRAFT.command, DRAFT.code)
    assert task.forms == DRAFT.forms
    assert task.progress is not None
    assert task.progress.patterns == tuple(one.text for one in DRAFT.patterns)
    assert values["baseline"] == {"lr": 0.1, "opt": "sgd", "bias": True, "on": [1, 2]}
    assert [(one.name, one.role) for one in parse_metrics(values["metrics"]).values()] == [
        ("accuracy", "judged"),
        ("loss", "shown"),
    ]
    assert (values["campaign"], values["question"], values["seeds"]) == ("digits", "", 5)


def test_every_line_is_explained_and_none_is_too_wide() -> None:
    lines = render(DRAFT).splitlines()
    assert max(map(len, lines)) <= 200
    assert max(len(line) for line in lines if not line.lstrip().startswith("#")) <= 120
    for before, line in pairwise(lines):
        is_item = re.match(r"\s+(- |stdout:)", line)
        assert not line or "#" in line or before.lstrip().startswith("#") or is_item, line


def test_guesses_are_marked() -> None:
    guessed = [line for line in render(DRAFT).splitlines() if "# guess: " in line]
    assert [line.split(":")[0].strip() for line in guessed] == ['"on"', "progress", "# guess", "loss", '"on"']


def test_what_is_left_out_has_its_value_its_reason_and_its_form() -> None:
    lines = render(DRAFT).splitlines()
    assert "  # data_dir: ./data  # it is a path; where data lie" in lines
    assert "  # x:  # its default is worked out: f( 1)" in lines
    assert "  # debug: false  # shown; its form is `switch`" in lines


def test_paths_of_the_script_become_examples_of_data_and_outputs() -> None:
    text = render(DRAFT)
    assert "  # data: {data_dir: data}  # " in text
    assert "  # outputs: [runs]  # " in text


def test_the_examples_are_changes_of_real_parameters() -> None:
    *_, first, second = render(DRAFT).splitlines()
    assert first == "#   other-lr: {change: {lr: 0.3}, hypothesis: It trains faster.}"
    assert second == "#   other-opt: {change: {opt: adam}, hypothesis: It generalises better.}"


def test_a_draft_of_nothing_is_a_campaign_too() -> None:
    draft = Draft(
        script="a b.sh", campaign="x", command=("bash", "a b.sh"), style=None, code=("a b.sh",), reads_seed=True
    )
    values = read(render(draft))
    task = parse_task(values["task"])
    check_task(task)
    assert (task.reads, values["baseline"]) == (("seed",), {})
    assert "metrics" not in values


def test_the_comments_can_be_uncommented() -> None:
    text = render(DRAFT).replace("  # data:", "  data:").replace("  # outputs:", "  outputs:")
    values = read(text.replace("  # out: runs", "  out: runs"))
    task = parse_task(values["task"])
    check_task(task)
    assert (task.data["data_dir"].path, task.outputs) == ("data", ("runs",))
    assert values["baseline"]["out"] == "runs"


def test_the_same_draft_gives_the_same_text() -> None:
    assert render(DRAFT) == render(DRAFT)
