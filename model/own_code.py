"""Whether a job runs the code it was started in, and no module of another copy of `model`."""

import sys
from pathlib import Path


class ForeignCodeError(ImportError):
    """A module of `model` that another copy of it had to lend."""


def require_own_code() -> None:
    """Refuse a module that Python found elsewhere, as it does where an installed copy has what this one lacks.

    Raises:
        ForeignCodeError: names the module, where it came from and where it should have been.
    """
    home = Path(__file__).resolve().parent
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith("model.") and file is not None and not Path(file).resolve().is_relative_to(home):
            raise ForeignCodeError(
                f"{name} came from {file}, since the code of this run, {home}, lacks it; "
                "put the module back, or take out what imports it"
            )
