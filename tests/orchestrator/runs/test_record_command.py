"""The command line of a run is read from `launch.json`, as it ran and wherever it lies."""

import json
from pathlib import Path

from orchestrator.runs.paths import Paths
from orchestrator.runs.record import read_command


def test_words_of_a_command_are_those_that_ran_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    folder = Paths(tmp_path / "study").run("fast-s0-01234567")
    folder.path.mkdir(parents=True)
    words = [
        f"{tmp_path}/study/.venv/bin/python",
        f"{tmp_path}/cache/fast-s0-01234567/train.py",
        "--rate=0.1",
        f"--out={folder.path}/out",
        "/data/points",
    ]
    launch = {"arguments": words, "checkout": f"{tmp_path}/cache/fast-s0-01234567", "format": 1}
    folder.launch.write_text(json.dumps(launch))
    assert read_command(folder) == (
        *(".venv/bin/python", "train.py", "--rate=0.1", "--out=results/runs/fast-s0-01234567/out"),
        "/data/points",
    )


def test_a_folder_without_a_command_has_no_words(tmp_path: Path) -> None:
    folder = Paths(tmp_path).run("fast-s0-01234567")
    folder.path.mkdir(parents=True)
    assert read_command(folder) == ()
    folder.launch.write_text('{"arguments": "train')
    assert read_command(folder) == ()
