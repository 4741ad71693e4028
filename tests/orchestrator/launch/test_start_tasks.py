"""What is kept of runs whose worker died, and with which references a stranger's run is compared."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.code.checkouts import Checkouts
from orchestrator.launch.forked import Launcher
from orchestrator.launch.guards import Pace
from orchestrator.launch.probing import References
from orchestrator.launch.start import clean_checkouts
from orchestrator.reading.progress import Row, encode_row
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.order import GuardSpec, read_order
from orchestrator.supervisor.attempts import Attempt, append_attempt
from tests.builders.task_runs import TaskYard, a_task_yard

TASK = {"command": ["python", "train.py"], "outputs": ["last.pt"]}


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskYard]:
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    with a_task_yard(tmp_path, Launcher(), {"train.py": ""}) as yard:
        yield yard


def leave_checkout(folder: RunFolder, checkout: Path) -> Path:
    """Leave a checkout as a killed worker does: the script has replaced the link of its output by a file."""
    checkout.mkdir()
    (checkout / "last.pt").write_text("seven steps")
    append_attempt(folder.attempts, Attempt(number=1, checkout=str(checkout), log_bytes=0, begun_epoch_seconds=0.0))
    return checkout


def test_what_a_run_wrote_beside_its_code_is_kept_before_its_checkout_goes(yard: TaskYard, tmp_path: Path) -> None:
    folder = yard.queue("a", TASK)
    checkout = leave_checkout(folder, tmp_path / "left")
    assert clean_checkouts(yard.paths, Checkouts(yard.paths)) == []
    assert (folder.outputs / "last.pt").read_text() == "seven steps"
    assert not (checkout / "last.pt").exists()


def test_a_run_that_has_ended_or_is_under_way_is_left_alone(yard: TaskYard, tmp_path: Path) -> None:
    ended, held = yard.queue("a", TASK), yard.queue("b", TASK)
    ended.write_result(Result(state="done", reason="all epochs trained", epochs=1))
    for folder in (ended, held):
        leave_checkout(folder, tmp_path / f"left-{folder.path.name}")
    with held.hold():
        clean_checkouts(yard.paths, Checkouts(yard.paths))
    assert not ended.outputs.exists()
    assert not held.outputs.exists()


def train(folder: RunFolder, host: str, gpu: str | None = None) -> None:
    """Write the epochs of a run, a second each, and the machine that it was trained on."""
    folder.provenance.write_text(json.dumps({"host": host, "environment": {"gpu": gpu, "python": "3.11"}}))
    rows = [Row(step=float(step), values={"loss": 1.0}, at_seconds=float(step), attempt=1) for step in range(1, 6)]
    folder.progress.write_bytes(b"".join(map(encode_row, rows)))


@pytest.mark.parametrize(
    ("host", "gpu", "wanted"),
    [("here", None, Pace(seconds=1.0, cpu_seconds=None)), ("there", None, None), ("here", "H100", None)],
)
def test_a_run_that_cannot_be_timed_is_compared_with_references_of_the_same_device(
    yard: TaskYard, host: str, gpu: str | None, wanted: Pace | None
) -> None:
    reference = yard.queue("base", TASK)
    folder = yard.queue("a", TASK, guards=GuardSpec(relative_to_reference=2.0), references=(reference.path.name,))
    order = read_order(folder)
    train(folder, "here")
    train(reference, host, gpu)
    references = References(yard.paths, Checkouts(yard.paths))
    assert references.pace_of(order)() == wanted
    assert references.probe_of(order) is None
