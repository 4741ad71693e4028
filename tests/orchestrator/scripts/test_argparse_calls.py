"""The calls of `add_argument` in a tree, for each parser and subcommand."""

import ast

from orchestrator.scripts.argparse_calls import Parsers, parsers_of
from tests.builders import scripts


def read(source: str) -> Parsers:
    return parsers_of(ast.parse(source))


def names(parsers: Parsers) -> list[str]:
    return [action.destination for action in parsers.actions]


def test_a_call_tells_all_of_an_action() -> None:
    parsers = read(
        "p = argparse.ArgumentParser()\n"
        "p.add_argument('-b', '--batch-size', type=int, default=8, nargs='+', choices=[8, 9],\n"
        "    required=True, help='rows')\n"
    )
    (action,) = parsers.actions
    assert action.words == ("-b", "--batch-size")
    assert (action.destination, action.type, action.default, action.nargs) == ("batch_size", "int", 8, "+")
    assert (action.choices, action.required, action.help, action.action) == ((8, 9), True, "rows", "store")


def test_help_and_version_are_none() -> None:
    source = "p = ArgumentParser()\np.add_argument('--version', action='version')\np.add_argument('--x')\n"
    assert names(read(source)) == ["x"]


def test_classes_of_actions_store_a_value() -> None:
    source = "p.add_argument('--x', action=argparse.BooleanOptionalAction)\np.add_argument('--y', action=Own)\n"
    assert [action.action for action in read(source).actions] == ["boolean_optional", "store"]


def test_a_default_that_is_worked_out_is_kept_as_text() -> None:
    (action,) = read("p.add_argument('--x', default=os.cpu_count(), type=lambda text: text)").actions
    assert (action.default, action.expression, action.type) == (None, "os.cpu_count()", "<lambda>")


def test_computed_options_are_counted() -> None:
    parsers = read("for name in names:\n    p.add_argument(f'--{name}')\np.add_argument('--x')\n")
    assert (names(parsers), parsers.num_computed) == (["x"], 1)


def test_groups_belong_to_their_parser() -> None:
    source = (
        "p = ArgumentParser()\ng = p.add_argument_group('g')\ng.add_argument('--x')\n"
        "e = g.add_mutually_exclusive_group()\ne.add_argument('--y')\n"
    )
    assert names(read(source)) == ["x", "y"]


def test_of_two_parsers_the_larger_counts() -> None:
    parsers = read(scripts.TWO_PARSERS)
    assert (names(parsers), parsers.num_parsers) == (["lr", "seed"], 2)


def test_subcommands_have_options_of_their_own() -> None:
    parsers = read(scripts.SUBCOMMANDS)
    assert names(parsers) == ["verbose"]
    found = {name: [one.destination for one in actions] for name, actions in parsers.subcommands.items()}
    assert found == {"train": ["lr", "seed"], "test": ["split"]}


def test_set_defaults_counts() -> None:
    source = "p = ArgumentParser()\np.add_argument('--lr', type=float, default=1.0)\np.set_defaults(lr=0.5)\n"
    assert read(source).actions[0].default == 0.5


def test_functions_that_are_given_a_parser_are_told_apart() -> None:
    parsers = read("def add(parser):\n    parser.add_argument('--depth')\n")
    assert [action.destination for action in parsers.loose] == ["depth"]


def test_a_positional_argument_is_required_unless_its_number_says_otherwise() -> None:
    source = "p.add_argument('data')\np.add_argument('out', nargs='?')\n"
    assert [(one.words, one.required) for one in read(source).actions] == [((), True), ((), False)]
