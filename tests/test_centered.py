"""Coordinates of the exact solver: the way there and back, and the gradient."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime

from skreg._network import Network
from skreg._solvers._centered import Centered
from skreg.losses import REGRESSION_LOSSES
from skreg.penalties import ElasticNet
from tests.cases import make_problem

LAM = np.array([0.3, 0.1])


def make(rows=None, n=12):
    rng = np.random.default_rng(0)
    network = Network((3, 4, 2), "tanh")
    X, y = rng.normal(5, 1, size=(n, 3)), rng.normal(size=(n, 2))
    s = rng.uniform(0.5, 2, size=n)
    loss = REGRESSION_LOSSES["squared_error"]
    problem = make_problem(X, y, s, network, loss, (ElasticNet(0.5),) * 2, rows=rows)
    theta = rng.uniform(-1, 1, size=network.n_parameters)
    return problem, X, s, theta


def center(problem):
    return Centered(problem.composite(LAM), problem.network, problem.data.input_mean)


@pytest.mark.parametrize("rows", [None, np.array([0, 5, 7])])
def test_mean_of_the_training_rows(rows):
    problem, X, s, _ = make(rows)
    rows = slice(None) if rows is None else rows
    assert_allclose(
        problem.data.input_mean, np.average(X[rows], axis=0, weights=s[rows])
    )


def test_mean_in_passes(monkeypatch):
    monkeypatch.setattr("skreg._engines._compiled._ROWS_PER_PASS", 5)
    problem, X, s, _ = make()
    assert_allclose(problem.data.input_mean, np.average(X, axis=0, weights=s))


def test_there_and_back():
    problem, *_, theta = make()
    objective = center(problem)
    there = objective.enter(theta)
    assert_allclose(objective.leave(there), theta, rtol=1e-13)
    moved = np.flatnonzero(there != theta)
    assert_array_equal(moved, np.arange(20, 24))  # intercepts of the first layer


def test_the_objective_and_its_gradient():
    problem, *_, theta = make()
    objective, plain = center(problem), problem.composite(LAM)
    there = objective.enter(theta)
    value, grad = objective.smooth_value_grad(there)
    expected, original = plain.smooth_value_grad(theta)
    assert_allclose(value, expected, rtol=1e-13)
    differences = approx_fprime(
        there, lambda t: objective.smooth_value_grad(t)[0], 1e-7
    )
    assert_allclose(grad, differences, rtol=1e-4, atol=1e-5)
    assert_allclose(objective.original_gradient(grad), original, rtol=1e-10, atol=1e-12)
    kink = objective.kink_value(there)
    assert kink == plain.kink_value(theta)
    assert_allclose(
        objective.penalty_value(there, kink), problem.penalty_value(theta, LAM)
    )
