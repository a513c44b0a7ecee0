"""Coordinates of the exact solver: the way there and back, gradient, prox, units."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import approx_fprime

from skreg._coordinates import Standardized
from skreg._network import Network
from skreg.losses import REGRESSION_LOSSES
from skreg.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from tests.cases import make_problem

LAM = np.array([0.3, 0.1])


PENALTIES = (ElasticNet(0.5),) * 2


def make(rows=None, n=12, activation="tanh", penalties=PENALTIES, **options):
    rng = np.random.default_rng(0)
    network = Network((3, 4, 2), activation)
    X = rng.normal(5, 1, size=(n, 3)) * [1e3, 1.0, 1e-3]
    y, s = rng.normal(20, 3, size=(n, 2)), rng.uniform(0.5, 2, size=n)
    loss = REGRESSION_LOSSES["squared_error"]
    problem = make_problem(X, y, s, network, loss, penalties, rows=rows, **options)
    u = rng.uniform(-1, 1, size=network.n_parameters)
    return problem, X, y, s, u


def root_of_outputs(network):
    """By which the units of all parameters below the last layer are divided."""
    roots = np.full(network.n_parameters, np.sqrt(network.units[-1]))
    roots[network.slices[network.n_layers - 1]] = roots[network.slices[-1]] = 1
    return roots


# Moments of the data ------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, np.array([0, 5, 7])])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("per_pass", [15, 2**18])
def test_moments_of_the_training_rows(rows, container, per_pass, monkeypatch):
    monkeypatch.setattr("skreg._engines._moments._ENTRIES_PER_PASS", per_pass)
    _, X, y, s, _ = make(rows)
    X[::3, 1] = 0
    network, loss = Network((3, 2), "tanh"), REGRESSION_LOSSES["squared_error"]
    matrix = container(X)
    if sparse.issparse(matrix):
        matrix.indptr = matrix.indptr.astype(np.int64)
    data = make_problem(matrix, y, s, network, loss, (None,), rows=rows).data
    rows = slice(None) if rows is None else rows
    X, y, s = X[rows], y[rows], s[rows]
    mean, y_mean = np.average(X, axis=0, weights=s), np.average(y, axis=0, weights=s)
    assert_allclose(data.input_mean, mean)
    spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=s))
    assert_allclose(data.input_spread, spread)
    variances = np.average((y - y_mean) ** 2, axis=0, weights=s)
    assert_allclose(data.target_spread, np.sqrt(variances.mean()))


@pytest.mark.parametrize("unit", [1e-300, 1e-100, 1e100, 1e300])
def test_moments_in_extreme_units(unit):
    x = np.array([[1.0], [2.0], [4.0]])
    network, loss = Network((1, 1), "tanh"), REGRESSION_LOSSES["squared_error"]
    data = make_problem(unit * x, unit * x, None, network, loss, (None,)).data
    assert_allclose(data.input_mean / unit, x.mean())
    assert_allclose(data.input_spread / unit, x.std())
    assert_allclose(data.target_spread / unit, x.std())


def test_constant_columns_have_no_spread_but_rounding():
    X = np.full((1000, 3), [0.1, 0.0, 1e9 / 3])
    network, loss = Network((3, 1), "tanh"), REGRESSION_LOSSES["squared_error"]
    y = np.full((1000, 1), 0.7)
    problem = make_problem(X, y, None, network, loss, (None,))
    # Columns in units of their size, and no typical spread of inputs.
    assert_allclose(
        problem.coordinates().scale, [0.7 / 0.1, 0.7, 0.7 / (1e9 / 3), 0.7], rtol=1e-12
    )


@pytest.mark.parametrize("size", [1e-170, 1e-3, 1.0, 1e100, 1.2e154, 1e160])
def test_the_unit_of_the_objective_is_a_power_of_two(size):
    x = np.array([[1.0], [2.0], [4.0]])
    network, loss = Network((1, 1), "tanh"), REGRESSION_LOSSES["squared_error"]
    coordinates = make_problem(x, size * x, None, network, loss, (None,)).coordinates()
    unit = coordinates.objective_unit
    assert 0 < unit < np.inf and np.frexp(unit)[0] == 0.5
    exact = coordinates.target_spread * coordinates.target_spread
    if np.finfo(float).tiny < exact < 2.0**1023:
        assert unit / 2 <= exact < unit


# The way there and back ---------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_there_and_back(activation):
    problem, *_, u = make(activation=activation)
    coordinates = problem.coordinates()
    theta = coordinates.leave(u)
    assert_allclose(coordinates.enter(theta), u, rtol=1e-11)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("n_hidden", [0, 1, 2])
def test_the_network_is_that_of_standardized_data(activation, n_hidden):
    """Predictions at u are those of a network with weights u on scaled inputs."""
    _, X, y, s, _ = make()
    network = Network((3, *(4,) * n_hidden, 2), activation)
    loss = REGRESSION_LOSSES["squared_error"]
    problem = make_problem(X, y, s, network, loss, (None,) * network.n_layers)
    u = np.random.default_rng(1).uniform(-1, 1, size=network.n_parameters)
    mean, spread = problem.data.input_mean, problem.data.input_spread
    y_mean, y_spread = problem.data.null_prediction, problem.data.target_spread
    standardized = make_problem(
        (X - mean) / spread,
        (y - y_mean) / y_spread,
        s,
        network,
        loss,
        problem.penalties,
    )
    theta = problem.coordinates().leave(u * root_of_outputs(network))
    value = problem.data_value(theta)
    assert_allclose(value, y_spread**2 * standardized.data_value(u), rtol=1e-10)


def test_the_start_predicts_the_mean_target():
    problem, *_, u = make()
    theta = problem.coordinates().start(u)
    assert_allclose(problem.network.intercepts(theta)[-1], problem.data.null_prediction)
    there = problem.coordinates().enter(theta) / root_of_outputs(problem.network)
    assert_allclose(there[:-2], u[:-2], rtol=1e-11)
    assert_allclose(there[-2:], 0, atol=1e-12)


def test_homogeneous_layers_share_the_unit():
    problem, *_ = make(activation="relu")
    scale = problem.coordinates().scale * root_of_outputs(problem.network)
    scale = problem.network.coefs(scale)
    assert_allclose(scale[1], problem.coordinates().weight_unit)
    typical = np.median(problem.data.input_spread)
    expected = problem.coordinates().weight_unit * typical / problem.data.input_spread
    assert_allclose(scale[0], np.outer(expected, np.ones(4)))


def test_nothing_is_shifted_where_intercepts_are_penalized():
    problem, *_ = make(penalize_intercepts=True)
    assert_array_equal(problem.coordinates().leave(np.zeros(26)), 0)


# The objective in these coordinates ---------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("penalize_intercepts", [False, True])
def test_the_objective_and_its_gradient(activation, penalize_intercepts):
    problem, *_, u = make(
        activation=activation, penalize_intercepts=penalize_intercepts
    )
    plain = problem.composite(LAM)
    coordinates = problem.coordinates()
    objective, unit = Standardized(plain, coordinates), coordinates.objective_unit
    theta = coordinates.leave(u)
    value, grad = objective.smooth_value_grad(u)
    assert_allclose(unit * value, plain.smooth_value_grad(theta)[0], rtol=1e-13)
    differences = approx_fprime(u, lambda t: objective.smooth_value_grad(t)[0], 1e-6)
    assert_allclose(grad, differences, rtol=1e-3, atol=1e-4 * np.abs(grad).max())
    h = objective.nonsmooth_value(u)
    assert_allclose(unit * h, plain.nonsmooth_value(theta), rtol=1e-13)
    penalty = problem.penalty_value(theta, LAM)
    assert_allclose(objective.penalty_value(u, h), penalty, rtol=1e-13)


class Halved(Penalty):
    """Without a prox in a metric: |w| in rows, as of one's own."""

    def value(self, W, lam=1.0):
        return lam * float(np.abs(W).sum())

    def prox(self, W, step, lam=1.0):
        assert np.ndim(step) == 0
        return np.sign(W) * np.maximum(np.abs(W) - step * lam, 0)


