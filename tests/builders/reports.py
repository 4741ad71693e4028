"""A campaign whose report has every kind of verdict, and a function that finds a section of a report."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.report.markdown import render_markdown
from orchestrator.runs.folder import Result
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.judge import judge

SLOW = Result(state="too_slow", reason="median epoch takes 1.1 s, the budget is 1.0 s", epochs=3)
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal", "loss.gamma": 2.0}, "reported": {"accuracy": 85.0, "delta": 1.0}},
    "H2": {"on": "E5", "change": {"loss.gamma": 3.0}},
    "K1": {"on": "H2", "change": {"loss.gamma": 2.0}},
    "wide": {"change": {"model.expand_v": 4.0}, "group": "architecture", "reported": {"outcome": "too_slow"}},
    "roll": {"change": {"augment.roll": {}}, "group": "augmentation"},
}
OUTCOMES: dict[str, Any] = {"baseline": 0.80, "E5": 0.92, "H2": 0.92, "wide": SLOW, "roll": 0.60}
Render = Callable[..., str]


def renderer(a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> Render:
    """Return a function that judges outcomes and renders a report; the arguments are the fixtures of these names."""

    def rendered(
        outcomes: Mapping[str, Any] = OUTCOMES, experiments: Mapping[str, Any] = EXPERIMENTS, **fields: Any
    ) -> str:
        plan = a_plan(experiments, **fields)
        records = runs_of(plan, outcomes, provenance={"commit": "0123456789abcdef", "branch": "experiment/x"})
        return render_markdown(judge_all(plan, records, judge(plan, records)))

    return rendered


def section(markdown: str, heading: str) -> str:
    """Return the text under a heading, up to the next heading of the same level or a higher one."""
    level = heading.index(" ")
    return re.split(rf"\n#{{1,{level}}} ", markdown.split(f"\n{heading}", 1)[1])[0]
