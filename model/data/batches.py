"""The bursts of a role (train, validate, ...) as batches of tensors.

Letters: B bursts of a batch, S samples of a burst.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import CapturePlace, DataConfig
from model.data.alike import require_layout, require_one_rate
from model.data.captures import Bursts, CaptureError, open_bursts, read_into
from model.data.unchanged import CaptureStamps, stamp_files
from model.streams import generator

MEMORY_BYTES = 2 * 2**30
"""Up to this size a role's bursts are kept in memory. Larger sets are read batch by batch, one batch ahead."""
DEVICE_SHARE = 0.25
"""A role's bursts are kept on a GPU if they take at most this share of its free memory. Training needs the rest."""


@dataclass(frozen=True)
class Batch:
    """Bursts [B, 2, S] with mean power as recorded, and their classes [B]."""

    x_B2S: Tensor
    class_B: Tensor

    def at(self, indices: Tensor) -> "Batch":
        """Return a copy of the bursts at `indices`, which are on the same device."""
        return Batch(self.x_B2S.index_select(0, indices), self.class_B.index_select(0, indices))

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; this process does not wait for the copy if the memory is pinned."""
        return Batch(*(part.to(device, non_blocking=True) for part in (self.x_B2S, self.class_B)))

    def pinned(self) -> "Batch":
        """Return the batch in pinned memory, from which a GPU copies while this process goes on."""
        return Batch(self.x_B2S.pin_memory(), self.class_B.pin_memory())


class BurstSet:
    """Bursts of one or several captures, numbered from 0, with the class of each.

    Args:
        parts: the captures' selections, of one sample rate and length.
        classes: class of each device.
        memory_bytes: the largest size of a set that is kept in memory; `MEMORY_BYTES` by default.
        stamps: stamps of the files from before they were opened; taken now by default.
    """

    def __init__(
        self,
        parts: tuple[Bursts, ...],
        classes: dict[int, int],
        memory_bytes: int | None = None,
        stamps: CaptureStamps | None = None,
    ) -> None:
        self.parts = parts
        self.stamps = stamps if stamps is not None else stamp_files(part.path for part in parts)
        self.devices = np.concatenate([part.devices for part in parts])
        self.class_of_burst = torch.tensor([classes[int(device)] for device in self.devices])
        self.device = torch.device("cpu")
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._kept: Batch | None = None
        num_bytes = len(self) * 2 * parts[0].samples * 4
        if num_bytes <= (MEMORY_BYTES if memory_bytes is None else memory_bytes):
            self._kept = Batch(torch.from_numpy(self._read(np.arange(len(self)))), self.class_of_burst)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def keys(self) -> NDArray[np.str_]:
        """Identify each burst within its captures, unicode [n]."""
        return np.concatenate([part.keys for part in self.parts])

    @property
    def sample_rate_hz(self) -> float:
        """Sample rate that all parts share."""
        return self.parts[0].sample_rate_hz

    def require_unchanged(self) -> None:
        """Check that the files are still those that were opened; this costs one `stat` a file.

        Raises:
            CaptureChangedError: a file is another one now, or was written to.
            CaptureAwayError: a file is not there any more.
        """
        self.stamps.require_unchanged()

    def shuffle_labels(self, seed: int) -> None:
        """Shuffle the classes over the bursts: a control in which there is nothing to learn."""
        # Shuffled and not drawn anew, so each class keeps its number of bursts.
        order = torch.randperm(len(self), generator=generator(seed, "labels"))
        self.class_of_burst = self.class_of_burst[order]
        if self._kept is not None:
            self._kept = Batch(self._kept.x_B2S, self.class_of_burst.to(self.device))

    def place(self, device: torch.device, free_bytes: int | None = None) -> None:
        """Give batches on `device` from now on, and keep the bursts there if they fit.

        Args:
            device: where the batches are used.
            free_bytes: free memory of the device; None without a limit.
        """
        self.device = device
        if self._kept is None:
            return
        if free_bytes is not None and self._kept.x_B2S.nbytes > DEVICE_SHARE * free_bytes:
            # Kept in the memory of the host. A batch of it is copied for each step, as one that is read from a file.
            return
        self._kept = self._kept.to(device)

    def take(self, indices: Tensor) -> Batch:
        """Return the bursts at `indices`, on the device where they are kept, or in the memory of the host."""
        if self._kept is not None:
            return self._kept.at(indices.to(self._kept.x_B2S.device))
        return Batch(torch.from_numpy(self._read(indices.numpy())), self.class_of_burst[indices])

    def _read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        x_B2S = np.empty((len(indices), 2, self.parts[0].samples), dtype=np.float32)
        # The part of a burst is the last one that starts at or before its number.
        part_of = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(part_of):
            places = np.flatnonzero(part_of == number)
            read_into(self.parts[number], indices[places] - self._starts[number], x_B2S, places)
        return x_B2S

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield every burst once, in an order that depends only on seed and epoch."""
        return self._batches(torch.randperm(len(self), generator=generator(seed, "order", epoch)), batch_size)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield every burst once, in file order."""
        return self._batches(torch.arange(len(self)), batch_size)

    def _batches(self, order: Tensor, batch_size: int) -> Iterator[Batch]:
        if self._kept is not None and self._kept.x_B2S.device == self.device:
            # The order goes to the device once an epoch. Then a step needs nothing more from the host.
            return map(self.take, _parts(order.to(self.device), batch_size))
        return (batch.to(self.device) for batch in one_ahead(self._take_to_send, _parts(order, batch_size)))

    def _take_to_send(self, indices: Tensor) -> Batch:
        batch = self.take(indices)
        return batch.pinned() if self.device.type == "cuda" else batch


def _parts(order: Tensor, size: int) -> list[Tensor]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def one_ahead(take: Callable[[Tensor], Batch], indices: Sequence[Tensor]) -> Iterator[Batch]:
    """Yield the batch of each of `indices`, in order, while one thread reads the next one.

    An error of `take` is raised here, in place of its batch. Leaving early waits for the batch that is being read.
    """
    # One thread is enough: a second one would only compete for the same disk.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as reader:
        waiting: Future[Batch] | None = None
        for chosen in indices:
            coming = reader.submit(take, chosen)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


class Timed:
    """Batches, and in `seconds` the time spent waiting for them; near 0 if reading keeps up with training."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.seconds = 0.0
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        started = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - started


