"""Paths along lambda, and lambda chosen by cross-validation along them."""

import pickle
import re
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import (
    ElasticNetCV,
    LassoCV,
    LogisticRegressionCV,
    MultiTaskLasso,
    enet_path,
    lasso_path,
)
from sklearn.metrics import make_scorer, max_error, mean_squared_error
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import check_estimator

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg._paths._branches import Branches
from skreg._paths._grid import Grid
from skreg._paths._walk import Walk
from skreg.penalties import L1, L2, MCP, GroupLasso

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EXACT = {"solver": "lbfgs", "tol": 1e-9, "max_iter": 10_000}
TANH = {"activation": "tanh", "solver": "lbfgs", "max_iter": 1000, "random_state": 0}
PENALTIES = ["l1", "elasticnet", "group_lasso", "sparse_group_lasso", MCP(), L2()]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), scale(y)


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def linear_path(X, y, network=RegMLPRegressor, reg_lambdas=30, **params):
    model = network((), **EXACT | params)
    return reg_mlp_path(model, X, y, reg_lambdas=reg_lambdas)


def first_column(path):
    return np.array([layers[0][:, 0] for layers in path.coefs]).T


# Without hidden layers: the paths of scikit-learn ------------------------------------

# Their grids of 30 values; by another name before scikit-learn 1.7.
N_ALPHAS = {"n_alphas" if sklearn.__version__ < "1.7" else "alphas": 30}


def test_path_is_that_of_the_lasso(diabetes):
    path = linear_path(*diabetes, penalty="l1")
    alphas, coefs, _ = lasso_path(*diabetes, **N_ALPHAS, tol=1e-12, max_iter=100_000)
    assert_allclose(path.reg_lambdas, alphas, rtol=1e-12)
    assert_allclose(first_column(path), coefs, rtol=0, atol=1e-7)
    assert_array_equal(path.n_nonzero, np.count_nonzero(coefs, axis=0))


def test_path_is_that_of_the_elastic_net(diabetes):
    path = linear_path(*diabetes, penalty="elasticnet", l1_ratio=0.7)
    alphas, coefs, _ = enet_path(
        *diabetes, l1_ratio=0.7, **N_ALPHAS, tol=1e-12, max_iter=100_000
    )
    assert_allclose(path.reg_lambdas, alphas, rtol=1e-12)
    assert_allclose(first_column(path), coefs, rtol=0, atol=1e-7)


def test_path_is_that_of_the_multi_task_lasso(multioutput):
    X, y = multioutput
    path = linear_path(X, y, penalty="group_lasso", reg_lambdas=[0.01, 0.1, 0.5])
    for lam, (W,) in zip(path.reg_lambdas, path.coefs):
        task = MultiTaskLasso(alpha=lam * np.sqrt(3), tol=1e-12, max_iter=100_000)
        assert_allclose(W.T, task.fit(X, y).coef_, rtol=0, atol=1e-7)


@pytest.mark.parametrize("penalty", PENALTIES[:-1], ids=str)
@pytest.mark.parametrize("loss", ["squared_error", "huber", "poisson"])
def test_automatic_grid_starts_where_the_first_weight_enters(diabetes, penalty, loss):
    X, y = diabetes
    params = {"loss": loss, "penalty": penalty}
    top = linear_path(X, y - y.min(), reg_lambdas=2, **params).reg_lambdas[0]
    near = linear_path(X, y - y.min(), reg_lambdas=top * np.array([1, 0.99]), **params)
    assert_array_equal(near.reg_lambdas, top * np.array([1, 0.99]))
    assert near.n_nonzero[0] == 0 < near.n_nonzero[1]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_automatic_grid_of_classifiers(kind, request):
    X, y = request.getfixturevalue(kind)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    model = RegMLPClassifier((), penalty="l1", **EXACT)
    top = reg_mlp_path(model, X, y, reg_lambdas=2, sample_weight=weight).reg_lambdas[0]
    path = reg_mlp_path(
        model, X, y, reg_lambdas=[top * 0.99, top], sample_weight=weight
    )
    assert path.n_nonzero[0] == 0 < path.n_nonzero[1]


def test_automatic_grid_of_l2_reaches_from_free_to_shrunk(diabetes):
    X, y = diabetes
    norms = np.linalg.norm(first_column(linear_path(X, y, penalty="l2")), axis=0)
    free = np.linalg.norm(np.linalg.lstsq(X, y, rcond=None)[0])
    assert norms[0] < 0.2 * free
    assert (np.diff(norms) > 0).all()
    rescaled = linear_path(X, 100 * y, penalty="l2").reg_lambdas
    assert_allclose(rescaled, linear_path(X, y, penalty="l2").reg_lambdas, rtol=1e-4)


# With hidden layers ------------------------------------------------------------------


@pytest.fixture(scope="module")
def network_path(diabetes):
    model = RegMLPRegressor((20,), penalty="l1", **TANH)
    return reg_mlp_path(model, *diabetes, reg_lambdas=20)


def test_objective_rises_and_weights_vanish_along_a_path(network_path):
    path = network_path
    assert (np.diff(path.reg_lambdas) > 0).all()
    assert (np.diff(path.objective) >= 0).all()
    assert (np.diff(path.data_loss) >= -1e-12).all()
    assert (np.diff(path.penalty / path.reg_lambdas) <= 1e-12).all()
    assert path.n_nonzero[0] > 100
    assert path.n_nonzero[-1] == path.n_features[-1] == path.n_units[-1] == 0
    assert_allclose(path.objective[-1], 0.5)  # the null model: y has variance 1
    assert_allclose(path.objective, path.data_loss + path.penalty)


