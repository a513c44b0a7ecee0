"""Approximate leave-one-out: against fits without each row."""

import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.utils.class_weight import compute_sample_weight

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
)
from skreg.displays import ChoiceDisplay, LambdaValidationDisplay
from skreg.penalties import MCP, ElasticNet, GroupLasso, SparseGroupLasso

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
Y = X @ [2.0, -1.5, 1.0, 3.0] + 0.5 * RNG.normal(size=N)
SMOOTH = np.tanh(X[:, 0] + X[:, 1]) + 0.3 * RNG.normal(size=N)
COUNTS = RNG.poisson(np.exp(0.3 * X[:, 0] + 0.2 * X[:, 1])) + 0.5
CLASSES = np.digitize(X[:, 0] + 0.5 * RNG.normal(size=N), [-0.5, 0.5])
WEIGHTS = RNG.integers(0, 3, N).astype(float)
EXACT = {"solver": "lbfgs", "tol": 1e-9, "max_iter": 5000, "random_state": 0}
SEARCH = {**EXACT, "cv": "loo", "scoring": "loss"}


def without_each(estimator, y, weights=None, scale=False, X=X):
    """Predictions of each row by fits without it, and their losses."""
    predictions = []
    s = np.ones(N) if weights is None else weights
    for row in range(N):
        rest = np.arange(N) != row
        model = type(estimator)(**estimator.get_params(deep=False))
        if scale:  # the penalty of all rows, in units of the mean of the others
            share = s.sum() / (s.sum() - s[row])
            model.set_params(reg_lambda=model.reg_lambda * share)
        model.fit(X[rest], y[rest], s[rest])
        predict = getattr(model, "predict_proba", model.predict)
        predictions.append(predict(X[[row]])[0])
    return np.array(predictions)


@pytest.mark.parametrize("constant, lam", [(0.0, 0.2), (2.0, 0.2), (0.0, 100.0)])
def test_penalized_intercepts_that_are_0_do_not_move(constant, lam):
    params = {"penalty": "l1", "penalize_intercepts": True}
    x, y = X - X.mean(axis=0), Y - Y.mean() + constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the constant
        search = RegMLPRegressorCV((), reg_lambdas=[lam], **SEARCH, **params).fit(x, y)
        model = RegMLPRegressor((), reg_lambda=lam, **EXACT, **params)
        expected = without_each(model, y, scale=True, X=x)
    assert (search.intercepts_[0] == 0) == (constant == 0)
    assert_allclose(search.oof_predictions_, expected, atol=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    "penalty", ["l1", ElasticNet(l1_ratio=0.2), ElasticNet(0.5, factors=(1, 2, 1, 0))]
)
def test_squared_error_without_hidden_layers_is_exact(penalty, weights):
    # Strong signals, so that the support is that of all weights without any row.
    params = {"penalty": penalty, **EXACT}
    search = RegMLPRegressorCV((), reg_lambdas=[0.02], **SEARCH, penalty=penalty)
    search.fit(X, Y, weights)
    model = RegMLPRegressor((), reg_lambda=0.02, **params)
    expected = without_each(model, Y, weights, scale=True)
    assert_allclose(search.oof_predictions_, expected, atol=1e-6)
    losses = (Y - expected) ** 2 / 2
    assert search.best_score_ == pytest.approx(-np.average(losses, weights=weights))
    assert_allclose(search.coef_, model.fit(X, Y, weights).coef_, atol=1e-6)


@pytest.mark.parametrize(
    "penalty", [GroupLasso(), SparseGroupLasso(l1_ratio=0.001), MCP(gamma=9.0)]
)
def test_groups_without_hidden_layers_to_first_order(penalty):
    # No weight is so near 0 that a row decides on it.
    search = RegMLPRegressorCV((), reg_lambdas=[0.05], penalty=penalty, **SEARCH)
    targets = np.column_stack([Y, SMOOTH])
    search.fit(X, targets)
    model = RegMLPRegressor((), reg_lambda=0.05, penalty=penalty, **EXACT)
    expected = without_each(model, targets, scale=True)
    moved = expected - model.fit(X, targets).predict(X)
    error = search.oof_predictions_ - expected
    assert np.linalg.norm(error) < 0.03 * np.linalg.norm(moved)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "huber"])
def test_losses_of_regressors(loss):
    search = RegMLPRegressorCV(
        (), reg_lambdas=[0.01], penalty="l1", loss=loss, **SEARCH
    )
    search.fit(X, COUNTS)
    model = RegMLPRegressor((), reg_lambda=0.01, penalty="l1", loss=loss, **EXACT)
    expected = without_each(model, COUNTS)
    moved = expected - model.fit(X, COUNTS).predict(X)
    error = search.oof_predictions_ - expected
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(moved)


