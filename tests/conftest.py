"""The longest tests begin first, so that no process is left alone with them at the end."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
LONG = (ROOT, ROOT / "faults")
"""Folders of tests that train for real, or kill what does."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them in front, in whatever order they have."""
    items.sort(key=lambda item: item.path.parent not in LONG)
