"""Strangers' repositories, and the file that `knockout init` writes for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.campaign.source import Source
from orchestrator.scripts.init import InitOptions, Written, init_campaign
from orchestrator.task.metric_spec import MetricSpec, parse_metrics
from orchestrator.task.parameters import nest
from orchestrator.task.rules import check_baseline, check_task
from orchestrator.task.spec import TaskSpec, parse_task
from tests.builders.repositories import Repository


class Stranger(Repository):
    """A folder of somebody's scripts, and what `knockout init` writes for it."""

    def init(self, script: str, *arguments: str, static: bool = False, seconds: float = 30.0) -> Written:
        options = InitOptions(arguments=arguments, is_static=static, seconds=seconds)
        return init_campaign(self.root / script, self.file, options)

    @property
    def text(self) -> str:
        return self.file.read_text()

    @property
    def values(self) -> dict[str, Any]:
        return Source(self.file).values

    @property
    def task(self) -> TaskSpec:
        task = parse_task(self.values["task"])
        check_task(task)
        return task

    @property
    def metrics(self) -> dict[str, MetricSpec]:
        return parse_metrics(self.values["metrics"])

    @property
    def baseline(self) -> dict[str, Any]:
        """The parameters, after every rule of a task has passed."""
        nested = nest(self.values["baseline"])
        check_baseline(self.task, nested)
        return dict(self.values["baseline"])


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "digits").mkdir()
    return Stranger(tmp_path / "digits")


@pytest.fixture
def in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What a trial leaves in the folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return lambda: sorted(path.name for path in folder.iterdir())
