"""Mini-batch fits on data in other units than the usual: never silently bad."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skreg import RegMLPClassifier, RegMLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
Y = X[:, 0] - 0.5 * X[:, 1] ** 2
SAYS = "ended with a data loss of .* but a constant has .* Scale X and y"


@pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("sample_weight", [None, RNG.uniform(0.5, 2, 200)])
def test_targets_of_a_tiny_unit_are_said(solver, sample_weight):
    model = RegMLPRegressor((50,), solver=solver, max_iter=2000, random_state=0)
    with pytest.warns(ConvergenceWarning, match=SAYS):
        model.fit(X, 1e-3 * Y, sample_weight)
    assert model.score(X, 1e-3 * Y) < 0


@pytest.mark.parametrize("unit", [100, 300])
def test_inputs_of_a_large_unit_are_said(unit):
    model = RegMLPRegressor((), solver="sgd", random_state=0)
    with pytest.warns(ConvergenceWarning, match=SAYS):
        model.fit(unit * X, Y)


def test_large_inputs_and_targets_are_said():
    rng = np.random.RandomState(0)
    Z = rng.uniform(0, 1e4, (200, 3))
    model = RegMLPRegressor((20,), solver="sgd", random_state=0)
    with pytest.warns(ConvergenceWarning, match=SAYS):
        model.fit(Z, 1e3 * Z @ [3, 2, 1])


def test_a_classifier_in_a_large_unit_is_said():
    y = (X[:, 0] > 0).astype(int)
    model = RegMLPClassifier((5,), solver="sgd", learning_rate_init=100.0, tol=1.0)
    with pytest.warns(ConvergenceWarning, match=SAYS):
        model.set_params(random_state=0).fit(1e3 * X, y)


# The best constant has a loss of Y.var() / 2 and of 0.
@pytest.mark.parametrize(
    "targets, bound", [(Y, 0.05 * Y.var()), (np.full(200, 3.0), 0.02)]
)
def test_usual_units_and_constant_targets_are_not(targets, bound):
    model = RegMLPRegressor((20,), learning_rate_init=0.01, max_iter=500)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=SAYS)
        warnings.filterwarnings("ignore", message=".*max_iter")
        model.set_params(random_state=0).fit(X, targets)
    assert model.data_loss_curve_[-1] < bound
