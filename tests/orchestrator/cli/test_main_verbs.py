"""A verb has one name from the terminal to the api, and the terminal knows the api alone."""

import argparse
import ast
import importlib
from pathlib import Path

import pytest

import orchestrator
from orchestrator.cli.main import build_parser

CLI = Path(orchestrator.__file__).parent / "cli"
BELOW = {"api", "cli", "errors", "files", "processes", "wording"}
"""What the terminal may import of the orchestrator."""


def find_calls(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> dict[str, str]:
    """Return every command -> the function that it calls."""
    calls = {" ".join(words): call} if (call := parser.get_default("call")) else {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                calls |= find_calls(sub, (*words, name))
    return calls


CALLS = find_calls(build_parser())


def test_there_are_all_commands() -> None:
    assert len(CALLS) == 24


@pytest.mark.parametrize("command", CALLS)
def test_a_command_calls_the_function_of_its_name(command: str) -> None:
    module, _, function = CALLS[command].partition(".")
    assert function == {"next": "next_run"}.get(command, command.replace(" ", "_"))
    assert callable(getattr(importlib.import_module(f"orchestrator.cli.{module}"), function))
    door = {"report": "write_report", "search": "run_search"}.get(function, function)
    assert getattr(orchestrator, door).__name__ == function


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_the_terminal_imports_the_api_alone(path: Path) -> None:
    modules = [node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    below = {module.split(".")[1] for module in modules if module.startswith("orchestrator.")}
    assert below <= BELOW
