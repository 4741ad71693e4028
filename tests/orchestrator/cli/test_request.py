"""What a command asks for, from the words of its line."""

from pathlib import Path

import pytest

from orchestrator.api.plan import Request
from orchestrator.cli.main import build_parser
from orchestrator.cli.request import read_request


def ask(*words: str) -> Request:
    return read_request(build_parser().parse_args(words))


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["plan"], Request()),
        (["plan", "E5", "tag:loss", "--seeds", "2"], Request(experiments=("E5", "tag:loss"), seeds=(0, 1))),
        (["run", "--profile", "paper", "--all"], Request(profile="paper", everything=True)),
        (["why", "E5", "-f", "other.yaml"], Request(file=Path("other.yaml"))),
        (["doctor"], Request(profile="paper")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_a_command_lacks_ask_for_nothing(words: list[str], asked: Request) -> None:
    assert ask(*words) == asked
