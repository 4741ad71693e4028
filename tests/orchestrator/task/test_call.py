"""One process that answers: which code it runs, and what it printed."""

import sys
from pathlib import Path

import pytest

import model
from orchestrator.errors import DataError
from orchestrator.task.ask import check_configs
from orchestrator.task.call import find_answers, find_code_folder, installed_folder, name_of
from orchestrator.task.spec import TaskSpec

INSTALLED = Path(model.__file__).parents[1]


def test_a_module_of_the_campaign_comes_before_an_installed_one(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "model.studies.radio.task", "check"]
    assert find_code_folder(words, tmp_path) == INSTALLED
    own = tmp_path / "model" / "studies" / "radio" / "task.py"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_code_folder(words, tmp_path) == tmp_path
    assert find_code_folder(words, None) == INSTALLED
    assert find_code_folder(["bash", "check.sh"], tmp_path) == tmp_path


def test_a_package_that_is_not_installed_has_no_folder(tmp_path: Path) -> None:
    assert installed_folder("no_such_package") is None
    assert find_code_folder(["python", "-m", "no_such_package.check"], tmp_path) == tmp_path


def test_messages_name_the_interpreter_briefly() -> None:
    assert name_of([sys.executable, "-m", "asked", "check"]) == "python -m asked check"
    assert name_of(["bash", "check.sh"]) == "bash check.sh"


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    task = TaskSpec(command=("true",), code=("x",), check=("no-such-command",))
    with pytest.raises(DataError, match=r"^`no-such-command` cannot be started in .*: No such file"):
        check_configs(task, tmp_path, [{}])


def test_answers_are_what_lines_end_in_and_the_last_comes_first() -> None:
    assert list(find_answers(b"[1]\n[2]\n[three]\n", list[int])) == [[2], [1]]
    assert list(find_answers(b"[1]\nx [[3], [4]\n", list[int])) == [[4], [1]]
    assert list(find_answers(b"", list[int])) == []
