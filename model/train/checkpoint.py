"""`checkpoint.pt`: a checkpoint with its own checksum, refused if the checksum does not fit.

The file is the output of `torch.save`, then 8 bytes `KNOCKOUT`, then the 32 bytes of the SHA-256 of that output. So a
cut file, or one with a single wrong bit, is refused; `torch.load` alone may read wrong numbers without an error.
"""

import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO

import torch

MARK = b"KNOCKOUT"
TRAILER_BYTES = len(MARK) + hashlib.sha256().digest_size


class CheckpointError(ValueError):
    """A checkpoint from which training cannot continue. The text names the file and the reason."""


class _Hashing(io.BytesIO):
    """Hashes each write and passes it on to a file; keeps nothing itself."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file, self.hash = file, hashlib.sha256()

    def write(self, content: Any) -> int:
        """Write and hash."""
        self.hash.update(content)
        return self.file.write(content)


def write_checkpoint(file: BinaryIO, content: dict[str, Any]) -> None:
    """Write a checkpoint with its checksum into an open file."""
    # Hash while writing: a second pass over the file would read it back from the disk.
    hashing = _Hashing(file)
    torch.save(content, hashing)
    file.write(MARK + hashing.hash.digest())


def read_checkpoint(path: Path, device: torch.device | str) -> dict[str, Any]:
    """Read a checkpoint, its tensors on a device.

    Raises:
        CheckpointError: the file is damaged, or holds something else.
        OSError: the file cannot be read.
    """
    # Read once: if the file were hashed and then loaded, somebody could replace it between the two.
    content = path.read_bytes()
    payload, trailer = content[:-TRAILER_BYTES], content[-TRAILER_BYTES:]
    if trailer != MARK + hashlib.sha256(payload).digest():
        raise CheckpointError(
            f"{path}: this checkpoint is not whole: its checksum does not fit its {len(content)} bytes"
        )
    # `weights_only` unpickles no code, since a checkpoint may come from somebody else.
    loaded = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: this is no checkpoint of a run, it holds a {type(loaded).__name__}")
    return loaded
