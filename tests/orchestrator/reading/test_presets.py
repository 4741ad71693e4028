"""The lines of common tools are read by name."""

import math

import pytest

from orchestrator.errors import SpecError
from orchestrator.reading.patterns import MAX_LINE
from orchestrator.reading.presets import PRESETS, build_reader, explain_absent, explain_ambiguous, recognise

TRAINER = "{'loss': 0.25, 'grad_norm': 1.5e-01, 'epoch': 1.0}"
KERAS = "1875/1875 ━━━━━━━━━━━━━━━━━━━━ 5s 2ms/step - accuracy: 0.91 - loss: 0.31 - val_loss: 2.5e-01"
TABLE = "│         test_acc          │    0.9230769276618958     │"


@pytest.mark.parametrize(
    ("name", "line", "values"),
    [
        ("huggingface", TRAINER, {"loss": 0.25, "grad_norm": 0.15, "epoch": 1.0}),
        ("huggingface", "{'loss': '0.25', 'epoch': '1'}", {"loss": 0.25, "epoch": 1}),
        ("huggingface", ' 50%|## | {"eval_loss": 2, "note": "x", "epoch": 2}', {"eval_loss": 2, "epoch": 2}),
        ("huggingface", "{'note': 'x'}", None),
        ("huggingface", "{'a': {'loss': 1}}", {"loss": 1}),
        ("nanogpt", "step 250: train loss 4.2, val loss 4.3", {"step": 250, "train_loss": 4.2, "val_loss": 4.3}),
        ("nanogpt", "iter 10: loss 3.2, time 5.1ms, mfu -100.00%", {"step": 10, "loss": 3.2, "time_ms": 5.1}),
        ("keras", "Epoch 3/10", {"epoch": 3}),
        ("keras", KERAS, {"accuracy": 0.91, "loss": 0.31, "val_loss": 0.25}),
        ("keras", "1875/1875 - 5s - 2ms/step - loss: 0.3", {"loss": 0.3}),
        ("keras", "1/1875 ━━━ 5s - loss: 0.3", None),
        ("key_value", "val_bpb:          0.997900", {"val_bpb": 0.9979}),
        ("key_value", "accuracy: 87.5 %", {"accuracy": 87.5}),
        ("key_value", "Accuracy: 519/597", None),
        ("key_value", "at 10:30", None),
        ("lightning_table", TABLE, {"test_acc": 0.9230769276618958}),
        ("lightning_table", "        test_acc            0.92307", {"test_acc": 0.92307}),
        ("lightning_table", "┃        Test metric        ┃       DataLoader 0        ┃", None),
    ],
)
def test_a_preset_finds_names_and_numbers(name: str, line: str, values: dict[str, float] | None) -> None:
    found = build_reader(f"preset:{name}").find(line)
    assert (None if found is None else found.values) == values


def test_a_loss_that_is_nan_is_told() -> None:
    found = PRESETS["huggingface"].find("{'loss': nan, 'epoch': 1.0}")
    assert found is not None
    assert math.isnan(found.values["loss"])


@pytest.mark.parametrize("piece", ["1", " ", "a", "{'", "'a': ", "1/1 ", " - a:", "a: ", "│ ", "a  "])
@pytest.mark.parametrize("name", PRESETS)
def test_hostile_lines_are_searched_to_their_bound(name: str, piece: str) -> None:
    preset = PRESETS[name]
    assert preset.find(piece * 10**6) == preset.find((piece * MAX_LINE)[:MAX_LINE])


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="there is no preset `kera` of log lines; did you mean `keras`"):
        build_reader("preset:kera")


def test_anything_else_is_a_pattern() -> None:
    found = build_reader("loss {loss}").find("loss 1")
    assert found is not None
    assert found.values == {"loss": 1}


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([TRAINER, "hello"], "huggingface"),
        (["Epoch 1/2", KERAS], "keras"),
        (["step 0: train loss 4.2, val loss 4.3", "iter 0: loss 4.2, time 5ms"], "nanogpt"),
        (["loading", "val_bpb: 0.99", "seconds: 3"], "key_value"),
        ([TABLE], "lightning_table"),
        (["loading"], None),
    ],
)
def test_a_tool_is_recognised_by_its_lines(lines: list[str], name: str | None) -> None:
    assert recognise(lines) == name


def test_what_no_line_matches_is_told_with_the_last_lines() -> None:
    told = explain_absent("train.log", "val loss {v}", [f"line {number}" for number in range(9)])
    assert told.startswith('no line of train.log matches "val loss {v}"; the last 5 are:\n  line 4\n')
    assert told.endswith("\n  line 8")
    assert explain_absent("train.log", "{v}", []) == 'no line of train.log matches "{v}": it is empty'


def test_long_lines_are_told_in_part() -> None:
    assert len(explain_absent("train.log", "{v}", ["a" * 10**5])) < 250


def test_a_name_with_two_numbers_asks_for_a_pattern() -> None:
    told = explain_ambiguous("Accuracy", ["Accuracy: 519/597", "bye"])
    assert told == (
        '"Accuracy" matches 2 numbers in the last line, "Accuracy: 519/597"; name one: `Accuracy: {correct}/{total}`'
    )
    assert "{first} ... {second}" in (explain_ambiguous("loss", ["loss 1 then 2"]) or "")
    assert explain_ambiguous("loss", ["loss: 1"]) is None
    assert explain_ambiguous("loss", ["acc 1 2"]) is None
