"""`check` as a function: what it returns, and what it counts."""

from pathlib import Path

import orchestrator
from orchestrator.api.check import CheckOptions, check
from tests.builders.checked import Checking


def test_a_notebook_has_it_and_gets_values(tmp_path: Path) -> None:
    mine = Checking(tmp_path)
    mine.write({"train.sh": 'echo "loss: $1.5"\n'})
    mine.campaign({"command": "[sh, train.sh, '{seed}']", "code": "[train.sh]"})
    told: list[str] = []
    checked = orchestrator.check(mine.file, orchestrator.CheckOptions(), told.append)
    assert (orchestrator.check, orchestrator.CheckOptions) == (check, CheckOptions)
    assert checked.status == 0
    assert "sh train.sh 0" in checked.findings[0].text
    assert len(told) == 3
