from pathlib import Path

import msgspec
import pytest

from orchestrator.api import doctor
from orchestrator.api.doctor import TESTED, check_cuda_tests, check_speed, examine_gpu, judge_speed, judge_versions
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.errors import DataError
from orchestrator.task.radio import Speed, measure_speed

ROOT = Path(__file__).parents[3]
SPEED = Speed(
    device="cuda",
    epoch_seconds=(40.0, 5.0, 5.2, 5.4),
    data_seconds=(0.1, 0.1, None, 0.1),
    skipped_steps=3,
    peak_memory_bytes=7 * 10**9,
)


def test_the_first_epoch_pays_for_compiling_and_does_not_count() -> None:
    finding = judge_speed(SPEED)
    assert finding.kind == "ok"
    assert "5.2 s an epoch on cuda, median of those after the first, which took 40.0 s" in finding.what
    assert "the source reports 5 to 6 s" in finding.what
    assert "1% of the time waiting for data, 3 steps skipped, 7.0 GB at most" in finding.what


@pytest.mark.parametrize(("seconds", "kind"), [(6.0, "ok"), (6.1, "note"), (10.0, "note"), (10.1, "bad")])
def test_slower_than_the_source_is_noted_and_slower_than_its_guard_is_bad(seconds: float, kind: str) -> None:
    speed = msgspec.structs.replace(SPEED, epoch_seconds=(1.0, seconds, seconds), data_seconds=(0.0, 0.0, 0.0))
    assert judge_speed(speed).kind == kind


@pytest.mark.skipif(doctor.count_gpus() > 0, reason="there is a GPU here")
def test_without_a_gpu_nothing_is_checked_and_that_is_said() -> None:
    config = open_campaign(Request(file=ROOT / "experiments.yaml", profile="paper")).arms["baseline"].params
    (finding,) = examine_gpu(config, ROOT)
    assert finding.kind == "bad"
    assert "no NVIDIA GPU here" in finding.what


def test_a_folder_without_tests_is_told_where_to_run(tmp_path: Path) -> None:
    (finding,) = check_cuda_tests(tmp_path)
    assert finding.kind == "note"
    assert "run this from a clone of the repository" in finding.what


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("pass", "ok", "tests marked `cuda`: 1 passed"),
        ("assert 0", "bad", "tests marked `cuda`: 1 failed"),
        ("import warnings; warnings.warn('of another version')", "ok", "1 passed, 1 deselected, 1 warning"),
        ("pytest.skip('no card')", "bad", "tests marked `cuda`: no test ran: 1 skipped"),
    ],
)
def test_only_the_tests_marked_cuda_are_run(tmp_path: Path, body: str, kind: str, said: str) -> None:
    (tmp_path / "tests" / "model").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = cuda: on a GPU\nfilterwarnings = error\n")
    test = f"import pytest\n\n@pytest.mark.cuda\ndef test_one():\n    {body}\n\ndef test_other():\n    assert 0\n"
    (tmp_path / "tests" / "model" / "test_gpu.py").write_text(test)
    (finding,) = check_cuda_tests(tmp_path)
    assert finding.kind == kind
    assert said in finding.what
    assert "1 deselected" in finding.what


def test_the_tested_versions_are_those_that_are_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert {f"{name}=={version}" for name, version in TESTED.items()} <= set(pins)


def test_the_tested_versions_are_confirmed_whatever_their_build() -> None:
    (finding,) = judge_versions("3.11.7", TESTED | {"torch": "2.13.0+cu130"})
    assert finding.kind == "ok"
    assert finding.what.startswith("Python 3.11.7, torch 2.13.0+cu130, triton 3.7.1, ")
    assert finding.what.endswith("the versions that were tested, on a CPU and in Triton's interpreter only")


def test_what_differs_from_the_tested_versions_is_named_beside_them() -> None:
    (finding,) = judge_versions("3.12.1", TESTED | {"torch": "2.11.0", "triton": "3.6.0"})
    assert (finding.kind, finding.what) == (
        "note",
        "other versions than those tested, which stand in brackets: Python 3.12.1 (3.11), torch 2.11.0 (2.13.0), "
        "triton 3.6.0 (3.7.1); tested on a CPU and in Triton's interpreter only",
    )


def test_a_missing_package_is_bad_and_the_next_step_is_told() -> None:
    missing, others = judge_versions("3.11.7", TESTED | {"liger-kernel": None})
    told = "liger-kernel is not installed; run `make setup`, or `make gpu` for a machine without a network"
    assert (missing.kind, missing.what) == ("bad", told)
    assert (others.kind, "liger" in others.what) == ("ok", False)


def test_with_a_gpu_versions_come_first_and_nothing_that_fails_ends_the_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "count_gpus", lambda: 1)
    config = open_campaign(Request(file=ROOT / "experiments.yaml", profile="quick")).arms["baseline"].params
    monkeypatch.setattr(doctor, "measure_speed", lambda *asked: SPEED)
    found = list(examine_gpu(config, tmp_path))
    assert "tested" in found[-3].what
    assert [finding.what.partition(" ")[0] for finding in found[-2:]] == ["the", "5.2"]


def test_the_speed_is_that_of_a_gpu_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """If NVML sees a GPU and torch does not, epochs of the paper's size on a CPU would take hours."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(doctor, "measure_speed", lambda *words: asked.append(words[1:]) or SPEED)
    config = open_campaign(Request(file=ROOT / "experiments.yaml", profile="paper")).arms["baseline"].params
    assert check_speed(config).kind == "ok"
    assert asked == [(10, "cuda")]


def test_the_speed_check_trains_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine's processor, the quick baseline on a few bursts; on a GPU the same with the paper's."""
    study = open_campaign(Request(file=ROOT / "experiments.yaml", profile="quick", experiments=("baseline",)))
    config = study.arms["baseline"].params
    captures = {
        name: capture | {"packets": [capture["packets"][0], capture["packets"][0] + 1]}
        for name, capture in config["data"]["captures"].items()
    }
    small = config | {"data": config["data"] | {"captures": captures, "samples": 64}}
    speed = measure_speed(small, 2, "cpu")
    assert (speed.device, len(speed.epoch_seconds)) == ("cpu", 2)


@pytest.mark.skipif(doctor.count_gpus() > 0, reason="there is a GPU here")
def test_a_speed_check_that_cannot_run_says_why() -> None:
    study = open_campaign(Request(file=ROOT / "experiments.yaml", profile="quick", experiments=("baseline",)))
    config = study.arms["baseline"].params
    with pytest.raises(DataError, match="there is no CUDA GPU here"):
        measure_speed(config, 1, "cuda")