def device_classes(config: DataConfig) -> dict[int, int]:
    """Number the devices of the training captures: device -> class.

    Raises:
        CaptureError: a capture has devices that are never trained on.
    """
    trained = sorted({device for name in config.train for device in range(*config.captures[name].devices)})
    for name in config.scored:
        unknown = sorted(set(range(*config.captures[name].devices)) - set(trained))
        if unknown:
            raise CaptureError(
                f"capture `{name}` has devices {unknown} that no training capture has; "
                "a classifier cannot name a device that it never saw"
            )
    return {device: number for number, device in enumerate(trained)}


def open_role(config: DataConfig, names: tuple[str, ...], folder: Path) -> BurstSet:
    """Open the captures of a role; paths are relative to `folder`.

    Raises:
        CaptureAwayError: the system cannot give us a file now.
        CaptureError: a file does not fit, or its sample rate differs from that of another capture.
    """
    require_layout(config)
    places = [CapturePlace(folder, config.captures[name].path) for name in names]
    stamps = stamp_files(places)
    parts = tuple(
        open_bursts(place, config.captures[name], samples=config.samples, default_sample_rate_hz=config.sample_rate_hz)
        for name, place in zip(names, places, strict=True)
    )
    require_one_rate(config, folder, parts)
    return BurstSet(parts, device_classes(config), stamps=stamps)
