"""Which run comes next: the one with the most progress a second."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import StagingSpec
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.next_run import next_run, seeds_to_decide
from orchestrator.verdicts.staged import StagedVerdicts, judge_staged

STAGING = StagingSpec(screen_seeds=2, max_seeds=3, confirm_seeds=2)
EXPERIMENTS = {
    "E5": {"change": {"loss.kind": "focal"}},
    "H2": {"on": "E5", "change": {"loss.gamma": 3.0}},
    "K1": {"change": {"loss.label_smoothing": 0.1}},
}
NUM_BURSTS = 500
CALM = {"baseline": [400, 402], "E5": [401, 401], "H2": [402, 400], "K1": [400, 401]}
"""Nothing differs."""
WON = CALM | {"K1": [470, 472]}


@pytest.fixture
def standing(
    a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]
) -> Callable[[Mapping[str, Any]], StagedVerdicts]:
    """Judge runs given as experiment -> how many bursts each seed recognised."""
    plan = a_plan(EXPERIMENTS, seeds=STAGING.all_seeds((0, 1)), staging=STAGING, margin=8.0)

    def of(outcomes: Mapping[str, Any]) -> StagedVerdicts:
        given = {name: [_scored(number) for number in of] for name, of in outcomes.items()}
        return judge_staged(plan, runs_of(plan, given), STAGING)

    return of


def _scored(num_correct: int) -> Any:
    """The first bursts of each of ten devices are recognised."""
    correct = np.zeros((10, NUM_BURSTS // 10), dtype=np.bool_)
    for index in range(num_correct):
        correct[index % 10, index // 10] = True
    return correct.ravel()


class TestNextRun:
    def test_a_reference_that_several_wait_for_comes_first(self, standing: Any) -> None:
        found = next_run(standing(CALM | {"E5": [372, 404], "K1": [372, 404]}), lambda name: 10.0)
        assert found is not None
        assert (found.experiment, found.seed) == ("baseline", 2)
        assert {"E5", "K1"} <= set(found.serves)
        assert found.command == "knockout run baseline --seeds 2-2 --profile quick"
        assert "E5" in found.reason

    def test_of_two_that_help_as_much_the_quicker_one_comes_first(self, standing: Any) -> None:
        undecided = standing(CALM | {"H2": [372, 404]})
        for quick, slow in (("E5", "H2"), ("H2", "E5")):
            found = next_run(undecided, {quick: 5.0, slow: 50.0}.get)
            assert found is not None
            assert (found.experiment, found.seconds) == (quick, 5.0)

    def test_nothing_is_next_where_all_is_decided(self, standing: Any) -> None:
        assert next_run(standing(CALM), lambda name: None) is None

    def test_before_any_result_two_seeds_are_needed(self, standing: Any) -> None:
        found = next_run(standing({}), lambda name: None)
        assert found is not None
        assert "needs two seeds for any verdict" in found.reason

    def test_a_candidate_waits_for_fresh_seeds(self, standing: Any) -> None:
        found = next_run(standing(WON), lambda name: 1.0)
        assert found is not None
        assert found.seed in (3, 4)
        assert found.reason == "K1 waits for it; K1 improved and needs a confirmation on fresh seeds"

    def test_the_closer_an_experiment_is_to_a_verdict_the_fewer_seeds_it_takes(self, standing: Any) -> None:
        far, near = (standing(CALM | {"K1": seeds}).judgements["K1"] for seeds in ([360, 440], [390, 412]))
        assert 1 <= seeds_to_decide(near, 8.0) < seeds_to_decide(far, 8.0)
