"""Tables and colours of a terminal."""

import os

from rich.console import Console
from rich.markup import escape

from orchestrator.wording import one_line, visible

# Rich reads any Unicode digit in these variables as a size, and fails on some that are no number.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES") or value.isascii()}
OUT = Console(_environ=ENVIRONMENT, soft_wrap=False, highlight=False, emoji=False)
STYLES = {
    "done": "green",
    "improved": "bold green",
    "regression": "red",
    "too_slow": "yellow",
    "failed": "bold red",
    "running": "cyan",
    "interrupted": "magenta",
}


def styled(word: str) -> str:
    """Give a state or a verdict its colour."""
    return f"[{STYLES.get(word, 'default')}]{word}[/]"


def show(text: str, style: str | None = None) -> None:
    """Print text as it is: no markup is interpreted, and control characters are shown as signs."""
    OUT.print(visible(text), style=style, markup=False, soft_wrap=True)


def cell(text: str) -> str:
    """Return text as a cell or title of a table, without markup and on one line."""
    return escape(one_line(text))
