"""The terminal, for what is drawn on it: tables and colours."""

from rich.console import Console

OUT = Console(soft_wrap=False, highlight=False)
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