def test_no_network_of_a_path_is_better_than_another_at_its_lambda(network_path):
    path = network_path
    values = [sum(np.abs(W).sum() for W in layers) for layers in path.coefs]
    at_lambdas = path.data_loss + np.outer(path.reg_lambdas, values)
    assert (path.objective <= at_lambdas.min(axis=1) * (1 + 1e-9)).all()
    assert (path.objective <= 0.5 + 1e-9).all()


def test_counts_are_those_of_a_fitted_network(diabetes, network_path):
    k = 8
    model = RegMLPRegressor((20,), activation="tanh", max_iter=1).fit(*diabetes)
    model.coefs_, model.intercepts_ = network_path.coefs[k], network_path.intercepts[k]
    assert network_path.n_features[k] == model.selected_features_.sum()
    assert network_path.n_units[k] == model.compact().hidden_layer_sizes[0]
    loss = mean_squared_error(diabetes[1], model.predict(diabetes[0])) / 2
    assert_allclose(network_path.data_loss[k], loss)


@pytest.mark.parametrize("seed", range(3))
def test_networks_are_exchanged_where_another_one_is_better(diabetes, seed):
    """ReLU networks of different branches, of which neighbors are not the best."""
    params = TANH | {"activation": "relu", "random_state": seed}
    model = RegMLPRegressor((5,), penalty="group_lasso", **params)
    path = reg_mlp_path(model, *diabetes, reg_lambdas=np.geomspace(1e-3, 1, 12))
    values = path.penalty / path.reg_lambdas
    at_lambdas = path.data_loss + np.outer(path.reg_lambdas, values)
    assert (path.objective <= at_lambdas.min(axis=1) * (1 + 1e-12)).all()


def test_automatic_grid_goes_on_until_no_weight_is_left(diabetes):
    """A unit that serves many equal targets costs less than as many weights."""
    X, y = diabetes[0], np.tile(diabetes[1][:, np.newaxis], 100)
    model = RegMLPRegressor((3,), penalty="l1", **TANH | {"activation": "identity"})
    path = reg_mlp_path(model, X, y, reg_lambdas=6)
    unit = linear_path(X, y, penalty="l1", reg_lambdas=2).reg_lambdas[0]
    ratio = 1e-3 ** (-1 / 5)
    assert_allclose(path.reg_lambdas[:6], unit * 1e-3 * ratio ** np.arange(6))
    assert_allclose(path.reg_lambdas[6:], unit * ratio ** np.arange(1, 2))
    assert path.n_nonzero[5] > 0 == path.n_nonzero[6]


def test_the_grid_has_the_units_of_a_product_of_weights(diabetes):
    """With L1, two layers and 100 times the targets, 100 ** 1.5 times lambda."""
    model = RegMLPRegressor((3,), penalty="l1", **TANH | {"activation": "relu"})
    model.set_params(max_iter=20)
    X, y = diabetes
    grids = [
        reg_mlp_path(model, X, c * y, reg_lambdas=3, eps=0.1).reg_lambdas
        for c in (1, 100)
    ]
    assert_allclose(grids[1], 1000 * grids[0], rtol=1e-6)


def test_the_grid_is_longer_where_one_layer_is_penalized_harder(diabetes):
    """With tanh, targets in large units leave the first layer's penalty behind."""
    model = RegMLPRegressor((3,), penalty="l1", **TANH | {"max_iter": 20})
    X, y = diabetes
    grid = reg_mlp_path(model, X, 100 * y, reg_lambdas=7, eps=0.1).reg_lambdas
    # The last layer's unit is 100, their geometric mean 10.
    assert_allclose(grid[1] / grid[0], 100 ** (1 / 6), rtol=1e-6)


@pytest.mark.parametrize("hidden", [(), (3,)], ids=str)
@pytest.mark.parametrize("penalty", ["l1", "group_lasso", "l2"])
@pytest.mark.parametrize(
    ("inputs", "targets"),
    [(0.0, "any"), (2.0, "any"), (0.1, "any"), (2.0, "far"), ("any", "constant")],
)
def test_grid_where_no_input_tells_the_target(inputs, targets, penalty, hidden):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2)) if inputs == "any" else np.full((50, 2), inputs)
    y = {"any": rng.normal(size=50), "constant": np.full(50, 0.1)}.get(targets)
    y = 1e6 + rng.normal(size=50) if y is None else y
    model = RegMLPRegressor(hidden, penalty=penalty, **TANH)
    for loss in ("squared_error", "huber"):
        model.set_params(loss=loss)
        grid = reg_mlp_path(model, X, y, reg_lambdas=4).reg_lambdas
        expected = np.geomspace(1e-3, 1, 4)
        expected = expected[: len(grid)] if hidden else expected[::-1]
        assert_allclose(grid[:4], expected)


def test_intercepts_without_rounding_leave_no_gradient():
    """In single precision, the mean of 3000 equal targets is not quite the target."""
    X = np.random.default_rng(0).normal(5, 1, size=(3000, 2)).astype(np.float32)
    model = RegMLPRegressor((), penalty="l1", max_iter=1, random_state=0)
    path = reg_mlp_path(model, X, np.full(3000, 0.7), reg_lambdas=2)
    assert_allclose(path.reg_lambdas, [1, 1e-3])


def test_weak_inputs_are_no_rounding():
    X = np.random.default_rng(0).normal(size=(50, 2))
    unit, weak = (
        linear_path(X, share * X[:, 0] + 3, penalty="l1", reg_lambdas=2).reg_lambdas[0]
        for share in (1, 1e-9)
    )
    assert_allclose(weak, 1e-9 * unit, rtol=1e-5)


