"""The other side of `import knockout`: what that file reads in a run, where it writes, and how a script finds it.

The helper is one file that people copy, so it has these names a second time. A test holds both equal.
"""

from pathlib import Path

import knockout
from orchestrator.files import write_atomically
from orchestrator.processes import MARK

VARIABLES = {
    "run": MARK,
    "folder": "KNOCKOUT_FOLDER",
    "seed": "KNOCKOUT_SEED",
    "params": "KNOCKOUT_PARAMS",
    "metrics": "KNOCKOUT_METRICS",
}
"""Name -> environment variable of every process of a run.

`run` is its mark, and `params` a JSON file of its parameters. `metrics` is the file that takes numbers as lines of
JSON, from any language.
"""
REPORTED = "reported.jsonl"
"""File in the run folder with the numbers that the helper tells."""
SCORES = "scores"
"""Folder in the run folder with a CSV file of items for each split that the helper tells."""
SCORES_ENDING = ".csv"
"""Ending of these files."""
CHECKPOINTS = "checkpoints"
"""Folder in the run folder that is kept between attempts."""
HELPER = Path(knockout.__file__)


def run_variables(folder: Path, mark: str, seed: int, params: Path) -> dict[str, str]:
    """Return the environment by which the processes of a run know it.

    Args:
        folder: the run folder, as an absolute path: a script changes its folder as it likes.
        mark: the mark of the run's processes.
        seed: the seed of the run.
        params: a JSON file with the parameters of the run.
    """
    values = {
        "run": mark,
        "folder": str(folder),
        "seed": str(seed),
        "params": str(params),
        "metrics": str(folder / REPORTED),
    }
    return {VARIABLES[name]: value for name, value in values.items()}


def place_helper(folder: Path) -> Path:
    """Make a folder for PYTHONPATH that holds the helper and nothing else; return it.

    Any interpreter finds the helper there, and none of our own packages.

    Raises:
        OSError: it cannot be written.
    """
    content = HELPER.read_bytes()
    place = folder / "knockout" / HELPER.name
    # Written only where it differs, since many runs share the folder.
    if not place.is_file() or place.read_bytes() != content:
        write_atomically(place, content)
    return folder


def scores_file(folder: Path, split: str) -> Path:
    """Return where the helper writes the items of a split."""
    return folder / SCORES / f"{split}{SCORES_ENDING}"
