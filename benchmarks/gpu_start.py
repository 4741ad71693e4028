"""The start of a forked job: from the request to a standby until the job has trained an epoch of one step."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from model.config import CaptureConfig, DataConfig, JobConfig, encode_run
from model.speed import write_noise
from orchestrator.runs.folder import RunFolder

ROOT = Path(__file__).parents[1]
LOOK_SECONDS = 0.01


class Start(NamedTuple):
    """Seconds until the standby has imported everything, and from a request until the first epoch's record."""

    ready_seconds: float
    start_seconds: float


def one_step(config: JobConfig) -> JobConfig:
    """Return the job with one epoch of one batch, and as few bursts to validate and to report on as there can be."""
    devices = next(iter(config.data.captures.values())).devices
    packets = max(1, config.optim.batch_size // (devices[1] - devices[0]))
    captures = {
        name: CaptureConfig(path=f"{name}.npy", devices=devices, packets=(start, start + count))
        for name, start, count in (("train", 0, packets), ("validate", packets, 1), ("report", packets + 1, 1))
    }
    data = DataConfig(
        captures=captures,
        train=("train",),
        validate=("validate",),
        report=("report",),
        samples=config.data.samples,
        sample_rate_hz=config.data.sample_rate_hz,
    )
    optim = msgspec.structs.replace(config.optim, epochs=1, early_stopping=1)
    return msgspec.structs.replace(config, data=data, optim=optim)


def time_start(config: JobConfig, device_name: str) -> Start:
    """Start a standby, and then a job of one step.

    Raises:
        RuntimeError: the standby or the job ended before the first epoch; the text has the end of the job's log.
    """
    with tempfile.TemporaryDirectory() as name, started_standby(device_name) as standby:
        base = Path(name)
        small = one_step(config)
        data = write_noise(small.data, base)
        folder = RunFolder(base / "run")
        folder.path.mkdir()
        folder.config.write_bytes(encode_run(msgspec.structs.replace(small, data=data)))
        began = time.perf_counter()
        # A job that has no configuration ends at once. Its answer shows that the imports are done.
        standby.ask(RunFolder(base / "none"), base, base / "none.log", device_name)
        standby.hear()
        ready_seconds = time.perf_counter() - began
        asked = time.perf_counter()
        standby.ask(folder, base, folder.log, device_name)
        pid = standby.hear()
        try:
            _await_epoch(folder, pid)
            return Start(ready_seconds, time.perf_counter() - asked)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


class Standby:
    """A conversation with a standby process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def ask(self, folder: RunFolder, data_folder: Path, log: Path, device_name: str) -> None:
        """Ask for a job."""
        assert self.process.stdin is not None
        request = {
            "words": [str(folder.path), "--data-folder", str(data_folder), "--device", device_name],
            "folder": str(ROOT),
            "log": str(log),
            "environment": {},
        }
        self.process.stdin.write(msgspec.json.encode(request) + b"\n")
        self.process.stdin.flush()

    def hear(self) -> int:
        """Return the number of the next job that was forked; lines about jobs that ended are skipped."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = msgspec.json.decode(line)
            if "status" not in answer:
                return int(answer["pid"])
        raise RuntimeError("the standby process ended; `python -m model.standby` tells why")


@contextmanager
def started_standby(device_name: str) -> Iterator[Standby]:
    """Start a standby as the launcher does for a slot on this device, and end it after the `with` block."""
    command = [sys.executable, "-m", "model.standby", *(["--gpu"] if device_name == "cuda" else [])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Standby(process)
        finally:
            process.kill()


def _await_epoch(folder: RunFolder, pid: int) -> None:
    while not folder.read_epochs():
        # Looked up before the records are read once more: a job may end right after its epoch.
        is_alive = _is_alive(pid)
        if not is_alive and not folder.read_epochs():
            raise RuntimeError(f"the job ended before its first epoch: {' '.join(folder.log_tail(5))}")
        time.sleep(LOOK_SECONDS)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
