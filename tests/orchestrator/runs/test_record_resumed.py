"""Which runs are marked as resumed: those whose last attempt went on from a checkpoint."""

from pathlib import Path

import pytest

from orchestrator.runs.folder import RunFolder
from orchestrator.runs.record import read_is_resumed

FRESH, GOES_ON = '{"number":1,"checkpoint":null}\n', '{"number":2,"checkpoint":"out/last.pt"}\n'


@pytest.mark.parametrize(
    ("lines", "is_resumed"),
    [
        (None, False),
        ("", False),
        (FRESH, False),
        (FRESH + GOES_ON, True),
        (FRESH + GOES_ON + '{"number":3,"checkpo', True),
        (GOES_ON + FRESH, False),
    ],
)
def test_the_last_whole_line_of_the_attempts_tells(lines: str | None, is_resumed: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    if lines is not None:
        folder.attempts.write_text(lines)
    assert read_is_resumed(folder) is is_resumed