CASES = [
    (load_diabetes, RegMLPRegressor, "l1"),
    (load_diabetes, RegMLPRegressor, "group_lasso"),
    (load_breast_cancer, RegMLPClassifier, "l1"),
    (load_digits, RegMLPClassifier, "l2"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("load", "network", "penalty"), CASES)
def test_warm_path_is_as_good_as_cold_fits_for_less_work(load, network, penalty):
    X, y = (values[:600] for values in load(return_X_y=True))
    X, y = scale(X), scale(y) if network is RegMLPRegressor else y
    shares, n_warm, n_cold = [], 0, 0
    for seed in range(3):
        model = network((5,), penalty=penalty, **TANH | {"random_state": seed})
        grid = np.geomspace(1e-3, 0.3, 50)
        path = reg_mlp_path(model, X, y, reg_lambdas=grid)
        cold = [clone(model).set_params(reg_lambda=lam).fit(X, y) for lam in grid]
        shares.append(path.objective / [model.loss_ for model in cold])
        n_warm += path.n_iter.sum()
        n_cold += sum(model.n_iter_ for model in cold)
    # Each cold fit is a draw of a minimum: means over starts and neighbors on the grid.
    means = np.convolve(np.log(shares).mean(axis=0), np.full(5, 0.2), "valid")
    assert (np.exp(means) <= 1.01).all()
    assert n_warm <= n_cold / 3


def test_path_of_one_lambda_is_a_cold_fit(diabetes):
    model = RegMLPRegressor((5,), penalty="l1", reg_lambda=0.01, **TANH)
    path = reg_mlp_path(model, *diabetes, reg_lambdas=[0.01])
    for W, expected in zip(path.coefs[0], model.fit(*diabetes).coefs_):
        assert_array_equal(W, expected)


def test_more_starts_are_not_worse(diabetes):
    model = RegMLPRegressor((5,), penalty="l1", **TANH)
    first = [
        reg_mlp_path(model, *diabetes, reg_lambdas=[1e-3], n_init=n) for n in (1, 3)
    ]
    assert first[1].objective <= first[0].objective
    assert first[1].n_iter > first[0].n_iter


def test_fits_on_a_path_end_where_the_objective_is_flat(diabetes):
    model = RegMLPRegressor((10,), penalty="l2", **TANH | {"tol": 1e-6})
    grid = np.geomspace(1e-3, 2e-3, 2)
    path = reg_mlp_path(model, *diabetes, reg_lambdas=grid)
    cold = [clone(model).set_params(reg_lambda=lam).fit(*diabetes) for lam in grid]
    assert (path.objective <= [1.01 * m.loss_ for m in cold]).all()
    assert (path.n_iter < [m.n_iter_ for m in cold]).all()


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_networks_between_neighbors_improve_a_path(cancer, monkeypatch, seed):
    """From three units to one: the networks with two are up to 6 % better."""
    params = TANH | {"penalty": "group_lasso", "random_state": seed}
    model = RegMLPClassifier((10,), **params)
    grid = np.geomspace(5e-4, 3e-3, 8)
    path = reg_mlp_path(model, *cancer, reg_lambdas=grid)
    monkeypatch.setattr(Branches, "_bridge", lambda self: None)
    without = reg_mlp_path(model, *cancer, reg_lambdas=grid)
    assert 2 in path.n_units
    assert 2 not in without.n_units
    assert (path.objective <= without.objective).all()
    assert (path.objective < 0.97 * without.objective).any()
    assert path.n_iter.sum() > without.n_iter.sum()


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_only_penalties_that_lose_units_have_networks_between_neighbors(
    cancer, monkeypatch, penalty
):
    seen = []
    monkeypatch.setattr(Branches, "_bridge", lambda self: seen.append(penalty))
    model = RegMLPClassifier((10,), **TANH | {"penalty": penalty})
    reg_mlp_path(model, *cancer, reg_lambdas=[1e-3, 3.0])
    assert seen == (["l1"] if penalty == "l1" else [])


class Shifted(GroupLasso):
    """So much less that the objective is negative."""

    def value(self, W, lam=1.0):
        return super().value(W, lam) - 50 * lam


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_path_with_negative_objectives_ends(seed, monkeypatch):
    # Where J is flat depends on its size; here it shall be the same for both.
    monkeypatch.setattr(Walk, "ends", replace(Walk.ends, flat=1e-9))
    rng = np.random.RandomState(seed)
    X, y = rng.normal(size=(10, 3)), np.exp(rng.normal(size=10))
    params = TANH | {"loss": "poisson", "penalty": Shifted(), "random_state": seed}
    grid = [0.01, 0.03, 0.1, 0.3]
    paths = [
        reg_mlp_path(RegMLPRegressor((2,), **params | change), X, y, reg_lambdas=grid)
        for change in ({}, {"penalty": GroupLasso()})
    ]
    assert paths[0].objective[-1] < 0
    shift = 100 * paths[0].reg_lambdas  # two layers
    expected = paths[1].objective
    assert_allclose(paths[0].objective + shift, expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("limit", [{"max_features": 4}, {"max_units": 2}], ids=str)
@pytest.mark.parametrize("grid", [15, np.geomspace(1e-3, 1, 15)], ids=["auto", "grid"])
def test_path_stops_where_few_are_left(diabetes, limit, grid):
    model = RegMLPRegressor((10,), penalty="group_lasso", **TANH)
    path = reg_mlp_path(model, *diabetes, reg_lambdas=grid, **limit)
    ((name, most),) = limit.items()
    left = path.n_features if name == "max_features" else path.n_units
    assert 0 < left[-1] <= most < left[-2]


def test_the_way_back_respects_the_limit(diabetes):
    """Here another network is better at the last lambda, but has too many inputs."""
    model = RegMLPRegressor(
        (8,),
        activation="relu",
        penalty="group_lasso",
        solver="lbfgs",
        max_iter=1000,
        random_state=5,
    )
    path = reg_mlp_path(model, *diabetes, reg_lambdas=6, eps=1e-2, max_features=6)
    assert path.n_features[-1] <= 6
    at_lambdas = path.data_loss + np.outer(
        path.reg_lambdas, path.penalty / path.reg_lambdas
    )
    lowest = at_lambdas.min(axis=1)
    assert_allclose(path.objective[:-1], lowest[:-1], rtol=1e-6)


def test_linear_path_stops_before_more_enter(diabetes):
    model = RegMLPRegressor((), penalty="l1", **EXACT)
    path = reg_mlp_path(model, *diabetes, reg_lambdas=50, max_features=3)
    full = reg_mlp_path(model, *diabetes, reg_lambdas=50)
    assert path.n_features[-1] <= 3 < full.n_features[len(path.n_features)]


def test_grid_that_ends_too_early_warns(diabetes):
    model = RegMLPRegressor((3,), penalty="l1", **TANH)
    with pytest.warns(UserWarning, match="grid ends before"):
        reg_mlp_path(model, *diabetes, reg_lambdas=[1e-3], max_features=1)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_stochastic_solvers_walk_too(binary, solver):
    model = RegMLPClassifier(
        (5,), penalty="l1", solver=solver, learning_rate_init=0.05, random_state=0
    )
    path = reg_mlp_path(model, *binary, reg_lambdas=8)
    assert path.n_nonzero[0] > path.n_nonzero[-1] == 0
    X = binary[0].astype(np.float32)
    single = reg_mlp_path(model, X, binary[1], reg_lambdas=[0.01, 0.1])
    assert single.coefs[0][0].dtype == np.float32


@pytest.mark.parametrize("estimator", [RegMLPClassifierCV((3,)), "network", L1()])
def test_paths_are_of_networks_alone(binary, estimator):
    with pytest.raises(ValueError, match="estimator must be a RegMLPClassifier or"):
        reg_mlp_path(estimator, *binary)


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        ({}, {"reg_lambdas": 1}, r"'reg_lambdas' must be an int in \[2, "),
        ({}, {"reg_lambdas": [-1.0]}, "10000 finite floats >= 0"),
        ({}, {"reg_lambdas": "auto"}, "10000 finite floats >= 0"),
        ({}, {"eps": 2.0}, r"'eps' must be a float in \(0, 1\). Got 2.0"),
        ({}, {"eps": "a"}, r"'eps' must be a float in \(0, 1\). Got 'a'"),
        ({}, {"n_init": 0}, "'n_init' must be an int >= 1"),
        ({}, {"max_features": 0}, "'max_features' must be an int >= 1"),
        ({"hidden_layer_sizes": ()}, {"max_units": 1}, "needs hidden layers"),
        ({"penalty": None}, {}, "No layer is penalized"),
        ({"tol": -1}, {}, "'tol' parameter"),
    ],
)
def test_wrong_arguments_are_named(binary, params, arguments, message):
    model = RegMLPClassifier(**{"hidden_layer_sizes": (3,), **params})
    with pytest.raises(ValueError, match=message):
        reg_mlp_path(model, *binary, **arguments)