MULTILABEL = np.column_stack([CLASSES > 0, CLASSES > 1]).astype(int)


@pytest.mark.parametrize("y", [CLASSES, np.array(["a", "b"])[MULTILABEL[:, 0]]])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_classes(y, class_weight):
    # A little L1, so that the support is that of all weights without any row.
    params = {"penalty": ElasticNet(0.01), "class_weight": class_weight}
    search = RegMLPClassifierCV((), reg_lambdas=[0.02], **params, **SEARCH).fit(X, y)
    # Balanced weights are those of all rows, not of all rows but one.
    weights = None if class_weight is None else compute_sample_weight("balanced", y)
    model = RegMLPClassifier((), reg_lambda=0.02, penalty=params["penalty"], **EXACT)
    expected = without_each(model, y, weights, scale=True)
    moved = expected - model.fit(X, y, weights).predict_proba(X)
    error = search.oof_predictions_ - expected
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(moved)


def test_several_labels():
    search = RegMLPClassifierCV((), reg_lambdas=[0.02], penalty="l1", **SEARCH)
    search.fit(X, MULTILABEL)
    alone = [
        RegMLPClassifierCV((), reg_lambdas=[0.02], penalty="l1", **SEARCH).fit(X, y)
        for y in MULTILABEL.T
    ]
    for k, other in enumerate(alone):
        found, expected = search.oof_predictions_[:, k], other.oof_predictions_[:, 1]
        assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("penalty", ["l1", "group_lasso"])
def test_small_networks(penalty):
    params = {**EXACT, "tol": 1e-6, "activation": "tanh", "penalty": penalty}
    params |= {"reg_lambdas": [0.03, 0.05, 3.0], "scoring": "loss"}
    search = RegMLPRegressorCV((2,), cv="loo", **params).fit(X, SMOOTH)
    exact = RegMLPRegressorCV((2,), cv=LeaveOneOut(), **params).fit(X, SMOOTH)
    assert_allclose(search.mean_scores_[:2], exact.mean_scores_[:2], rtol=0.02)
    assert_allclose(search.mean_scores_[2], exact.mean_scores_[2], rtol=1e-3)
    for k in range(2):
        assert np.corrcoef(search.scores_[:, k], exact.scores_[:, k])[0, 1] > 0.98
    assert search.reg_lambda_ == exact.reg_lambda_


# Units --------------------------------------------------------------------------------

COLUMNS = np.array([1e-5, 1.0, 1e4, 1.0])
UNITS = {  # X, y, and the units of both
    "X + 1e4": (X + 1e4, Y, 1.0, 1.0),
    "X + 1e6": (X + 1e6, Y, 1.0, 1.0),
    "1e-6 X": (1e-6 * X, Y, 1e-6, 1.0),
    "1e6 X": (1e6 * X, Y, 1e6, 1.0),
    "columns of X": (COLUMNS * (X + 10), Y, COLUMNS, 1.0),
    "y + 1e6": (X, Y + 1e6, 1.0, 1.0),
    "1e-50 y": (X, 1e-50 * Y, 1.0, 1e-50),
    "1e-9 y": (X, 1e-9 * Y, 1.0, 1e-9),
    "1e6 y": (X, 1e6 * Y, 1.0, 1e6),
    "all": (1e-6 * X + 1e-2, 1e6 * Y - 1e10, 1e-6, 1e6),
}


