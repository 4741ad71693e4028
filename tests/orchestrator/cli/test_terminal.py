"""Text of others on the terminal: it is shown, and not obeyed."""

import pytest
from rich.console import Console
from rich.table import Table

from orchestrator.cli import terminal
from orchestrator.cli.terminal import STYLES, cell, show, styled


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 40 columns, which writes where the test reads."""
    monkeypatch.setattr(terminal, "OUT", Console(width=40, emoji=False, highlight=False))


def test_markup_and_control_characters_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show("[bold]x[/] \x1b[31m :warning:")
    assert capsys.readouterr().out == "[bold]x[/] \\x1b[31m :warning:\n"


def test_a_long_line_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    show("word " * 20 + "end")
    assert capsys.readouterr().out == "word " * 20 + "end\n"


@pytest.mark.parametrize(
    ("text", "shown"), [("[red]x[/]", "[red]x[/]"), ("two\nlines", "two lines"), ("\x1b[31m", "\\x1b[31m"), ("", "")]
)
def test_a_cell_is_one_line_without_markup(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(show_header=False, box=None, padding=0)
    table.add_row(cell(text))
    terminal.OUT.print(table)
    assert capsys.readouterr().out.rstrip() == shown


@pytest.mark.parametrize("word", [*STYLES, "queued"])
def test_a_state_is_the_same_word_in_colour(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.OUT.print(styled(word))
    assert capsys.readouterr().out == f"{word}\n"


@pytest.mark.parametrize(("word", "colour"), [("failed", "1;31"), ("done", "32")])
def test_a_state_has_its_colour(word: str, colour: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console(force_terminal=True, color_system="standard", no_color=False).print(styled(word))
    assert capsys.readouterr().out == f"\x1b[{colour}m{word}\x1b[0m\n"