def test_other_estimators_are_refused(binary):
    with pytest.raises(ValueError, match="must be a RegMLPClassifier"):
        reg_mlp_path(StandardScaler(), *binary)


# Cross-validation: the choices of scikit-learn ---------------------------------------


def test_search_is_that_of_the_lasso(diabetes):
    theirs = LassoCV(**N_ALPHAS, cv=5, tol=1e-12, max_iter=100_000).fit(*diabetes)
    model = RegMLPRegressorCV(
        (),
        penalty="l1",
        reg_lambdas=30,
        cv=5,
        scoring="neg_mean_squared_error",
        **EXACT,
    ).fit(*diabetes)
    assert_allclose(model.reg_lambdas_, theirs.alphas_, rtol=1e-12)
    assert_allclose(model.reg_lambda_, theirs.alpha_, rtol=1e-12)
    assert_allclose(-model.scores_.T, theirs.mse_path_, rtol=1e-6)
    assert_allclose(model.coefs_[0][:, 0], theirs.coef_, rtol=0, atol=1e-7)


def test_search_is_that_of_the_elastic_net(diabetes):
    X, y = diabetes
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    cv = KFold(4, shuffle=True, random_state=0)
    theirs = ElasticNetCV(l1_ratio=0.5, **N_ALPHAS, cv=cv, tol=1e-12, max_iter=10**5)
    model = RegMLPRegressorCV(
        (), penalty="elasticnet", reg_lambdas=30, cv=cv, scoring="loss", **EXACT
    )
    theirs.fit(X, y)
    model.fit(X, y)
    assert_allclose(model.reg_lambda_, theirs.alpha_, rtol=1e-12)
    assert_allclose(-2 * model.scores_.T, theirs.mse_path_, rtol=1e-6)
    assert_allclose(model.coefs_[0][:, 0], theirs.coef_, rtol=0, atol=1e-7)
    theirs.fit(X, y, sample_weight=weight)
    model.fit(X, y, weight)
    assert_allclose(model.reg_lambdas_, theirs.alphas_, rtol=1e-9)
    assert_allclose(-2 * model.scores_.T, theirs.mse_path_, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_search_is_that_of_logistic_regression(cancer):
    X, y = cancer[0][:560, :6], cancer[1][:560]
    Cs, cv = np.logspace(-2, 0, 5), StratifiedKFold(5)
    theirs = LogisticRegressionCV(
        Cs=Cs, cv=cv, scoring="neg_log_loss", tol=1e-10, max_iter=10_000
    ).fit(X, y)
    # C counts samples: for one lambda in folds and fit, it is another C in the folds.
    n_train = {len(train) for train, _ in cv.split(X, y)}
    assert n_train == {448}
    in_folds = RegMLPClassifierCV(
        (),
        penalty="l2",
        reg_lambdas=1 / (Cs * 448),
        cv=cv,
        scoring="neg_log_loss",
        refit=False,
        **EXACT,
    ).fit(X, y)
    scores = np.asarray(theirs.scores_[1] if isinstance(theirs.scores_, dict) else 0)
    assert_allclose(in_folds.scores_, scores.reshape(5, 5), rtol=1e-4)
    C = float(np.ravel(theirs.C_)[0])
    assert_allclose(in_folds.reg_lambda_, 1 / (C * 448))
    refit = RegMLPClassifier((), penalty="l2", reg_lambda=1 / (C * 560), **EXACT)
    assert_allclose(refit.fit(X, y).coefs_[0].T, theirs.coef_, rtol=0, atol=1e-5)


# Cross-validation of networks --------------------------------------------------------

SMALL = {"hidden_layer_sizes": (5,), "reg_lambdas": 6, "cv": 3, "random_state": 0}
LBFGS = SMALL | {"solver": "lbfgs", "activation": "tanh", "tol": 1e-3}


def assert_same_search(model, other):
    for name in ("reg_lambdas_", "scores_", "train_scores_", "std_errors_"):
        assert_array_equal(getattr(model, name), getattr(other, name))
    assert model.reg_lambda_ == other.reg_lambda_
    for W, V in zip(model.coefs_, other.coefs_):
        assert_array_equal(W, V)


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("grid", [6, [0.1, 0.001, 0.01]], ids=["auto", "grid"])
def test_results_do_not_depend_on_n_jobs(multiclass, solver, grid, seed):
    def fitted(n_jobs):
        random_state = 0 if seed == 0 else np.random.RandomState(0)
        params = LBFGS | {"solver": solver, "reg_lambdas": grid, "penalty": "l1"}
        model = RegMLPClassifierCV(**params, n_jobs=n_jobs)
        return model.set_params(random_state=random_state).fit(*multiclass)

    model = fitted(None)
    for n_jobs in (2, -1):
        assert_same_search(model, fitted(n_jobs))


def test_one_standard_error(diabetes):
    model = RegMLPRegressorCV(**LBFGS, penalty="l1")
    best = clone(model).fit(*diabetes)
    model.set_params(selection="1se").fit(*diabetes)
    assert_array_equal(model.scores_, best.scores_)
    assert model.reg_lambda_ >= best.reg_lambda_
    means = model.mean_scores_
    assert_allclose(means, model.scores_.mean(axis=0))
    assert_allclose(
        model.std_errors_, model.scores_.std(axis=0, ddof=1) / np.sqrt(3), rtol=1e-12
    )
    k = means.argmax()
    assert best.reg_lambda_ == model.reg_lambdas_[k]
    within = model.reg_lambdas_[means >= means[k] - model.std_errors_[k]]
    assert model.reg_lambda_ == within.max()


def test_of_equal_scores_the_simplest_network_is_chosen(binary):
    model = RegMLPClassifierCV(**LBFGS | {"reg_lambdas": [0.1, 0.01, 0.2]})
    model.set_params(scoring=lambda estimator, X, y: 1.0).fit(*binary)
    assert model.reg_lambda_ == 0.2


def test_scores_are_those_of_networks_on_the_folds(multiclass):
    X, y = multiclass
    cv = ShuffleSplit(3, random_state=0)
    model = RegMLPClassifierCV(**LBFGS | {"cv": cv, "reg_lambdas": [0.01]}).fit(X, y)
    network = RegMLPClassifier(
        (5,),
        solver="lbfgs",
        activation="tanh",
        tol=1e-3,
        reg_lambda=0.01,
        random_state=0,
    )
    expected = cross_validate(network, X, y, cv=cv, return_train_score=True)
    assert_array_equal(model.scores_[:, 0], expected["test_score"])
    assert_array_equal(model.train_scores_[:, 0], expected["train_score"])
    for W, V in zip(model.coefs_, network.fit(X, y).coefs_):
        assert_array_equal(W, V)


def test_groups_reach_the_splitter(binary):
    X, y = binary
    groups = np.arange(len(y)) % 4
    model = RegMLPClassifierCV(**LBFGS | {"cv": GroupKFold(4)})
    given = clone(model).set_params(cv=list(GroupKFold(4).split(X, y, groups)))
    assert_same_search(model.fit(X, y, groups=groups), given.fit(X, y))
    with pytest.raises(TypeError, match=r"unexpected arguments: \['color'\]"):
        model.fit(X, y, color=1)


def test_weights_reach_fits_and_scores(regression):
    X, y = regression
    repeats = np.arange(len(y)) % 3 + 1
    rows = np.repeat(np.arange(len(y)), repeats)
    folds = np.arange(len(y)) % 3

    def splits(of):
        return [(np.flatnonzero(of != k), np.flatnonzero(of == k)) for k in range(3)]

    for scoring in (None, "loss", "r2"):
        params = {"penalty": "l1", "reg_lambdas": 6, "scoring": scoring} | EXACT
        weighted = RegMLPRegressorCV((), cv=splits(folds), **params)
        repeated = RegMLPRegressorCV((), cv=splits(folds[rows]), **params)
        weighted.fit(X, y, repeats)
        repeated.fit(X[rows], y[rows])
        assert_allclose(weighted.scores_, repeated.scores_, rtol=1e-6)
        assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=0, atol=1e-7)
    # A scorer that takes no weights is used without them.
    scorer = make_scorer(max_error, greater_is_better=False)
    weighted.set_params(scoring=scorer).fit(X, y, repeats)


