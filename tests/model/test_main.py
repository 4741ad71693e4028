"""`python -m model`, called in this process; once in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from model.__main__ import main
from model.endings import AWAY, HELD
from model.train import job_lock
from model.train.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
FolderBuilder = Callable[..., RunFolder]
NOBODY = 65534


def files(folder: RunFolder) -> list[str]:
    """Name what is there but the lock, which a job takes before it reads anything."""
    return sorted(path.name for path in folder.path.iterdir() if path != folder.lock)


def test_a_job_is_done(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder(optim={"epochs": 1})
    command = [sys.executable, "-m", "model", str(folder.path), "--data-folder", str(captures), "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert folder.read_result().state == "done"


def test_a_check_tells_tokens_and_parameters_and_writes_nothing(
    build_folder: FolderBuilder, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_folder()
    assert main([str(folder.path), "--check", "--data-folder", str(captures)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["tokens"] == 12
    assert answer["parameters"] > 1000
    assert answer["problem"] is None
    assert list(folder.path.iterdir()) == [folder.config]


def test_a_check_tells_a_problem_and_writes_nothing(
    build_folder: FolderBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_folder()
    assert main([str(folder.path), "--check", "--data-folder", str(tmp_path)]) == 2
    assert "here.h5: the capture file is not there" in json.loads(capsys.readouterr().out)["problem"]
    assert files(folder) == ["config.json"]


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_a_folder_without_a_configuration_is_a_mistake_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main([str(tmp_path), *arguments]) == 2
    told = f"model: {tmp_path / 'config.json'}: there is no such file; a run folder holds a config.json\n"
    assert capsys.readouterr() == ("", told)
    assert files(RunFolder(tmp_path)) == []


@pytest.mark.parametrize("arguments", [["--check"], []])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"num_head": 2}}, "unknown field `num_head` - at `$.params.model`"),
        ({"optim": {"epochs": 0}}, "Expected `int` >= 1 - at `$.params.optim.epochs`"),
    ],
)
def test_a_wrong_configuration_is_a_mistake_that_is_told(
    build_folder: FolderBuilder,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    changes: dict[str, object],
    message: str,
) -> None:
    folder = build_folder(**changes)
    assert main([str(folder.path), *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"model: {folder.config}: ")
    assert message in told
    assert files(folder) == ["config.json"]


def test_a_torn_configuration_is_a_mistake_that_is_told(
    build_folder: FolderBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_folder()
    folder.config.write_bytes(folder.config.read_bytes()[:30])
    assert main([str(folder.path)]) == 2
    assert "truncated" in capsys.readouterr().err


def test_a_job_that_cannot_be_done_ends_as_rejected(
    build_folder: FolderBuilder, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_folder(runtime={"precision": "fp16"})
    assert main([str(folder.path), "--data-folder", str(captures), "--device", "cpu"]) == 2
    result = folder.read_result()
    assert (result.state, result.failure, result.epochs) == ("failed", "rejected", 0)
    assert result.reason.startswith("profile `tiny` trains in fp16, which needs a CUDA GPU, and this job has cpu")
    assert capsys.readouterr().err == f"model: {result.reason}\n"


def test_a_capture_that_is_not_there_leaves_the_run_to_go_on_later(
    build_folder: FolderBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_folder()
    assert main([str(folder.path), "--data-folder", str(tmp_path)]) == AWAY
    assert not folder.result.exists()
    assert "here.h5: the capture file is not there" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_cuda_where_there_is_none_ends_as_rejected(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder()
    assert main([str(folder.path), "--data-folder", str(captures), "--device", "cuda"]) == 2
    assert "there is no CUDA GPU here" in folder.read_result().reason


def test_a_job_changes_nothing_in_a_folder_that_another_job_holds_not_even_to_refuse(
    build_folder: FolderBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job_lock, "LOCK_SECONDS", 0.0)
    folder = build_folder()
    without_captures = ["--data-folder", str(tmp_path)]
    with folder.hold():
        before = folder.lock.read_bytes()
        assert main([str(folder.path), *without_captures]) == HELD
        assert (files(folder), folder.lock.read_bytes()) == (["config.json"], before)
    assert f"process {os.getpid()} on " in capsys.readouterr().out
    assert main([str(folder.path), *without_captures]) == AWAY
    assert files(folder) == ["config.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_does_not_end_the_training(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder()
    command = [sys.executable, "-m", "model", str(folder.path), "--data-folder", str(captures), "--device", "cpu"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert folder.read_result().state == "done"


@pytest.fixture
def unwritable(build_folder: FolderBuilder) -> Iterator[RunFolder]:
    """Yield a run folder that this process may read and not write, also where root runs the tests."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = RunFolder(Path(shutil.copytree(build_folder().path, Path(name) / "run")))
        folder.path.chmod(0o555)
        os.seteuid(user or NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.path.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(
    unwritable: RunFolder, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(unwritable.path), "--data-folder", str(captures)]) == AWAY
    told = f"the system refused: {unwritable.lock}: Permission denied; run again to go on once that is mended\n"
    assert capsys.readouterr() == (told, "")
    assert list(unwritable.path.iterdir()) == [unwritable.config]
