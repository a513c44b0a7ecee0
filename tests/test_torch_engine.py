"""The torch engine on the processor, against the compiled core and itself alone."""

import importlib
import os
import subprocess
import sys
from collections import namedtuple
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skreg import RegMLPClassifier, RegMLPRegressor
from skreg._engines._compiled import CompiledRows
from skreg._engines._rules import PenaltySum
from skreg._network import ACTIVATIONS, Network
from skreg._optimizers import Optimizer
from skreg._solvers._result import Status
from skreg._solvers._stochastic import Stochastic
from skreg._solvers._stopping import Monitor
from skreg._solvers._together import Member, Order, solve_together
from skreg.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, regression_loss
from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    Penalty,
    SparseGroupLasso,
)

torch = pytest.importorskip("torch")
engine = pytest.importorskip("skreg._engines._torch")
ops = pytest.importorskip("skreg._engines._torch_ops")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
FOREVER = {"tol": 0.0, "n_iter_no_change": 10**6}

# Each batch has an odd number of rows: equal terms of both signs never cancel, and
# adaptive optimizers never divide rounding by rounding.
N_SAMPLES, N_FEATURES, N_HIDDEN, BATCH_SIZE, N_EPOCHS = 42, 7, 5, 11, 13

OPTIMIZERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05},
    "momentum": {
        "solver": "sgd",
        "momentum": 0.9,
        "nesterovs_momentum": False,
        "learning_rate_init": 0.02,
    },
    "nesterov": {"solver": "sgd", "momentum": 0.9, "learning_rate_init": 0.02},
    "rmsprop": {"solver": "rmsprop", "rho": 0.95, "learning_rate_init": 0.005},
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}
FACTORS = [1.0, 0.0, 2.0, 0.5, 0.0, 1.0, 3.0]
# One penalty per layer.
PENALTIES = {
    "none": (None, None),
    "l1": (L1(), L1()),
    "l2": (L2(), L2()),
    "elasticnet": (ElasticNet(0.3), ElasticNet(0.3)),
    "group_lasso": (GroupLasso(), GroupLasso()),
    "units": (GroupLasso(by="units"), GroupLasso(by="units", weighted=False)),
    "labels": (
        GroupLasso(groups=[0, 0, 1, 1, 1, 2, 2]),
        GroupLasso(groups=[1, 0, 1, 0, 1]),
    ),
    "sparse_group_lasso": (SparseGroupLasso(0.4), SparseGroupLasso(0.4, by="units")),
    "concave": (MCP(saturation=0.3), SCAD(saturation=0.5)),
    "mixed": (L1(), L2()),
    "factors": (ElasticNet(0.3, factors=FACTORS), L1(factors=[1, 0, 2, 0.5, 3])),
    "sparse groups with factors": (
        SparseGroupLasso(0.4, factors=FACTORS),
        GroupLasso(factors=[1, 0, 2, 0.5, 3]),
    ),
    "concave with factors": (MCP(saturation=0.3, factors=FACTORS), L2()),
}
REG_LAMBDA = 0.02
MODES = ("coupled", "decoupled", "proximal")
COMBINATIONS = [
    (name, mode)
    for name, mode in product(PENALTIES, MODES)
    if not (name.startswith("concave") and mode == "decoupled")
]

Term = namedtuple("Term", "penalty lam mode where shape")
Case = namedtuple("Case", "estimator parameters X y targets loss n_outputs")

rng = np.random.RandomState(0)
X = rng.standard_normal((N_SAMPLES, N_FEATURES))
Z = X[:, :3] @ rng.standard_normal((3, 3))
# Far from all predictions: the sign of a residual does not hang on rounding.
FAR = Z + np.where(rng.uniform(size=Z.shape) < 0.5, 20, -20)
CLASSIFICATION = {
    "binary": (Z[:, 0] > 0).astype(int),
    "multiclass": Z.argmax(axis=1),
    "multilabel-indicator": (Z > 0).astype(int),
}
REGRESSION = {
    "squared_error": Z,
    "absolute_error": FAR,
    "huber": 2 * Z,
    "quantile": FAR,
    "poisson": np.round(np.exp(Z / 2)),
    "gamma": np.exp(Z / 2) + 0.1,
}
TASKS = [*CLASSIFICATION, *REGRESSION]


