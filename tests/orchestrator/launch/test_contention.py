"""What else a machine is busy with, beside the jobs of this orchestrator."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import psutil
import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.launch.contention import (
    SILENT,
    FreeMemory,
    GpuProcess,
    find_kin,
    find_other_load,
    fits_beside,
    list_gpu_processes,
    refuse_crowded,
)
from orchestrator.launch.slots import Slot, count_gpus
from orchestrator.runs.order import GuardSpec

GIB = 2**30
TWO_CPU_JOBS = [Slot("cpu0", {"OMP_NUM_THREADS": "2"}), Slot("cpu1", {"OMP_NUM_THREADS": "2"})]
GPU_JOBS = [Slot(f"gpu{number}", {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": str(number)}) for number in (0, 1)]


def a_process(pid: int, gib: float | None = 1.0, *, kin: tuple[int, ...] | None = ()) -> GpuProcess:
    memory_bytes = None if gib is None else int(gib * GIB)
    return GpuProcess(pid=pid, memory_bytes=memory_bytes, kin=None if kin is None else frozenset((pid, *kin)))


def ask(slots: list[Slot], own_pids: tuple[int, ...], *on_gpu: list[GpuProcess] | None) -> str | None:
    return find_other_load(slots, own_pids, read_gpu_processes=lambda gpu: on_gpu[int(gpu)])


@pytest.mark.parametrize(
    ("slots", "load", "words"),
    [
        (TWO_CPU_JOBS, 5.0, None),
        (TWO_CPU_JOBS, 5.2, "load 5.2 for 2 jobs"),
        (TWO_CPU_JOBS[:1], 5.0, "load 5.0 for 1 job"),
    ],
)
def test_a_machine_is_shared_if_its_load_is_more_than_that_of_its_own_jobs(
    slots: list[Slot], load: float, words: str | None
) -> None:
    assert find_other_load(slots, read_load_average=lambda: (load, 0.0, 0.0), read_gpu_processes=pytest.fail) == words


def test_of_jobs_on_gpus_the_cores_are_not_asked() -> None:
    assert find_other_load(GPU_JOBS, read_load_average=pytest.fail, read_gpu_processes=lambda _: []) is None


def test_a_gpu_is_shared_if_processes_compute_on_it_that_are_not_ours() -> None:
    processes = [a_process(7, 60.0), a_process(8, 20.5), a_process(9, 10.5)]
    assert ask(GPU_JOBS[:1], (7,), processes) == "GPU 0 also runs 2 other processes (31 GiB)"
    assert ask(GPU_JOBS[:1], (7, 8), processes) == "GPU 0 also runs 1 other process (10 GiB)"
    assert ask(GPU_JOBS[:1], (7, 8, 9), processes) is None


def test_two_jobs_of_ours_on_one_gpu_are_no_strangers_to_each_other() -> None:
    two_slots = GPU_JOBS[:1] * 2
    assert ask(two_slots, (7, 8), [a_process(7), a_process(8)]) is None
    assert ask(two_slots, (7, 8), [a_process(7), a_process(8), a_process(9)]) is not None
    assert ask(two_slots, (7, 8), [a_process(40001, kin=None), a_process(40002, kin=None)]) is None


@pytest.mark.parametrize(
    ("peak_gib", "free_gib", "fits"), [(10, 13.5, True), (10, 13.4, False), (0, 1.5, True), (0, 1.4, False)]
)
def test_another_job_needs_a_fifth_more_than_the_largest_peak_and_room_for_cudas_context(
    peak_gib: float, free_gib: float, fits: bool
) -> None:
    assert fits_beside(int(peak_gib * GIB), int(free_gib * GIB)) is fits


def test_the_free_memory_of_a_gpu_is_read_once_a_second() -> None:
    now, told = [0.0], iter([5, None, 7])
    memory = FreeMemory(read=lambda slot: next(told), clock=lambda: now[0])
    assert [memory(GPU_JOBS[0]), memory(GPU_JOBS[0])] == [5, 5]
    assert memory(GPU_JOBS[1]) is None
    now[0] = 0.9
    assert (memory(GPU_JOBS[0]), memory(GPU_JOBS[1])) == (5, None)
    now[0] = 1.0
    assert memory(GPU_JOBS[0]) == 7


CLOCK = GuardSpec(epoch_seconds=10.0, smoke_epoch_seconds=12.0)
RELATIVE = GuardSpec(relative_to_reference=2.0)


def test_more_slots_than_gpus_are_refused_if_a_limit_by_the_clock_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.launch.contention.count_gpus", lambda: 1)
    with pytest.raises(UsageError) as refused:
        refuse_crowded(2, [RELATIVE, CLOCK])
    assert str(refused.value) == (
        "--slots 2 is more than the 1 GPU of this machine: jobs on one GPU slow each other, and `epoch_seconds` and "
        "`smoke_epoch_seconds` are limits by the clock, so a run would be stopped for its neighbour; say --slots 1"
    )


@pytest.mark.parametrize(
    ("asked", "num_gpus", "guards"), [(2, 1, RELATIVE), (2, 2, CLOCK), (None, 1, CLOCK), (8, 0, CLOCK)]
)
def test_as_many_slots_as_gpus_a_relative_limit_and_slots_on_a_cpu_are_not_refused(
    asked: int | None, num_gpus: int, guards: GuardSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.contention.count_gpus", lambda: num_gpus)
    refuse_crowded(asked, [guards])


def test_each_gpu_with_a_job_is_asked_once_and_no_other() -> None:
    asked = []

    def read(gpu: str) -> list[GpuProcess]:
        asked.append(gpu)
        return [a_process(5 + int(gpu), 2.0)]

    assert find_other_load(GPU_JOBS[1:] * 2, (), read_gpu_processes=read) == "GPU 1 also runs 1 other process (2 GiB)"
    assert asked == ["1"]
    two = find_other_load(GPU_JOBS[::-1], (), read_gpu_processes=read)
    assert two == "GPU 0 also runs 1 other process (2 GiB); GPU 1 also runs 1 other process (2 GiB)"


def test_what_a_job_started_and_what_is_of_its_group_is_ours() -> None:
    assert ask(GPU_JOBS[:1], (7,), [a_process(8, kin=(7, 1)), a_process(9, kin=(7,))]) is None
    assert ask(GPU_JOBS[:1], (7,), [a_process(8, kin=(6, 1))]) == "GPU 0 also runs 1 other process (1 GiB)"


def test_memory_that_the_driver_does_not_tell_is_not_said() -> None:
    assert ask(GPU_JOBS[:1], (), [a_process(8, None)]) == "GPU 0 also runs 1 other process"
    assert ask(GPU_JOBS[:1], (), [a_process(8, None), a_process(9, 3.0)]).endswith("2 other processes (3 GiB)")


def test_a_gpu_that_nobody_can_read_is_not_said_to_be_shared() -> None:
    assert ask(GPU_JOBS, (), None, None) is None
    assert ask(GPU_JOBS, (), None, [a_process(8)]) == "GPU 1 also runs 1 other process (1 GiB)"


def test_in_a_container_the_largest_unknown_processes_are_taken_for_jobs_that_are_not_found() -> None:
    unknown = [a_process(40001, 9.0, kin=None), a_process(40002, 2.0, kin=None)]
    assert ask(GPU_JOBS[:1] * 2, (7, 8), unknown) is None
    assert ask(GPU_JOBS[:1], (7,), unknown) == "GPU 0 also runs 1 other process (2 GiB)"
    assert ask(GPU_JOBS[:1], (7,), [*unknown, a_process(7)]) == "GPU 0 also runs 2 other processes (11 GiB)"


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_exactly_the_processes_that_are_not_ours_are_counted(on_gpu: set[int], own: set[int]) -> None:
    others = len(on_gpu - own)
    words = ask(GPU_JOBS[:1], tuple(own), [a_process(pid) for pid in sorted(on_gpu)])
    plural = "" if others == 1 else "es"
    assert words == (f"GPU 0 also runs {others} other process{plural} ({others} GiB)" if others else None)


def test_the_real_list_is_none_without_a_driver_and_else_a_list() -> None:
    num_gpus = count_gpus()
    assert (list_gpu_processes("0") is None) == (num_gpus == 0)
    # Never a guess about a GPU that is not there.
    assert list_gpu_processes("10000") is None
    assert num_gpus or find_other_load(GPU_JOBS, (os.getpid(),)) is None


class Driver:
    """In the place of NVML's library, which this machine may lack."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = 0
        self.error: pynvml.NVMLError | None = None
        self.processes = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=3 * GIB)]
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: self._count(1))
        monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: self._count(-1))
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", self._list)

    def _count(self, step: int) -> None:
        self.is_open += step

    def _list(self, handle: int) -> list[object]:
        if self.error is not None:
            raise self.error
        return self.processes


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_a_process_is_read_with_its_memory_and_its_kin(driver: Driver) -> None:
    (process,) = list_gpu_processes("0")
    assert (process.pid, process.memory_bytes) == (os.getpid(), 3 * GIB)
    assert {os.getpid(), os.getppid(), os.getpgid(0)} <= process.kin
    assert driver.is_open == 0


@pytest.mark.parametrize("error", SILENT)
def test_an_nvml_that_cannot_tell_is_closed_and_says_nothing(driver: Driver, error: Callable[[], Exception]) -> None:
    driver.error = error()
    assert list_gpu_processes("0") is None
    assert driver.is_open == 0


def test_another_error_of_nvml_is_not_taken_for_silence(driver: Driver) -> None:
    driver.error = pynvml.NVMLError_CorruptedInforom()
    with pytest.raises(pynvml.NVMLError_CorruptedInforom):
        list_gpu_processes("0")
    assert driver.is_open == 0


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    waits = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.kill()


def test_kin_are_group_and_ancestors_of_a_living_process(child: subprocess.Popen[bytes]) -> None:
    assert {child.pid, os.getpid(), os.getppid()} <= find_kin(child.pid)
    assert os.getpgid(0) not in find_kin(child.pid) - {os.getpid(), *(one.pid for one in psutil.Process().parents())}


def test_a_number_that_no_process_here_has_has_no_kin(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert find_kin(child.pid) is None
