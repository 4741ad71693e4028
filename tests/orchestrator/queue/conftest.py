"""What the tests of the queue share."""

from collections.abc import Iterator

import pytest

from orchestrator.queue.store import Store


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty queue, once in SQLite and once in PostgreSQL."""
    opened = Store(database_url)
    yield opened
    opened.close()
