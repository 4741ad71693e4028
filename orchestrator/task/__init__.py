"""What is trained: its configuration, and the only questions that the orchestrator asks its code.

It must never know a campaign, a run folder or the queue.
"""

from orchestrator import open_door

NAMES = {
    "BestRow": "metric_spec",
    "Change": "knobs",
    "DataSpec": "spec",
    "Direction": "metric_spec",
    "EmulateSpec": "ask",
    "FROM": "spec",
    "Flags": "spelling",
    "Form": "spelling",
    "GRACE_SECONDS": "spec",
    "HIDDEN": "command",
    "ItemsSource": "metric_spec",
    "ItemsSpec": "spec",
    "LabelsSpec": "spec",
    "Launch": "command",
    "Margin": "metric_spec",
    "MetricSpec": "metric_spec",
    "PARAMS_VARIABLE": "command",
    "PYTHON": "command",
    "Places": "command",
    "ROOT": "command",
    "RUN_FOLDER": "command",
    "ResumeSpec": "spec",
    "Role": "metric_spec",
    "SEED": "command",
    "SEED_VARIABLE": "templates",
    "Speed": "ask",
    "Spelling": "spelling",
    "StyleName": "spelling",
    "TaskSpec": "spec",
    "apply_change": "knobs",
    "apply_to_parameters": "parameters",
    "build_launch": "command",
    "check_baseline": "rules",
    "check_job": "ask",
    "check_task": "rules",
    "describe_jobs": "ask",
    "describe_validation_error": "knobs",
    "difference": "knobs",
    "differing": "knobs",
    "emulate_captures": "ask",
    "fill": "templates",
    "find_shared_bursts": "ask",
    "knob_names": "knobs",
    "lay_over": "spec",
    "leaves": "knobs",
    "measure_speed": "ask",
    "metric_spec": "",
    "nest": "parameters",
    "parse_metrics": "metric_spec",
    "parse_task": "spec",
    "pick_direction": "metric_spec",
    "result_knobs": "knobs",
    "run_marked_tests": "ask",
    "shard_captures": "ask",
    "spell": "spelling",
    "written_elsewhere": "spec",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