def case_of(task):
    if task in CLASSIFICATION:
        y, loss = CLASSIFICATION[task], CLASSIFICATION_LOSSES[task]
        estimator, parameters = RegMLPClassifier, {}
    else:
        y, loss = REGRESSION[task], regression_loss(task)
        estimator, parameters = RegMLPRegressor, {"loss": task}
    n_outputs = 1 if task == "binary" else 3
    targets = y.reshape(len(y), -1).astype(float)
    return Case(estimator, parameters, X, y, targets, loss, n_outputs)


def optimizer_of(solver, momentum=0.9, nesterovs_momentum=True, rho=0.9, **others):
    return Optimizer.of(
        solver,
        momentum=momentum,
        nesterovs_momentum=nesterovs_momentum,
        beta_1=0.9,
        beta_2=0.999,
        rho=rho,
        epsilon=1e-8,
    )


def settings_of(optimizer, **changes):
    defaults = {
        "solver": optimizer.method,
        "optimizer": optimizer,
        "modes": (),
        "batch_size": BATCH_SIZE,
        "max_iter": N_EPOCHS,
        "learning_rate": "constant",
        "learning_rate_init": 0.01,
        "power_t": 0.5,
        "shuffle": True,
        "horizon": None,
        "ema": 0.0,
    }
    return Stochastic(**{**defaults, **changes})


def network_of(case, activation="relu"):
    return Network((N_FEATURES, N_HIDDEN, case.n_outputs), activation)


def terms_of(network, penalties, mode, lam=REG_LAMBDA):
    return [
        Term(penalty, lam, mode, s, shape)
        for penalty, s, shape in zip(penalties, network.slices, network.shapes)
        if penalty is not None
    ]


def rows_of(case, dtype="float64", X=X, weights=None):
    return engine.TorchRows(
        X.astype(dtype), case.targets, weights, case.loss, case.n_outputs, dtype
    )


def start(network, dtype="float64", seed=0, rows=None):
    """(order, theta) of an estimator with this random_state."""
    stream = np.random.RandomState(seed)
    theta = network.initial_theta(stream, np.dtype(dtype))
    return Order(rows, stream), theta


def fitted_theta(case, network, dtype="float64", weights=None, rows=None, **parameters):
    """(theta, estimator) of the compiled core."""
    parameters = {
        "batch_size": BATCH_SIZE,
        "max_iter": N_EPOCHS,
        "random_state": 0,
        "reg_lambda": REG_LAMBDA,
        **FOREVER,
        **parameters,
    }
    estimator = case.estimator(
        (N_HIDDEN,), activation=network.activation, **case.parameters, **parameters
    )
    rows = slice(None) if rows is None else rows
    if weights is not None:
        weights = weights[rows]
    estimator.fit(case.X[rows].astype(dtype), case.y[rows], weights)
    theta = network.pack(estimator.coefs_, estimator.intercepts_, np.dtype(dtype))
    return theta, estimator


@pytest.fixture
def one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def together(monkeypatch):
    """All networks at once, as on a GPU; else the processor takes one at a time."""
    monkeypatch.setattr(engine.TorchRows, "capacity", lambda *_: 10**6)


# 1. The compiled core -----------------------------------------------------------------


