from pathlib import Path

import msgspec
import pytest

from orchestrator.api import doctor
from orchestrator.api.doctor import check_cuda_tests, examine_gpu, judge_speed
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.errors import DataError
from orchestrator.task.ask import Speed, measure_speed

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
    config = open_campaign(Request(file=ROOT / "experiments.yaml", profile="paper")).arms["baseline"].config
    (finding,) = examine_gpu(config, ROOT)
    assert finding.kind == "bad"
    assert "no NVIDIA GPU here" in finding.what


def test_a_folder_without_tests_is_told_where_to_run(tmp_path: Path) -> None:
    (finding,) = check_cuda_tests(tmp_path)
    assert finding.kind == "note"
    assert "run this from a clone of the repository" in finding.what


@pytest.mark.parametrize(("body", "kind", "said"), [("pass", "ok", "1 passed"), ("assert 0", "bad", "1 failed")])
def test_only_the_tests_marked_cuda_are_run(tmp_path: Path, body: str, kind: str, said: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = cuda: on a GPU\n")
    test = f"import pytest\n\n@pytest.mark.cuda\ndef test_one():\n    {body}\n\ndef test_other():\n    assert 0\n"
    (tmp_path / "tests" / "test_gpu.py").write_text(test)
    (finding,) = check_cuda_tests(tmp_path)
    assert finding.kind == kind
    assert said in finding.what
    assert "1 deselected" in finding.what


def test_the_speed_check_trains_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine's processor, the quick baseline on a few bursts; on a GPU the same with the paper's."""
    study = open_campaign(Request(file=ROOT / "experiments.yaml", profile="quick", experiments=("baseline",)))
    config = study.arms["baseline"].config
    captures = {
        name: msgspec.structs.replace(capture, packets=(start := capture.packets[0], start + 1))
        for name, capture in config.data.captures.items()
    }
    small = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, captures=captures, samples=64))
    speed = measure_speed(small, 2, "cpu")
    assert (speed.device, len(speed.epoch_seconds)) == ("cpu", 2)


@pytest.mark.skipif(doctor.count_gpus() > 0, reason="there is a GPU here")
def test_a_speed_check_that_cannot_run_says_why() -> None:
    study = open_campaign(Request(file=ROOT / "experiments.yaml", profile="quick", experiments=("baseline",)))
    config = study.arms["baseline"].config
    with pytest.raises(DataError, match="there is no CUDA GPU here"):
        measure_speed(config, 1, "cuda")
