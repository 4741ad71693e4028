"""What is trained: its configuration, and the only questions that the orchestrator asks its code.

It must never know a campaign, a run folder or the queue.
"""

from orchestrator import open_door

NAMES = {
    "About": "ask",
    "Answer": "ask",
    "Change": "knobs",
    "DataSpec": "spec",
    "Direction": "metric_spec",
    "EmulateSpec": "radio",
    "FROM": "spec",
    "Flags": "spelling",
    "Form": "spelling",
    "ItemsSource": "metric_spec",
    "ItemsSpec": "spec",
    "LabelsSpec": "spec",
    "Margin": "metric_spec",
    "MetricSpec": "metric_spec",
    "Parameters": "parameters",
    "Problem": "ask",
    "Read": "ask",
    "Role": "metric_spec",
    "SEED_VARIABLE": "templates",
    "Schema": "kinds",
    "Speed": "radio",
    "Spelling": "spelling",
    "StyleName": "spelling",
    "TaskSpec": "spec",
    "apply_change": "knobs",
    "apply_to_parameters": "parameters",
    "ask_schema": "ask",
    "check_arm": "rules",
    "check_baseline": "rules",
    "check_configs": "ask",
    "check_job": "ask",
    "check_parameters": "parameters",
    "check_task": "rules",
    "describe_validation_error": "knobs",
    "difference": "knobs",
    "differing": "knobs",
    "emulate_captures": "radio",
    "file_name": "knobs",
    "find_shared_bursts": "radio",
    "installed_folder": "call",
    "knob_names": "kinds",
    "lay_over": "spec",
    "leaves": "knobs",
    "measure_speed": "radio",
    "nest": "parameters",
    "parameter_names": "parameters",
    "parse_metrics": "metric_spec",
    "parse_task": "spec",
    "prepare_data": "ask",
    "read_schema": "schema",
    "result_knobs": "knobs",
    "run_marked_tests": "radio",
    "shard_captures": "radio",
    "spell": "spelling",
    "written_elsewhere": "spec",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
