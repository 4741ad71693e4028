"""Cut the bursts that a configuration names out of its captures, once, into shards that are fast to read. No torch.

A folder of shards holds:

- `LocA.npy`, `LocD.npy`, ...: float32 [N, 2, L], device by device, packets in order.
- `manifest.json`, written last: what each shard holds, and from which capture it was cut.

`python -m model.data.shards` reads an `Order` as JSON from its standard input. People use `knockout data shard`.

Letters: N bursts of a shard, L samples in a burst of it.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import numpy as np
from msgspec import Struct

from model.config import CaptureConfig, CapturePlace, DataConfig
from model.data.alike import require_layout, require_one_rate
from model.data.captures import Bursts, CaptureError, open_bursts, read_bursts
from model.data.disk_space import explain, require_space
from model.data.plain_rows import SHARD_DTYPE, open_shard
from model.data.unchanged import SHARD_SUFFIX, stamp_captures
from model.files import stream_atomically, write_atomically

MANIFEST = "manifest.json"
BLOCK_BYTES = 32 * 2**20
"""Size of the blocks that are read, hashed and written, so that a capture may be larger than memory."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
ROLES = ("train", "validate", "choose", "report")


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The capture of a shard: its path as the campaign writes it, and the hash of the whole file."""

    path: str
    sha256: str


class Shard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One shard: half-open ranges over 0-based devices and packets, and the hash of its file."""

    file: str
    devices: tuple[int, int]
    packets: tuple[int, int]
    bursts: int
    sha256: str
    source: Source


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`manifest.json`: the roles, the sample rate and the shards."""

    format: Literal[1] = 1
    samples: int
    sample_rate_hz: float
    train: tuple[str, ...]
    validate: tuple[str, ...]
    choose: tuple[str, ...]
    report: tuple[str, ...]
    captures: dict[str, Shard]

    def data(self) -> DataConfig:
        """Return a job's data configuration for these shards; paths are relative to the manifest's folder.

        Raises:
            ValueError: the roles share bursts of a source, or name a capture that is not there.
        """
        # Shards are different files. Whether roles share a burst shows only in the captures that they were cut from.
        self._config({name: shard.source.sha256 for name, shard in self.captures.items()}, "rffi-hdf5")
        return self._config({name: shard.file for name, shard in self.captures.items()}, "shards")

    def _config(self, paths: Mapping[str, str], layout: Literal["rffi-hdf5", "shards"]) -> DataConfig:
        captures = {
            name: CaptureConfig(path=paths[name], devices=shard.devices, packets=shard.packets)
            for name, shard in self.captures.items()
        }
        roles = {role: getattr(self, role) for role in ROLES}
        return DataConfig(
            layout=layout, captures=captures, samples=self.samples, sample_rate_hz=self.sample_rate_hz, **roles
        )


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shards to make.

    `sha256` maps each capture's path in `data` to the hash of the file; paths are relative to `data_folder`.
    """

    data: DataConfig
    data_folder: str
    out: str
    sha256: dict[str, str]


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        CaptureError: the file is missing, is no manifest, or its roles share bursts.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            # Reading a pipe would wait for ever.
            raise CaptureError(f"{path}: the manifest is a pipe, a socket or a device, it must be a file")
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        manifest.data()
    except CaptureError:
        raise
    except FileNotFoundError:
        raise CaptureError(f"{path}: there is no such manifest; `knockout data shard` makes one") from None
    except OSError as error:
        raise CaptureError(f"{path}: the manifest cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CaptureError(
            f"{path}: this is no manifest of shards ({error}); make it with `knockout data shard`"
        ) from None
    for name, shard in manifest.captures.items():
        if shard.file != _file_name(name):
            raise CaptureError(f"{path}: the file of `{name}` is `{shard.file}`, it must be `{_file_name(name)}`")
    return manifest


def write_shards(order: Order) -> list[str]:
    """Write the shards of every capture that a role names, then the manifest; return a line about each.

    If complete shards of the same bursts exist, nothing is written.

    Raises:
        CaptureError: a capture does not fit or changes in the meantime, or the folder holds something else.
        OSError: the folder cannot be written, or the disk is too small.
    """
    folder, manifest_path = Path(order.out), Path(order.out) / MANIFEST
    stamps = stamp_captures(order.data, Path(order.data_folder))
    parts = _open_parts(order)
    _refuse_other_content(folder, order, parts)
    if manifest_path.exists():
        _require_complete(folder, read_manifest(manifest_path))
        return [f"{manifest_path}: its {len(parts)} shards are there already"]
    _require_space(folder, parts)
    shards, lines = {}, []
    for name, part in parts.items():
        shards[name] = _write_shard(folder, order, name, part)
        lines.append(f"{folder / shards[name].file}: {len(part)} bursts of {part.samples} samples")
    # The manifest's hashes must be those of the bytes that were read, so check the captures once more before it.
    stamps.require_unchanged()
    content = json.dumps(msgspec.to_builtins(_manifest(order, parts, shards)), indent=2) + "\n"
    write_atomically(manifest_path, content.encode())
    return [*lines, f"{manifest_path}: {len(shards)} shards"]


