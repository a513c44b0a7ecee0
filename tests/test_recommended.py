"""Recommended settings: parameters of both estimators, better than the defaults."""

import numpy as np
import pytest

from skreg import RegMLPClassifier, RegMLPRegressor, recommended


@pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPRegressor])
def test_are_parameters_of_both_estimators(estimator):
    model = estimator(**recommended())
    assert recommended().items() <= model.get_params().items()


def test_each_call_returns_a_new_dictionary():
    recommended().clear()
    assert recommended()


def test_training_stops_early_and_keeps_zeros():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 6))
    y = (np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + rng.logistic(size=800) / 4 > 0) * 1
    settings = recommended()
    model = RegMLPClassifier(**settings, random_state=0).fit(X, y)
    assert model.n_iter_ < settings["max_iter"]
    assert model.sparsity_[1] > 0
    assert model.score(X, y) > 0.85
