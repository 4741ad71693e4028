"""What is trained: its configuration, and the only questions that the orchestrator asks its code.

It must never know a campaign, a run folder or the queue.
"""

from orchestrator import open_door

NAMES = {
    "BestRow": "metric_spec",
    "Change": "knobs",
    "CsvSource": "metric_spec",
    "Direction": "metric_spec",
    "EmulateSpec": "ask",
    "FileSource": "metric_spec",
    "Flags": "spelling",
    "Form": "spelling",
    "ItemsSource": "metric_spec",
    "ItemsSpec": "spec",
    "JsonlSource": "metric_spec",
    "LabelsSpec": "spec",
    "Margin": "metric_spec",
    "MetricSpec": "metric_spec",
    "ProgressSource": "metric_spec",
    "RUN_FOLDER": "command",
    "ReportedSource": "metric_spec",
    "ResampledSpec": "spec",
    "Role": "metric_spec",
    "SEED": "command",
    "SEED_VARIABLE": "templates",
    "Speed": "ask",
    "Spelling": "spelling",
    "StdoutSource": "metric_spec",
    "StyleName": "spelling",
    "TensorboardSource": "metric_spec",
    "TrainerStateSource": "metric_spec",
    "apply_change": "knobs",
    "check_job": "ask",
    "column_of": "metric_spec",
    "describe_jobs": "ask",
    "describe_validation_error": "knobs",
    "difference": "knobs",
    "differing": "knobs",
    "emulate_captures": "ask",
    "fill": "templates",
    "find_shared_bursts": "ask",
    "knob_names": "knobs",
    "leaves": "knobs",
    "measure_speed": "ask",
    "pick_direction": "metric_spec",
    "result_knobs": "knobs",
    "run_marked_tests": "ask",
    "shard_captures": "ask",
    "spell": "spelling",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
