"""Fits, paths and searches of data in other units: never silently bad."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, r2_score

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg._engines._compiled import CompiledRows
from skreg._network import Network
from skreg.losses import regression_loss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
Y = X[:, 0] - 0.5 * X[:, 1] ** 2
SAYS = "ended with a data loss of .* but a constant has .* Scale X, "


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


# Paths and searches ------------------------------------------------------------------

FAR = X + 1e4
SHORT = {"random_state": 0, "reg_lambdas": [1e-3, 1.0]}


def said(call):
    """What it returns, and its warnings but those of limits."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    texts = [str(w.message) for w in caught]
    return result, [text for text in texts if "have not converged yet" not in text]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"start": "cold"},
        {"early_stopping": True},
        {"solver": "sgd", "start": "cold"},
        {"n_jobs": 2},
    ],
    ids=str,
)
def test_a_search_says_once_that_its_choice_is_worse_than_a_constant(params):
    search = RegMLPRegressorCV((20,), cv=3, **SHORT, **params)
    _, texts = said(lambda: search.fit(FAR, Y))
    assert search.score(FAR, Y) < -0.1
    assert len(texts) == 1
    assert texts[0].startswith("The network of the choice, reg_lambda=")
    assert "but a constant has" in texts[0] and "Scale X, " in texts[0]


@pytest.mark.parametrize("refit", [False, "folds", "stack"])
def test_a_search_without_a_network_of_all_rows_judges_those_of_the_folds(refit):
    search = RegMLPRegressorCV((20,), cv=3, refit=refit, **SHORT)
    _, texts = said(lambda: search.fit(FAR, Y))
    assert len(texts) == 1
    assert texts[0].startswith("3 of 3 networks of the choice, reg_lambda=")
    assert "but a constant has" in texts[0]


def test_a_search_of_a_classifier_says_it():
    search = RegMLPClassifierCV((20,), cv=3, scoring="loss", **SHORT)
    _, texts = said(lambda: search.fit(100 * FAR, X[:, 0] > 0))
    assert search.score(100 * FAR, X[:, 0] > 0) < -1
    assert len(texts) == 1 and "but a constant has 0.69" in texts[0]


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_a_path_says_once_how_many_networks_are_worse_than_a_constant(start):
    network = RegMLPRegressor((20,), random_state=0)
    path, texts = said(
        lambda: reg_mlp_path(network, FAR, Y, reg_lambdas=[1e-3, 1.0], start=start)
    )
    assert (path.data_loss > Y.var() / 2).all()
    assert len(texts) == 1
    assert texts[0].startswith("2 of 2 networks of the path ended with a data loss of")


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("intercepts", [False, True])
def test_a_penalty_that_leaves_hardly_anything_is_not_worse(penalty, intercepts):
    """Noise of the batches about a constant, or penalized intercepts, are no matter."""
    network = RegMLPRegressor(
        (5,),
        penalty=penalty,
        penalize_intercepts=intercepts,
        learning_rate_init=0.01,
        batch_size=50,
        max_iter=1000,
        random_state=0,
    )
    path, texts = said(
        lambda: reg_mlp_path(network, X, Y + 2.0, reg_lambdas=[1e-3, 1.0, 10.0])
    )
    assert path.data_loss[0] < Y.var() / 4
    assert path.data_loss[-1] > 0.99 * Y.var() / 2
    assert not texts


def test_scores_that_overflow_have_no_standard_error_and_no_warning_of_numpy():
    search = RegMLPRegressorCV(
        (20,), solver="sgd", early_stopping=True, random_state=0, cv=3, start="cold"
    )
    _, texts = said(lambda: search.fit(1e4 * (X + 1), Y))
    assert not [text for text in texts if "overflow" in text]


# Several outputs ---------------------------------------------------------------------

PRICE = 3e5 + 8e4 * np.tanh(X[:, 0] + X[:, 1] * X[:, 2])
DAYS = 30 + 5 * np.tanh(X[:, 3]) + RNG.normal(size=200)
MIXED = np.c_[PRICE, DAYS]
EXACT = {"solver": "lbfgs", "activation": "tanh", "random_state": 0, "max_iter": 300}
NAMED = r"worse than constants in outputs \[1\] of y\..* Scale y"


def of_outputs(model):
    return r2_score(MIXED, model.predict(X), multioutput="raw_values")