def test_metadata_routing(binary):
    X, y = binary
    groups, weight = np.arange(len(y)) % 4, np.linspace(1, 2, len(y))
    params = LBFGS | {"cv": GroupKFold(4), "penalty": "l1"}
    expected = RegMLPClassifierCV(**params, scoring="accuracy")
    expected.fit(X, y, weight, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = sklearn.metrics.get_scorer("accuracy")
        scorer = scorer.set_score_request(sample_weight=True)
        model = RegMLPClassifierCV(**params, scoring=scorer, n_jobs=2)
        model.set_fit_request(sample_weight=True)
        model.fit(X, y, sample_weight=weight, groups=groups)
        assert_same_search(model, expected)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        pipeline.fit(X, y, sample_weight=weight, groups=groups)
        unweighted = scorer.set_score_request(sample_weight=False)
        model.set_params(scoring=unweighted)
        model.fit(X, y, sample_weight=weight, groups=groups)
    assert not np.array_equal(model.scores_, expected.scores_)


@pytest.mark.parametrize("routing", [False, True])
def test_iterators_give_their_splits_once(binary, routing):
    X, y = binary
    expected = RegMLPClassifierCV(**LBFGS | {"cv": StratifiedKFold(3)}).fit(X, y)
    model = clone(expected).set_params(cv=StratifiedKFold(3).split(X, y))
    with sklearn.config_context(enable_metadata_routing=routing):
        assert_same_search(model.fit(X, y), expected)
        with pytest.raises(ValueError, match=r"'cv' parameter .* at least one split"):
            model.fit(X, y)
        with pytest.raises(ValueError, match=r"'cv' parameter .* at least one split"):
            model.set_params(cv=[]).fit(X, y)
    assert_same_search(model, expected)


class Watch:
    """A scorer and splitter that notes what it is given."""

    def __init__(self):
        self.lambdas, self.networks, self.given = [], [], []

    def __sklearn_clone__(self):
        return self

    def __call__(self, estimator, X, y):
        self.lambdas.append(estimator.reg_lambda)
        self.networks.append(estimator)
        self.given.append((X, y))
        return np.mean(estimator.predict(X) == np.asarray(y))

    def get_n_splits(self, X=None, y=None, groups=None):
        return 3

    def split(self, X, y=None, groups=None):
        self.given.append((X, y))
        return StratifiedKFold(3).split(X, y)


CONTAINERS = {
    "arrays": lambda X, y: (X, y),
    "sparse": lambda X, y: (sparse.csr_array(X), y),
    "lists": lambda X, y: (X.tolist(), y.tolist()),
    "pandas": lambda X, y: (pd.DataFrame(X, columns=list("abcd")), pd.Series(y)),
    "polars": lambda X, y: (pl.DataFrame(X, schema=list("abcd")), pl.Series(y)),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_scorer_and_splitter_see_what_the_user_gave(binary, container):
    X, y = CONTAINERS[container](*binary)
    has_names = container in ("pandas", "polars")
    watch = Watch()
    params = LBFGS | {"cv": watch, "penalty": "l1", "reg_lambdas": [1e-3, 0.1]}
    model = RegMLPClassifierCV(**params, scoring=watch).fit(X, y)
    assert watch.lambdas == [1e-3, 0.1] * 6
    for given, expected in zip(watch.given[0], (X, y)):
        assert given is expected
    assert all(type(A) is type(X) and type(b) is type(y) for A, b in watch.given)
    if container == "pandas":
        _, test = next(StratifiedKFold(3).split(X, y))
        pd.testing.assert_frame_equal(watch.given[1][0], X.iloc[test])
        pd.testing.assert_series_equal(watch.given[1][1], y.iloc[test])
    for network in watch.networks:
        assert type(network) is RegMLPClassifier
        assert hasattr(network, "feature_names_in_") == has_names
        assert network.loss_ == network.loss_curve_[-1]
    accuracy = clone(model).set_params(scoring=None).fit(X, y)
    assert_same_search(model, accuracy)
    assert list(getattr(model, "feature_names_in_", [])) == list("abcd") * has_names


def test_a_fold_without_weight_is_named(binary):
    X, y = binary
    folds = list(StratifiedKFold(3).split(X, y))
    weight = np.ones(len(y))
    weight[folds[1][1]] = 0
    model = RegMLPClassifierCV(**LBFGS)
    for scoring in (None, "loss", "accuracy"):
        model.set_params(scoring=scoring)
        with pytest.raises(ValueError, match=r"fold 1 have weight 0, by sample_weight"):
            model.fit(X, y, weight)
    unweighted = model.set_params(scoring=lambda estimator, X, y: 0.0)
    assert unweighted.fit(X, y, weight).scores_.shape[0] == 3
    by_class = RegMLPClassifierCV(**LBFGS | {"cv": [(folds[0][0], y == "no")]})
    by_class.set_params(class_weight={"no": 0, "yes": 1}, scoring="loss")
    with pytest.raises(ValueError, match=r"fold 0 have weight 0, by .* class_weight"):
        by_class.fit(X, y)


def test_folds_share_the_threads(binary):
    """With one thread, a fold would wait in vain for the other one."""
    barrier = threading.Barrier(2)

    def scorer(estimator, X, y):
        barrier.wait(10)
        return 0.0

    params = LBFGS | {"cv": 2, "reg_lambdas": [0.1, 0.2], "refit": False}
    model = RegMLPClassifierCV(**params, scoring=scorer, n_jobs=2).fit(*binary)
    assert_array_equal(model.scores_, 0)


class Configured(GroupLasso):
    """Notes whether the caller's configuration is in force."""

    seen = []

    def value(self, W, lam=1.0):
        self.seen.append((threading.get_ident(), sklearn.get_config()["assume_finite"]))
        return super().value(W, lam)


def test_threads_have_the_configuration_of_the_caller(binary):
    Configured.seen.clear()
    params = LBFGS | {"reg_lambdas": [0.1], "penalty": Configured()}
    with sklearn.config_context(assume_finite=True):
        RegMLPClassifierCV(**params, n_jobs=2).fit(*binary)
    threads, assume_finite = zip(*Configured.seen)
    assert set(threads) - {threading.get_ident()}
    assert all(assume_finite)


def test_a_class_may_be_missing_in_a_fold(multiclass):
    X, y = multiclass
    order = np.argsort(y)
    model = RegMLPClassifierCV(**LBFGS | {"cv": KFold(3)}).fit(X[order], y[order])
    assert_array_equal(model.classes_, [2, 5, 7])
    assert_array_equal(model.mean_scores_, 0)


@pytest.mark.parametrize("kind", ["multilabel", "multioutput"])
def test_several_outputs(kind, request):
    X, y = request.getfixturevalue(kind)
    search = RegMLPClassifierCV if kind == "multilabel" else RegMLPRegressorCV
    model = search(**LBFGS, penalty="l1", scoring="loss").fit(X, y)
    assert model.predict(X).shape == y.shape


def test_fitted_search_is_a_network(binary):
    X, y = binary
    model = RegMLPClassifierCV(**LBFGS, penalty="group_lasso").fit(X, y)
    network = model.best_estimator_
    assert type(network) is RegMLPClassifier
    assert network.reg_lambda == model.reg_lambda_
    for other in (network, model.compact(), pickle.loads(pickle.dumps(model))):
        assert_allclose(other.predict_proba(X), model.predict_proba(X), rtol=1e-12)
    assert model.optimality_ <= model.tol
    assert model.loss_ == model.loss_curve_[-1]
    assert not hasattr(model, "partial_fit")
    assert len(model.path_.coefs) == len(model.reg_lambdas_)
    assert not hasattr(clone(model), "coefs_")
    refit = model.refit_on_support(X, y)
    assert type(refit) is RegMLPClassifier


def test_the_chosen_network_is_fitted_to_the_full_tolerance(diabetes):
    params = {"tol": 1e-5, "max_iter": 5000, "penalty": "l1", "reg_lambdas": 4}
    model = RegMLPRegressorCV(**LBFGS | params).fit(*diabetes)
    k = int(np.flatnonzero(model.path_.reg_lambdas == model.reg_lambda_)[0])
    assert model.loss_ < model.path_.objective[k] * (1 - 1e-6)
    assert model.optimality_ <= 1e-5
    # The curves are those of the fit on the path and of the one that goes on from it.
    curve = np.array(model.loss_curve_)
    assert curve[0] > model.path_.objective[k]
    assert np.isclose(curve, model.path_.objective[k], rtol=1e-12).any()
    assert (np.diff(curve) <= 1e-12).all()
    assert len(curve) == model.n_iter_ == model.t_ / len(diabetes[1])
    assert len(curve) > 20
    assert_allclose(curve, np.add(model.data_loss_curve_, model.penalty_curve_))


def test_curves_of_a_network_that_needs_no_iteration(binary):
    model = RegMLPClassifierCV(**LBFGS | {"reg_lambdas": [10.0, 20.0]}, penalty="l1")
    model.fit(*binary)
    assert not any(W.any() for W in model.coefs_)
    assert len(model.loss_curve_) == model.n_iter_ == model.t_ / len(binary[1]) >= 1
    assert_allclose(model.loss_, np.log(2), rtol=1e-6)


def test_without_refit_there_are_scores_only(binary):
    X, y = binary
    model = RegMLPClassifierCV(**LBFGS, refit=False).fit(X, y)
    assert model.scores_.shape == (3, len(model.reg_lambdas_))
    uses = (
        lambda: model.predict(X),
        lambda: model.compact(),
        lambda: model.best_estimator_,
        lambda: model.selected_features_,
        lambda: model.refit_on_support(X, y),
    )
    for use in uses:
        with pytest.raises(sklearn.exceptions.NotFittedError, match="refit=True"):
            use()
    with pytest.raises(sklearn.exceptions.NotFittedError, match="not fitted yet"):
        clone(model).predict(X)


def test_without_refit_no_earlier_network_is_left(binary, multiclass):
    model = RegMLPClassifierCV(**LBFGS).fit(*multiclass)
    before = dict(vars(model))
    model.set_params(refit=False)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((9, 4), np.nan), np.arange(9) % 2)
    assert vars(model) == before | {"refit": False}
    model.predict(multiclass[0])
    model.fit(*binary)
    fresh = clone(model).fit(*binary)
    assert set(vars(model)) == set(vars(fresh))
    assert_array_equal(model.scores_, fresh.scores_)
    assert model.n_features_in_ == 4
    with pytest.raises(sklearn.exceptions.NotFittedError, match="refit=True"):
        model.predict(binary[0])
    model.set_params(refit=True).fit(*binary)
    assert_array_equal(model.classes_, ["no", "yes"])


def test_parameters_are_those_of_the_network():
    for search, network in (
        (RegMLPClassifierCV, RegMLPClassifier),
        (RegMLPRegressorCV, RegMLPRegressor),
    ):
        own = {"param_grid", "reg_lambdas", "eps", "cv", "selection", "start", "refit"}
        own |= {"max_features", "adaptive"}
        params = search().get_params()
        assert (
            set(params)
            == set(network().get_params())
            - {
                "reg_lambda",
                "warm_start",
            }
            | own
        )
        assert search(7).hidden_layer_sizes == 7
        assert (
            search(penalty=GroupLasso(weighted=False)).get_params()["penalty__weighted"]
            is False
        )
        with pytest.raises(TypeError, match="reg_lambda"):
            search(reg_lambda=1.0)
        assert repr(search(penalty=L1(), cv=3)) == (
            f"{search.__name__}(cv=3, penalty=L1())"
        )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"selection": "first"}, "'selection' parameter of RegMLPClassifierCV"),
        ({"refit": "yes"}, "'refit' parameter"),
        ({"reg_lambdas": 1}, "sequence of up to 10000 finite floats >= 0.*Got 1"),
        ({"reg_lambdas": "a"}, "sequence of up to 10000 finite floats >= 0.*Got 'a'"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter .* -1024 to 1024, not 0. Got 1.5"),
        ({"n_jobs": 0}, "'n_jobs' parameter"),
        ({"solver": "newton"}, "'solver' parameter of RegMLPClassifierCV"),
        ({"scoring": lambda *args: np.nan}, "has a score in every fold"),
    ],
)
def test_wrong_parameters_leave_no_trace(binary, params, message):
    model = RegMLPClassifierCV(**LBFGS | params)
    with pytest.raises(ValueError, match=message):
        model.fit(*binary)
    assert vars(model) == model.get_params(deep=False)


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
def test_networks_that_diverge_are_not_chosen(regression, scoring):
    model = RegMLPRegressorCV(
        (5,),
        solver="sgd",
        learning_rate_init=0.05,
        decay_mode="coupled",
        reg_lambdas=[1e-3, 1e6],
        cv=3,
        random_state=0,
        scoring=scoring,
        refit=False,
    ).fit(*regression)
    assert np.isnan(model.mean_scores_[1])
    assert model.reg_lambda_ == 1e-3


