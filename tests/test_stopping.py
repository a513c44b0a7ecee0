"""`Monitor`: when improvement has ceased, and which network was the best."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skreg import RegMLPClassifier, RegMLPRegressor
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