def check_against_the_core(task, activation, optimizer, dtype):
    """Every penalty in every mode: the same weights, and zeros at the same places."""
    case = case_of(task)
    network = network_of(case, activation)
    parameters = OPTIMIZERS[optimizer]
    order, theta = start(network, dtype)
    members = [
        Member(
            order,
            theta,
            terms_of(network, PENALTIES[name], mode),
            Monitor(0.0, 10**6),
        )
        for name, mode in COMBINATIONS
    ]
    results = solve_together(
        settings_of(
            optimizer_of(**parameters),
            learning_rate_init=parameters["learning_rate_init"],
        ),
        rows_of(case, dtype),
        network,
        members,
    )
    for (name, mode), result in zip(COMBINATIONS, results, strict=True):
        expected, estimator = fitted_theta(
            case,
            network,
            dtype,
            penalty=list(PENALTIES[name]),
            decay_mode=mode,
            **parameters,
        )
        label, atol = f"{name}, {mode}", TOLERANCES[dtype]
        assert result.theta.dtype == dtype
        assert_allclose(result.theta, expected, rtol=0, atol=atol, err_msg=label)
        assert_array_equal(result.theta == 0, expected == 0, err_msg=label)
        for key in ("data_loss", "penalty"):
            curve = getattr(estimator, f"{key}_curve_")
            assert_allclose(result.history[key], curve, rtol=atol, atol=atol)


def all_triples():
    """(task, activation, optimizer); as few as hold each task with each optimizer, and
    with most activations, are not slow."""
    indices = product(*map(range, map(len, (TASKS, ACTIVATIONS, OPTIMIZERS))))
    names = product(TASKS, ACTIVATIONS, OPTIMIZERS)
    return [
        pytest.param(*triple, marks=() if k == (i + m) % 7 else pytest.mark.slow)
        for triple, (i, k, m) in zip(names, indices, strict=True)
    ]


@pytest.mark.parametrize("task, activation, optimizer", all_triples())
def test_weights_are_those_of_the_compiled_core(
    task, activation, optimizer, together, one_thread
):
    check_against_the_core(task, activation, optimizer, "float64")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "task, activation", [*zip(TASKS, [*ACTIVATIONS, "tanh", "relu"], strict=True)]
)
def test_float32_weights_are_those_of_the_compiled_core(
    task, activation, optimizer, together, one_thread
):
    check_against_the_core(task, activation, optimizer, "float32")


def test_deep_networks_and_linear_models(one_thread):
    case = case_of("multiclass")
    for hidden in ((), (6, 4, 5)):
        network = Network((N_FEATURES, *hidden, 3), "tanh")
        order, theta = start(network)
        penalties = (L1(),) * network.n_layers
        member = Member(
            order, theta, terms_of(network, penalties, "proximal"), Monitor(0, 10**6)
        )
        [result] = solve_together(
            settings_of(optimizer_of("adam")), rows_of(case), network, [member]
        )
        estimator = RegMLPClassifier(
            hidden,
            activation="tanh",
            penalty="l1",
            reg_lambda=REG_LAMBDA,
            batch_size=BATCH_SIZE,
            max_iter=N_EPOCHS,
            learning_rate_init=0.01,
            random_state=0,
            **FOREVER,
        ).fit(case.X, case.y)
        expected = network.pack(estimator.coefs_, estimator.intercepts_, np.float64)
        assert_allclose(result.theta, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "cosine"])
def test_schedules_are_those_of_the_compiled_core(learning_rate, one_thread):
    case = case_of("squared_error")
    network = network_of(case)
    order, theta = start(network)
    terms = terms_of(network, PENALTIES["l1"], "proximal")
    [result] = solve_together(
        settings_of(optimizer_of("adam"), learning_rate=learning_rate),
        rows_of(case),
        network,
        [Member(order, theta, terms, Monitor(0, 10**6))],
    )
    expected, _ = fitted_theta(
        case,
        network,
        penalty="l1",
        learning_rate=learning_rate,
        learning_rate_init=0.01,
    )
    assert_allclose(result.theta, expected, rtol=0, atol=1e-12)


