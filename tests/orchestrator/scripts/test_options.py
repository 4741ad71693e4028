"""argparse's actions as options: one for each destination, with type, form and default."""

from typing import Any

import pytest

from orchestrator.scripts.options import Action, Option, kind_of_value, longest_word, options_of
from orchestrator.task.spelling import Flags


def one(**fields: Any) -> Option:
    word = fields.pop("word", "--x")
    (option,) = options_of([Action(**{"destination": "x", "words": (word,), **fields})])
    return option


@pytest.mark.parametrize(
    ("fields", "kind", "form", "default"),
    [
        ({"type": "int", "default": 3}, "integer", None, 3),
        ({"type": "float", "default": 1}, "number", None, 1.0),
        ({"type": "float", "default": "0.5"}, "number", None, 0.5),
        ({"type": "int", "default": 0.5}, "integer", None, 0.5),
        ({"type": "int", "default": "many"}, "integer", None, "many"),
        ({"type": "str", "default": None}, "text", None, None),
        ({"type": "positive_int", "default": 3}, "integer", None, 3),
        ({"type": "bool", "default": True}, "true or false", "type_bool", True),
        ({"type": "str2bool", "default": True}, "true or false", "text", True),
        ({"action": "boolean_optional", "default": None}, "true or false", "pair", None),
        ({"action": "store_true"}, "true or false", "switch", False),
        ({"action": "append", "default": None}, "list", "append", None),
        ({"action": "extend", "nargs": "+", "default": [1]}, "list", "nargs", [1]),
        ({"nargs": "*", "type": "float", "default": [1, 2]}, "list", "nargs", [1.0, 2.0]),
        ({"nargs": 2, "default": "a"}, "list", "nargs", ["a"]),
        ({"nargs": "?", "type": "int", "default": 1}, "integer", None, 1),
    ],
)
def test_an_action_has_its_kind_its_form_and_its_default(
    fields: dict[str, Any], kind: str, form: object, default: object
) -> None:
    option = one(**fields)
    assert (option.kind, option.form, option.default, option.is_guess) == (kind, form, default, False)
    assert type(option.default) is type(default)


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"default": False}, "type_bool"),
        ({"type": "<lambda>", "default": False}, "text"),
        ({"type": "<lambda>", "default": [1, 2]}, "comma"),
    ],
)
def test_a_form_that_only_the_default_tells_is_a_guess(fields: dict[str, Any], form: str) -> None:
    assert (one(**fields).form, one(**fields).is_guess) == (form, True)


def test_options_that_share_a_destination_are_one_parameter() -> None:
    on = Action(destination="bias", words=("--use_bias",), action="store_true", default=True)
    off = Action(destination="bias", words=("--no_bias",), action="store_false", default=True)
    (option,) = options_of([on, off])
    assert option == Option(
        name="bias",
        kind="true or false",
        default=True,
        form=Flags(if_true="--use_bias", if_false="--no_bias"),
    )


def test_a_hand_made_pair_is_a_pair() -> None:
    on = Action(destination="bias", words=("--bias",), action="store_true", default=False)
    off = Action(destination="bias", words=("--no-bias",), action="store_false", default=True)
    (option,) = options_of([on, off])
    assert (option.name, option.form, option.default) == ("bias", "pair", False)


def test_a_value_beside_a_switch_can_say_both() -> None:
    value = Action(destination="x", words=("--x",), type="str2bool", default=True)
    switch = Action(destination="x", words=("--no_x",), action="store_false", default=True)
    (option,) = options_of([switch, value])
    assert (option.name, option.form, option.default) == ("x", "text", True)


def test_one_flag_can_only_move_a_value_away_from_its_default() -> None:
    assert one(action="store_true", default=True).problem == "it cannot be turned off"
    assert one(action="store_false", default=False).problem == "it cannot be turned on"
    off = one(action="store_false", default=True, word="--no-x")
    assert (off.default, off.form) == (True, Flags(if_true="", if_false="--no-x"))
    assert one(action="store_true", default=False, word="-v").form == Flags(if_true="-v", if_false="")


def test_an_option_without_two_dashes_keeps_its_word() -> None:
    assert (one(word="-wd", type="float").name, one(word="-wd", type="float").word) == ("wd", "-wd")
    assert one(word="-n", nargs="+").problem == "a list or a boolean needs an option with two dashes"


def test_actions_without_a_value_are_no_parameters() -> None:
    assert one(action="count").problem == "its action is `count`, which takes no value"


def test_a_positional_argument_is_known_by_its_destination() -> None:
    (option,) = options_of([Action(destination="data", required=True)])
    assert (option.name, option.is_positional, option.is_required) == ("data", True, True)


def test_a_default_makes_a_required_option_optional() -> None:
    assert one(required=True).is_required
    assert not one(required=True, default=3).is_required


def test_the_longest_word_with_two_dashes_names_an_option() -> None:
    assert longest_word(("-b", "--bs", "--batch-size")) == "--batch-size"
    assert longest_word(("-learning_rate", "--lr")) == "--lr"
    assert longest_word(()) == ""


def test_kinds_of_plain_values() -> None:
    kinds = ["true or false", "integer", "number", "text", "list", "text"]
    assert [kind_of_value(value) for value in (True, 1, 1.0, "a", [1], None)] == kinds
