"""Find datasets whose bytes all lie in the HDF5 file itself, because a capture's hash covers only that file. No torch.

HDF5 can show bytes of other files under a name of this one: by links, virtual datasets and external storage. A plug-in
can unpack data, so another machine may read other bytes. This module refuses all of these.
"""

import math
from typing import Any

import h5py

from model.config import Place
from model.data.capture_errors import CaptureError

MAX_LINKS = 16
"""Most soft links that are followed, one after the other."""
MAX_CHUNK_BYTES = 2**32 - 1
"""Largest chunk. HDF5 unpacks a whole chunk to read one row. Before HDF5 2.0 no chunk could be larger."""
BUILT_IN_FILTERS = frozenset(
    {
        h5py.h5z.FILTER_DEFLATE,
        h5py.h5z.FILTER_SHUFFLE,
        h5py.h5z.FILTER_FLETCHER32,
        h5py.h5z.FILTER_SZIP,
        h5py.h5z.FILTER_NBIT,
        h5py.h5z.FILTER_SCALEOFFSET,
        h5py.h5z.FILTER_LZF,
    }
)
"""Filters that HDF5 and h5py undo without a plug-in."""
COPY = "write a new file that holds `data` and `label` themselves, with h5py: new[name] = old[name][:]"


def find_own_dataset(path: Place, file: Any, name: str) -> Any | None:
    """Return the dataset with this name in an open file; None if there is none. h5py has no types, hence Any.

    Raises:
        CaptureError: its bytes lie in another file, or a plug-in must unpack them.
    """
    found = _follow(path, file, name)
    if not isinstance(found, h5py.Dataset):
        return None
    _require_own_bytes(path, name, found)
    return found


def _follow(path: Place, root: Any, name: str) -> Any | None:
    """Open an object by name; follow a link only if it stays in the file."""
    found, words, num_links = root, name.split("/"), 0
    while words:
        word = words.pop(0)
        if word in ("", "."):
            continue
        if not isinstance(found, h5py.Group) or word not in found:
            return None
        kind = found.id.links.get_info(word.encode()).type
        # Two links can point at each other, so the number of links that are followed is limited.
        if kind == h5py.h5l.TYPE_SOFT and num_links < MAX_LINKS:
            target, num_links = found.get(word, getlink=True).path, num_links + 1
            found, words = root if target.startswith("/") else found, [*target.split("/"), *words]
        elif kind == h5py.h5l.TYPE_HARD:
            found = found[word]
        else:
            raise CaptureError(_refusal(path, name, _describe_link(found, word, kind)))
    return found


def _describe_link(group: Any, word: str, kind: int) -> str:
    if kind == h5py.h5l.TYPE_SOFT:
        return f"is a chain of more than {MAX_LINKS} links"
    if kind == h5py.h5l.TYPE_EXTERNAL:
        link = group.get(word, getlink=True)
        return f"is a link to `{link.path}` in the file {link.filename}"
    return f"is a link of a program's own kind ({kind})"


def _require_own_bytes(path: Place, name: str, dataset: Any) -> None:
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise CaptureError(_refusal(path, name, "is put together of other datasets (a virtual dataset)"))
    if properties.get_external_count():
        other = properties.get_external(0)[0].decode(errors="replace")
        raise CaptureError(_refusal(path, name, f"has its numbers in the file {other}"))
    for number in range(properties.get_nfilters()):
        code, *_, title = properties.get_filter(number)
        if code not in BUILT_IN_FILTERS:
            raise CaptureError(
                f"{path}: `{name}` is packed with the filter {title.decode(errors='replace') or 'without a name'} "
                f"({code}), which only a plug-in of a machine can unpack; pack it with gzip: "
                "`h5repack -f GZIP=4 OLD NEW`"
            )
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise CaptureError(
            f"{path}: `{name}` has chunks of {list(dataset.chunks)} {dataset.dtype}, which no memory can be asked to "
            f"hold; `h5repack -l {name}:CONTI OLD NEW` writes it in one piece"
        )


def _refusal(path: Place, name: str, found: str) -> str:
    return f"{path}: `{name}` {found}; every byte of a capture must lie in its own file, as its hash does; {COPY}"