def _require_space(folder: Path, parts: Mapping[str, Bursts]) -> None:
    needed = sum(len(part) * 2 * part.samples * SHARD_DTYPE.itemsize for part in parts.values())
    begun = (folder / _file_name(name) for name in parts)
    require_space(folder, needed, sum(path.stat().st_size for path in begun if path.is_file()))


def _open_parts(order: Order) -> dict[str, Bursts]:
    """Open every capture that a role names, before anything is written."""
    data = order.data
    require_layout(data)
    parts = {
        name: open_bursts(
            CapturePlace(Path(order.data_folder), data.captures[name].path),
            data.captures[name],
            samples=data.samples,
            default_sample_rate_hz=data.sample_rate_hz,
        )
        for name in data.used
    }
    require_one_rate(data, Path(order.data_folder), parts.values())
    return parts


def _manifest(order: Order, parts: Mapping[str, Bursts], shards: dict[str, Shard]) -> Manifest:
    (rate_hz,) = {part.sample_rate_hz for part in parts.values()}
    roles = {role: getattr(order.data, role) for role in ROLES}
    return Manifest(samples=order.data.samples, sample_rate_hz=rate_hz, captures=shards, **roles)


def _file_name(capture: str) -> str:
    if not NAME.fullmatch(capture):
        raise CaptureError(
            f"the capture `{capture}` cannot name a shard; name it with letters, digits, `-`, `_` and `.` alone"
        )
    return capture + SHARD_SUFFIX


def _refuse_other_content(folder: Path, order: Order, parts: Mapping[str, Bursts]) -> None:
    """Refuse a folder that holds anything except these shards, complete or half written."""
    if folder.exists() and not folder.is_dir():
        raise CaptureError(f"{folder}: this is a file, shards need a folder; name another one with `--out`")
    ours = {MANIFEST, *(_file_name(name) for name in parts)}
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        # A killed conversion leaves `.LocA.npy.abc123`.
        if path.name not in ours and not any(path.name.startswith(f".{name}.") for name in ours):
            raise CaptureError(
                f"{folder}: holds `{path.name}`, which is none of these shards, and nothing of others is overwritten; "
                "name another folder with `--out`, or empty this one"
            )
    if (folder / MANIFEST).exists():
        _refuse_other_shards(folder, order, parts)


def _refuse_other_shards(folder: Path, order: Order, parts: Mapping[str, Bursts]) -> None:
    found = read_manifest(folder / MANIFEST)
    wanted = _manifest(order, parts, {name: _describe(order, name, part, "") for name, part in parts.items()})
    # The hashes are those of the finished files, which the captures alone do not give. `_require_complete` checks them.
    hashless = {name: msgspec.structs.replace(shard, sha256="") for name, shard in found.captures.items()}
    if msgspec.structs.replace(found, captures=hashless) != wanted:
        raise CaptureError(
            f"{folder}: holds shards of other captures, packets or samples than these; name another folder with "
            "`--out`, or remove this one"
        )


def _require_complete(folder: Path, manifest: Manifest) -> None:
    for name, shard in manifest.captures.items():
        found = open_shard(folder / shard.file).shape
        if found != (shard.bursts, 2, manifest.samples):
            raise CaptureError(
                f"{folder / shard.file}: holds {list(found)}, the manifest says "
                f"[{shard.bursts}, 2, {manifest.samples}] of `{name}`; remove {folder} and make it again"
            )
        with (folder / shard.file).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                raise CaptureError(
                    f"{folder / shard.file}: its bytes are not those that the manifest names; "
                    f"remove {folder} and make it again"
                )


def _describe(order: Order, name: str, part: Bursts, sha256: str) -> Shard:
    capture = order.data.captures[name]
    return Shard(
        file=_file_name(name),
        devices=capture.devices,
        packets=capture.packets,
        bursts=len(part),
        sha256=sha256,
        source=Source(path=capture.path, sha256=order.sha256[capture.path]),
    )


def _write_shard(folder: Path, order: Order, name: str, part: Bursts) -> Shard:
    whole = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        for piece in _pieces(part):
            whole.update(piece)
            file.write(piece)

    stream_atomically(folder / _file_name(name), write)
    return _describe(order, name, part, whole.hexdigest())


def _pieces(part: Bursts) -> Iterator[bytes | memoryview]:
    """Yield the content of a shard: numpy's header, then blocks of bursts."""
    # The header is written apart from the bursts, since `np.save` would need the whole shard in memory.
    header = BytesIO()
    shape = (len(part), 2, part.samples)
    np.lib.format.write_array_header_1_0(header, {"descr": SHARD_DTYPE.str, "fortran_order": False, "shape": shape})
    yield header.getvalue()
    num_rows = max(1, BLOCK_BYTES // (2 * part.samples * SHARD_DTYPE.itemsize))
    for start in range(0, len(part), num_rows):
        block = read_bursts(part, np.arange(start, min(start + num_rows, len(part))))
        yield block.astype(SHARD_DTYPE, copy=False).data.cast("B")


def main() -> int:
    """Carry out the order on standard input; return 2 after a sentence about what does not fit, else 0."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        lines = write_shards(order)
    except CaptureError as error:
        print(f"model.data.shards: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"model.data.shards: {error.filename or order.out} cannot be written: {explain(error)}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
