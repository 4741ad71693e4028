"""The words of `knockout init` and `knockout check`."""

import pytest

from orchestrator.cli.first_steps import read_words
from orchestrator.cli.main import build_parser, main


def test_the_words_behind_two_dashes_belong_to_the_script() -> None:
    options = read_words(
        build_parser(), ["init", "train.py", "-f", "a.yaml", "--static", "--", "--lr=1", "--", "-f", "b"]
    )
    assert options.arguments == ("--lr=1", "--", "-f", "b")
    assert (str(options.script), str(options.file), options.static) == ("train.py", "a.yaml", True)


def test_without_them_there_are_none_and_other_commands_take_two_dashes_as_ever() -> None:
    assert read_words(build_parser(), ["init", "train.py"]).arguments == ()
    assert read_words(build_parser(), ["run", "--", "E5"]).experiments == ["E5"]


def test_the_words_of_this_process_are_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["knockout", "init", "train.py", "--", "x"])
    assert read_words(build_parser(), None).arguments == ("x",)


def test_check_takes_parameters_a_limit_and_what_to_do() -> None:
    words = ["check", "--set", "a=1", "--set", "b=2", "--limit", "30s", "--resume", "--write", "--profile", "smoke"]
    options = read_words(build_parser(), words)
    assert (options.sets, options.limit, options.resume, options.write) == (["a=1", "b=2"], 30.0, True, True)
    usual = read_words(build_parser(), ["check"])
    assert (usual.sets, usual.limit, usual.resume, usual.write, usual.profile) == ([], 600.0, False, False, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init", "--help"], "knockout init train.py -- --data=imagenet"),
        (["init", "--help"], "`knockout check` is the next step."),
        (["check", "--help"], "exit status: 0 all holds; 1 something does not; 2 the command did not run"),
        (["check", "--help"], "--set NAME=VALUE"),
    ],
)
def test_help_says_what_to_write(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert said in capsys.readouterr().out


def test_init_needs_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["init"])
    assert "required: SCRIPT" in capsys.readouterr().err
