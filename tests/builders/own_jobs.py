"""Commands of jobs that hold their own run folder."""

from pathlib import Path

from orchestrator.launch.commands import build_own_job
from orchestrator.launch.local import JobCommand
from orchestrator.launch.slots import Slot
from orchestrator.runs.folder import RunConfig, RunFolder
from orchestrator.runs.order import GuardSpec, Order, OrderedCode
from tests.orchestrator.conftest import RADIO


def own_job(folder: RunFolder, code: Path, slot: Slot, code_hash: str = "c0de") -> JobCommand:
    """Return the command of a run's job, whose data lie beside its folder."""
    order = Order(
        run=folder.path.name,
        identity="1d",
        queued="now",
        code=OrderedCode(tree=code_hash),
        files={},
        guards=GuardSpec(),
        task=RADIO,
        root=str(folder.path.parent),
    )
    config = RunConfig(experiment="E5", profile="quick", seed=0, params={})
    return build_own_job(order, config, folder, code, slot)
