"""A configuration timed in turns: what a turn is, and how two processes take theirs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
import torch

from model import probe
from model.config import JobConfig, encode_run
from model.probe import Prober, Turn, count_bursts, main, make_noise, take_turns

JobBuilder = Callable[..., JobConfig]
CPU = torch.device("cpu")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe."""
    hears, tells = os.pipe()
    with ExitStack() as ends:
        for end in (hears, tells):
            ends.callback(os.close, end)
        yield hears, tells


@pytest.fixture
def config_file(build_job: JobBuilder, tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_bytes(encode_run(build_job()))
    return path


def turns_in(text: str) -> list[Turn]:
    return [msgspec.json.decode(line, type=Turn) for line in text.splitlines()]


def test_noise_has_the_shape_of_the_bursts_and_the_last_class_among_few(build_job: JobBuilder) -> None:
    data = build_job().data
    num_classes = int(make_noise(data, count_bursts(data, data.train)).class_of_burst.max()) + 1
    for num_bursts in (1, 2, 7):
        noise = make_noise(data, num_bursts)
        batch = next(noise.in_order(100))
        assert batch.x_B2S.shape == (num_bursts, 2, data.samples)
        assert int(noise.class_of_burst.max()) == num_classes - 1
    assert batch.x_B2S.std() == pytest.approx(1.0, abs=0.2)


def test_bursts_are_counted_as_the_captures_hold_them(build_job: JobBuilder) -> None:
    data = build_job().data
    expected = sum(
        np.prod([b - a for a, b in (data.captures[n].devices, data.captures[n].packets)]) for n in data.train
    )
    assert count_bursts(data, data.train) == expected


def test_a_turn_stands_for_an_epoch(build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_time_on", lambda device, compute: compute() or 0.16)
    config = build_job(optim={"batch_size": 4})
    prober = Prober(config, CPU)
    # A batch took more than half of a turn's time, so a turn is two of them.
    assert len(prober.trainer.train) == 8
    num_train, num_validate = (count_bursts(config.data, of) for of in (config.data.train, config.data.validate))
    assert prober.take_turn() == pytest.approx(0.16 * num_train / 8)
    assert len(prober.trainer.validate) == max(1, round(num_validate * 8 / num_train))


def test_a_turn_is_no_longer_than_an_epoch(build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_time_on", lambda device, compute: compute() or 1e-6)
    config = build_job(optim={"batch_size": 4})
    prober = Prober(config, CPU)
    assert len(prober.trainer.train) == count_bursts(config.data, config.data.train)
    assert len(prober.trainer.validate) == count_bursts(config.data, config.data.validate)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_on_a_gpu_the_time_is_that_of_the_gpu_and_not_of_whoever_asks() -> None:
    x = torch.randn(4096, 4096, device="cuda")

    def compute() -> None:
        for _ in range(50):
            x @ x

    compute()
    seconds = probe._time_on(x.device, compute)
    # 50 products are 6.9e12 operations; no GPU does 2e16 a second.
    assert seconds > 50 * 2 * 4096**3 / 2e16


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_a_turn_can_be_taken_on_a_gpu(build_job: JobBuilder) -> None:
    assert Prober(build_job(optim={"batch_size": 4}), torch.device("cuda")).take_turn() > 0


def test_a_divided_batch_stands_for_the_same_epoch(build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_time_on", lambda device, compute: compute() or 0.5)
    config = build_job(optim={"batch_size": 8})
    whole, part = Prober(config, CPU), Prober(config, CPU, share=4)
    assert (len(whole.trainer.train), len(part.trainer.train)) == (8, 2)
    assert part.turns_per_epoch == 4 * whole.turns_per_epoch


def test_a_turn_waits_for_the_other_side(pipe: tuple[int, int]) -> None:
    hears, tells = pipe
    taken: list[int] = []

    def take_turn() -> float:
        taken.append(len(taken))
        return 1.0

    os.write(tells, b"..")
    take_turns(take_turn, 3, is_first=True, hear=hears, tell=tells)
    assert taken == [0, 1, 2]
    assert os.read(hears, 10) == b"..."


def test_turns_end_where_the_other_side_is_gone() -> None:
    hears, tells = os.pipe()
    os.close(tells)
    take_turns(lambda: 1.0, 3, is_first=False, hear=hears, tell=tells)
    os.close(hears)


@pytest.fixture
def paused() -> Iterator[psutil.Process]:
    """A process that is paused, in a group of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        os.killpg(process.pid, signal.SIGSTOP)
        yield psutil.Process(process.pid)
        process.kill()


def wait_until_running(process: psutil.Process) -> None:
    deadline = time.monotonic() + 30
    while process.status() == psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_paused_job_goes_on_even_if_the_probe_dies(
    config_file: Path, pipe: tuple[int, int], paused: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: JobConfig, device: torch.device, share: int) -> Prober:
        raise KeyError("a mistake")

    monkeypatch.setattr(probe, "Prober", fail)
    with pytest.raises(KeyError, match="a mistake"):
        main([str(config_file), "--turns", "3", "--pass-to", str(pipe[1]), "--resume", str(paused.pid)])
    wait_until_running(paused)


def test_every_paused_job_goes_on(
    config_file: Path, pipe: tuple[int, int], paused: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setattr(probe, "_probe", lambda options: 0)
    words = ["--resume", gone, "--resume", str(paused.pid)]
    assert main([str(config_file), "--turns", "3", "--pass-to", str(pipe[1]), *words]) == 0
    wait_until_running(paused)


def test_two_processes_time_one_configuration_alike_and_the_job_goes_on(
    config_file: Path, paused: psutil.Process
) -> None:
    (arm_hears, reference_tells), (reference_hears, arm_tells) = os.pipe(), os.pipe()
    sides = ((arm_hears, arm_tells, ["--first"]), (reference_hears, reference_tells, ["--resume", str(paused.pid)]))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "model.probe", str(config_file), "--turns", "3", "--pass-to", str(tells), *words],
            stdin=hears,
            stdout=subprocess.PIPE,
            pass_fds=(tells,),
            text=True,
        )
        for hears, tells, words in sides
    ]
    for end in (arm_hears, reference_tells, reference_hears, arm_tells):
        os.close(end)
    said = [turns_in(process.communicate(timeout=300)[0]) for process in processes]
    assert [len(turns) for turns in said] == [3, 3]
    assert all(turn.problem is None and turn.epoch_seconds is not None for turns in said for turn in turns)
    wait_until_running(paused)


def test_memory_that_runs_out_is_said_as_that(
    config_file: Path, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(config: JobConfig, device: torch.device, share: int) -> Prober:
        raise torch.OutOfMemoryError("CUDA out of memory.\n Tried to allocate 2 GiB")

    monkeypatch.setattr(probe, "Prober", refuse)
    assert main([str(config_file), "--turns", "3", "--pass-to", str(pipe[1]), "--first"]) == 2
    (turn,) = turns_in(capsys.readouterr().out)
    assert turn == Turn(problem="CUDA out of memory. Tried to allocate 2 GiB", is_out_of_memory=True)


def test_what_cannot_be_trained_here_is_said_in_a_sentence(
    build_job: JobBuilder, tmp_path: Path, pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(encode_run(build_job(runtime={"precision": "fp16"})))
    assert main([str(path), "--turns", "3", "--pass-to", str(pipe[1]), "--first"]) == 2
    (turn,) = turns_in(capsys.readouterr().out)
    assert turn.problem is not None
    assert "fp16, which needs a CUDA GPU" in turn.problem
    assert not turn.is_out_of_memory
