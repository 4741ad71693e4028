"""What of Optuna suggests points, gives them up, and tells which knobs matter."""

import warnings

import optuna
from optuna.pruners import BasePruner, MedianPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from orchestrator.search_space import Value
from orchestrator.spec import CategoricalSpace, FloatSpace, MedianPruning, SearchSpec, Space, WilcoxonPruning

STARTUP_TRIALS = 5
"""A sampler is believed once it knows so many points, those that are tried first among them; until then it draws."""


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


def is_given_up(trial: Trial) -> bool:
    """Whether the pruner of a trial's study gives it up."""
    with warnings.catch_warnings():
        # Epochs that the best point did not come to, or that were told before there was a pruner, count for nothing.
        warnings.filterwarnings("ignore", message="WilcoxonPruner|The best trial has no", category=UserWarning)
        return trial.should_prune()


def find_importance(study: optuna.Study) -> dict[str, float]:
    """Return each knob's share of what the score depends on (PED-ANOVA); nothing where it cannot be told yet."""
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, UserWarning):
            # Too many scores are the same for any knob to matter.
            return {}