def test_early_stopping_in_the_folds(binary):
    params = {"early_stopping": True, "validation_fraction": 0.3, "scoring": "loss"}
    model = RegMLPClassifierCV(**SMALL | params, learning_rate_init=0.05).fit(*binary)
    assert model.best_validation_score_ == max(model.validation_scores_)


@pytest.mark.slow
@pytest.mark.parametrize("search", [RegMLPClassifierCV, RegMLPRegressorCV])
@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": 10, "learning_rate_init": 0.01, "max_iter": 60},
        # At the default `tol`, fits of copies and of weights differ by more than the
        # checks allow, 1e-7: rounding decides where in the tolerance they end.
        {"hidden_layer_sizes": (), "solver": "lbfgs", "tol": 1e-10},
    ],
    ids=str,
)
def test_search_passes_every_check(params, search):
    model = search(reg_lambdas=2, cv=2, **params)
    results = check_estimator(model, on_fail=None, on_skip=None)
    failed = [r["check_name"] for r in results if r["status"] == "failed"]
    assert failed == []
    assert sum(r["status"] == "passed" for r in results) > 40


# Lines of progress --------------------------------------------------------------------


@pytest.mark.parametrize(("verbose", "shown"), [(1, 11), (True, 11), (2, 20), (0, 0)])
def test_verbose_prints_lines_of_lambdas_and_not_of_epochs(verbose, shown, capsys):
    X, y = load_diabetes(return_X_y=True)
    network = RegMLPRegressor((), penalty="l1", solver="lbfgs", verbose=True)
    path = reg_mlp_path(network, scale(X), scale(y), reg_lambdas=20, verbose=verbose)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == shown
    for k, line in enumerate(lines[:10]):
        assert line.startswith(
            f"[reg_mlp_path] {k + 1} of 20: reg_lambda = {path.reg_lambdas[k]:.4g}, "
            f"objective = {path.objective[k]:.6g}, {path.n_features[k]} inputs, "
        )


