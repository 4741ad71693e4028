"""Trains runs: slots, job processes, the worker, its guards. The feed says which runs are the worker's.

It reads a run's order, and must never know a campaign, an experiment's meaning or a verdict.
"""

from orchestrator import open_door

NAMES = {
    "CONTAINER_MASK": "slots",
    "Device": "slots",
    "Every": "loop",
    "EveryRun": "loop",
    "GivenRuns": "loop",
    "Gpu": "slots",
    "Jobs": "start",
    "LiveRun": "watcher",
    "MASK": "slots",
    "Observer": "loop",
    "Slot": "slots",
    "THREAD_VARIABLES": "slots",
    "build_worker": "worker",
    "clean_checkouts": "start",
    "count_gpus": "slots",
    "describe_launch": "commands",
    "find_compiler_problem": "compilers",
    "find_devices": "slots",
    "find_gpu_problem": "slots",
    "find_preload_problem": "commands",
    "job_environment": "local",
    "list_gpus": "slots",
    "make_own_slots": "slots",
    "never": "loop",
    "provenance": "",
    "refuse_crowded": "contention",
    "supervisor_command": "commands",
    "usable_cores": "slots",
    "visible_devices": "slots",
    "with_helper": "commands",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
