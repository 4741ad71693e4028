"""Check what only a GPU can show, on a GPU machine without a network: `python3 -m gpu.check`, in the project's folder.

The steps, each with its limit in seconds:

- machine, 60: names and versions of what is here
- cuda-tests, 140: the tests marked `cuda`
- benchmark, 80: seconds an epoch, kernels, memory
- doctor, 110: the kernels again, and ten epochs at profile paper
- campaign, 200: E5 and H2 at profile gpu, to the report

Wheels in `.gpu/` are installed into `.gpu/site` first, and nothing outside this folder changes. Logs, the report and
the epochs go to `gpu-out/`. A step that fails does not keep the next from running.

Exit status: 0 if every step showed its part and found it in order; 1 if not; 2 without a GPU; 130 interrupted.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from gpu.machine import WHEELS, ask, find_card_problem, install_wheels, make_repository
from gpu.steps import (
    Step,
    Verdict,
    explain_no_benchmark,
    explain_no_run,
    explain_no_test,
    explain_silence,
    is_newer,
    judge,
    run_step,
)

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)
NO_CARD, INTERRUPTED = 2, 130


def plan_steps(root: Path, started: float) -> list[Step]:
    """Return the steps in their order. Pure."""
    pytest = ("-m", "pytest", "-q", "--maxfail=30", "-o", "filterwarnings=default", "-p", "no:cacheprovider")
    campaign = ("-m", "orchestrator", "run", "E5", "H2", "--profile", "gpu")
    python = sys.executable
    return [
        Step("machine", 60, (python, "-m", "gpu.machine"), explain_silence),
        Step("cuda-tests", 140, (python, *pytest, "-m", "cuda", "tests/model"), explain_no_test),
        Step("benchmark", 80, (python, "-m", "benchmarks.gpu"), explain_no_benchmark),
        Step("doctor", 110, (python, "-m", "orchestrator", "doctor", "--gpu"), explain_silence),
        Step("campaign", 200, (python, *campaign), partial(explain_no_run, root, started)),
    ]


def environment_of(root: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the steps: they import the wheels first, then the project. Pure."""
    # The gathered wheels come first: the machine's own packages may be older.
    places = [str(root / WHEELS / "site"), str(root), *filter(None, [variables.get("PYTHONPATH")])]
    changed = {"PYTHONPATH": os.pathsep.join(places), "PYTHONUNBUFFERED": "1", "GIT_PYTHON_REFRESH": "quiet"}
    return {**variables, **changed}


def collect(root: Path, out: Path, started: float, variables: Mapping[str, str]) -> list[str]:
    """Copy the report, the runs' states and epochs of this check into a folder; return the names of what is there."""
    pages = [root / "docs" / "gpu.md", *(root / "reports" / "latest").glob("report.*")]
    for page in pages:
        # A page of an earlier check would look like a result of this one.
        if page.is_file() and is_newer(page, started):
            shutil.copy(page, out)
    files = [path for name in ("epochs.jsonl", "result.json", "provenance.json") for path in find_files(root, name)]
    if files:
        with tarfile.open(out / "epochs.tgz", "w:gz") as archive:
            for path in files:
                archive.add(path, path.relative_to(root).as_posix())
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = ask([sys.executable, "-m", "orchestrator", "status", "--json"], root, variables)
            (out / "status.json").write_text(done.stdout)
    return sorted(path.name for path in out.iterdir())


def find_files(root: Path, name: str) -> list[Path]:
    """Return the files of a name in the run folders, sorted."""
    return sorted((root / "results" / "runs").glob(f"*/{name}"))


def run_steps(steps: Sequence[Step], out: Path, root: Path, variables: Mapping[str, str]) -> Iterator[Verdict]:
    """Run the steps one after the other; yield each verdict as soon as it is there."""
    for step in steps:
        yield judge(step, run_step(step, out / f"{step.name}.log", root, variables))


def check(root: Path, out: Path, *, dry: bool) -> int:
    """Prepare this folder, run all steps, and print a summary; return the exit status."""
    variables = environment_of(root, os.environ)
    problem = find_card_problem(variables)
    if problem:
        print(f"{problem}: no step can show anything" + ("" if dry else ", so none is run"))
    if problem and not dry:
        return NO_CARD
    if failure := install_wheels(root):
        print(failure)
        return 1
    if note := make_repository(root):
        print(note)
    out.mkdir(parents=True, exist_ok=True)
    started, verdicts = time.time(), []
    for verdict in run_steps(plan_steps(root, started), out, root, variables):
        verdicts.append(verdict)
        print(verdict.summary(), *(f"    {line}" for line in verdict.lines), sep="\n", flush=True)
    return conclude(verdicts, out, collect(root, out, started, variables))


def conclude(verdicts: Sequence[Verdict], out: Path, files: Sequence[str]) -> int:
    """Print the summary and write it into a file; return 0 if every step is ok, else 1."""
    seconds = sum(verdict.seconds for verdict in verdicts)
    text = "\n".join([*(verdict.summary() for verdict in verdicts), f"all of it: {seconds:.0f} s"])
    (out / "summary.txt").write_text(f"{text}\n")
    print(f"\n{text}\nin {out}: {', '.join(sorted({*files, 'summary.txt'}))}")
    return 0 if all(verdict.word == "ok" for verdict in verdicts) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m gpu.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "gpu-out", help="folder of the logs (gpu-out)")
    parser.add_argument("--dry", action="store_true", help="go through the steps without a GPU, too")
    options = parser.parse_args(arguments)
    if sys.version_info < OLDEST_PYTHON:
        print(f"Knockout needs Python 3.11 or newer, this is {sys.version.split()[0]}; try: python3.12 -m gpu.check")
        return 1
    # A request to end must end the step's processes, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return check(ROOT, options.out.resolve(), dry=options.dry)
    except KeyboardInterrupt:
        print("interrupted; the logs of the steps before are kept", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
