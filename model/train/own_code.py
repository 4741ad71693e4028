"""Check that every loaded module of `model` comes from the job's own copy of the code."""

import sys
from pathlib import Path


class ForeignCodeError(ImportError):
    """A module of `model` that Python loaded from another copy."""


class _Checked:
    """The number of loaded modules at the last successful check.

    A forked job inherits its parent's modules. Reading them again would copy their memory pages.
    """

    num_modules = 0


def require_own_code() -> None:
    """Refuse a module from another place: Python takes it from an installed copy if this copy lacks it.

    Raises:
        ForeignCodeError: names the module, its place and the place of this copy.
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
