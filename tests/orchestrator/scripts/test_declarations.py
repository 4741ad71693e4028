"""Options that a script declares without argparse: dataclasses, flags, click, fire, constants."""

import ast
from typing import Any

import pytest

from orchestrator.scripts.declarations import (
    absl_options,
    click_options,
    constants,
    dataclass_options,
    dataclasses_parsed,
    fire_options,
)
from orchestrator.task.spelling import Flags
from tests.builders import scripts


def table(options: list[Any]) -> dict[str, tuple[Any, ...]]:
    return {one.name: (one.kind, one.default, one.form) for one in options}


def test_fields_of_a_dataclass() -> None:
    tree = ast.parse(scripts.DATACLASS)
    assert dataclasses_parsed(tree) == ("ModelArguments", "TrainingArguments")
    options = dataclass_options([tree], lambda name: name == "ModelArguments")
    assert table(options) == {
        "task": ("text", None, None),
        "model_name_or_path": ("text", "small", None),
        "use_lora": ("true or false", False, "text"),
        "lora_rank": ("integer", 8, None),
        "dropout": ("number", 0.0, None),
        "targets": ("list", None, "nargs"),
        "kind": ("text", "a", None),
        "layers": ("list", [1, 2], "nargs"),
    }
    assert [one.name for one in options if one.is_required] == ["task"]
    assert options[1].help == "The model"
    assert options[6].choices == ("a", "b")
    assert "other" in table(dataclass_options([tree]))


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [("int | None", "integer"), ("'Optional[float]'", "number"), ("typing.Sequence[int]", "list"), ("Own", "text")],
)
def test_types_of_fields(annotation: str, kind: str) -> None:
    (option,) = dataclass_options([ast.parse(f"@dataclass\nclass A:\n    x: {annotation} = None\n")])
    assert option.kind == kind


def test_flags_of_absl() -> None:
    found = absl_options(ast.parse(scripts.ABSL))
    assert table(found) == {
        "learning_rate": ("number", 0.1, None),
        "layers": ("integer", 3, None),
        "augment": ("true or false", True, None),
        "optimizer": ("text", "adam", None),
        "stages": ("list", ["1", "2"], None),
        "sizes": ("list", [1, 2], "append"),
        "seed": ("integer", 0, None),
        "workdir": ("text", None, None),
    }
    assert (found[3].choices, found[3].help) == (("adam", "sgd"), "Optimizer.")


def test_other_kinds_of_flags_are_no_parameters() -> None:
    (option,) = absl_options(ast.parse("config_flags.DEFINE_config_file('config')"))
    assert option.problem == "it is a flag of kind `config_file`"


def test_options_of_click() -> None:
    found = click_options(ast.parse(scripts.CLICK))
    assert table(found) == {
        "lr": ("number", 0.1, None),
        "depth": ("integer", 2, None),
        "amp": ("true or false", False, "switch"),
        "bias": ("true or false", True, "pair"),
        "fast": ("true or false", False, Flags(if_true="--fast", if_false="--slow")),
        "opt": ("text", "sgd", None),
        "stage": ("list", ["a"], "append"),
        "seed": ("integer", 0, None),
    }
    assert (found[1].aliases, found[5].choices) == (("-d", "--depth"), ("sgd", "adam"))


def test_kinds_of_click() -> None:
    source = (
        "@click.argument('data')\n@click.option('--x', type=click.IntRange(1))\n@click.option('--y', nargs=2)\n"
        "@click.option('--z', type=bool)\n@click.option('-q', is_flag=True)\n@click.option(NAME)\ndef f(): ...\n"
    )
    found = click_options(ast.parse(source))
    assert table(found) == {
        "data": ("text", None, None),
        "x": ("integer", None, None),
        "y": ("list", None, "nargs"),
        "z": ("true or false", False, "text"),
        "q": ("true or false", False, Flags(if_true="-q")),
    }
    assert (found[0].is_positional, found[0].is_required) == (True, True)


def test_arguments_of_a_function_or_a_class_under_fire() -> None:
    assert table(fire_options(ast.parse(scripts.FIRE)))["lr"] == ("number", 0.1, None)
    source = "class T:\n    def __init__(self, lr, *, amp: bool = True): ...\nfire.Fire(T)\n"
    found = fire_options(ast.parse(source))
    assert table(found) == {"lr": ("text", None, None), "amp": ("true or false", True, None)}
    assert found[0].is_required
    assert fire_options(ast.parse("fire.Fire()")) == []


def test_constants_up_to_the_configurator() -> None:
    found = constants(ast.parse(scripts.GLOBALS + "late = 3\n"))
    assert [one.name for one in found] == [
        "out_dir", "eval_interval", "learning_rate", "steps", "device", "compile", "dataset"
    ]  # fmt: skip
    assert found[3].default == 40
    assert found[4].expression.startswith("'cuda' if ")


def test_private_names_and_lists_are_no_constants() -> None:
    assert constants(ast.parse("_x = 1\ny = [1]\nz = None\nw = f()\na.b = 2\n")) == []
