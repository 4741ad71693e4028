"""Slots: one a GPU, or CPU slots that share the cores."""

import sys

import pynvml
import pytest

from orchestrator.launch.slots import Device, Gpu, Slot, count_gpus, make_own_slots, make_slots, name_gpu

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
