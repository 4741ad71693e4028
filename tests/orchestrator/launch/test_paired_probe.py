"""Two processes that take turns, with programs in the place of `model.probe`."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.launch.paired_probe import PairedProbe, Side
from orchestrator.launch.slots import Slot
from orchestrator.runs.probes import TURNS, Measurement

HEAD = """\
import os, signal, sys
config, words = sys.argv[1], sys.argv[2:]
share = int(words[words.index("--share") + 1])
number = int(words[words.index("--turns") + 1])
tells = int(words[words.index("--pass-to") + 1])
is_first = "--first" in words
def say(line):
    print(line, flush=True)
"""
TURN_ABOUT = f"""{HEAD}
print("a word of the task's own code, at its import")
log = os.path.join(os.path.dirname(config), "order")
for turn in range(number):
    if not (is_first and turn == 0) and not os.read(0, 1):
        break
    with open(log, "a") as file:
        file.write(os.path.basename(config)[0])
    say('{{"epoch_seconds": %d}}' % (turn + (20 if is_first else 10)))
    try:
        os.write(tells, b".")
    except BrokenPipeError:
        pass
"""
OUT_OF_MEMORY_AT_FIRST = f"""{HEAD}
if share < 4:
    say('{{"problem": "CUDA out of memory", "is_out_of_memory": true}}')
    sys.exit(2)
{TURN_ABOUT}"""
NEVER_ENOUGH = f"""{HEAD}
say('{{"problem": "CUDA out of memory", "is_out_of_memory": true}}')
sys.exit(2)
"""
DIES = "import sys; print('one', file=sys.stderr); sys.exit('there is no module for that')"
HANGS = "import time; time.sleep(600)"
TELLS_ITS_SURROUNDINGS = f"""{HEAD}
say('{{"problem": "%s threads in %s"}}' % (os.environ["OMP_NUM_THREADS"], os.path.basename(os.getcwd())))
sys.exit(2)
"""

ProbeBuilder = Callable[..., PairedProbe]


@pytest.fixture
def build_probe(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> Iterator[ProbeBuilder]:
    """Return what starts two sides whose `model.probe` are the programs given; they are ended with the test."""
    started: list[PairedProbe] = []

    def build(arm: str, reference: str | None = None) -> PairedProbe:
        sides = []
        for name, program in (("arm", arm), ("reference", reference or arm)):
            package = tmp_path / name / "model"
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "probe.py").write_text(program)
            sides.append(Side(tmp_path / f"{name}.json", package.parent, (sys.executable, "-m", "model.probe")))
        started.append(PairedProbe(sides[0], sides[1], Slot("cpu0", {"OMP_NUM_THREADS": "3"}), [sleeper.pid]))
        return started[-1]

    yield build
    for probe in started:
        probe.close()


def follow(probe: PairedProbe) -> Measurement:
    deadline = time.monotonic() + 60
    while True:
        measurement = probe.measurement()
        if probe.is_over:
            return measurement
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_turns_alternate_and_are_paired_without_the_first(build_probe: ProbeBuilder, tmp_path: Path) -> None:
    measurement = follow(build_probe(TURN_ABOUT))
    assert (tmp_path / "order").read_text() == "ar" * (TURNS + 1)
    assert measurement == Measurement(
        arm_seconds=tuple(range(21, 21 + TURNS)), reference_seconds=tuple(range(11, 11 + TURNS))
    )


def test_batches_are_halved_until_both_sides_fit_into_memory(build_probe: ProbeBuilder) -> None:
    measurement = follow(build_probe(OUT_OF_MEMORY_AT_FIRST, TURN_ABOUT))
    assert (measurement.share, measurement.problem, len(measurement.ratios)) == (4, None, TURNS)


def test_without_memory_for_the_smallest_batches_there_is_no_measurement(build_probe: ProbeBuilder) -> None:
    assert follow(build_probe(NEVER_ENOUGH)) == Measurement(share=8, problem="CUDA out of memory")


def test_a_side_that_dies_says_so_with_its_last_line(build_probe: ProbeBuilder) -> None:
    problem = follow(build_probe(HANGS, DIES)).problem
    assert problem == "`python -m model.probe` ended with status 1: there is no module for that"


def test_each_side_runs_its_own_code_with_the_environment_of_the_slot(build_probe: ProbeBuilder) -> None:
    assert follow(build_probe(TELLS_ITS_SURROUNDINGS)).problem == "3 threads in arm"


def test_turns_that_take_too_long_are_given_up(build_probe: ProbeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.launch.paired_probe.LIMIT_SECONDS", 0)
    assert follow(build_probe(HANGS)).problem == "the turns took longer than 0 s"


def test_closing_ends_both_sides(build_probe: ProbeBuilder) -> None:
    probe = build_probe(HANGS)
    children = psutil.Process().children()
    assert len(children) >= 2
    probe.close()
    assert [child for child in psutil.Process().children() if "model.probe" in child.cmdline()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc lists")
def test_no_file_descriptor_is_left_open(build_probe: ProbeBuilder) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    probe = build_probe(NEVER_ENOUGH)
    follow(probe)
    probe.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