@pytest.mark.parametrize(
    "penalty", [L1(), L1(factors=[0.0, 1.0, 2.0]), GroupLasso(), GroupLasso(by="units")]
)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_prox_minimizes_in_the_solvers_metric(penalty, activation):
    """Against its own definition: no point nearby is better."""
    penalties = (penalty, L1())
    problem, *_, u = make(activation=activation, penalties=penalties)
    coordinates = problem.coordinates()
    lam = LAM / coordinates.weight_unit
    objective = Standardized(problem.composite(lam), coordinates)
    step = 0.3

    def value(z):
        return np.sum((z - u) ** 2) / (2 * step) + objective.nonsmooth_value(z)

    z = objective.prox(u, step)
    assert_array_equal(z[~objective.penalized], u[~objective.penalized])
    rng = np.random.default_rng(2)
    for size in (1e-2, 1e-4):
        for move in rng.normal(scale=size, size=(200, u.size)):
            assert value(z + move * objective.penalized) >= value(z) * (1 - 1e-12)


def test_penalties_without_a_metric_prox_get_one_unit_per_matrix():
    problem, *_, u = make(penalties=(Halved(), Halved()))
    scale = problem.network.coefs(problem.coordinates().scale)
    assert [np.ptp(block) for block in scale] == [0, 0]
    objective = Standardized(problem.composite(LAM), problem.coordinates())
    reference, *_ = make(penalties=(L1(), L1()))
    coordinates = problem.coordinates()
    expected = Standardized(reference.composite(LAM), coordinates)
    assert_allclose(objective.prox(u, 0.3), expected.prox(u, 0.3), rtol=1e-12)


