"""What the tests of code share: a campaign's folder, as it is and in a repository."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.runs.paths import Paths
from tests.builders.code import FILES

FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan({"E5": FOCAL})


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = tmp_path / "study"
    (root / "model").mkdir(parents=True)
    (root / "model" / "__main__.py").write_text("print('one')\n")
    return Paths(root)


@pytest.fixture
def committed(paths: Paths) -> Paths:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for words in (("init", "--quiet"), ("add", "-A"), ("commit", "--quiet", "-m", "start")):
        subprocess.run(["git", *identity, *words], cwd=paths.root, check=True)
    return paths


@pytest.fixture(params=["", "exp/one/"], ids=["top", "subfolder"])
def script(
    request: pytest.FixtureRequest, repo: Path, git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Paths:
    """A stranger's script in a repository, at its top or deeper."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = repo / request.param
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "run.sh").chmod(0o755)
    (root / "conf" / "link.yaml").symlink_to("base.yaml")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a script")
    return Paths(root)
