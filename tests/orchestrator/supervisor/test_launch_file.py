"""`launch.json` is closed, and each way in which it cannot be read has its sentence."""

from pathlib import Path

import pytest

from orchestrator.errors import RunError
from orchestrator.supervisor.launch_file import LaunchFile, Progress, ProgressFile, Resume, read_launch, write_launch

WHOLE = LaunchFile(
    checkout="/co",
    arguments=("python", "train.py", "--lr=0.1"),
    environment={"SEED": "1"},
    hidden=("SLURM_*",),
    files={"a.json": "{}"},
    data={"data/text": "/data/text"},
    outputs=("out",),
    fresh=("scores",),
    resume=Resume(when="out/*.pt", arguments=("python", "train.py", "--resume")),
    stop_signal="SIGINT",
    grace_seconds=5,
    run_seconds=3600,
    progress=Progress(patterns=("step {step}",), files=(ProgressFile(kind="csv", path="m.csv", step="epoch"),)),
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_launch(tmp_path / "launch.json", WHOLE)
    assert read_launch(tmp_path / "launch.json") == WHOLE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read: Input data was truncated; queue the run again"),
        ('{"checkout": "/co", "arguments": []}', "Expected `array` of length >= 1"),
        ('{"checkout": "/co", "arguments": ["a"], "stop": 1}', "Object contains unknown field `stop`"),
        ('{"checkout": "/co", "arguments": ["a"], "stop_signal": "SIGKILL"}', "Invalid enum value 'SIGKILL'"),
        ('{"checkout": "/co", "arguments": ["a"], "format": 9}', "this is format 9, wanted is 1; queue the run again"),
        ('{"checkout": "co", "arguments": ["a"]}', "`checkout` is `co`, wanted is an absolute path"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "launch.json").write_text(text)
    with pytest.raises(RunError) as raised:
        read_launch(tmp_path / "launch.json")
    assert str(raised.value).startswith(f"{tmp_path}/launch.json: ")
    assert said in str(raised.value)


def test_a_missing_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such file, so nothing says what to start; queue the run again"):
        read_launch(tmp_path / "launch.json")


@pytest.mark.parametrize("name", ["checkout", "resume"])
def test_it_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        setattr(WHOLE, name, None)