def searched(hidden, activation, x, y, of_x=1.0, of_y=1.0):
    """A search at one lambda, converted to units of X and y.

    The least J has the square of the unit of y, for W_1 divided by that of X and the
    last W times that of y. Of relu networks, only the product of strengths matters.
    """
    lam = np.full(len(hidden) + 1, 0.1 * of_y**2)
    lam[-1] /= of_y
    penalty = ["l1"] * len(lam)
    if np.ndim(of_x):
        penalty[0] = ElasticNet(1.0, factors=of_x)
    else:
        lam[0] *= of_x
    if activation == "relu":
        lam[:] = np.exp(np.log(lam).mean())
    params = {**SEARCH, "tol": 1e-10, "start": "cold", "reg_lambdas": [lam]}
    search = RegMLPRegressorCV(hidden, activation=activation, penalty=penalty, **params)
    return search.fit(x, y)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize(
    "hidden, activation", [((), "tanh"), ((2,), "tanh"), ((2,), "relu")]
)
def test_units_do_not_matter(units, hidden, activation):
    x, y, of_x, of_y = UNITS[units]
    expected = searched(hidden, activation, X, Y)
    found = searched(hidden, activation, x, y, of_x, of_y)
    assert_allclose(found.best_score_ / of_y**2, expected.best_score_, rtol=1e-6)
    # At kinks of relu, the solver itself ends within about 1e-6.
    assert_allclose(found.scores_ / of_y**2, expected.scores_, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", [(1, 0), (1, 1e6), (1e-6, 0), (1e6, 0)])
@pytest.mark.parametrize("loss", ["poisson", "gamma", "huber", "log_loss", "classes"])
def test_units_of_inputs_do_not_matter_to_other_losses(loss, change):
    unit, shift = change
    params = {"penalty": "l1", **SEARCH}
    if loss in ("log_loss", "classes"):
        y = CLASSES if loss == "classes" else CLASSES > 0
        search = RegMLPClassifierCV((), reg_lambdas=[0.02], **params)
    else:
        y = COUNTS
        search = RegMLPRegressorCV((), reg_lambdas=[0.02], loss=loss, **params)
    expected = search.fit(X, y).scores_
    search.set_params(reg_lambdas=[0.02 * unit]).fit(unit * X + shift, y)
    assert_allclose(search.scores_, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("x_unit, x_shift", [(1, 0), (1, 1e6), (1e-6, 0), (1e5, 1e7)])
@pytest.mark.parametrize("y_unit", [1, 1e-9, 1e6])
def test_in_any_units_it_is_that_of_scikit_learn(x_unit, x_shift, y_unit):
    x, y = x_unit * X + x_shift, y_unit * Y
    lam = 0.05 * x_unit * y_unit
    params = {"penalty": "l1", **SEARCH}
    search = RegMLPRegressorCV((), reg_lambdas=[lam], **params).fit(x, y)
    lasso = Lasso(0.05 * N / (N - 1), tol=1e-12, max_iter=100_000)
    expected = cross_val_predict(lasso, X, Y, cv=LeaveOneOut())
    assert_allclose(search.oof_predictions_ / y_unit, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("x_unit, x_shift", [(1, 0), (1, 1e6), (1e-6, 0)])
def test_in_any_units_it_is_near_that_of_a_logistic_regression(x_unit, x_shift):
    noise = np.random.default_rng(2).normal(size=N)
    y, lam = X @ [1.0, -1.0, 0.7, 1.2] + 2 * noise > 0, 0.01
    search = RegMLPClassifierCV((), penalty="l1", reg_lambdas=[lam * x_unit], **SEARCH)
    search.fit(x_unit * X + x_shift, y)
    params = {"solver": "saga", "tol": 1e-8, "max_iter": 20_000, "random_state": 0}
    model = LogisticRegression(l1_ratio=1.0, C=1 / (lam * N), **params)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut(), method="predict_proba")
    moved = expected - model.fit(X, y).predict_proba(X)
    error = search.oof_predictions_ - expected
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(moved)


@pytest.mark.parametrize("cv", ["loo", 5])
@pytest.mark.parametrize("unit", [1e-100, 1e-9, 1e-6, 1e6])
def test_the_choice_does_not_depend_on_the_unit_of_the_targets(cv, unit):
    noisy = np.hstack([X, np.random.default_rng(1).normal(size=(N, 8))])
    params = {**SEARCH, "cv": cv, "penalty": "l1"}
    expected = RegMLPRegressorCV((), **params).fit(noisy, Y)
    search = RegMLPRegressorCV((), **params).fit(noisy, unit * Y)
    assert search.best_index_ == expected.best_index_
    assert_allclose(search.best_score_ / unit**2, expected.best_score_, rtol=1e-6)


def test_targets_of_mean_0_have_an_intercept():
    # Of the size of rounding, which says nothing of a step to differentiate by.
    x, y = X - X.mean(axis=0), Y - Y.mean()
    search = RegMLPRegressorCV((), reg_lambdas=[0.05], penalty="l1", **SEARCH)
    lasso = Lasso(0.05 * N / (N - 1), tol=1e-12, max_iter=100_000)
    expected = cross_val_predict(lasso, x, y, cv=LeaveOneOut())
    assert_allclose(search.fit(x, y).oof_predictions_, expected, atol=1e-6)


def test_a_search_by_it():
    params = {**SEARCH, "reg_lambdas": 8, "penalty": "l1"}
    search = RegMLPRegressorCV((), **params, n_jobs=2).fit(X, Y)
    assert search.scores_.shape == (N, len(search.reg_lambdas_))
    assert not [name for name in search.cv_results_ if name.startswith("split")]
    assert_allclose(search.cv_results_["mean_test_score"], search.scores_.mean(axis=0))
    found = -((Y - search.oof_predictions_) ** 2) / 2
    assert search.best_score_ == pytest.approx(found.mean())
    assert_array_equal(search.predict(X), search.best_estimator_.predict(X))
    assert "1se" in search.summary()
    by_csr = RegMLPRegressorCV((), **params).fit(sparse.csr_array(X), Y)
    assert_allclose(by_csr.scores_, search.scores_, atol=1e-6)
    LambdaValidationDisplay.from_estimator(search)
    display = ChoiceDisplay.from_estimator(search)
    assert_allclose(display.std_errors[0], search.std_errors_)
    scores = RegMLPRegressorCV((), **{**params, "refit": False}).fit(X, Y)
    assert scores.best_params_ == search.best_params_


def test_too_many_degrees_of_freedom_have_no_score():
    params = {**SEARCH, "activation": "tanh", "penalty": "l1", "tol": 1e-4}
    search = RegMLPRegressorCV((12,), reg_lambdas=[1e-4, 0.1], **params).fit(X, Y)
    assert np.isnan(search.mean_scores_).tolist() == [True, False]
    assert search.reg_lambda_ == 0.1
    with pytest.raises(ValueError, match="cv='loo', the networks have too many"):
        RegMLPRegressorCV((12,), reg_lambdas=[1e-4], **params).fit(X, Y)


def test_a_row_that_alone_decides_its_prediction_has_no_score():
    """Nothing but it tells the weight of an input that it alone has."""
    own, y = np.c_[X, np.eye(N)[:, 0]], Y + 30 * np.eye(N)[:, 0]
    model = RegMLPRegressorCV((), penalty="l1", **SEARCH).fit(own, y)
    decides = np.array([network.coefs_[0][-1, 0] != 0 for network in model.path_])
    assert 0 < decides.sum() < len(decides)
    assert_array_equal(np.isnan(model.mean_scores_), decides)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"penalty": "l2"}, "penalty of every layer that makes zeros"),
        ({"penalty": ["l1", "l2"]}, "penalty of every layer that makes zeros"),
        ({"solver": "adam"}, "'solver' parameter .* 'lbfgs' with cv='loo'"),
        ({"early_stopping": True}, "'early_stopping' parameter .* with cv='loo'"),
        ({"scoring": None}, "'scoring' parameter .* 'loss'"),
        ({"refit": "folds"}, "'refit' parameter .* True or False with cv='loo'"),
        ({"adaptive": [0, 1]}, "'adaptive' parameter .* as pilots have seen all rows"),
        ({"param_grid": "auto"}, "'param_grid' parameter .* smooth penalties"),
        ({"max_features": 2}, "'max_features' parameter .* None with cv='loo'"),
    ],
)
def test_what_has_none_is_named(params, message):
    params = {**SEARCH, "penalty": "l1", "reg_lambdas": [0.1], **params}
    with pytest.raises(ValueError, match=message):
        RegMLPRegressorCV((3,), **params).fit(X, Y)


