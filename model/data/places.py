"""Captures are named as the campaign names them: a variable in a path may hold what nobody should read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.config import locate_capture
from model.data.captures import CaptureError


@contextmanager
def located(folder: Path, path: str) -> Iterator[Path]:
    """Give the place of a capture; what goes wrong inside is told with the path as it is written.

    Raises:
        CaptureError: as inside.
    """
    place = locate_capture(folder, path)
    try:
        yield place
    except CaptureError as error:
        raise CaptureError(str(error).replace(str(place), str(folder / path))) from None
