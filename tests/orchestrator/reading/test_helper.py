"""The orchestrator's side of the helper says the same names as the helper itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import knockout
from orchestrator.processes import run_mark
from orchestrator.reading import helper
from orchestrator.reading.helper import place_helper, run_variables, scores_file
from orchestrator.reading.items import read_items
from orchestrator.reading.metrics import read_metric
from orchestrator.reading.sources import ItemTable, ReportedSource

SCRIPT = """
import sys, knockout
run = knockout.current()
run.log(1, loss=0.5)
run.metric(acc=run.params["lr"] * run.seed)
run.scores("test", key=["a", "b"], hit=[True, False])
print(run.id, [name for name in sys.modules if name.split(".")[0] in ("orchestrator", "model")])
"""


def test_both_sides_say_the_same_names() -> None:
    assert helper.VARIABLES == knockout.VARIABLES
    assert (helper.REPORTED, helper.SCORES, helper.CHECKPOINTS) == (
        knockout.REPORTED,
        knockout.SCORES,
        knockout.CHECKPOINTS,
    )


def test_a_script_finds_the_helper_alone_and_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "E5-s3-0123abcd"
    folder.mkdir()
    params = tmp_path / "params.json"
    params.write_text(json.dumps({"lr": 0.25}))
    given = place_helper(tmp_path / "given")
    variables = run_variables(folder, run_mark(folder), 3, params)
    done = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, **variables, "PYTHONPATH": str(given)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "E5-s3-0123abcd []\n"
    assert read_metric("acc", ReportedSource(path=folder / helper.REPORTED, name="acc")).value == 0.75
    found = read_items("test", ItemTable(path=scores_file(folder, "test"), key=("key",), columns=("hit",)))
    assert (found.keys_B.tolist(), found.columns["hit"].tolist()) == (["a", "b"], [1.0, 0.0])


def test_the_helper_is_written_once(tmp_path: Path) -> None:
    place = place_helper(tmp_path) / "knockout" / "__init__.py"
    before = place.stat()
    place_helper(tmp_path)
    assert place.stat() == before
    place.write_text("old")
    place_helper(tmp_path)
    assert place.read_bytes() == helper.HELPER.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["knockout"]
