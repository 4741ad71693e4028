"""Which GPUs a user's variables leave, by CUDA's rules."""

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from orchestrator.launch.slots import Device, Gpu, list_gpus, open_device, visible_devices

EIGHT = [Gpu(index, f"GPU-{index}{index}aa-{index}", "H100") for index in range(8)]
MIXED = [Gpu(0, "GPU-old", "T4"), Gpu(1, "GPU-new", "H100")]
CUT_UP = [Gpu(0, "GPU-a", "A100", ("MIG-a1", "MIG-a2")), Gpu(1, "GPU-b", "A100", ()), Gpu(2, "GPU-c", "A100")]


def names(mask: str | None, gpus: list[Gpu] = EIGHT, **variables: str) -> list[str]:
    if mask is not None:
        variables["CUDA_VISIBLE_DEVICES"] = mask
    return [device.name for device in visible_devices(variables, gpus)]


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        (None, ["0", "1", "2", "3", "4", "5", "6", "7"]),
        ("3", ["3"]),
        ("2,5", ["2", "5"]),
        ("5, 2", ["5", "2"]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,-1,0", ["1"]),
        ("1,9,0", ["1"]),
        ("9", []),
        ("0,0", []),
        ("1,0,1", []),
        ("1,GPU-22aa-2", ["1"]),
        ("1gpu2,2ampere", ["1", "2"]),
        ("+3", ["3"]),
        ("007", ["7"]),
        ("GPU-33aa-3", ["GPU-33aa-3"]),
        ("GPU-33", ["GPU-33"]),
        ("GPU-66,GPU-00aa-0", ["GPU-66", "GPU-00aa-0"]),
        ("GPU-66,GPU-nobody,GPU-00", ["GPU-66"]),
        ("GPU-66,3", ["GPU-66"]),
        ("GPU-", []),
        ("GPU-66,GPU-66aa", []),
        ("MIG-a1", []),
    ],
)
def test_only_what_the_mask_names_is_shown_by_its_own_names(mask: str | None, shown: list[str]) -> None:
    assert names(mask) == shown


@pytest.mark.parametrize("value", ["void", "none"])
def test_a_container_that_is_to_have_no_gpu_has_none(value: str) -> None:
    assert names(None, NVIDIA_VISIBLE_DEVICES=value) == []
    assert names("0", NVIDIA_VISIBLE_DEVICES=value) == []


def test_a_container_that_is_to_have_all_gpus_has_those_that_are_there() -> None:
    assert names(None, EIGHT[:2], NVIDIA_VISIBLE_DEVICES="all") == ["0", "1"]


def test_slots_are_named_by_the_place_on_the_bus_whatever_the_mask_calls_the_gpu() -> None:
    shown = visible_devices({"CUDA_VISIBLE_DEVICES": "GPU-66,GPU-00"}, EIGHT)
    assert [device.slot for device in shown] == ["gpu6", "gpu0"]
    assert {device.order for device in shown} == {"PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("gpus", "order", "told"),
    [
        (EIGHT, None, "PCI_BUS_ID"),
        (EIGHT, "FASTEST_FIRST", "PCI_BUS_ID"),
        (MIXED, "PCI_BUS_ID", "PCI_BUS_ID"),
        (MIXED, "FASTEST_FIRST", "FASTEST_FIRST"),
        (MIXED, None, "FASTEST_FIRST"),
    ],
)
def test_a_number_keeps_the_order_that_the_user_counts_in(gpus: list[Gpu], order: str | None, told: str) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": "1"} | ({"CUDA_DEVICE_ORDER": order} if order else {})
    assert visible_devices(variables, gpus) == [Device("1", "gpu1", told)]


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        (None, [("MIG-a1", "gpu0-mig0"), ("MIG-a2", "gpu0-mig1"), ("2", "gpu2")]),
        ("MIG-a2", [("MIG-a2", "gpu0-mig1")]),
        ("MIG-a2,MIG-a1", [("MIG-a2", "gpu0-mig1"), ("MIG-a1", "gpu0-mig0")]),
        ("MIG-a", []),
        ("MIG-a1,GPU-c", [("MIG-a1", "gpu0-mig0")]),
        ("0", [("0", "gpu0")]),
        ("1", []),
        ("GPU-b", []),
        ("GPU-c", [("GPU-c", "gpu2")]),
    ],
)
def test_instances_of_a_gpu_that_is_cut_up_are_devices_of_their_own(
    mask: str | None, shown: list[tuple[str, str]]
) -> None:
    variables = {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}
    assert [(device.name, device.slot) for device in visible_devices(variables, CUT_UP)] == shown


def test_a_mask_never_shows_a_gpu_that_is_not_there_or_that_it_does_not_name() -> None:
    masks = [numbers for length in range(4) for numbers in product((-1, 0, 3, 7, 8), repeat=length)]
    for numbers in masks:
        shown = names(",".join(map(str, numbers)))
        assert set(shown) <= {str(number) for number in numbers if 0 <= number < len(EIGHT)}
        assert len(shown) == len(set(shown))


class Driver:
    """In the place of NVML's library, which this machine may lack: two GPUs, the first of them cut up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = 0
        self.lost: tuple[int, ...] = ()
        self.cut_up = {0: ("MIG-1", None, "MIG-2")}
        own: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: self._count(1),
            "nvmlShutdown": lambda: self._count(-1),
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": self._handle,
            "nvmlDeviceGetHandleByUUID": lambda uuid: SimpleNamespace(uuid=uuid, index=None),
            "nvmlDeviceGetUUID": lambda handle: handle.uuid,
            "nvmlDeviceGetName": lambda handle: "A100",
            "nvmlDeviceGetMigMode": self._mode,
            "nvmlDeviceGetMaxMigDeviceCount": lambda handle: 3,
            "nvmlDeviceGetMigDeviceHandleByIndex": self._mig,
        }
        for name, function in own.items():
            monkeypatch.setattr(pynvml, name, function)

    def _count(self, step: int) -> None:
        self.is_open += step

    def _handle(self, index: int) -> Any:
        if index in self.lost:
            raise pynvml.NVMLError_GpuIsLost
        return SimpleNamespace(index=index, uuid=f"GPU-{index}")

    def _mode(self, handle: Any) -> tuple[int, int]:
        if handle.index not in self.cut_up:
            raise pynvml.NVMLError_NotSupported
        return (1, 1)

    def _mig(self, handle: Any, number: int) -> Any:
        uuid = self.cut_up[handle.index][number]
        if uuid is None:
            raise pynvml.NVMLError_NotFound
        return SimpleNamespace(uuid=uuid, index=None)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_the_driver_tells_gpus_and_their_instances(driver: Driver) -> None:
    assert list_gpus() == [Gpu(0, "GPU-0", "A100", ("MIG-1", "MIG-2")), Gpu(1, "GPU-1", "A100")]
    assert driver.is_open == 0


def test_a_gpu_that_is_lost_leaves_the_others(driver: Driver) -> None:
    driver.lost = (0,)
    assert [gpu.index for gpu in list_gpus()] == [1]


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert list_gpus() == []


@pytest.mark.parametrize(("name", "uuid"), [("1", "GPU-1"), ("GPU-1", "GPU-1"), ("MIG-2", "MIG-2")])
def test_a_device_is_opened_by_the_name_that_the_mask_gives_it(driver: Driver, name: str, uuid: str) -> None:
    with open_device(name) as handle:
        assert (handle.uuid, driver.is_open) == (uuid, 1)
    assert driver.is_open == 0
