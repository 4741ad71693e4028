"""`python -m orchestrator.supervisor RUN_FOLDER`: run the command of the folder's `launch.json`."""

import argparse
import sys
from pathlib import Path

from orchestrator.supervisor.supervise import supervise


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status, which `supervise` explains."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.supervisor", description="One command as a run.")
    parser.add_argument("run_folder", type=Path, help="folder with launch.json; results are written there")
    # The command works in another folder, so a relative path would mean another place there.
    return supervise(parser.parse_args(arguments).run_folder.absolute())


if __name__ == "__main__":
    sys.exit(main())
