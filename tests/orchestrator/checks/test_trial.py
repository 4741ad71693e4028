"""One attempt under the supervisor, and what is seen of it while it runs."""

import os
import sys
import time
from pathlib import Path

import pytest

from orchestrator.checks.observed import parse_heard
from orchestrator.checks.opened import Opened
from orchestrator.checks.trial import find_child, list_open, read_heard, watch_attempt
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.members import list_members
from orchestrator.supervisor.launch_file import LaunchFile, Resume


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run-s0").mkdir()
    (tmp_path / "checkout").mkdir()
    return RunFolder(tmp_path / "run-s0")


def launch(tmp_path: Path, script: str, *words: str, resume: Resume | None = None) -> LaunchFile:
    command = (sys.executable, "-S", "-c", script, *words)
    environment = {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
    return LaunchFile(
        checkout=str(tmp_path / "checkout"), arguments=command, environment=environment, resume=resume, outputs=("out",)
    )


def test_the_log_is_seen_to_grow(folder: RunFolder, tmp_path: Path) -> None:
    script = "import time\nfor one in range(3): time.sleep(0.2); print('line', one)\ntime.sleep(0.2)"
    watched = watch_attempt(folder, launch(tmp_path, script))
    assert watched.status == 0
    sizes = [look.num_bytes for look in watched.growth]
    # On a busy machine two lines may come between two looks.
    assert sizes[-1] == 21
    assert len(sizes) >= 2
    times = [look.at_seconds for look in watched.growth]
    assert times == sorted(times)
    assert times[0] < 0.9 * watched.end_seconds


def test_files_that_stay_open_are_seen_where_no_python_tells(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_text("1")
    (tmp_path / "checkout" / "train.sh").write_text(f"exec 5<{tmp_path}/data.bin\nexec 6>own.txt\nsleep 0.8\n")
    shell = LaunchFile(
        checkout=str(tmp_path / "checkout"), arguments=("sh", "train.sh"), environment={"PYTHONPATH": ""}
    )
    watched = watch_attempt(folder, shell)
    held = [one.path for one in watched.held if one.path.startswith(str(tmp_path))]
    assert str(tmp_path / "data.bin") in held
    assert str(tmp_path / "checkout" / "own.txt") not in held
    assert read_heard(folder) == []


def test_a_run_that_is_asked_to_stop_goes_on(folder: RunFolder, tmp_path: Path) -> None:
    script = (
        "import sys, time\nopen('out/ckpt', 'w').write('x')\nprint('from', *sys.argv[1:])\n"
        "time.sleep(0 if sys.argv[1:] else 60)"
    )
    again = launch(tmp_path, script, "checkpoint")
    resume = Resume(when="out/ckpt", arguments=again.arguments)
    first = watch_attempt(folder, launch(tmp_path, script, resume=resume), stop_seconds=0.4)
    assert folder.read_result() is None
    assert first.end_seconds >= 0.4
    second = watch_attempt(folder, launch(tmp_path, script, resume=resume))
    assert second.num_bytes_before >= len("from\n")
    result = folder.read_result()
    assert result is not None
    assert result.state == "done"
    assert "from checkpoint" in folder.log.read_text()


def test_nothing_outlives_an_interruption(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(folder: RunFolder) -> list[Opened]:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.checks.trial.list_open", interrupt)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        watch_attempt(folder, launch(tmp_path, "import time; time.sleep(60)"))
    assert time.monotonic() - begun < 30
    assert list_members(folder) == []


def test_what_pythons_tell_is_read(folder: RunFolder) -> None:
    (folder.path / "opened.txt").write_bytes(b"r\t/a\xff\n")
    assert parse_heard(read_heard(folder)).opened == (Opened("read", "/a\udcff"),)


def test_open_files_of_this_process_are_read_ones_alone(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "read.txt").write_text("")
    with (tmp_path / "read.txt").open(), (tmp_path / "write.txt").open("w"):
        found = list_open(folder, lambda _: [os.getpid(), 2**22 + 1])
    assert Opened("read", str(tmp_path / "read.txt")) in found
    assert Opened("read", str(tmp_path / "write.txt")) not in found


def test_a_process_without_children_has_none() -> None:
    assert find_child(2**22 + 1) is None