def test_a_batch_may_be_larger_than_the_training_set(one_thread):
    case = case_of("squared_error")
    network = network_of(case)
    order, theta = start(network)
    terms = terms_of(network, PENALTIES["l1"], "proximal")
    [result] = solve_together(
        settings_of(optimizer_of("adam"), batch_size=N_SAMPLES + 10),
        rows_of(case),
        network,
        [Member(order, theta, terms, Monitor(0, 10**6))],
    )
    expected, _ = fitted_theta(
        case, network, penalty="l1", batch_size=N_SAMPLES, learning_rate_init=0.01
    )
    assert_allclose(result.theta, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_each_network_stops_by_itself(learning_rate, together, one_thread):
    case = case_of("multiclass")
    network = network_of(case)
    order, theta = start(network)
    lams = [1e-4, 1e-2, 3e-2, 0.1, 0.3, 1.0]
    members = [
        Member(
            order,
            theta,
            terms_of(network, PENALTIES["l1"], "proximal", lam),
            Monitor(1e-2, 2),
        )
        for lam in lams
    ]
    results = solve_together(
        settings_of(optimizer_of("adam"), max_iter=120, learning_rate=learning_rate),
        rows_of(case),
        network,
        members,
    )
    assert len({result.n_iter for result in results}) > 3
    for lam, result in zip(lams, results):
        expected, estimator = fitted_theta(
            case,
            network,
            penalty="l1",
            reg_lambda=lam,
            learning_rate=learning_rate,
            learning_rate_init=0.01,
            tol=1e-2,
            n_iter_no_change=2,
            max_iter=120,
        )
        assert result.n_iter == estimator.n_iter_
        is_done = estimator.n_iter_ < 120
        assert result.status is (Status.CONVERGED if is_done else Status.MAX_ITER)
        assert_allclose(result.theta, expected, rtol=0, atol=1e-12)


def test_averages_of_weights_are_those_of_the_compiled_core(together, one_thread):
    case = case_of("multiclass")
    network = network_of(case)
    order, theta = start(network)
    lams = [1e-3, 0.03, 0.3]
    members = [
        Member(
            order,
            theta,
            terms_of(network, PENALTIES["l1"], "proximal", lam),
            Monitor(1e-2, 2),
        )
        for lam in lams
    ]
    settings = settings_of(optimizer_of("adam"), max_iter=40, ema=0.8)
    results = solve_together(settings, rows_of(case), network, members)
    shared = {"penalty": "l1", "learning_rate_init": 0.01, "max_iter": 40, "ema": 0.8}
    for lam, result in zip(lams, results):
        expected, estimator = fitted_theta(
            case, network, reg_lambda=lam, tol=1e-2, n_iter_no_change=2, **shared
        )
        assert result.n_iter == estimator.n_iter_
        assert_allclose(result.theta, expected, rtol=0, atol=1e-12)
        assert_array_equal(result.theta == 0, expected == 0)


def test_scores_are_watched_network_by_network(together, one_thread):
    case = case_of("squared_error")
    network = network_of(case)
    order, theta = start(network)
    seen = []

    def validate(weights):
        seen.append(weights.copy())
        return -float(np.abs(weights).sum())

    terms = terms_of(network, PENALTIES["none"], "coupled")
    watched = Member(order, theta, terms, Monitor(0.0, 3, validate))
    free = Member(order, theta, terms, Monitor(0.0, 10**6))
    results = solve_together(
        settings_of(optimizer_of("adam")), rows_of(case), network, [watched, free]
    )
    scores = results[0].history["validation_scores"]
    assert len(scores) == len(seen) == results[0].n_iter
    assert results[1].n_iter == N_EPOCHS and not results[1].history["validation_scores"]
    assert_array_equal(results[0].theta, seen[-1])
    best = int(np.argmax(scores))
    assert watched.monitor.best_score == scores[best]
    assert_array_equal(watched.monitor.best_theta, seen[best])


def test_sample_weights_and_rows_of_a_fold(one_thread):
    case = case_of("multiclass")
    network = network_of(case)
    weights = np.random.RandomState(1).uniform(0, 2, N_SAMPLES)
    weights[::5] = 0
    rows = np.flatnonzero(np.arange(N_SAMPLES) % 3 != 1)
    order, theta = start(network, rows=rows)
    terms = terms_of(network, PENALTIES["l1"], "proximal")
    [result] = solve_together(
        settings_of(optimizer_of("adam")),
        rows_of(case, weights=weights),
        network,
        [Member(order, theta, terms, Monitor(0, 10**6))],
    )
    expected, _ = fitted_theta(
        case,
        network,
        weights=weights,
        rows=rows,
        penalty="l1",
        learning_rate_init=0.01,
    )
    # A sum of weights over rows in another order: not the same last bits.
    assert_allclose(result.theta, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "make", [sparse.csr_array, sparse.csr_matrix, np.asfortranarray]
)
def test_other_containers_train_as_dense_arrays(make, one_thread):
    case = case_of("squared_error")
    network = network_of(case)
    thin = np.where(np.abs(X) < 1, 0.0, X)
    data = [rows_of(case, X=container) for container in (thin, make(thin))]
    order, theta = start(network)
    terms = terms_of(network, PENALTIES["l2"], "coupled")
    thetas = [
        solve_together(
            settings_of(optimizer_of("adam")),
            one,
            network,
            [Member(order, theta, terms, Monitor(0, 10**6))],
        )[0].theta
        for one in data
    ]
    assert_array_equal(*thetas)


# 2. In any company --------------------------------------------------------------------


def grid_of_folds(case, network):
    """Networks of three folds of unequal size, two seeds, and several penalties."""
    members = []
    for seed, fold in product((0, 1), range(3)):
        rows = np.flatnonzero(np.arange(N_SAMPLES) >= (fold + 1) * 9 - 6)
        order, theta = start(network, seed=seed, rows=rows)
        for name, mode in COMBINATIONS[:: 5 + fold]:
            terms = terms_of(network, PENALTIES[name], mode)
            members.append(Member(order, theta, terms, Monitor(0, 10**6)))
    return members[::2] + members[1::2]  # those of one order are not side by side


def solve(case, network, members, optimizer="adam", data=None, n_epochs=N_EPOCHS):
    data = rows_of(case) if data is None else data
    settings = settings_of(optimizer_of(optimizer), max_iter=n_epochs)
    return solve_together(settings, data, network, members)


def test_networks_together_are_those_alone_bit_for_bit(one_thread):
    case = case_of("multiclass")
    network = network_of(case)
    members = grid_of_folds(case, network)
    results = solve(case, network, members, n_epochs=4)
    for member, result in zip(members, results, strict=True):
        [alone] = solve(case, network, [member], n_epochs=4)
        assert_array_equal(result.theta, alone.theta)
        assert result.history == alone.history


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_networks_at_once_are_those_alone(optimizer, monkeypatch, one_thread):
    case = case_of("multiclass")
    network = network_of(case, "silu")
    members = grid_of_folds(case, network)
    alone = solve(case, network, members, optimizer, n_epochs=4)
    monkeypatch.setattr(engine.TorchRows, "capacity", lambda *_: 10**6)
    at_once = solve(case, network, members, optimizer, n_epochs=4)
    for one, other in zip(alone, at_once, strict=True):
        assert_allclose(one.theta, other.theta, rtol=0, atol=1e-12)
        assert_array_equal(one.theta == 0, other.theta == 0)
        assert_allclose(
            one.history["data_loss"], other.history["data_loss"], rtol=1e-12
        )


def test_a_network_that_diverges_leaves_the_others_alone(together, one_thread):
    case = case_of("poisson")
    network = network_of(case)
    order, theta = start(network)
    terms = terms_of(network, PENALTIES["none"], "coupled")
    wild = np.full_like(theta, 1e200)
    members = [Member(order, t, terms, Monitor(0, 10**6)) for t in (theta, wild, theta)]
    results = solve(case, network, members)
    assert [r.status for r in results] == [
        Status.MAX_ITER,
        Status.NON_FINITE,
        Status.MAX_ITER,
    ]
    assert_array_equal(results[0].theta, results[2].theta)
    assert np.isfinite(results[0].theta).all()


def test_parts_shrink_until_they_fit(monkeypatch, one_thread):
    case = case_of("multiclass")
    network = network_of(case)
    members = grid_of_folds(case, network)
    whole = solve(case, network, members, n_epochs=4)
    sizes, networks = [], engine.TorchRows.networks

    def limited(self, network, optimizer, terms, *others):
        sizes.append(len(terms))
        if len(terms) > 5:
            raise torch.OutOfMemoryError
        return networks(self, network, optimizer, terms, *others)

    monkeypatch.setattr(engine.TorchRows, "networks", limited)
    monkeypatch.setattr(engine.TorchRows, "capacity", lambda *_: 10**6)
    parts = solve(case, network, members, n_epochs=4)
    assert sizes[0] == len(members) and 1 < max(sizes[-2:]) <= 5
    for one, other in zip(whole, parts, strict=True):
        assert_allclose(one.theta, other.theta, rtol=0, atol=1e-12)


def test_one_network_that_does_not_fit_is_an_error_with_numbers(monkeypatch):
    case = case_of("multiclass")
    network = network_of(case)

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine.TorchRows, "networks", full)
    with pytest.raises(MemoryError, match=r"GiB free.*batch_size"):
        solve(case, network, grid_of_folds(case, network)[:3])


