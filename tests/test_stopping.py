"""`Monitor`: when improvement has ceased, and which network was the best."""

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skreg import RegMLPClassifier, RegMLPRegressor, RegMLPRegressorCV, reg_mlp_path
from skreg._solvers._stopping import Monitor

NAN, INF = float("nan"), float("inf")


def epochs_until_stop(losses=None, scores=None, patience=3, tol=1e-3, limit=50):
    """(number of epochs, monitor) where the last value repeats for ever."""
    values = iter(scores or [])
    state = {"last": None}

    def validate(theta):
        state["last"] = next(values, state["last"])
        return state["last"]

    monitor = Monitor(tol, patience, None if scores is None else validate)
    history = {"validation_scores": []}
    for k in range(limit):
        loss = 1.0 if losses is None else losses[min(k, len(losses) - 1)]
        if monitor.update(k + 1, loss, np.array([float(k)]), history):
            return k + 1, monitor
    return limit, monitor


@pytest.mark.parametrize("never", [NAN, -INF, INF, 0.9, 0.5])
def test_scores_that_do_not_improve_end_training(never):
    n_epochs, monitor = epochs_until_stop(scores=[0.9, never])
    assert n_epochs == 1 + 3 + 1
    if not never > 0.9:
        assert monitor.best_score == 0.9
        assert_array_equal(monitor.best_theta, [0.0])


@pytest.mark.parametrize("never", [NAN, INF, 1.0, 2.0])
def test_losses_that_do_not_improve_end_training(never):
    n_epochs, monitor = epochs_until_stop(losses=[1.0, never])
    assert n_epochs == 1 + 3 + 1
    assert monitor.best_loss == 1.0


@pytest.mark.parametrize("gap", [[NAN], [NAN, NAN], [-INF, NAN]])
def test_a_gap_shorter_than_the_patience_ends_nothing(gap):
    scores = [0.1, *gap, 0.2, *gap, 0.3]
    n_epochs, monitor = epochs_until_stop(scores=scores)
    assert n_epochs == len(scores) + 3 + 1
    assert monitor.best_score == 0.3
    assert_array_equal(monitor.best_theta, [len(scores) - 1.0])


@pytest.mark.parametrize("never", [NAN, -INF])
def test_scores_that_are_never_a_number_end_training_without_a_best_network(never):
    n_epochs, monitor = epochs_until_stop(scores=[never])
    assert n_epochs == 4
    assert monitor.has_no_score
    assert monitor.best_theta is None


def test_a_single_score_is_enough():
    _, monitor = epochs_until_stop(scores=[NAN, 0.1, NAN])
    assert not monitor.has_no_score
    assert not epochs_until_stop(losses=[1.0])[1].has_no_score


# The network of the first epoch, which is kept, is worse than a constant, and says so.
@pytest.mark.filterwarnings("ignore:solver=.* ended with a data loss")
@pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPRegressor])
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
def test_a_scorer_that_turns_to_nan_ends_a_fit(estimator, solver):
    X = np.random.default_rng(0).normal(size=(40, 3))
    scores = iter([0.9])
    model = estimator(
        3,
        solver=solver,
        early_stopping=True,
        scoring=lambda *_: next(scores, NAN),
        max_iter=500,
        random_state=0,
    )
    model.fit(X, (X[:, 0] > 0).astype(int))
    assert model.n_iter_ == 12
    assert model.best_validation_score_ == 0.9


# Validation targets that are constant ------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
RARE = np.where(np.arange(200) < 5, 1.0 + np.abs(X[:, 0]), 0.0)
VAL = {"X_val": X[100:], "y_val": RARE[100:]}  # all of them 0
EARLY = {"early_stopping": True, "random_state": 0, "max_iter": 2000}
SAYS = "the validation targets are constant.*scoring='loss'"


def early(solver="lbfgs", **params):
    rate = {} if solver == "lbfgs" else {"learning_rate_init": 0.01}
    return RegMLPRegressor((5,), solver=solver, **{**EARLY, **rate, **params})


def said(call):
    """Warnings of a call that are about constant targets."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [w for w in caught if re.search(SAYS, str(w.message))]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("scoring", [None, "r2"])
def test_there_the_loss_is_watched_and_said(solver, scoring):
    model, by_loss = (early(solver, scoring=by) for by in (scoring, "loss"))
    assert len(said(lambda: model.fit(X[:100], RARE[:100], **VAL))) == 1
    assert not said(lambda: by_loss.fit(X[:100], RARE[:100], **VAL))
    assert model.validation_scores_ == by_loss.validation_scores_
    assert len(set(model.validation_scores_)) > 5


def test_rows_of_weight_zero_do_not_vary():
    y_val, s = RARE[100:].copy(), np.ones(100)
    y_val[:3], s[:3] = 1.0, 0.0
    weighted = {"X_val": X[100:], "y_val": y_val, "sample_weight_val": s}
    assert said(lambda: early().fit(X[:100], RARE[:100], **weighted))


def test_paths_and_searches_say_it_once():
    few = {**EARLY, "validation_fraction": 0.02, "solver": "lbfgs"}
    network = RegMLPRegressor((5,), **few)
    assert (
        len(said(lambda: reg_mlp_path(network, X, RARE, reg_lambdas=[0.1, 1.0]))) == 1
    )
    search = RegMLPRegressorCV((5,), cv=2, reg_lambdas=[0.1, 1.0], **few)
    order = RNG.permutation(200)
    assert len(said(lambda: search.fit(X[order], RARE[order]))) == 1


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_targets_that_are_all_equal_are_learnt(solver):
    model = early(solver, tol=1e-3, n_iter_no_change=50)
    model.fit(X, np.full(200, 25.0))
    assert np.abs(model.predict(X) - 25.0).mean() < 0.5


@pytest.mark.parametrize("columns", [[0, 1], [1, 0]])
def test_one_output_that_varies_is_enough(columns):
    y = np.c_[X[:, 0], np.zeros(200)][:, columns]
    model = early()
    assert not said(lambda: model.fit(X, y))
    assert 0.4 < model.best_validation_score_ <= 0.5  # a constant output counts as 0


def test_the_network_that_is_kept_is_judged():
    """Not the last one."""
    scores = iter(range(0, -100, -1))
    model = early(scoring=lambda *_: float(next(scores)))
    y = 3.0 * np.sign(X[:, 0] * X[:, 1])
    with pytest.warns(ConvergenceWarning, match="but a constant has .*early_stopping"):
        model.fit(X, y)
    assert model.score(X, y) < 0


# Units -------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_patience_of_a_loss_does_not_depend_on_the_units_of_the_exact_solver(unit):
    y = X[:, 0] - 0.5 * X[:, 1] ** 2 + 0.3 * np.random.default_rng(1).normal(size=200)

    def fit(targets):
        return early(scoring="loss", penalty=None, tol=1e-2).fit(X, targets)

    one, other = fit(y), fit(unit * y)
    assert one.n_iter_ == other.n_iter_ < 200
    assert_allclose(other.predict(X), unit * one.predict(X), atol=1e-5 * unit)
