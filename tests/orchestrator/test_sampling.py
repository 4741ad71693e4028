"""Who suggests points and who gives them up."""

import warnings

import optuna
import pytest

from orchestrator.sampling import make_pruner, make_sampler
from orchestrator.spec import MedianPruning, SearchSpec, WilcoxonPruning


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_every_sampler_is_made_without_a_warning(sampler: str) -> None:
    spec = SearchSpec(title="t", space={}, sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(make_sampler(spec, 1), optuna.samplers.BaseSampler)


@pytest.mark.parametrize("spec", [MedianPruning(), WilcoxonPruning()])
def test_every_pruner_is_made_without_a_warning(spec: MedianPruning | WilcoxonPruning) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(make_pruner(spec, 2), optuna.pruners.BasePruner)
