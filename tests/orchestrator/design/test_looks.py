"""Seeds given out look by look: the levels add up, and what is decided stays decided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import multivariate_normal

from orchestrator.campaign.spec import StagingSpec
from orchestrator.design.looks import (
    Cell,
    Look,
    Progress,
    crossing_chance,
    crossing_levels,
    level_at,
    replay,
    share_out,
    spent_p,
)

REFERENCES = {"baseline": None, "E5": "baseline", "H2": "E5", "K1": "baseline"}
AT = (Look(2, 0.5, 0.5), Look(3, 0.3, 0.4), Look(5, 0.2, 0.4))
MAX_SEEDS = 5

Decided = dict[tuple[str, int], bool]

stagings = st.builds(
    lambda screen, more, confirm: StagingSpec(screen_seeds=screen, max_seeds=screen + more, confirm_seeds=confirm),
    st.integers(2, 6),
    st.integers(0, 20),
    st.integers(2, 4),
)
cells = st.tuples(st.sampled_from(sorted(REFERENCES)), st.integers(0, MAX_SEEDS - 1))
decisions = st.fixed_dictionaries(
    {(name, look.num_seeds): st.booleans() for name, reference in REFERENCES.items() if reference for look in AT}
)


def go(ended: set[Cell] | None, decided: Decided) -> Progress:
    """Go through the looks; every run has ended where `ended` is None."""
    progress = Progress(REFERENCES)
    for look in replay(progress, AT, lambda cell: ended is None or cell in ended):
        progress.close(look, {name: 0.01 for name in progress.undecided if decided[name, look.num_seeds]})
    return progress


def all_decided(*names: str) -> Decided:
    return {(name, look.num_seeds): name in names for name in REFERENCES for look in AT}


class TestLooks:
    def test_each_look_is_half_as_many_seeds_again_up_to_the_greatest_number(self) -> None:
        assert StagingSpec().looks == (2, 3, 5, 8, 10)

    def test_a_greatest_number_as_small_as_the_screening_is_one_look_at_all_of_the_level(self) -> None:
        (look,) = share_out((3,), 0.05)
        assert look.num_seeds == 3
        assert look.share == pytest.approx(1.0)
        assert look.equivalence_share == pytest.approx(1.0)

    @settings(max_examples=20, deadline=None)
    @given(stagings, st.floats(0.001, 0.2))
    def test_the_looks_together_never_spend_more_than_the_level(self, staging: StagingSpec, level: float) -> None:
        spent = [level_at(num_seeds, staging.looks, level) for num_seeds in staging.looks]
        assert min(spent) > 0
        assert sum(spent) <= level * (1 + 1e-9)

    @settings(max_examples=20, deadline=None)
    @given(stagings, st.floats(0.001, 0.2))
    def test_no_change_is_never_tested_below_its_bonferroni_share_nor_above_the_level(
        self, staging: StagingSpec, level: float
    ) -> None:
        for look in share_out(staging.looks, level):
            assert look.share - 1e-6 <= look.equivalence_share <= 1 + 1e-6

    def test_looks_at_the_full_level_are_wrong_more_often_than_the_level(self) -> None:
        assert crossing_chance((3,), 0.05) == pytest.approx(0.05)
        sums = np.random.default_rng(6).standard_normal((200_000, 5)).cumsum(axis=1)[:, [1, 2, 4]]
        crossed = (np.abs(sums) > 1.959964 * np.sqrt([2, 3, 5])).any(axis=1).mean()
        assert crossing_chance((2, 3, 5), 0.05) == pytest.approx(crossed, abs=0.003)

    def test_two_looks_at_once_agree_with_the_bivariate_normal(self) -> None:
        # At 2 and 4 seeds the correlation is the root of a half.
        inside = multivariate_normal([0, 0], [[1, 0.5**0.5], [0.5**0.5, 1]]).cdf([2, 2], lower_limit=[-2, -2])
        assert crossing_chance((2, 4), 2 * float(ndtr(-2.0))) == pytest.approx(1 - inside, abs=1e-4)

    def test_exact_levels_are_crossed_as_often_as_they_say(self) -> None:
        at = share_out(StagingSpec().looks, 0.05)
        sums = np.random.default_rng(5).standard_normal((200_000, 10)).cumsum(axis=1)
        p_values = np.stack([ndtr(-sums[:, look.num_seeds - 1] / look.num_seeds**0.5) for look in at])
        levels = np.array([0.05 * look.equivalence_share for look in at])
        crossed = (p_values < levels[:, None]).any(axis=0)
        assert crossed.mean() == pytest.approx(0.05, abs=0.002)

    def test_two_looks_at_equal_steps_have_the_levels_of_the_published_boundaries(self) -> None:
        # Lan and DeMets with Pocock's shape, two looks, two-sided 0.05: z = 2.157 and 2.201, as R's gsDesign has them.
        first, second = crossing_levels((1, 2), (0.025 * 0.62011, 0.025 * 0.37989))
        assert first == pytest.approx(float(ndtr(-2.157)), rel=0.01)
        assert second == pytest.approx(float(ndtr(-2.201)), rel=0.01)


class TestSeeds:
    @given(stagings)
    def test_fresh_seeds_have_no_part_in_any_look(self, staging: StagingSpec) -> None:
        assert min(staging.fresh_seeds) >= staging.looks[-1]
        assert len(staging.fresh_seeds) == staging.confirm_seeds

    def test_all_seeds_are_those_asked_for_and_those_of_looks_and_confirmation(self) -> None:
        staging = StagingSpec(max_seeds=3)
        assert staging.all_seeds((1, 7)) == (0, 1, 2, 3, 4, 7)


class TestReplay:
    def test_the_first_look_asks_for_every_arm_seed_by_seed(self) -> None:
        progress = go(set(), all_decided())
        assert progress.missing == tuple((name, seed) for seed in (0, 1) for name in REFERENCES)
        assert progress.completed == []

    def test_a_look_waits_for_its_last_run(self) -> None:
        ended = {(name, seed) for name in REFERENCES for seed in (0, 1)} - {("K1", 1)}
        progress = go(ended, all_decided("E5", "H2", "K1"))
        assert progress.missing == (("K1", 1),)
        assert progress.decided_at == {}

    def test_more_seeds_go_to_the_undecided_and_to_what_it_is_compared_with(self) -> None:
        ended = {(name, seed) for name in REFERENCES for seed in (0, 1)}
        progress = go(ended, all_decided("E5", "K1"))
        assert set(progress.missing) == {("E5", 2), ("H2", 2)}
        assert progress.given == {"baseline": 2, "E5": 3, "H2": 3, "K1": 2}

    def test_what_stays_undecided_has_had_the_greatest_number_of_seeds(self) -> None:
        progress = go(None, all_decided("E5", "K1"))
        assert progress.undecided == ["H2"]
        assert progress.missing == ()
        assert progress.given["H2"] == MAX_SEEDS

    def test_nothing_is_asked_for_once_all_is_decided(self) -> None:
        progress = go(None, all_decided("E5", "H2", "K1"))
        assert set(progress.given.values()) == {2}
        assert progress.completed == [AT[0]]

    @given(st.sets(cells), st.sets(cells), decisions)
    def test_more_runs_never_take_a_decision_back(self, ended: set[Cell], more: set[Cell], decided: Decided) -> None:
        before, after = go(ended, decided), go(ended | more, decided)
        assert before.decided_at.items() <= after.decided_at.items()
        assert before.decided_p.items() <= after.decided_p.items()
        assert all(num_seeds <= after.given[name] for name, num_seeds in before.given.items())

    @given(st.sets(cells), decisions)
    def test_the_same_runs_give_the_same_decisions(self, ended: set[Cell], decided: Decided) -> None:
        assert go(ended, decided) == go(set(sorted(ended)), decided)

    @given(st.sets(cells), decisions)
    def test_each_experiment_is_decided_or_undecided_and_never_both(self, ended: set[Cell], decided: Decided) -> None:
        progress = go(ended, decided)
        assert sorted([*progress.decided_at, *progress.undecided]) == ["E5", "H2", "K1"]


def test_a_p_value_over_its_share_is_compared_with_all_of_the_level() -> None:
    assert spent_p(0.01, Look(2, 0.25, 0.25)) == pytest.approx(0.04)
    assert spent_p(0.5, Look(2, 0.25, 0.25)) == 1.0
    assert spent_p(None, Look(2, 0.25, 0.25)) == 1.0


def test_the_worked_example_of_the_module_holds() -> None:
    looks = share_out((2, 3, 5, 8, 10), 0.05)
    assert [round(look.share, 2) for look in looks] == [0.3, 0.12, 0.2, 0.24, 0.14]
    assert [round(spent_p(p_value, looks[0]), 2) for p_value in (0.012, 0.03)] == [0.04, 0.1]


class TestReferenceSeeds:
    """A reference that k experiments share gets the root of k times their seeds (Dunnett 1955)."""

    SHARED = {"baseline": None, **{f"E{number}": "baseline" for number in range(9)}}

    @pytest.mark.parametrize(("most", "wanted"), [(0, 2), (4, 4), (10, 6)])
    def test_it_is_given_the_root_of_their_number_up_to_the_most(self, most: int, wanted: int) -> None:
        progress = Progress(self.SHARED, most)
        cells = progress.ask(Look(2, 1.0, 1.0))
        assert sorted(seed for name, seed in cells if name == "baseline") == list(range(wanted))
        assert sorted(seed for name, seed in cells if name == "E3") == [0, 1]

    def test_experiments_that_are_decided_ask_for_none(self) -> None:
        progress = Progress(self.SHARED, 10)
        progress.ask(Look(2, 0.5, 0.5))
        progress.close(Look(2, 0.5, 0.5), {f"E{number}": 0.01 for number in range(8)})
        progress.ask(Look(3, 0.5, 0.5))
        assert (progress.given["baseline"], progress.given["E8"], progress.given["E3"]) == (6, 3, 2)

    def test_no_seed_is_ever_taken_back(self) -> None:
        progress = Progress(self.SHARED, 10)
        for look in (Look(1, 0.3, 0.3), Look(2, 0.3, 0.3), Look(3, 0.4, 0.4)):
            progress.ask(look)
            progress.close(look, {})
        assert progress.given["baseline"] == 9