@pytest.mark.parametrize("verbose", [-1, 0.5, "yes", None])
def test_verbose_of_paths_is_checked(verbose):
    with pytest.raises(ValueError, match="'verbose' must be a bool or an int >= 0"):
        reg_mlp_path(RegMLPRegressor(), np.eye(4), np.arange(4.0), verbose=verbose)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradients_beyond_all_numbers_leave_no_automatic_grid():
    X = 1e250 * np.random.default_rng(0).normal(size=(20, 2))
    network = RegMLPRegressor(3, solver="lbfgs", max_iter=5, random_state=0)
    with pytest.raises(ValueError, match=r"no automatic grid: .* is inf"):
        reg_mlp_path(network, X, 1e100 * np.sign(X[:, 0]))


def test_notebooks_show_the_table_of_a_path():
    X, y = load_diabetes(return_X_y=True)
    network = RegMLPRegressor((), penalty="l1", solver="lbfgs")
    path = reg_mlp_path(network, scale(X), scale(y), reg_lambdas=4)
    shown, expected = path._repr_html_(), path.to_frame()
    assert re.findall("<th>(.*?)</th>", shown) == list(expected)
    values = np.array(re.findall("<td>(.*?)</td>", shown), float)
    assert_allclose(values.reshape(expected.shape), expected, rtol=1e-5)


def test_a_grid_goes_on_as_far_as_floats_do():
    *values, last = Grid(np.array([1e-200, 1e-50]), 1e150)
    assert_allclose([*values, last], [1e-200, 1e-50, 1e100, 1e250])