# 3. The data term ---------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_value_gradient_and_attributes(task, one_thread, monkeypatch):
    from tests import naive

    monkeypatch.setattr(engine, "_PASS_ENTRIES", 64)  # several blocks of rows
    case = case_of(task)
    network = network_of(case, "gelu")
    weights = np.random.RandomState(1).uniform(0, 2, N_SAMPLES)
    theta = start(network)[1]
    data = rows_of(case, weights=weights)
    value, grad = data.value_grad(network, theta)
    name = {"multilabel-indicator": "binary"}.get(task, task)
    expected, grads = naive.loss_and_gradient(
        [*network.coefs(theta), *network.intercepts(theta)],
        case.X,
        case.targets,
        weights / weights.sum(),
        activation="gelu",
        loss=name,
        loss_parameter=case.loss.param,
    )
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(data.value(network, theta), value, rtol=1e-14)
    flat = np.concatenate([g.ravel() for g in grads])
    assert_allclose(grad, flat, rtol=0, atol=1e-14 * max(1, np.abs(flat).max()))
    compiled = CompiledRows(case.X, case.targets, weights, case.loss, network.units[-1])
    for name in ("input_mean", "input_spread", "target_spread", "largest_target"):
        assert_allclose(getattr(data, name), getattr(compiled, name), rtol=1e-12)
    if task in REGRESSION_LOSSES:
        found, expected = (
            d.losses_of_outputs(network, theta) for d in (data, compiled)
        )
        assert_allclose(found, expected, rtol=1e-10)
        found, expected = (d.losses_of_constants for d in (data, compiled))
        assert_allclose(found, expected, rtol=1e-12)
    assert data.weight_sum == pytest.approx(weights.sum())
    prediction = case.loss.predict(data.null_prediction[None])[0]
    shares = case.targets
    if task == "multiclass":
        shares = shares == np.arange(3)
    assert_allclose(prediction, np.average(shares, axis=0, weights=weights), rtol=1e-10)


