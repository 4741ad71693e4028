"""What of Optuna suggests points, gives them up, and tells which knobs matter."""

import warnings
from collections.abc import Hashable, Mapping, Sequence

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

STARTUP_TRIALS = 5
"""A sampler is believed once it knows so many points, those that are tried first among them; until then it draws."""
MIN_POINTS_A_KNOB = 10
"""From fewer points nothing is said of what the score depends on."""
TOP_SHARE = 0.3
"""Of the points, those that the importance of knobs calls the best; Optuna's 0.1 would rest on two or three of them."""
MOST_REPEATS = 10
"""So many suggestions in a row of points that are there already say that no new one is to be expected."""
MOST_COUNTED = 1000
"""A space with more points than this is taken for one without an end."""


def make_sampler(spec: SearchSpec, seed: int) -> BaseSampler:
    """Return who suggests the next point, with a seed of its own: a search that goes on suggests what it would have."""
    startup = max(len(spec.enqueue), STARTUP_TRIALS)
    if spec.sampler == "tpe":
        return TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
    if spec.sampler == "gp":
        return GPSampler(
            seed=seed, n_startup_trials=startup, deterministic_objective=False, warn_independent_sampling=False
        )
    return RandomSampler(seed=seed)


def ask_knob(trial: Trial, knob: str, within: Space) -> Value:
    """Ask for the value of one knob."""
    if isinstance(within, CategoricalSpace):
        choice: Value = trial.suggest_categorical(knob, within.choices)
        return choice
    if isinstance(within, FloatSpace):
        return trial.suggest_float(knob, within.low, within.high, log=within.log, step=within.step)
    return trial.suggest_int(knob, within.low, within.high, log=within.log, step=within.step or 1)


def make_pruner(spec: MedianPruning | WilcoxonPruning, num_seeds: int) -> BasePruner:
    """Return who gives trials up; its steps are epochs, or for the signed-rank test each seed's epochs."""
    if isinstance(spec, MedianPruning):
        return MedianPruner(spec.startup_trials, n_warmup_steps=spec.warmup_epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner(p_threshold=spec.p_threshold, n_startup_steps=spec.warmup_epochs * num_seeds + 1)


def should_prune(trial: Trial) -> bool:
    """Whether the pruner of a trial's study ends it."""
    with warnings.catch_warnings():
        # Epochs that the best point did not come to, or that were told before there was a pruner, count for nothing.
        warnings.filterwarnings("ignore", message="WilcoxonPruner|The best trial has no", category=UserWarning)
        return trial.should_prune()


def find_importance(trials: Sequence[FrozenTrial], space: Mapping[str, Space]) -> dict[str, float]:
    """Return each knob's share of what a high score depends on; nothing where that cannot be told yet.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255): how far the values of the best `TOP_SHARE` of the points are
    from those of all.

    Args:
        trials: one for every point that has a score; what was too slow has none.
        space: the knobs.
    """
    if len(trials) < MIN_POINTS_A_KNOB * len(space):
        return {}
    # A study of their own: Optuna's would count the score that stands for one which was too slow.
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)
    knobs = [knob for knob in space if any(knob in trial.params for trial in trials)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return optuna.importance.get_param_importances(study, evaluator=evaluator, params=knobs)
        except (ValueError, UserWarning):
            # Too many scores are the same for any knob to matter.
            return {}


def why_exhausted(asked: Sequence[tuple[Hashable, bool]], space: Mapping[str, Space]) -> str:
    """Return why no new point is to be expected; nothing as long as one may come.

    Args:
        asked: of every trial in order, its point and whether a sampler suggested it.
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
    """Count the points of a space; None where they are more than `MOST_COUNTED`."""
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
    """List the values of a knob; of real numbers without a step, more than are counted."""
    if isinstance(within, CategoricalSpace):
        return within.choices
    if isinstance(within, IntSpace):
        return range(within.low, within.high + 1, within.step or 1)
    if within.step is None:
        return range(MOST_COUNTED + 1)
    # A step that does not divide the range exactly in floating point still ends at its end.
    return [
        within.low + number * within.step for number in range(int((within.high - within.low) / within.step + 1e-9) + 1)
    ]
