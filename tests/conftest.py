"""The longest tests begin first, so that no process is left alone with them at the end; all can be interrupted."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
LONG = (ROOT / "flows", ROOT / "faults")
"""Folders of tests that train for real, or kill what does."""

# A shell starts `make test &` with interrupts ignored, and what is started from here inherits that: tests that
# interrupt would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them in front, in whatever order they have."""
    items.sort(key=lambda item: item.path.parent not in LONG)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Signals to leave that are not ignored, whoever started the tests: `nohup` ignores a closed terminal."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
