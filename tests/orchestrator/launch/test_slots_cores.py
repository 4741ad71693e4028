"""How many cores and threads were given to this process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.launch.slots import count_usable, read_quotas, share_threads, usable_cores


@pytest.mark.parametrize(
    ("affinity", "quotas", "variables", "cores"),
    [
        (64, [], {}, 64),
        (1, [], {}, 1),
        (64, [8.0, 4.0], {}, 4),
        (64, [1.5], {}, 1),
        (64, [0.5], {}, 1),
        (2, [8.0], {}, 2),
        (64, [], {"SLURM_CPUS_PER_TASK": "8"}, 8),
        (4, [], {"SLURM_CPUS_PER_TASK": "8"}, 4),
        (64, [], {"SLURM_CPUS_PER_TASK": "many"}, 64),
        (64, [], {"OMP_NUM_THREADS": "1"}, 64),
    ],
)
def test_the_least_that_is_granted_counts(
    affinity: int, quotas: list[float], variables: dict[str, str], cores: int
) -> None:
    assert count_usable(affinity, quotas, variables) == cores


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, 4),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"OMP_NUM_THREADS": "16"}, 4),
        ({"MKL_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "0"}, 4),
        ({"OMP_NUM_THREADS": "-1"}, 4),
        ({"OMP_NUM_THREADS": "²"}, 4),
        ({"OMP_NUM_THREADS": ""}, 4),
    ],
)
def test_a_job_never_has_more_threads_than_the_user_allows(variables: dict[str, str], threads: int) -> None:
    assert share_threads(8, 2, variables) == threads


def test_more_slots_than_cores_have_a_thread_each() -> None:
    assert share_threads(2, 5, {}) == 1


class Machine:
    """A `/proc/self` and the control groups that it names."""

    def __init__(self, root: Path) -> None:
        self.proc, self.groups = root / "proc", root / "cgroup"
        self.proc.mkdir()

    def say(self, groups: str, mounts: str) -> None:
        (self.proc / "cgroup").write_text(groups)
        (self.proc / "mountinfo").write_text(mounts.format(point=self.groups))

    def limit(self, name: str, **files: str) -> None:
        folder = self.groups / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_text(content)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


NEW = "31 23 0:28 / {point} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
OLD = "32 31 0:29 / {point} rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"


def test_the_quotas_of_a_group_and_of_those_above_it_are_read(machine: Machine) -> None:
    machine.say("0::/user/job\n", NEW)
    machine.limit("user/job", cpu__max="max 100000\n")
    machine.limit("user", cpu__max="150000 100000\n")
    machine.limit(".", cpu__max="400000 50000\n")
    assert read_quotas(machine.proc) == [1.5, 8.0]


def test_the_quotas_of_the_first_version_are_read(machine: Machine) -> None:
    machine.say("4:memory:/other\n3:cpu,cpuacct:/user/job\n0::/\n", OLD)
    machine.limit("user/job", cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    machine.limit("user", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert read_quotas(machine.proc) == [2.0]


def test_a_container_sees_its_own_group_at_the_top(machine: Machine) -> None:
    machine.say("0::/docker/abc\n", NEW.replace(" / ", " /docker/abc "))
    machine.limit(".", cpu__max="300000 100000\n")
    assert read_quotas(machine.proc) == [3.0]


@pytest.mark.parametrize("groups", ["0::/../../elsewhere\n", "0::/gone\n"])
def test_a_group_that_is_not_seen_here_leaves_the_top(machine: Machine, groups: str) -> None:
    machine.say(groups, NEW)
    machine.limit(".", cpu__max="300000 100000\n")
    assert read_quotas(machine.proc) == [3.0]


@pytest.mark.parametrize("content", ["", "max", "many 100000\n", "100000 0\n"])
def test_a_quota_that_cannot_be_read_limits_nothing(machine: Machine, content: str) -> None:
    machine.say("0::/\n", NEW)
    machine.limit(".", cpu__max=content)
    assert read_quotas(machine.proc) == []


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert read_quotas(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_process_that_is_bound_to_one_core_has_one() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from orchestrator.launch.slots import make_own_slots; slots = make_own_slots(None);"
        "print(len(slots), slots[0].environment['OMP_NUM_THREADS'])"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["1", "1"]
    assert usable_cores() >= 1
