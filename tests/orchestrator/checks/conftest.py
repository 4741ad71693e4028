"""A stranger's repository that is checked."""

from pathlib import Path

import pytest

from tests.builders.checked import Checking


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checking:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "digits").mkdir()
    return Checking(tmp_path / "digits")
