"""`init` as a function: it writes one file."""

from pathlib import Path

import orchestrator
from orchestrator.api.init import InitOptions, init


def test_a_notebook_has_it_and_it_writes_one_file(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("echo loss: 1\n")
    written = orchestrator.init(tmp_path / "train.sh", tmp_path / "a.yaml", orchestrator.InitOptions(is_static=True))
    assert (orchestrator.init, orchestrator.InitOptions) == (init, InitOptions)
    assert written.file == tmp_path / "a.yaml"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "train.sh"]
