"""Jobs forked from a process that has everything imported."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.endings import AWAY, HELD
from model.standby import warm_up
from model.train.run_folder import RunFolder
from tests.contract.job_lock import holder_of

ROOT = Path(__file__).parents[2]
FolderBuilder = Callable[..., RunFolder]


class Talk:
    """A conversation with a standby process."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "model.standby", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def ask(self, folder: RunFolder, captures: Path, *words: str, log: Path | None = None, **environment: str) -> None:
        request = {
            "words": [str(folder.path), "--data-folder", str(captures), *words],
            "folder": str(ROOT),
            "log": str(log or folder.log),
            "environment": environment,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def talk() -> Iterator[Talk]:
    talk = Talk()
    yield talk
    talk.process.stdin.close()
    talk.process.stdout.close()
    talk.process.wait(timeout=60)


def test_a_forked_job_gives_the_same_numbers_as_one_started_by_itself(
    talk: Talk, build_folder: FolderBuilder, finished: RunFolder, captures: Path
) -> None:
    folder = build_folder("forked")
    talk.ask(folder, captures)
    pid = talk.hear()["pid"]
    assert talk.hear() == {"pid": pid, "status": 0}
    ours, expected = (np.load(part.predictions, allow_pickle=False) for part in (folder, finished))
    assert all(np.array_equal(ours[name], expected[name]) for name in expected.files)
    assert "on cpu, from epoch 1" in folder.log.read_text()


def test_jobs_run_side_by_side_each_in_a_session_of_its_own(
    talk: Talk, build_folder: FolderBuilder, captures: Path
) -> None:
    folders = [build_folder(name, optim={"epochs": 500, "early_stopping": 500}) for name in ("one", "two")]
    pids = []
    for folder in folders:
        talk.ask(folder, captures)
        pids.append(talk.hear()["pid"])
    assert {os.getsid(pid) for pid in pids} == set(pids)
    while not all(folder.read_epochs() for folder in folders):
        time.sleep(0.01)
    assert [holder_of(folder).pid for folder in folders] == pids
    os.killpg(pids[0], signal.SIGKILL)
    assert talk.hear() == {"pid": pids[0], "status": -signal.SIGKILL}
    os.killpg(pids[1], signal.SIGTERM)
    assert talk.hear() == {"pid": pids[1], "status": 130}
    assert "asked to stop" in folders[1].log.read_text()
    assert [holder_of(folder) for folder in folders] == [None, None]


def test_a_mistake_ends_the_job_alone_and_stands_in_its_log(
    talk: Talk, build_folder: FolderBuilder, captures: Path
) -> None:
    folder = build_folder("broken")
    folder.config.unlink()
    talk.ask(folder, captures)
    pid = talk.hear()["pid"]
    assert talk.hear() == {"pid": pid, "status": 2}
    assert "there is no such file" in folder.log.read_text()
    talk.ask(build_folder("good"), captures)
    pid = talk.hear()["pid"]
    assert talk.hear() == {"pid": pid, "status": 0}


def test_a_job_outlives_the_process_that_forked_it(talk: Talk, build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder("orphan", optim={"epochs": 30})
    talk.ask(folder, captures)
    talk.hear()
    talk.process.kill()
    deadline = time.monotonic() + 60
    while folder.read_result() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert folder.read_result().state == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_job_goes_on_without_its_log_and_ends_alone_where_it_can_have_none_or_no_folder(
    talk: Talk, build_folder: FolderBuilder, captures: Path
) -> None:
    folder = build_folder("full")
    talk.ask(folder, captures, log=Path("/dev/full"))
    pid = talk.hear()["pid"]
    assert talk.hear() == {"pid": pid, "status": 0}
    assert folder.read_result().state == "done"
    talk.ask(build_folder("nowhere"), captures, log=Path("/nowhere/train.log"))
    pid = talk.hear()["pid"]
    assert talk.hear() == {"pid": pid, "status": AWAY}
    held = build_folder("held")
    with held.hold():
        talk.ask(held, captures)
        pid = talk.hear()["pid"]
        assert talk.hear() == {"pid": pid, "status": HELD}
    assert f"process {os.getpid()} on " in held.log.read_text()
    assert held.read_epochs() == []


def test_what_is_there_before_the_first_fork_is_never_collected_again() -> None:
    warm_up()
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    assert frozen > 10_000


SHOW_WARM_PROCESS = """
import json, os, sys
from model.standby import KERNEL_MODULES, warm_up
warm_up(for_gpu=True)
import torch
print(json.dumps({
    "missing": [name for name in KERNEL_MODULES if name not in sys.modules],
    "threads": len(os.listdir("/proc/self/task")),
    "has_kernels": "fla" in sys.modules,
    "has_started_cuda": torch.cuda.is_initialized(),
}))
"""


def test_a_standby_for_gpus_has_imported_what_kernels_need_and_can_still_fork() -> None:
    command = [sys.executable, "-W", "ignore", "-c", SHOW_WARM_PROCESS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    expected = {"missing": [], "threads": 1, "has_kernels": False, "has_started_cuda": False}
    assert json.loads(told) == expected


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_jobs_that_a_standby_for_gpus_forks_train_on_the_gpu(build_folder: FolderBuilder, captures: Path) -> None:
    talk = Talk("--gpu")
    try:
        for name in ("one", "two"):
            # The heads are the paper's, so that a later training of the paper's network finds its kernels chosen.
            model = {"dim": 512, "depth": 1, "num_heads": 8, "head_dim": 64}
            folder = build_folder(name, model=model, runtime={"precision": "fp16"})
            talk.ask(folder, captures)
            pid = talk.hear()["pid"]
            assert talk.hear() == {"pid": pid, "status": 0}, folder.log.read_text()
            assert "on cuda, from epoch 1" in folder.log.read_text()
    finally:
        talk.process.stdin.close()
        talk.process.wait(timeout=60)
        talk.process.stdout.close()
