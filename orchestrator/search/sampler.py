"""Optuna's samplers, pruners and importance of knobs, with our settings."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import optuna
from optuna.pruners import BasePruner, MedianPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial

from orchestrator import wording
from orchestrator.campaign.search_spec import (
    CategoricalSpace,
    FloatSpace,
    IntSpace,
    MedianPruning,
    SearchSpec,
    Space,
    WilcoxonPruning,
)
from orchestrator.search.space import Value, matches
from orchestrator.task.knobs import Change
from orchestrator.task.metric_spec import Direction

DIRECTIONS: dict[Direction, Literal["maximize", "minimize"]] = {"higher": "maximize", "lower": "minimize"}
"""Which scores are better -> Optuna's word for it."""
STARTUP_TRIALS = 5
"""Trials after which a sampler models the scores. Until then it draws at random."""
MIN_POINTS_A_KNOB = 10
"""Fewest points a knob for an importance."""
TOP_SHARE = 0.3
"""Share of the points that count as the best for the importance of knobs. Optuna's 0.1 would be two or three points."""
MOST_REPEATS = 10
"""Suggestions of known points in a row after which no new point is expected."""
MOST_COUNTED = 1000
"""A space with more points than this counts as infinite."""


def make_sampler(spec: SearchSpec, seed: int) -> BaseSampler:
    """Return the sampler for one trial, with that trial's seed."""
    startup = max(len(spec.enqueue), STARTUP_TRIALS)
    if spec.sampler == "tpe":
        # Several trials run at once. The liar counts those as bad, so that no suggestion falls beside them.
        return TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
    if spec.sampler == "gp":
        return GPSampler(
            seed=seed, n_startup_trials=startup, deterministic_objective=False, warn_independent_sampling=False
        )
    return RandomSampler(seed=seed)


def ask_knob(trial: Trial, knob: str, within: Space) -> Value:
    """Return the sampler's value of one knob."""
    if isinstance(within, CategoricalSpace):
        choice: Value = trial.suggest_categorical(knob, within.choices)
        return choice
    if isinstance(within, FloatSpace):
        return trial.suggest_float(knob, within.low, within.high, log=within.log, step=within.step)
    return trial.suggest_int(knob, within.low, within.high, log=within.log, step=within.step or 1)


def make_pruner(spec: MedianPruning | WilcoxonPruning, num_seeds: int) -> BasePruner:
    """Return the pruner. Its steps are epochs; for the signed-rank test they are each seed's epochs."""
    # A pruner without a warm-up would end points that only learn slowly at first.
    if isinstance(spec, MedianPruning):
        return MedianPruner(spec.startup_trials, n_warmup_steps=spec.warmup_epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner(p_threshold=spec.p_threshold, n_startup_steps=spec.warmup_epochs * num_seeds + 1)


def should_prune(trial: Trial) -> bool:
    """Whether the pruner of a trial's study ends it."""
    with warnings.catch_warnings():
        # Optuna warns of epochs that it cannot pair with the best trial's. They do not count.
        warnings.filterwarnings("ignore", message="WilcoxonPruner|The best trial has no", category=UserWarning)
        return trial.should_prune()


def find_importance(
    trials: Sequence[FrozenTrial], space: Mapping[str, Space], better: Direction = "higher"
) -> dict[str, float]:
    """Return knob -> its share of what makes a score good; empty while too few points have a score.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) compares the values of the best `TOP_SHARE` of the points with
    the values of all.

    Args:
        trials: one trial of every point with a score.
        space: the knobs.
        better: which scores are better.
    """
    if len(trials) < MIN_POINTS_A_KNOB * len(space):
        return {}
    # In the search's own study trials that were too slow have a stand-in score, which must not count here.
    study = optuna.create_study(direction=DIRECTIONS[better])
    study.add_trials(trials)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)
    knobs = [knob for knob in space if any(knob in trial.params for trial in trials)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return optuna.importance.get_param_importances(study, evaluator=evaluator, params=knobs)
        except (ValueError, UserWarning):
            # Optuna refuses scores that are all the same.
            return {}


def why_exhausted(asked: Sequence[tuple[Hashable, bool]], space: Mapping[str, Space]) -> str:
    """Return why no new point is to be expected; empty as long as one may come.

    Args:
        asked: of every trial in order, the key of its point and whether a sampler suggested it.
        space: the knobs.
    """
    known: set[Hashable] = set()
    repeats = 0
    for point, is_suggested in asked:
        repeats = repeats + is_suggested if point in known else 0
        known.add(point)
    if len(known) == count_points(space):
        return f"its space has {wording.counted(len(known), 'point')}, and all were asked for"
    if repeats >= MOST_REPEATS:
        return f"the sampler suggested {repeats} times in a row what was there; `enqueue` can name what it misses"
    return ""


def count_points(space: Mapping[str, Space]) -> int | None:
    """Count the points of a space; None if there are more than `MOST_COUNTED`."""
    # Counted point by point: a conditional knob multiplies only the points that meet its condition.
    points: list[Change] = [{}]
    for knob, within in space.items():
        values = _list_values(within)
        if len(points) * len(values) > MOST_COUNTED:
            return None
        points = [
            point | setting
            for point in points
            for setting in ([{knob: value} for value in values] if matches(within.when, point) else [{}])
        ]
    return len(points)


def _list_values(within: Space) -> Sequence[Value]:
    """Return the values of a knob. Real numbers without a step give more than `MOST_COUNTED`."""
    if isinstance(within, CategoricalSpace):
        return within.choices
    if isinstance(within, IntSpace):
        return range(within.low, within.high + 1, within.step or 1)
    if within.step is None:
        return range(MOST_COUNTED + 1)
    # In floating point (1.0 - 0.0) / 0.1 may fall just below 10. The last value still counts.
    return [
        within.low + number * within.step for number in range(int((within.high - within.low) / within.step + 1e-9) + 1)
    ]
