"""One folder or row that cannot be read keeps no command from all the others: `waiting`, `rebuild`, `queueing`."""

import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.processes import Process, own_place
from orchestrator.queue.store import open_store
from orchestrator.runs.states import RunState
from tests.builders.strangers import as_nobody, denied, open_to_all

BAD, WAITS, FAILED = "E5-s0-00000001", "E5-s1-00000001", "E5-s2-00000001"
COMMANDS = (
    ["status"],
    ["queue", "list"],
    ["stop"],
    ["retry", "--failed"],
    ["cancel", WAITS],
    ["rebuild"],
)


def be_a_file(folder: Path) -> None:
    folder.write_text("Finder's")


def be_a_dangling_link(folder: Path) -> None:
    folder.symlink_to("nowhere")


def be_a_loop(folder: Path) -> None:
    folder.symlink_to(folder.name)


def have_folders_for_files(folder: Path) -> None:
    for name in ("result.json", "order.json", "config.json"):
        (folder / name).mkdir(parents=True)


def have_a_folder_for_a_lock(folder: Path) -> None:
    (folder / "job.lock").mkdir(parents=True)


def have_another_versions_result(folder: Path) -> None:
    folder.mkdir()
    (folder / "result.json").write_text('{"format": 1, "state": "paused", "reason": "", "epochs": 1}')


def have_garbage(folder: Path) -> None:
    folder.mkdir()
    for name in ("result.json", "order.json", "config.json", "job.lock", "epochs.jsonl"):
        (folder / name).write_bytes(b"\xff\xfe\0" * 9)


KINDS: list[Callable[[Path], None]] = [
    be_a_file,
    be_a_dangling_link,
    be_a_loop,
    have_folders_for_files,
    have_a_folder_for_a_lock,
    have_another_versions_result,
    have_garbage,
]


@pytest.fixture
def gone() -> dict[str, Any]:
    """A worker of this machine that has ended."""
    pid = int(subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout)
    return {"host": Process.own().host, "pid": pid, "born": f"{own_place()}/1"}


@pytest.fixture
def queued(study: Any, gone: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose worker is gone, one that waits, and one that failed; the first has no folder yet."""
    monkeypatch.chdir(study.paths.root)
    study.queue(BAD, "running", attempt=1, **gone)
    study.queue(WAITS)
    study.queue(FAILED, "failed", failure="crashed")
    study.paths.runs.mkdir()
    return study


def say_all(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Give every command; return what it said."""
    said = {}
    for words in COMMANDS:
        status = main(words)
        printed = capsys.readouterr()
        said[words[0]] = printed.out + printed.err
        assert status == 0, said[words[0]]
    return said


@pytest.mark.parametrize("spoil", KINDS)
def test_a_folder_that_cannot_be_read_keeps_no_command_from_the_others(
    queued: Any, spoil: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(queued.paths.runs / BAD)
    said = say_all(capsys)
    assert all(run_id in said["status"] for run_id in (BAD, WAITS, FAILED))
    assert f"{WAITS} is cancelled" in said["cancel"]
    assert f"left out: {queued.paths.runs / BAD}: " in said["rebuild"]


def test_files_that_are_no_runs_are_told_by_rebuild_alone(queued: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (queued.paths.runs / ".DS_Store").write_text("Finder's")
    said = say_all(capsys)
    assert f"left out: {queued.paths.runs / '.DS_Store'}: this is a file, and no run folder" in said["rebuild"]
    assert "DS_Store" not in said["status"] + said["stop"]


def test_a_row_of_another_version_is_told_once_by_every_command(
    queued: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    queued.queue("H2-s0-00000001", state="queued")
    store = open_store(queued.paths)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET state = 'paused' WHERE id = 'H2-s0-00000001'")
    store.close()
    said = say_all(capsys)
    for command in ("status", "queue", "retry", "cancel"):
        assert said[command].count("the row of 'H2-s0-00000001' cannot be read") == 1
        assert "`knockout rebuild` makes the queue again" in said[command]


@pytest.fixture
def shared(queued: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its results, where another user may go."""
    # Loaded now: that user may not be allowed to read where Python lies.
    for module in ("queue", "control", "maintenance"):
        importlib.import_module(f"orchestrator.cli.{module}")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder) / "study"
        shutil.copytree(queued.paths.root, root, symlinks=True)
        Path(folder).chmod(0o755)
        (root / "results" / "runs" / BAD).mkdir()
        open_to_all(root)
        monkeypatch.chdir(root)
        yield root


def test_a_colleagues_folder_keeps_nobody_from_the_rest(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with denied(shared / "results" / "runs" / BAD):
        said = say_all(capsys)
        assert all(run_id in said["status"] for run_id in (BAD, WAITS, FAILED))
        assert "Permission denied" in said["status"]
        assert f"left out: {shared / 'results' / 'runs' / BAD}: this run folder cannot be read: " in said["rebuild"]


@pytest.mark.parametrize("what", ["results", "results/runs", "results/knockout.db"])
def test_what_a_colleague_keeps_to_himself_is_named_in_a_sentence(
    shared: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with denied(shared / what):
        for words in COMMANDS:
            status = main(words)
            said = capsys.readouterr()
            assert status in (0, 2), said
            assert status == 0 or str(shared / "results") in said.err


def test_a_queue_that_cannot_be_written_is_listed_as_it_is(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = shared / "results" / "knockout.db"
    database.chmod(0o444)
    (shared / "results").chmod(0o555)
    with as_nobody():
        assert main(["status"]) == 0
        said = capsys.readouterr().out
        assert all(run_id in said for run_id in (BAD, WAITS, FAILED))
        assert main(["queue", "list"]) == 0
        capsys.readouterr()
        for words in (["stop"], ["cancel", WAITS], ["retry", "--failed"], ["rebuild"]):
            assert main(words) == 2
            assert "give the user who runs Knockout the right to" in capsys.readouterr().err
    (shared / "results").chmod(0o777)


def test_runs_that_can_be_read_are_queued_beside_one_that_cannot(study: Any) -> None:
    ids = study.add("H2")
    folder = study.paths.run(ids[0]).path
    shutil.rmtree(folder)
    have_folders_for_files(folder)
    store = open_store(study.paths)
    store.forget(ids)
    store.close()
    assert study.add("H2") == ids
    store = open_store(study.paths)
    assert [(row.id, row.state) for row in store.runs()] == [(run_id, RunState.QUEUED) for run_id in ids[1:]]
    store.close()