def test_what_needs_folds_is_named():
    search = RegMLPRegressorCV((), penalty="l1", reg_lambdas=[0.1], **SEARCH)
    with pytest.raises(ValueError, match="groups cannot be kept together"):
        search.fit(X, Y, groups=np.arange(N))
    search.fit(X, Y)
    for attribute in ("estimators_", "predict_interval"):
        with pytest.raises(AttributeError, match="cv='loo' fits no networks of folds"):
            value = getattr(search, attribute)
            value(X)


def test_memory_is_not_quadratic_in_the_rows():
    n = 4000
    x = np.random.default_rng(0).normal(size=(n, 1))
    search = RegMLPRegressorCV((), reg_lambdas=[0.1], penalty="l1", **SEARCH)
    tracemalloc.start()
    try:
        search.fit(x, x[:, 0])
        assert tracemalloc.get_traced_memory()[1] < n**2
    finally:
        tracemalloc.stop()


def test_more_rows_than_memory_allows_are_refused():
    search = RegMLPRegressorCV((), penalty="l1", solver="lbfgs", cv="loo")
    search.set_params(scoring="loss")
    with pytest.raises(ValueError, match="100001 x 1: give 'cv' a number"):
        search.fit(np.ones((100_001, 1)), np.arange(100_001.0))


def test_a_search_with_folds_keeps_them_whatever_is_set_later():
    params = {"penalty": "l1", **SEARCH, "cv": 3}
    search = RegMLPRegressorCV((), reg_lambdas=[0.1], **params).fit(X, Y)
    lower, _ = search.predict_interval(X)
    search.set_params(cv="loo")
    assert len(search.estimators_) == 3
    assert_array_equal(search.predict_interval(X)[0], lower)
