"""experiments.yaml -> configurations -> arms -> the plan of runs. It starts no process and knows no verdict.

The modules form one line: source, load, spec, configs, generated, arms, plan, selection. `captures`, `records` and
`snapshot` stand on it.
"""

from orchestrator import open_door

NAMES = {
    "ABLATION": "fields",
    "ABSENT": "configs",
    "ACCURACY": "scored",
    "Arm": "arms",
    "BASELINE": "fields",
    "COMPILER": "selection",
    "CONTROLS": "fields",
    "Campaign": "spec",
    "CategoricalSpace": "search_spec",
    "Configs": "configs",
    "Control": "fields",
    "CurrentPlan": "selection",
    "DEFAULT_TASK": "load",
    "FloatSpace": "search_spec",
    "GPU": "selection",
    "IntSpace": "search_spec",
    "Interaction": "generated",
    "JudgingSpec": "spec",
    "MedianPruning": "search_spec",
    "Objective": "scored",
    "Plan": "plan",
    "PlannedRun": "plan",
    "Reported": "fields",
    "Request": "selection",
    "SearchSpec": "search_spec",
    "Selection": "selection",
    "Source": "source",
    "Space": "search_spec",
    "StagingSpec": "spec",
    "Where": "fields",
    "WilcoxonPruning": "search_spec",
    "at_profile": "load",
    "branch_content": "arms",
    "campaign_schema": "schema",
    "choose_plan": "snapshot",
    "collect_inputs": "selection",
    "configs_of": "arms",
    "describe_change": "arms",
    "find_objective": "scored",
    "gather": "records",
    "load_campaign": "load",
    "look_up": "configs",
    "make_captures": "captures",
    "make_plan": "selection",
    "measures_of": "records",
    "missing_captures": "captures",
    "narrow": "plan",
    "open_campaign": "selection",
    "own_inputs": "plan",
    "plan_now": "selection",
    "profiles_without_gpu": "selection",
    "read_task": "load",
    "refuse_same_files": "captures",
    "refuse_untrainable": "captures",
    "resolve_arms": "arms",
    "save_snapshot": "snapshot",
    "seed_list": "load",
    "select_again": "selection",
    "select_arms": "arms",
    "wrong_id": "load",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
