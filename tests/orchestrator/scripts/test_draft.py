"""Options become parameters, words of the command, or comments."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.scripts.draft import FILL_IN, Found, build_command, campaign_name, sort_options, take_arguments
from orchestrator.scripts.options import Option
from orchestrator.task.spelling import Flags

OPTIONS = (
    Option(name="lr", kind="number", default=0.1, aliases=("-l", "--lr")),
    Option(name="amp", kind="true or false", default=False, form="switch"),
    Option(name="ema", kind="true or false", default=True, form="pair"),
    Option(name="bias", kind="true or false", default=True, form=Flags(if_true="--b", if_false="--nb")),
    Option(name="fast", kind="true or false", default=True, form="text"),
    Option(name="sizes", kind="list", default=[1], form="nargs"),
    Option(name="tags", kind="list", default=[], form="append"),
    Option(name="betas", kind="list", default=[0.9], form="comma"),
    Option(name="seed", kind="integer", default=0),
    Option(name="out_dir", default="out"),
    Option(name="data", is_positional=True, is_required=True),
)


def found(*arguments: str) -> Found:
    return Found(style="argparse", options=OPTIONS, arguments=arguments)


def test_the_usual_arguments_are_read_as_the_script_reads_them() -> None:
    taken, given = take_arguments(
        found("-l=-1e-3", "--amp", "--no-ema", "--nb", "--fast=False", "--sizes", "2", "3", "--betas=0.5,0.6")
    )
    assert {option.name: option.default for option in taken.options if option.name in given} == {
        "lr": -1e-3, "amp": True, "ema": False, "bias": False, "fast": False, "sizes": [2, 3], "betas": [0.5, 0.6]
    }  # fmt: skip
    assert given == {"lr", "amp", "ema", "bias", "fast", "sizes", "betas"}


def test_what_the_options_do_not_know_stays_a_word() -> None:
    taken, given = take_arguments(found("--unknown=3", "--lr=1", "rows", "more"))
    assert (taken.words, given) == (("--unknown=3", "more"), {"lr", "data"})


def test_a_positional_argument_that_is_not_given_has_no_value() -> None:
    options = (
        Option(name="port", kind="integer", is_positional=True),
        Option(name="files", kind="list", form="nargs", is_positional=True),
    )
    assert take_arguments(Found(style="argparse", options=options))[1] == frozenset()
    taken, given = take_arguments(Found(style="argparse", options=options, arguments=("80", "a", "b")))
    assert [option.default for option in taken.options] == [80, ["a", "b"]]
    assert given == {"port", "files"}


def test_an_argument_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the usual arguments do not fit the script: argument -l/--lr: invalid float"):
        take_arguments(found("--lr", "x"))


def test_options_with_the_same_word_do_not_disturb() -> None:
    twice = (Option(name="a", aliases=("-x", "--a")), Option(name="b", aliases=("-x", "--b")))
    taken, _ = take_arguments(Found(style="argparse", options=twice, arguments=("--a", "1")))
    assert taken.options[0].default == "1"


def test_options_are_sorted_into_parameters_comments_and_the_seed() -> None:
    kept, left, seed = sort_options(OPTIONS)
    assert seed is OPTIONS[8]
    assert [one.option.name for one in left] == ["tags", "out_dir", "data"]
    assert "lr" in [one.name for one in kept]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (Option(name="x", problem="it is a counter"), "it is a counter"),
        (Option(name="a b"), "its name cannot be written in a campaign file"),
        (Option(name="x", expression="f()"), "its default is worked out: f()"),
        (Option(name="x", kind="list", is_positional=True), "it is a list of words; write them into the command"),
        (Option(name="x", word="-x"), "it is empty, and has no name with two dashes"),
        (Option(name="x", default=2**60), f"its default is no number of a campaign file: {2**60}"),
        (Option(name="x", default=float("nan")), "its default is no number of a campaign file: nan"),
    ],
)
def test_each_comment_has_its_reason(option: Option, reason: str) -> None:
    _, (left,), _ = sort_options([option])
    assert left.reason == reason


def test_a_name_that_holds_others_is_no_parameter() -> None:
    _, (left,), _ = sort_options([Option(name="model"), Option(name="model.lr", default=1)])
    assert (left.option.name, left.reason) == ("model", "it holds others")


def test_of_two_seeds_the_likelier_and_the_less_nested_counts() -> None:
    options = [Option(name="data.seed"), Option(name="random_seed"), Option(name="seed")]
    assert sort_options(options)[2] is options[2]


def command(options: tuple[Option, ...], *arguments: str, style: str = "argparse") -> tuple[str, ...]:
    taken, given = take_arguments(Found(style=style, options=options, arguments=arguments))
    kept, _, seed = sort_options(taken.options)
    return build_command(("python", "train.py"), taken, given, kept, seed)[2:]


def test_the_command_has_fixed_words_then_named_parameters_then_the_seed() -> None:
    options = (
        Option(name="name_of", is_positional=True, is_required=True),
        Option(name="wd", word="-wd", kind="number", default=0.1),
        Option(name="out_dir", default="out"),
        Option(name="seed", kind="integer"),
    )
    assert command(options, "net", "--out_dir", "{here}") == (
        "--out_dir={{here}}", "{params.name_of}", "-wd={params.wd}", "--seed={seed}", "{params}"
    )  # fmt: skip


def test_what_is_missing_is_marked() -> None:
    options = (Option(name="data_dir", is_positional=True, is_required=True), Option(name="out_dir", is_required=True))
    assert command(options) == (FILL_IN, f"--out_dir={FILL_IN}", "{params}")
    kept, _, _ = sort_options([Option(name="task", is_required=True)])
    assert kept[0].default == FILL_IN


def test_the_seed_is_spelled_in_the_style() -> None:
    assert command((Option(name="a.seed"),), style="hydra") == ("a.seed={seed}", "{params}")
    assert command((Option(name="seed", word="-seed"),)) == ("-seed={seed}", "{params}")


@pytest.mark.parametrize(
    ("folder", "name"), [("My Study_2", "my-study-2"), ("2024", "study-2024"), ("", "study"), ("über", "ber")]
)
def test_a_campaign_is_called_as_its_folder(folder: str, name: str) -> None:
    assert campaign_name(folder) == name
