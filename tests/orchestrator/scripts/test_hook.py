"""What runs in the script's own interpreter, up to its parser."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.scripts import hook
from tests.builders import scripts

SOURCE = Path(hook.__file__).read_text()


def ask(tmp_path: Path, script: str, *arguments: str) -> dict[str, Any]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").write_text(script)
    answer = tmp_path / "answer.json"
    command = [sys.executable, "-c", SOURCE, str(answer), "code/train.py", *arguments]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    return dict(json.loads(answer.read_bytes()))


def test_an_older_interpreter_can_read_it_and_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(SOURCE, feature_version=(3, 8))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules - {"__future__"} <= set(sys.stdlib_module_names)


def test_the_script_sees_its_own_arguments_and_folder(tmp_path: Path) -> None:
    script = (
        "import argparse, sys\nassert sys.argv == ['code/train.py', '--lr', '2'], sys.argv\n"
        "assert sys.path[0].endswith('code')\nassert __name__ == '__main__'\n"
        "p = argparse.ArgumentParser()\np.add_argument('--lr')\np.parse_args()\nraise SystemExit('trained')\n"
    )
    (action,) = ask(tmp_path, script, "--lr", "2")["actions"]
    assert action["words"] == ["--lr"]


def test_defaults_of_all_kinds_are_plain_or_told_as_text(tmp_path: Path) -> None:
    script = (
        "import argparse, enum, pathlib\nclass C(enum.Enum):\n    A = 'a'\np = argparse.ArgumentParser()\n"
        "values = dict(a=1, b=float('inf'), c=C.A, d=pathlib.Path('x'), e=print, f=(1, 2), g=[print])\n"
        "for name, value in values.items():\n"
        "    p.add_argument('--' + name, default=value, choices=list(C) if name == 'c' else None)\n"
        "p.add_argument('--hidden', help=argparse.SUPPRESS)\np.add_argument('-v', action='count')\np.parse_args()\n"
    )
    actions = {action["destination"]: action for action in ask(tmp_path, script)["actions"]}
    assert [actions[name]["default"] for name in "abcdefg"] == [1, None, "a", "x", None, [1, 2], None]
    assert [actions[name]["expression"] for name in "bef"] == ["inf", "<built-in function print>", ""]
    assert (actions["c"]["choices"], actions["hidden"]["help"], actions["v"]["action"]) == (["a"], "", "count")


def test_a_small_parser_in_front_parses_for_real(tmp_path: Path) -> None:
    answer = ask(tmp_path, scripts.TWO_PARSERS, "--config", "a.yaml")
    assert [one["destination"] for one in answer["actions"]] == ["lr", "seed"]
    assert answer["num_parsers"] == 2


def test_a_parser_that_others_take_over_is_not_counted(tmp_path: Path) -> None:
    script = (
        "import argparse\nbase = argparse.ArgumentParser(add_help=False)\nbase.add_argument('--x')\n"
        "p = argparse.ArgumentParser(parents=[base])\np.add_argument('--y')\np.parse_known_args()\n"
    )
    assert ask(tmp_path, script)["num_parsers"] == 1


def test_subcommands_are_told(tmp_path: Path) -> None:
    answer = ask(tmp_path, scripts.SUBCOMMANDS)
    assert {name: len(actions) for name, actions in answer["subcommands"].items()} == {"train": 2, "test": 1}
    assert [one["destination"] for one in answer["actions"]] == ["verbose"]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("raise SystemExit(3)", "it ended before it asked argparse"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = 1", "it came to its end and never asked argparse"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_script_that_never_asks_says_why(tmp_path: Path, script: str, error: str) -> None:
    assert ask(tmp_path, script)["error"].startswith(error)