def test_crossing_leaves_what_it_does_not_touch():
    problem, *_, u = make(penalties=(L1(), L1()))
    objective = Standardized(problem.composite(LAM), problem.coordinates())
    candidate = u.copy()
    candidate[[0, 13]] *= -1
    crossed = objective.cross(u, candidate)
    assert_array_equal(np.flatnonzero(crossed != candidate), [0, 13])
    assert_array_equal(crossed[[0, 13]], 0)


# Units of layers where the activation is homogeneous ----------------------------------


@pytest.mark.parametrize("penalties", [(L1(), L1()), (L2(), L2()), (L1(), L2())])
def test_penalties_of_all_layers_are_equally_strong(penalties):
    problem, *_ = make(activation="relu", penalties=penalties)
    for lam in (np.array([0.3, 0.1]), np.array([1e-5, 10.0])):
        scale = problem.coordinates(lam).scale * root_of_outputs(problem.network)
        into, out = problem.network.intercepts(scale)
        typical = np.median(problem.data.input_spread)
        first, second = into[0] / typical, out[0] / into[0]
        degrees = [2 if p.is_smooth else 1 for p in penalties]
        assert_allclose(lam[0] * first ** degrees[0], lam[1] * second ** degrees[1])
        assert_allclose(out, problem.data.target_spread)


@pytest.mark.parametrize("penalty", [L1(), L2(), GroupLasso(), ElasticNet(0.5)])
def test_inputs_that_hardly_vary_get_no_larger_unit_than_the_penalty_allows(penalty):
    problem, *_ = make(penalties=(penalty,) * 2)
    spread, t = problem.data.input_spread, problem.data.target_spread
    lam = np.full(2, 1e2)
    l1, l2 = {"L1": (1, 0), "L2": (0, 1), "GroupLasso": (1, 0)}.get(
        type(penalty).__name__, (0.5, 0.5)
    )
    expected = 1 / (np.sqrt(spread**2 + l2 * 1e2 / t**2) + l1 * 1e2 / t**2)
    rows = problem.network.coefs(problem.coordinates(lam).scale)[0]
    assert_allclose(rows, np.outer(expected, np.ones(4)) / np.sqrt(2))
    free = problem.network.coefs(problem.coordinates().scale)[0]
    assert_allclose(free, np.outer(1 / spread, np.ones(4)) / np.sqrt(2))
