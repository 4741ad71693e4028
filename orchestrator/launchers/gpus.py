"""The GPUs that jobs may use: NVIDIA's list of this machine, and what the user's variables leave of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pynvml

MASK, ORDER, CONTAINER_MASK = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES"
BY_BUS, BY_SPEED = "PCI_BUS_ID", "FASTEST_FIRST"
HIDES_ALL = ("void", "none")
"""What NVIDIA_VISIBLE_DEVICES says where a container is to have no GPU."""
_INDEX = re.compile(r"\s*\+?(\d+)")


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine, as NVML tells it."""

    index: int
    uuid: str
    model: str
    migs: tuple[str, ...] | None = None
    """The UUIDs of its MIG instances; None where it is not cut up."""


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG instance of one, for one job at a time."""

    name: str
    """What CUDA_VISIBLE_DEVICES calls it."""
    slot: str
    """What a slot on it is called."""
    order: str = BY_BUS
    """How CUDA counts where the name is a number, as CUDA_DEVICE_ORDER says it."""


def visible_devices(variables: Mapping[str, str], gpus: Sequence[Gpu]) -> list[Device]:
    """Return the devices that CUDA would show to a process with these variables. Pure.

    CUDA's rules: what follows an entry that names nothing is hidden; an entry that comes twice hides everything; the
    first entry says whether all are numbers, UUIDs of GPUs or UUIDs of MIG instances. A UUID may be cut short.
    """
    if variables.get(CONTAINER_MASK) in HIDES_ALL:
        return []
    mask = variables.get(MASK)
    if mask is None:
        return [device for gpu in gpus for device in _whole(gpu)]
    kind = next((kind for kind in ("GPU-", "MIG-") if mask.startswith(kind)), None)
    entries = mask.split(",")
    if kind is None:
        return _by_number(entries, gpus, variables.get(ORDER))
    uuids = _uuids(kind, gpus)
    found = [_match(entry, uuids) for entry in takewhile(lambda entry: entry.startswith(kind), entries)]
    known = [uuid for uuid in takewhile(lambda uuid: uuid is not None, found) if uuid is not None]
    if len(set(known)) < len(known):
        return []
    return [Device(entry, uuids[uuid]) for entry, uuid in zip(entries, known, strict=False)]


def _whole(gpu: Gpu) -> list[Device]:
    if gpu.migs is None:
        return [Device(str(gpu.index), f"gpu{gpu.index}")]
    return [Device(uuid, f"gpu{gpu.index}-mig{number}") for number, uuid in enumerate(gpu.migs)]


def _by_number(entries: Sequence[str], gpus: Sequence[Gpu], order: str | None) -> list[Device]:
    matches = takewhile(lambda match: match is not None, (_INDEX.match(entry) for entry in entries))
    numbers = [int(match[1]) for match in matches if match is not None]
    if len(set(numbers)) < len(numbers):
        return []
    # Among GPUs of one model there is no faster one: both orders are that of the bus.
    is_known = order == BY_BUS or len({gpu.model for gpu in gpus}) <= 1
    there = {gpu.index for gpu in gpus if gpu.migs != ()}
    shown = takewhile(lambda number: number in there, numbers)
    return [Device(str(number), f"gpu{number}", BY_BUS if is_known else BY_SPEED) for number in shown]


def _uuids(kind: str, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return UUID -> slot, of the whole GPUs or of the MIG instances."""
    if kind == "GPU-":
        return {gpu.uuid: f"gpu{gpu.index}" for gpu in gpus if gpu.migs != ()}
    return {device.name: device.slot for gpu in gpus if gpu.migs is not None for device in _whole(gpu)}


def _match(entry: str, uuids: Mapping[str, str]) -> str | None:
    """Return the one UUID that begins like this."""
    found = [uuid for uuid in uuids if uuid.lower().startswith(entry.strip().lower())]
    return found[0] if len(found) == 1 else None


def list_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs of this machine; none where there is no driver."""
    try:
        with _nvml():
            return [gpu for index in range(pynvml.nvmlDeviceGetCount()) if (gpu := _read(index)) is not None]
    except pynvml.NVMLError:
        return []


def _read(index: int) -> Gpu | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return Gpu(index, pynvml.nvmlDeviceGetUUID(handle), str(pynvml.nvmlDeviceGetName(handle)), _read_migs(handle))
    except pynvml.NVMLError:
        return None  # it has fallen off the bus; the others go on


def _read_migs(handle: Any) -> tuple[str, ...] | None:
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return None
    except pynvml.NVMLError:
        return None  # a GPU that cannot be cut up
    return tuple(_mig_uuids(handle))


def _mig_uuids(handle: Any) -> Iterator[str]:
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            yield str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)))
        except pynvml.NVMLError_NotFound:
            continue


@contextmanager
def open_device(name: str) -> Iterator[Any]:
    """Give NVML's handle of what CUDA_VISIBLE_DEVICES calls so, counted by the bus.

    Raises:
        pynvml.NVMLError: there is no driver, or no such device.
    """
    if not name.isdigit():
        gpus = list_gpus()
        uuid = next((uuid for kind in ("GPU-", "MIG-") if (uuid := _match(name, _uuids(kind, gpus)))), name)
    with _nvml():
        yield pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(uuid)


@contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()
