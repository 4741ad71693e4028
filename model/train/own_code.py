"""Whether a job runs the code it was started in, and no module of another copy of `model`."""

import sys
from pathlib import Path


class ForeignCodeError(ImportError):
    """A module of `model` that another copy of it had to lend."""


class _Checked:
    """How many modules there were when all were found to be our own.

    A forked job has those of the process that it came from: looking at them again would copy their memory.
    """

    num_modules = 0


def require_own_code() -> None:
    """Refuse a module that Python found elsewhere, as it does where an installed copy has what this one lacks.

    Raises:
        ForeignCodeError: names the module, where it came from and where it should have been.
    """
    if _Checked.num_modules == len(sys.modules):
        return
    home = Path(__file__).resolve().parents[1]
    for name in sorted(name for name in sys.modules if name.startswith("model.")):
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and not Path(file).resolve().is_relative_to(home):
            raise ForeignCodeError(
                f"{name} came from {file}, since the code of this run, {home}, lacks it; "
                "put the module back, or take out what imports it"
            )
    _Checked.num_modules = len(sys.modules)