def test_raw_predictions_of_many_networks(one_thread, monkeypatch):
    monkeypatch.setattr(engine, "_PASS_ENTRIES", 200)  # parts of networks and rows
    case = case_of("multiclass")
    network = network_of(case, "leaky_relu")
    thetas = np.array([start(network, seed=seed)[1] for seed in range(5)])
    data = rows_of(case)
    hidden = [case.X @ network.coefs(t)[0] + network.intercepts(t)[0] for t in thetas]
    hidden = np.maximum(hidden, np.multiply(0.01, hidden))
    expected = np.array(
        [
            h @ network.coefs(t)[1] + network.intercepts(t)[1]
            for h, t in zip(hidden, thetas)
        ]
    )
    for X in (data.X, case.X, sparse.csr_array(case.X)):
        raw = engine.predict_many(network, thetas, X, data.device)
        assert_allclose(raw, expected, atol=1e-13)


def test_a_runner_of_one_network_goes_on_and_back(one_thread):
    case = case_of("multiclass")
    network = network_of(case)
    theta = start(network)[1]
    terms = terms_of(network, PENALTIES["l1"], "proximal")
    penalties = PenaltySum(terms, network.slices)
    zeros = np.zeros_like(theta)
    data, optimizer = rows_of(case), optimizer_of("adam")

    def runner(theta, moments):
        return data.epochs(network, optimizer, penalties, theta, moments, BATCH_SIZE)

    rates, order = np.full(4, 0.01), data.row_order()[::-1].copy()
    once = runner(theta, {"first": zeros, "second": zeros})
    once.run(order, rates, 0)
    once.snapshot()
    loss = once.run(None, rates, 4)
    twice = runner(theta, {"first": zeros, "second": zeros})
    twice.run(order, rates, 0)
    resumed = runner(twice.theta, twice.moments)
    assert resumed.run(None, rates, 4) == loss
    assert_array_equal(resumed.theta, once.theta)
    once.restore()
    assert_array_equal(once.theta, twice.theta)
    assert_array_equal(once.moments["second"], twice.moments["second"])


