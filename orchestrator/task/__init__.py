"""What is trained: its configuration, and the only questions that the orchestrator asks its code.

It must never know a campaign, a run folder or the queue.
"""

from orchestrator import open_door

NAMES = {
    "Change": "knobs",
    "Direction": "metric_spec",
    "EmulateSpec": "ask",
    "Flags": "spelling",
    "Form": "spelling",
    "ItemsSource": "metric_spec",
    "ItemsSpec": "spec",
    "LabelsSpec": "spec",
    "Margin": "metric_spec",
    "MetricSpec": "metric_spec",
    "Role": "metric_spec",
    "SEED_VARIABLE": "templates",
    "Speed": "ask",
    "Spelling": "spelling",
    "StyleName": "spelling",
    "apply_change": "knobs",
    "check_job": "ask",
    "describe_jobs": "ask",
    "describe_validation_error": "knobs",
    "difference": "knobs",
    "differing": "knobs",
    "emulate_captures": "ask",
    "find_shared_bursts": "ask",
    "knob_names": "knobs",
    "leaves": "knobs",
    "measure_speed": "ask",
    "result_knobs": "knobs",
    "run_marked_tests": "ask",
    "shard_captures": "ask",
    "spell": "spelling",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
