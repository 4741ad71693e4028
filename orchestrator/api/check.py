"""`knockout check`: the baseline is run in true isolation, and what its campaign file lacks is offered."""

from pathlib import Path

from orchestrator.checks.check import Checked, CheckOptions, Tell, check_campaign
from orchestrator.checks.findings import Finding

__all__ = ["CheckOptions", "Checked", "Finding", "check"]


def check(file: Path, options: CheckOptions, tell: Tell) -> Checked:
    """Run the baseline of a campaign three times, and say what it does and what the file lacks.

    Args:
        file: the campaign file.
        options: how.
        tell: takes a sentence when a run begins.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: the file has no command of its own, or a parameter cannot be set.
        CodeError: git refuses a checkout.
        OSError: a run cannot be started, or the file cannot be written.
    """
    return check_campaign(file, options, tell)
