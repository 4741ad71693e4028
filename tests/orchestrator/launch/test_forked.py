"""Jobs from a standby process keep the promises of jobs that start by themselves."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.errors import UNKNOWN_STATUS
from orchestrator.launch.forked import AnyJob, ForkedJob, Launcher
from orchestrator.launch.local import Job
from orchestrator.launch.slots import Slot
from orchestrator.processes import birth_of, find_members
from orchestrator.runs.folder import RunFolder
from tests.builders.own_jobs import own_job

SLOT = Slot("cpu0", {"OMP_NUM_THREADS": "1"})
FAKE_JOB = """\
import os, pathlib, signal, sys, time
def main(words):
    folder = pathlib.Path(words[0])
    what = (folder / "what").read_text()
    print(what, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    if what == "sleep":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
        (folder / "ready").touch()
        time.sleep(60)
    if what == "raise":
        raise RuntimeError("no such layer")
    return int(what)
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
"""A `model` without torch: it does what a file in the run folder says."""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A code tree with the fake job and the real standby process, but for torch."""
    folder = tmp_path / "code"
    (folder / "model" / "train").mkdir(parents=True)
    for package in (folder / "model", folder / "model" / "train"):
        (package / "__init__.py").touch()
    (folder / "model" / "__main__.py").write_text(FAKE_JOB)
    real = (Path(__file__).parents[3] / "model" / "standby.py").read_text()
    # Instead of a warm-up it notes its arguments.
    note = '    open("words", "w").write(" ".join(sys.argv[1:]))\n'
    fake = real.replace("import torch\n", "").replace('    warm_up(for_gpu="--gpu" in sys.argv)\n', note)
    (folder / "model" / "standby.py").write_text(fake)
    shutil.copy(Path(__file__).parents[3] / "model" / "endings.py", folder / "model" / "endings.py")
    (folder / "model" / "train" / "own_code.py").write_text("def require_own_code():\n    pass\n")
    return folder


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def build_folder(tmp_path: Path) -> Callable[[str], RunFolder]:
    def build(what: str) -> RunFolder:
        folder = RunFolder(tmp_path / f"run-{what}-{len(list(tmp_path.iterdir()))}")
        folder.path.mkdir()
        (folder.path / "what").write_text(what)
        return folder

    return build


def start(launcher: Launcher, folder: RunFolder, code: Path, code_hash: str, slot: Slot) -> AnyJob:
    return launcher.start(folder, own_job(folder, code, slot, code_hash), slot)


def wait(job: AnyJob) -> int:
    deadline = time.monotonic() + 60
    while (status := job.exit_status()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return status


def wait_until_ready(job: AnyJob, folder: RunFolder) -> None:
    deadline = time.monotonic() + 60
    while not (folder.path / "ready").exists():
        assert job.exit_status() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


FolderBuilder = Callable[[str], RunFolder]


def test_jobs_of_one_code_share_a_standby_process(code: Path, launcher: Launcher, build_folder: FolderBuilder) -> None:
    jobs = [start(launcher, build_folder(what), code, "hash", SLOT) for what in ("0", "1", "3")]
    assert [wait(job) for job in jobs] == [0, 1, 3]
    assert all(isinstance(job, ForkedJob) for job in jobs)
    assert len({psutil.Process().pid, *(job.pid for job in jobs)}) == 4
    assert len(launcher._standbys) == 1


def test_other_code_or_other_threads_have_a_standby_process_of_their_own(
    code: Path, launcher: Launcher, build_folder: FolderBuilder
) -> None:
    for code_hash, slot in (("a", SLOT), ("b", SLOT), ("a", Slot("cpu1", {"OMP_NUM_THREADS": "2"}))):
        assert wait(start(launcher, build_folder("0"), code, code_hash, slot)) == 0
    assert len(launcher._standbys) == 3


def test_waiting_ends_with_a_job_and_without_one_after_its_seconds(
    code: Path, launcher: Launcher, build_folder: FolderBuilder
) -> None:
    started = time.monotonic()
    launcher.wait(0.05)
    assert time.monotonic() - started >= 0.05
    job = start(launcher, build_folder("3"), code, "c0de", SLOT)
    # It may have ended before its start was even told.
    while (status := job.exit_status()) is None:
        launcher.wait(60.0)
    assert status == 3
    assert time.monotonic() - started < 50


def test_a_gpu_is_the_jobs_own(code: Path, launcher: Launcher, build_folder: FolderBuilder) -> None:
    for gpu in ("0", "3"):
        folder = build_folder("0")
        wait(start(launcher, folder, code, "hash", Slot("gpu", {**SLOT.environment, "CUDA_VISIBLE_DEVICES": gpu})))
        assert folder.log.read_text() == f"0 {gpu}\n"
    assert len(launcher._standbys) == 1
    assert (code / "words").read_text() == "--gpu"


def test_a_job_on_a_cpu_imports_nothing_for_gpus(code: Path, launcher: Launcher, build_folder: FolderBuilder) -> None:
    wait(start(launcher, build_folder("0"), code, "hash", SLOT))
    assert (code / "words").read_text() == ""


def test_what_a_job_raises_stands_in_its_log(code: Path, launcher: Launcher, build_folder: FolderBuilder) -> None:
    folder = build_folder("raise")
    assert wait(start(launcher, folder, code, "hash", SLOT)) == 1
    assert "RuntimeError: no such layer" in folder.log.read_text()


@pytest.mark.parametrize(("stop", "status"), [("ask_to_stop", 130), ("kill", -signal.SIGKILL)])
def test_a_job_is_stopped_or_killed(
    code: Path, launcher: Launcher, build_folder: FolderBuilder, stop: str, status: int
) -> None:
    folder = build_folder("sleep")
    job = start(launcher, folder, code, "hash", SLOT)
    wait_until_ready(job, folder)
    assert job.exit_status() is None
    getattr(job, stop)()
    assert wait(job) == status
    assert birth_of(job.pid) is None


def test_jobs_go_on_when_the_standby_process_dies_and_the_next_has_a_new_one(
    code: Path, launcher: Launcher, build_folder: FolderBuilder
) -> None:
    folder = build_folder("sleep")
    job = start(launcher, folder, code, "hash", SLOT)
    wait_until_ready(job, folder)
    (standby,) = launcher._standbys.values()
    os.killpg(standby._process.pid, signal.SIGKILL)
    standby._process.wait()
    assert job.exit_status() is None
    assert wait(start(launcher, build_folder("0"), code, "hash", SLOT)) == 0
    job.kill()
    assert job.exit_status() is not None


def test_where_the_standby_process_cannot_start_jobs_start_by_themselves(
    code: Path, launcher: Launcher, build_folder: FolderBuilder
) -> None:
    (code / "model" / "standby.py").write_text("raise SystemExit('torch is not installed')\n")
    job = start(launcher, build_folder("3"), code, "hash", SLOT)
    assert wait(job) == 3
    assert isinstance(job._ordinary, Job)


def test_closing_leaves_no_process_behind(code: Path, tmp_path: Path, build_folder: FolderBuilder) -> None:
    launcher = Launcher()
    wait(start(launcher, build_folder("0"), code, "hash", SLOT))
    (standby,) = launcher._standbys.values()
    launcher.close()
    assert birth_of(standby._process.pid) is None


def test_starting_a_job_waits_for_nobody(code: Path, launcher: Launcher, build_folder: FolderBuilder) -> None:
    """The standby process may be stopped by a person, or still import: heartbeats and guards must go on."""
    wait(start(launcher, build_folder("0"), code, "hash", SLOT))
    (standby,) = launcher._standbys.values()
    os.kill(standby._process.pid, signal.SIGSTOP)
    job = start(launcher, build_folder("3"), code, "hash", SLOT)
    assert (job.exit_status(), job.pid) == (None, None)
    os.kill(standby._process.pid, signal.SIGCONT)
    assert wait(job) == 3


def test_a_job_whose_standby_process_stays_stopped_starts_by_itself(
    code: Path, launcher: Launcher, build_folder: FolderBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait(start(launcher, build_folder("0"), code, "hash", SLOT))
    (standby,) = launcher._standbys.values()
    os.kill(standby._process.pid, signal.SIGSTOP)
    monkeypatch.setattr("orchestrator.launch.forked.START_SECONDS", 0.0)
    assert wait(start(launcher, build_folder("3"), code, "hash", SLOT)) == 3


@pytest.mark.parametrize("what", ["ask_to_stop", "kill"])
def test_a_job_that_has_not_started_is_not_started_once_it_is_to_end(
    code: Path, launcher: Launcher, build_folder: FolderBuilder, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    wait(start(launcher, build_folder("0"), code, "hash", SLOT))
    (standby,) = launcher._standbys.values()
    os.kill(standby._process.pid, signal.SIGSTOP)
    folder = build_folder("sleep")
    job = start(launcher, folder, code, "hash", SLOT)
    getattr(job, what)()
    monkeypatch.setattr("orchestrator.launch.forked.START_SECONDS", 0.0)
    assert job.exit_status() == UNKNOWN_STATUS
    assert not standby.is_alive()
    assert not (folder.path / "ready").exists()


@pytest.mark.parametrize(("what", "status"), [("3", 3), ("sleep", -signal.SIGKILL)])
def test_how_a_job_ended_is_read_from_the_system_where_its_standby_process_is_stopped(
    code: Path, launcher: Launcher, build_folder: FolderBuilder, what: str, status: int
) -> None:
    first, folder = start(launcher, build_folder("sleep"), code, "hash", SLOT), build_folder("late")
    wait_until_ready(first, first.folder)
    (folder.path / "what").write_text(what)
    (standby,) = launcher._standbys.values()
    job = start(launcher, folder, code, "hash", SLOT)
    while job.pid is None:
        job.exit_status()
    os.kill(standby._process.pid, signal.SIGSTOP)
    if what == "sleep":
        job.kill()
    if job.exit_status() is None or what == "sleep":
        assert wait(job) == status
    first.kill()
    assert birth_of(first.pid) is None


def test_what_has_left_a_jobs_group_ends_with_the_job(
    code: Path, launcher: Launcher, build_folder: FolderBuilder
) -> None:
    daemon = "import subprocess, sys; subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    main = code / "model" / "__main__.py"
    main.write_text(main.read_text().replace("    folder = pathlib", f"    {daemon}    folder = pathlib", 1))
    folder = build_folder("sleep")
    job = start(launcher, folder, code, "hash", SLOT)
    wait_until_ready(job, folder)
    (daemon_process,) = find_members(folder.path, folder.lock, None)
    job.kill()
    deadline = time.monotonic() + 10
    while daemon_process.is_alive:
        assert time.monotonic() < deadline
