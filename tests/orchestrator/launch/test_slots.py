"""Slots: one a GPU, or CPU slots that share the cores."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from orchestrator.launch import slots as slots_module
from orchestrator.launch.slots import (
    Device,
    Gpu,
    Slot,
    count_gpus,
    find_gpu_problem,
    make_own_slots,
    make_slots,
    name_gpu,
    read_free_bytes,
)

TWO = [Device("2", "gpu2"), Device("5", "gpu5")]


def test_slots_share_the_cores() -> None:
    assert [slot.environment["OMP_NUM_THREADS"] for slot in make_slots(None, [], 8)] == ["4", "4"]
    assert [slot.environment["MKL_NUM_THREADS"] for slot in make_slots(3, [], 8)] == ["2", "2", "2"]
    assert [slot.name for slot in make_slots(None, [], 1)] == ["cpu0"]
    assert {slot.gpu for slot in make_slots(None, [], 8)} == {None}


def test_slots_never_have_more_threads_than_the_user_says() -> None:
    slots = make_slots(None, [], 64, {"OMP_NUM_THREADS": "1"})
    assert [slot.environment["OMP_NUM_THREADS"] for slot in slots] == ["1", "1"]
    assert [slot.environment["MKL_NUM_THREADS"] for slot in slots] == ["1", "1"]


def test_slots_own_their_gpus_by_the_names_of_the_mask() -> None:
    slots = make_slots(None, TWO, 16)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["2", "5"]
    assert [slot.environment["CUDA_DEVICE_ORDER"] for slot in slots] == ["PCI_BUS_ID"] * 2
    assert [slot.name for slot in make_slots(3, TWO, 16)] == ["gpu2", "gpu5", "gpu2"]
    assert sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" in slots[0].environment


def test_a_job_does_not_find_gpus_that_are_hidden_where_containers_start() -> None:
    (slot, _) = make_slots(None, [], 8, {"NVIDIA_VISIBLE_DEVICES": "void"})
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == ""
    assert slot.gpu is None


@pytest.mark.parametrize(
    ("mask", "names"), [("3", ["gpu3"]), ("2,5", ["gpu2", "gpu5"]), ("", ["cpu0"]), ("-1", ["cpu0"]), ("9", ["cpu0"])]
)
def test_the_machine_has_slots_for_the_gpus_of_the_mask_only(
    mask: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "orchestrator.launch.slots.list_gpus", lambda: [Gpu(index, f"GPU-{index}", "H100") for index in range(8)]
    )
    monkeypatch.setattr("orchestrator.launch.slots.usable_cores", lambda: 1)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    assert [slot.name for slot in make_own_slots(None)] == names
    assert count_gpus() == sum(name.startswith("gpu") for name in names)


def test_nvml_is_asked_by_a_name_that_it_knows() -> None:
    by_speed = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    assert Slot("gpu1", by_speed).nvml_gpu is None
    assert Slot("gpu1", by_speed | {"CUDA_VISIBLE_DEVICES": "GPU-1"}).nvml_gpu == "GPU-1"
    assert Slot("gpu1", {"CUDA_VISIBLE_DEVICES": "1"}).nvml_gpu == "1"


def test_a_slot_whose_gpu_nobody_can_name_has_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert name_gpu(Slot("gpu0", {"CUDA_VISIBLE_DEVICES": "GPU-0"})) is None
    assert name_gpu(Slot("cpu0", {})) is None


def show_gpus(monkeypatch: pytest.MonkeyPatch, *, num_gpus: int, mask: str | None = None) -> None:
    """Let the machine have so many GPUs; `mask` is the user's variable."""
    gpus = [Gpu(index, f"GPU-{index}", "H100") for index in range(num_gpus)]
    monkeypatch.setattr(slots_module, "list_gpus", lambda: gpus)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if mask is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)


def test_a_gpu_has_as_many_slots_as_asked_for_and_a_cpu_as_many_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "usable_cores", lambda: 8)
    for name in slots_module.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    show_gpus(monkeypatch, num_gpus=2)
    assert [slot.name for slot in make_own_slots(None, 2)] == ["gpu0", "gpu1", "gpu0", "gpu1"]
    assert {slot.environment["OMP_NUM_THREADS"] for slot in make_own_slots(None, 2)} == {"2"}
    assert [slot.name for slot in make_own_slots(3, 2)] == ["gpu0", "gpu1", "gpu0"]
    show_gpus(monkeypatch, num_gpus=0)
    assert [slot.name for slot in make_own_slots(None, 4)] == ["cpu0", "cpu1"]


def test_free_memory_is_nvmls_and_unknown_where_nvml_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Slot("gpu0", {"CUDA_VISIBLE_DEVICES": "0"})
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(free=7 * 2**30 + handle))
    assert read_free_bytes(gpu) == 7 * 2**30
    assert read_free_bytes(Slot("cpu0", {})) is None

    def refuse(handle: int) -> None:
        raise pynvml.NVMLError_NoPermission

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", refuse)
    assert read_free_bytes(gpu) is None


def test_without_a_gpu_a_profile_in_fp16_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "DRIVER_FILES", ())
    show_gpus(monkeypatch, num_gpus=0)
    assert find_gpu_problem("gpu", ("quick", "rtl433")) == (
        "profile `gpu` trains in fp16, which needs a CUDA GPU, and there is none here; run it on a machine with a GPU "
        "(`knockout doctor` says what it finds), or use profile `quick` or `rtl433`"
    )
    show_gpus(monkeypatch, num_gpus=1, mask="")
    assert str(find_gpu_problem("own", ())).endswith(
        "and its GPUs are hidden from jobs; run it on a machine with a GPU (`knockout doctor` says what it finds)"
    )


def test_a_gpu_or_a_driver_that_nvml_does_not_know_is_no_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    show_gpus(monkeypatch, num_gpus=1)
    assert find_gpu_problem("gpu", ()) is None
    show_gpus(monkeypatch, num_gpus=0)
    monkeypatch.setattr(slots_module, "DRIVER_FILES", (str(tmp_path),))
    assert find_gpu_problem("gpu", ()) is None
