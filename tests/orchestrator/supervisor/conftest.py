"""A run of a stranger's command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.supervised import Stranger, a_stranger


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    with a_stranger(tmp_path) as found:
        yield found
