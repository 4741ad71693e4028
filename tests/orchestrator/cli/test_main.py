"""The command line: help, words, seeds."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.cli.main import build_parser, main
from orchestrator.cli.options import parse_seeds

VERBS = (
    "init", "check", "run", "plan", "next", "status", "show", "why", "report", "queue", "work", "stop", "retry",
    "cancel", "rebuild", "gc", "checkout", "data", "doctor", "schema", "search", "promote",
)  # fmt: skip
WORDS = [[verb] for verb in VERBS] + [["queue", "list"], ["queue", "add"], ["data", "emulate"], ["data", "shard"]]
HEAVY = {"torch", "pandas", "optuna", "sqlalchemy", "numpy", "msgspec", "git", "rich"}
ROOT = Path(__file__).parents[3]


def test_help_names_every_command_and_the_exit_statuses() -> None:
    text = build_parser().format_help()
    assert all(re.search(rf"^\s+{verb}\s", text, re.MULTILINE) for verb in VERBS)
    assert "130 interrupted" in text


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*words, "--help"])
    assert exit_info.value.code == 0
    assert f"usage: knockout {' '.join(words)}" in capsys.readouterr().out


def test_the_help_of_no_command_loads_anything_heavy() -> None:
    check = (
        "import contextlib, sys; from orchestrator.cli.main import main\n"
        f"for words in {WORDS}:\n"
        "    with contextlib.suppress(SystemExit): main([*words, '--help'])\n"
        f"sys.exit(str({HEAVY} & set(sys.modules)) if {HEAVY} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: knockout ") == len(WORDS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"knockout {__version__}\n"


@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), ([], 2)], ids=["done", "a mistake"])
def test_the_package_is_the_command_and_ends_with_its_status(words: list[str], status: int) -> None:
    command = [sys.executable, "-m", "orchestrator", *words]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == status
    assert (f"knockout {__version__}\n" if status == 0 else "name a command") in done.stdout


def test_no_command_is_a_mistake_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "name a command" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "seeds"), [("3", (0, 1, 2)), ("1", (0,)), ("2-4", (2, 3, 4)), ("1337-1337", (1337,))])
def test_seeds_are_a_count_or_a_range(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--seeds", "4-2"], "'4-2' names no seed"),
        (["run", "--seeds", "0"], "'0' names no seed"),
        (["run", "--seeds", "two"], "'two' is neither a number of seeds"),
        (["run", "--slots", "0"], "'0' is not a whole number above 0"),
        (["data", "emulate", "--seed", "-1"], "'-1' is not a whole number from 0"),
        (["data", "emulate", "--seed", "x"], "'x' is not a whole number from 0"),
        (["rnu"], "invalid choice: 'rnu'"),
        (["queue", "ls"], "invalid choice: 'ls'"),
        (["work", "--slots", "none"], "'none' is not a whole number above 0"),
        (["status", "--seeds", "3-1"], "'3-1' names no seed"),
        (["cancel"], "required: RUN"),
        (["stop", "E5"], "unrecognized arguments: E5"),
    ],
)
def test_a_wrong_word_is_told_with_status_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_data_without_a_word_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 2
    err = capsys.readouterr().err
    assert "emulate" in err
    assert "shard" in err


@pytest.mark.parametrize(
    "words",
    [
        ["queue", "list"], ["status"], ["work"], ["stop"], ["retry", "--failed"], ["cancel", "E5"], ["rebuild"],
        ["gc"], ["checkout", "E5"], ["why", "E5"], ["why", "E5", "--accept"], ["queue", "add"], ["run"], ["plan"],
        ["report"], ["show", "E5"], ["check"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_campaign_file_that_is_not_there_is_told(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "experiments.yml"
    assert main([*words, "-f", str(file)]) == 2
    assert capsys.readouterr().err == f"knockout: {file}: there is no such file; name the campaign with -f FILE\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["retry"], ["retry", "E5-s0", "--failed"], ["retry", "--class", "hung"], ["retry", "E5-s0", "--class", "hung"]],
    ids=" ".join,
)
def test_what_to_try_again_is_named_or_all_that_failed(
    words: list[str], campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-f", str(campaign)]) == 2
    told = "knockout: name the runs to try again, or say --failed for all that failed, with --class for some\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["E5"], "there is no experiment `E5`"),
        (["tag:size"], "no experiment is of the group `size`"),
        (["baseline", "--all"], "name experiments, or say --all, not both"),
        (["--profile", "paper"], "there is no profile `paper`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("verb", [["queue", "add"], ["run"], ["plan"], ["report"]], ids=" ".join)
def test_what_the_campaign_does_not_have_is_told_in_a_sentence(
    verb: list[str], words: list[str], told: str, campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, *words, "-f", str(campaign)]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.startswith("knockout: ")
    assert said.count("\n") == 1
    assert not (campaign.parent / "results").exists()


def test_queue_without_a_word_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue"]) == 2
    # A narrow terminal breaks the lines.
    assert "list the runs that wait or are under way" in " ".join(capsys.readouterr().err.split())


def missing(name: str) -> Callable[[str], object]:
    """Return an import that lacks a module."""

    def fail(_: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    return fail


def test_a_missing_package_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib, "import_module", missing("sqlalchemy.exc"))
    assert main(["status"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("knockout: the module `sqlalchemy.exc` is not installed for ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["orchestrator.queue", "model.config"])
def test_a_missing_module_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(importlib, "import_module", missing(name))
    with pytest.raises(ModuleNotFoundError, match=name):
        main(["status"])
