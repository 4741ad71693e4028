"""Attempts: how they are written down, where they go on, and what their command sees."""

import os
from pathlib import Path

import pytest

from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor.attempts import (
    Attempt,
    append_attempt,
    build_environment,
    command_of,
    find_newest,
    read_attempts,
    spent_seconds,
)
from orchestrator.supervisor.launch_file import CHECKPOINT, LaunchFile, Resume
from orchestrator.task.command import Places, build_launch
from orchestrator.task.spec import parse_task

FIRST = Attempt(number=1, checkout="/co", log_bytes=0, begun_epoch_seconds=100.0, spent_seconds=7.0)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run[1]").mkdir()
    return RunFolder(tmp_path / "run[1]")


def touch(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (seconds, seconds))
    return path


def test_they_are_read_as_they_were_written_and_half_a_line_is_left_out(folder: RunFolder) -> None:
    assert read_attempts(folder.attempts) == []
    append_attempt(folder.attempts, FIRST)
    with folder.attempts.open("a") as file:
        file.write('{"number": 2, "che')
    append_attempt(folder.attempts, FIRST)
    assert read_attempts(folder.attempts) == [FIRST, FIRST]


class TestNewest:
    def test_the_newest_counts_and_of_equals_the_largest_number(self, folder: RunFolder, tmp_path: Path) -> None:
        touch(tmp_path / "co" / "step-30.ckpt", 1)
        touch(tmp_path / "co" / "step-9.ckpt", 2)
        wanted = touch(tmp_path / "co" / "step-10.ckpt", 2)
        assert find_newest("*.ckpt", tmp_path / "co", folder) == wanted
        assert find_newest("step-9.ckpt", tmp_path / "co", folder) == tmp_path / "co" / "step-9.ckpt"

    def test_outputs_count_as_part_of_the_checkout(self, folder: RunFolder, tmp_path: Path) -> None:
        wanted = touch(folder.outputs / "out" / "v" / "a.ckpt", 1)
        assert find_newest("out/**/*.ckpt", tmp_path / "co", folder) == wanted

    def test_an_absolute_glob_may_lie_in_a_folder_with_signs_in_its_name(
        self, folder: RunFolder, tmp_path: Path
    ) -> None:
        wanted = touch(folder.path / "checkpoints" / "a.ckpt", 1)
        assert find_newest(f"{folder.path}/checkpoints/*.ckpt", tmp_path / "co", folder) == wanted
        assert find_newest("/no/such/*.ckpt", tmp_path / "co", folder) is None


def test_the_checkpoint_is_put_into_arguments_and_variables() -> None:
    resume = Resume(when="a", arguments=("t", f"--from={CHECKPOINT}"), environment={"FROM": CHECKPOINT})
    launch = LaunchFile(checkout="/co", arguments=("t",), environment={"A": "1", "FROM": ""}, resume=resume)
    assert command_of(launch, None) == (("t",), {"A": "1", "FROM": ""})
    assert command_of(launch, "/x y") == (("t", "--from=/x y"), {"A": "1", "FROM": "/x y"})


def test_a_task_gives_the_command_of_both_starts() -> None:
    keys = {
        "command": ["python", "train.py", "{params}", "{resume}"],
        "code": ["train.py"],
        "resume": {"when": "out/*.pt", "arguments": ["--ckpt={checkpoint}"]},
    }
    task = parse_task(keys)
    fresh, again = (
        build_launch(task, {"lr": 0.1}, 7, Places(run_folder="/run", checkpoint=text)) for text in ("", CHECKPOINT)
    )
    assert task.resume is not None
    resume = Resume(when=task.resume.when, arguments=again.arguments, environment=again.environment)
    launch = LaunchFile(
        checkout="/co", arguments=fresh.arguments, environment=fresh.environment, files=fresh.files, resume=resume
    )
    assert command_of(launch, None)[0] == ("python", "train.py", "--lr=0.1")
    assert command_of(launch, "/co/out/a.pt")[0] == ("python", "train.py", "--lr=0.1", "--ckpt=/co/out/a.pt")


@pytest.mark.parametrize(
    ("attempts", "modified", "wanted"),
    [([], 5.0, 0.0), ([FIRST], 130.0, 37.0), ([FIRST], 1.0, 7.0), ([FIRST], None, 7.0)],
)
def test_an_attempt_took_until_its_log_grew_last(
    attempts: list[Attempt], modified: float | None, wanted: float
) -> None:
    assert spent_seconds(attempts, modified) == wanted


def test_the_mark_overrides_everything_and_hidden_variables_are_left_out() -> None:
    launch = LaunchFile(checkout="/co", arguments=("t",), hidden=("SLURM_*", "A"), shown=("SLURM_NODE*",))
    inherited = {"SLURM_JOB_ID": "1", "SLURM_NODEID": "2", "A": "3", "B": "4", "PWD": "/home"}
    seen = build_environment(inherited, launch, {"KNOCKOUT_RUN": "x", "C": "5"}, {"KNOCKOUT_RUN": "mark"})
    assert seen == {"SLURM_NODEID": "2", "B": "4", "C": "5", "PWD": "/co", "KNOCKOUT_RUN": "mark"}
