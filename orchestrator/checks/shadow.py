"""A folder whose own package has the name of one of ours: in one Python, one of the two hides the other."""

import shutil
import sys
from pathlib import Path

OURS = ("model", "orchestrator")
"""Our packages with names that others use too."""
OWN_CHECKOUT = Path("model/studies/radio")
"""Shows that a folder is a checkout of Knockout."""


def find_shadowed(root: Path, program: str = "python", ours: Path | None = None) -> str | None:
    """Return a sentence if a package of the user's, and one of ours of its name, are in one Python; else None.

    Args:
        root: the user's folder.
        program: the interpreter of the user's script.
        ours: the interpreter that Knockout runs in; None for that of this process.
    """
    names = [name for name in OURS if _is_package(root, name)]
    if not names or (root / OWN_CHECKOUT).is_dir():
        return None
    # Two environments do not see each other's packages.
    theirs = _environment_of(root, program)
    if theirs is None or theirs != (ours or Path(sys.executable)).parent:
        return None
    shown = " and ".join(f"`{name}`" for name in names)
    return (
        f"{root} has {shown} of its own, and Knockout is installed in the Python of your script with a package of that "
        "name: one hides the other; install Knockout beside it: `pipx install knockout` or `uv tool install knockout`"
    )


def _is_package(root: Path, name: str) -> bool:
    return (root / f"{name}.py").is_file() or (root / name / "__init__.py").is_file() or _has_modules(root / name)


def _has_modules(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.py"))


def _environment_of(root: Path, program: str) -> Path | None:
    """Return the folder of an interpreter. A link in it stays: by its place Python knows its environment."""
    if program == "{python}":
        return Path(sys.executable).parent
    if "/" in program:
        return (root / program).parent.absolute()
    found = shutil.which(program)
    return None if found is None else Path(found).parent
