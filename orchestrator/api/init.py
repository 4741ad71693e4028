"""`knockout init`: a first campaign file for a training script."""

from pathlib import Path

from orchestrator.scripts.init import InitOptions, Written, init_campaign

__all__ = ["InitOptions", "Written", "init"]


def init(script: Path, file: Path, options: InitOptions) -> Written:
    """Look at a script and write a campaign file for it; nothing else is written, and nothing is overwritten.

    Args:
        script: the script; it lies in the folder of the campaign file, or below it.
        file: the campaign file, which must not exist.
        options: how.

    Raises:
        UsageError: something is in the way, or the script cannot be read.
        OSError: the file cannot be written.
    """
    return init_campaign(script, file, options)