@pytest.mark.parametrize("max_iter", [300, 30_000])
@pytest.mark.filterwarnings("ignore:solver='lbfgs' stopped after")
def test_an_output_that_others_dominate_is_named(max_iter):
    model = RegMLPRegressor((10,), **{**EXACT, "max_iter": max_iter}, tol=1e-3)
    with pytest.warns(ConvergenceWarning, match=NAMED):
        model.fit(X, MIXED)
    first, second = of_outputs(model)
    assert first > 0.3 and second < -0.01


def test_a_path_and_a_search_name_it_once():
    network, grid = RegMLPRegressor((10,), **EXACT), [0.1, 1.0]
    path, texts = said(lambda: reg_mlp_path(network, X, MIXED, reg_lambdas=grid))
    n_worse = sum(of_outputs(model)[1] < -0.01 for model in path)
    assert n_worse and len(texts) == 1
    assert texts[0].startswith(f"{n_worse} of 2 networks of the path ended worse than")
    search = RegMLPRegressorCV((10,), reg_lambdas=grid, cv=3, **EXACT)
    _, texts = said(lambda: search.fit(X, MIXED))
    assert of_outputs(search)[1] < -0.01
    assert len(texts) == 1 and texts[0].startswith("The network of the choice, reg_")
    assert "in outputs [1] of y" in texts[0]


def test_mini_batches_name_it():
    model = RegMLPRegressor(
        (10,), learning_rate_init=0.01, max_iter=2000, tol=1.0, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match=NAMED):
        model.fit(X, np.c_[100 * Y, 1e-3 * X[:, 3]])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_outputs_of_like_units_are_not_named(solver):
    """Nor a constant one, to which no fit comes but near."""
    even = (MIXED - MIXED.mean(axis=0)) / MIXED.std(axis=0)
    model = RegMLPRegressor(
        (10,), solver=solver, learning_rate_init=0.01, max_iter=1000, random_state=0
    )
    _, texts = said(lambda: model.fit(X, np.c_[even, np.zeros(200), np.full(200, 2.0)]))
    assert not texts


@pytest.mark.parametrize("seed", range(4))
def test_outputs_of_like_units_are_not_named_before_the_end(seed):
    """The second one is noise, which 50 epochs have not yet brought to its mean."""
    pair = np.c_[Y, RNG.normal(size=200)] / [Y.std(), 1]
    model = RegMLPRegressor((20,), max_iter=50, random_state=seed)
    _, texts = said(lambda: model.fit(X, pair))
    assert not [text for text in texts if "in outputs" in text]


def test_classifiers_are_kept_for_their_accuracy():
    """Which needs no small loss, in searches and paths as in single fits."""
    inputs, labels = make_classification(
        400, 10, n_informative=4, weights=[0.95], random_state=8
    )
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    params = {"early_stopping": True, "random_state": 8, "max_iter": 400}
    params |= {"learning_rate_init": 0.003}
    search = RegMLPClassifierCV((50,), reg_lambdas=3, start="cold", cv=3, **params)
    found, texts = said(lambda: search.fit(inputs, labels))
    assert texts == [] and found.score(inputs, labels) > 0.96
    constant = log_loss(labels, np.full(400, labels.mean()))
    assert log_loss(labels, found.predict_proba(inputs)) > constant


@pytest.mark.parametrize("name", ["squared_error", "huber", "poisson", "gamma"])
@pytest.mark.parametrize("weights", [None, RNG.uniform(0.5, 2, 200)])
def test_losses_of_outputs_add_up_to_the_data_term(name, weights):
    targets = np.abs(RNG.normal(size=(200, 2))) + 0.1
    network, loss = Network((4, 3, 2), "tanh"), regression_loss(name)
    theta = RNG.normal(size=network.n_parameters)
    rows = np.arange(0, 200, 3)
    for some in (None, rows):
        data = CompiledRows(X, targets, weights, loss, 2, rows=some)
        own = data.losses_of_outputs(network, theta)
        null, zero = data.losses_of_constants
        np.testing.assert_allclose(own.sum(), data.value(network, theta))
        np.testing.assert_allclose(null.sum(), data.null_value, atol=1e-12)
        zeros = data.value(network, np.zeros(network.n_parameters))
        np.testing.assert_allclose(zero.sum(), zeros)
