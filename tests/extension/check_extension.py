"""Tests of what `recipes.py` adds, in a copy of the sources that is patched and built.

`.ci/run extension` runs them; in the ordinary suite, `test_extension.py` checks that
the patches still fit.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

from skreg import RegMLPRegressor
from skreg._core import instruction_level
from skreg.losses import regression_loss

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # a number of steps is meant
)

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
y = X[:, 0] - 0.5 * X[:, 1] ** 2 + 0.1 * rng.normal(size=60)


def softsign_network(model, X):
    A = X @ model.coefs_[0] + model.intercepts_[0]
    return (A / (1 + np.abs(A)) @ model.coefs_[1] + model.intercepts_[1]).ravel()


def fit(**params):
    params = {"hidden_layer_sizes": (5,), "random_state": 0, **params}
    return RegMLPRegressor(**params).fit(X, y)


def test_the_copy_is_what_runs():
    assert instruction_level() in (1, 3, 4)
    with pytest.raises(ValueError, match="softsign"):
        RegMLPRegressor(activation="none").fit(X, y)


@pytest.mark.parametrize(
    "params",
    [{"activation": "softsign"}, {"loss": "log_cosh"}, {"solver": "adagrad"}],
    ids=str,
)
def test_devices_name_what_they_do_not_know(params):
    pytest.importorskip("torch")
    name, value = *params, *params.values()
    with pytest.raises(ValueError, match=f"{name}='{value}'.*device='cpu'"):
        fit(device="torch:cpu", **params)


def test_activation_in_predictions_and_gradients():
    model = fit(activation="softsign", solver="lbfgs", tol=1e-6, max_iter=20000)
    np.testing.assert_allclose(model.predict(X), softsign_network(model, X), atol=1e-12)

    def objective(weights):
        parts = np.split(weights, [20, 25, 30])
        model.coefs_ = [parts[0].reshape(4, 5), parts[1].reshape(5, 1)]
        model.intercepts_ = [parts[2], parts[3]]
        penalty = model.reg_lambda / 2 * sum(np.sum(W**2) for W in model.coefs_)
        return 0.5 * np.mean((softsign_network(model, X) - y) ** 2) + penalty

    theta = np.concatenate([v.ravel() for v in (*model.coefs_, *model.intercepts_)])
    assert objective(theta) == pytest.approx(model.loss_, rel=1e-12)
    at_optimum = [
        (objective(theta + step) - objective(theta - step)) / 2e-5
        for step in 1e-5 * np.eye(len(theta))
    ]
    np.testing.assert_allclose(at_optimum, 0, atol=2e-6)


def test_loss_has_the_minimum_that_scipy_finds():
    model = fit(
        hidden_layer_sizes=(),
        loss="log_cosh",
        penalty="l2",
        reg_lambda=0.1,
        solver="lbfgs",
        tol=1e-9,
    )

    def objective(w):
        r = X @ w[:4] + w[4] - y
        return np.mean(np.log(np.cosh(r))) + 0.05 * np.sum(w[:4] ** 2)

    expected = minimize(objective, np.zeros(5), tol=1e-10)
    assert model.loss_ == pytest.approx(expected.fun, rel=1e-9)
    raw = model.predict(X)
    of_rows = regression_loss("log_cosh").per_row(y[:, None], raw[:, None])
    np.testing.assert_allclose(of_rows, np.log(np.cosh(raw - y)), atol=1e-12)
    found = np.append(model.coefs_[0], model.intercepts_[0])
    np.testing.assert_allclose(found, expected.x, atol=1e-5)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_penalty_is_an_elastic_net(solver):
    # |w| + 5 w^2 is 11 (r |w| + (1 - r) w^2 / 2) with r = 1 / 11.
    params = dict(hidden_layer_sizes=(), solver=solver, max_iter=50, tol=1e-6)
    params |= dict(learning_rate_init=0.01, n_iter_no_change=np.inf)
    steep = fit(penalty="steep", reg_lambda=0.03, **params)
    known = fit(penalty="elasticnet", l1_ratio=1 / 11, reg_lambda=0.33, **params)
    np.testing.assert_allclose(steep.coefs_[0], known.coefs_[0], rtol=0, atol=1e-9)
    assert np.any(steep.coefs_[0] == 0)


def test_optimizer_step_by_step():
    model = fit(
        hidden_layer_sizes=(),
        solver="adagrad",
        penalty=None,
        learning_rate_init=0.1,
        batch_size=60,
        max_iter=5,
        tol=1e-9,
    )
    start = fit(
        hidden_layer_sizes=(),
        solver="sgd",
        penalty=None,
        max_iter=1,
        tol=10.0,
        learning_rate_init=1e-300,
        batch_size=60,
    )
    w = np.append(start.coefs_[0], start.intercepts_[0])
    Z, second = np.c_[X, np.ones(60)], 0.0
    for _ in range(5):
        gradient = Z.T @ (Z @ w - y) / 60
        second = second + gradient**2
        w = w - 0.1 * gradient / (np.sqrt(second) + model.epsilon)
    found = np.append(model.coefs_[0], model.intercepts_[0])
    np.testing.assert_allclose(found, w, rtol=1e-10)