# 4. Refusals --------------------------------------------------------------------------


def test_a_penalty_of_a_users_own_is_refused():
    class Nonnegative(Penalty):
        has_metric_prox = True

        def value(self, W, lam=1.0):
            return 0.0

        def prox(self, W, step, lam=1.0):
            return np.maximum(W, 0)

    case = case_of("multiclass")
    network = network_of(case)
    order, theta = start(network)
    terms = terms_of(network, (Nonnegative(), None), "proximal")
    member = Member(order, theta, terms, Monitor(0, 10**6))
    with pytest.raises(ValueError, match=r"Nonnegative.*device='cpu'"):
        solve(case, network, [member])


# 5. Triton kernels, interpreted -------------------------------------------------------


@pytest.fixture
def triton_ops():
    """The kernels of CUDA, run by Triton's interpreter on the processor."""
    pytest.importorskip("triton")
    if not os.environ.get("TRITON_INTERPRET"):
        pytest.skip("Triton compiles for the GPU that is here")
    return importlib.import_module("skreg._engines._triton_ops")


ORDER = [*OPTIMIZERS][::-1]  # two tasks each but for plain sgd


# Both sides of a where are computed, one of them in vain.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "task, activation, optimizer, dtype",
    [
        (task, activation, optimizer, ("float64", "float32")[k % 2])
        for k, (task, activation, optimizer) in enumerate(
            zip(TASKS, [*ACTIVATIONS, "tanh", "relu"], ORDER * 2, strict=False)
        )
    ],
)
def test_triton_kernels_do_the_same(
    task, activation, optimizer, dtype, triton_ops, together, one_thread, monkeypatch
):
    case = case_of(task)
    network = network_of(case, activation)
    weights = np.random.RandomState(1).uniform(0, 2, N_SAMPLES)
    data = rows_of(case, dtype, weights=weights)
    members = []
    for fold in range(2):
        rows = np.flatnonzero(np.arange(N_SAMPLES) % 4 != fold)
        order, theta = start(network, dtype, rows=rows[fold * 9 :])
        # Interpreted kernels are slow: half of the combinations, and the other half
        # with the other task of the same optimizer.
        for name, mode in COMBINATIONS[2 * (TASKS.index(task) % 2) + fold :: 4]:
            terms = terms_of(network, PENALTIES[name], mode)
            members.append(Member(order, theta, terms, Monitor(0, 10**6)))
    thetas = []
    passes = importlib.import_module("skreg._engines._torch_passes")
    for operations in (ops, triton_ops):
        monkeypatch.setattr(passes, "operations", lambda _, ops=operations: ops)
        results = solve_together(
            settings_of(optimizer_of(optimizer), max_iter=1), data, network, members
        )
        thetas.append([r.theta for r in results])
    assert_allclose(*thetas, rtol=0, atol=TOLERANCES[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_kernels_compile_for_a_card_that_is_not_here(dtype, tmp_path):
    pytest.importorskip("triton")
    result = subprocess.run(
        [sys.executable, "-m", "tests.compile_kernels", dtype],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    *names, count = result.stdout.split()
    assert names == [
        "_activate",
        "_activate_backward",
        "_gather",
        "_group_kernel",
        "_loss_and_delta",
        "_update",
    ]
    assert int(count) > 50


def test_all_losses_are_tried():
    assert set(TASKS) == set(CLASSIFICATION_LOSSES) | set(REGRESSION_LOSSES)
