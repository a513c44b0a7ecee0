"""solver="lbfgs" with hidden layers: certificates, oracles and invariances.

What is judged here by formulas of its own: gradients come from the slow twins in
naive.py, optimality conditions are written out for each penalty.
"""

import itertools
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import GammaRegressor, PoissonRegressor
from sklearn.metrics import mean_gamma_deviance, mean_poisson_deviance
from sklearn.preprocessing import scale

from skreg import RegMLPClassifier, RegMLPRegressor, RegMLPRegressorCV
from skreg.penalties import MCP, SCAD
from tests import naive

EPS = np.finfo(float).eps
L1_RATIO = 0.5
TAU = 30.0  # saturation point of MCP and SCAD; weights beyond it may grow forever
PENALTIES = {
    "none": None,
    "l2": "l2",
    "l1": "l1",
    "elasticnet": "elasticnet",
    "group_lasso": "group_lasso",
    "sparse_group_lasso": "sparse_group_lasso",
    "mcp": MCP(saturation=TAU),
    "scad": SCAD(saturation=TAU),
}
N = 150


def data(name):
    load, divisor = {
        "diabetes": (load_diabetes, None),
        "cancer": (load_breast_cancer, None),
        "digits": (load_digits, 16),
    }[name]
    X, y = load(return_X_y=True)
    X = X / divisor if divisor else scale(X)
    return X[:N], (scale(y) if name == "diabetes" else y)[:N]


LAMBDAS = {"diabetes": 1e-2, "cancer": 3e-3, "digits": 2e-3}


def network(name, hidden=(8,), penalty="l1", **params):
    """Unfitted; tanh, as minimizers of ReLU networks sit on kinks."""
    estimator = RegMLPRegressor if name == "diabetes" else RegMLPClassifier
    grouped = "group" in penalty
    return estimator(hidden).set_params(
        **{
            "activation": "tanh",
            "penalty": PENALTIES[penalty],
            "reg_lambda": LAMBDAS[name] / (2 if grouped else 1),
            "l1_ratio": L1_RATIO,
            "solver": "lbfgs",
            "tol": 1e-5,
            "max_iter": 5000,
            "random_state": 0,
        }
        | params
    )


# Optimality conditions ---------------------------------------------------------------


def name_of_loss(model):
    if isinstance(model, RegMLPRegressor):
        return model.loss
    return "binary" if len(model.classes_) == 2 else "multiclass"


def data_term(model, params, X, y, s=None):
    """Value and gradient of the data term, a list like params."""
    s = np.ones(len(X)) if s is None else s
    if isinstance(model, RegMLPClassifier):
        y = np.searchsorted(model.classes_, y)
    return naive.loss_and_gradient(
        params,
        X,
        y.reshape(len(X), -1),
        s / s.sum(),
        activation=model.activation,
        loss=name_of_loss(model),
    )


def start_of(model, X):
    units = (X.shape[1], *model.hidden_layer_sizes, model.n_outputs_)
    rng = np.random.RandomState(model.random_state)
    return naive.initial_params(rng, units, model.activation)


def slope_of(penalty, size, lam):
    """Derivative of the penalty of one weight with respect to |w|."""
    if penalty == "mcp":
        return lam * np.maximum(1 - size / TAU, 0)
    if penalty == "scad":
        return np.where(size <= lam, lam, lam * np.maximum(TAU - size, 0) / (TAU - lam))
    l1, l2 = {
        "none": (0, 0),
        "l2": (0, lam),
        "l1": (lam, 0),
        "elasticnet": (lam * L1_RATIO, lam * (1 - L1_RATIO)),
        "group_lasso": (0, 0),
        "sparse_group_lasso": (lam * L1_RATIO, 0),
    }[penalty]
    return l1 + l2 * size


def group_strength(penalty, n_out, lam):
    share = {"group_lasso": 1, "sparse_group_lasso": 1 - L1_RATIO}.get(penalty, 0)
    return share * lam * np.sqrt(n_out)


def least_subgradient(W, G, penalty, lam):
    """Entries of the least subgradient of the objective with respect to W.

    G is the gradient of the data term.
    """
    slope = slope_of(penalty, np.abs(W), lam)
    least = np.where(
        W != 0, G + slope * np.sign(W), naive.soft_threshold(G, slope if lam else 0)
    )
    c = group_strength(penalty, W.shape[1], lam)
    if c > 0:
        norm = np.linalg.norm(W, axis=1, keepdims=True)
        size = np.linalg.norm(least, axis=1, keepdims=True)
        least = np.where(
            norm > 0,
            least + c * W / np.where(norm > 0, norm, 1),
            least * np.maximum(1 - c / np.where(size > 0, size, 1), 0),
        )
    return least


def violation(W, G, penalty, lam):
    return np.abs(least_subgradient(W, G, penalty, lam)).max()


def spreads(X, y, s=None):
    """Mean and spread of X, 1 where it does not vary, and those of y, by rows."""
    s = np.ones(len(X)) if s is None else s

    def moments(a):
        mean = np.average(a, axis=0, weights=s)
        return mean, np.sqrt(np.average((a - mean) ** 2, axis=0, weights=s))

    mean, spread = moments(X)
    constant = spread < 1e-12
    size = np.where(mean > 0, np.abs(mean), 1)
    return mean, np.where(constant, size, spread), *moments(y), constant


def units_of(model, X, y, s=None, penalty="none"):
    """Units of weights and intercepts in the solver's coordinates."""
    _, spread, _, y_spread, constant = spreads(X, y, s)
    L, typical, objective = len(model.coefs_), np.median(spread[~constant]), 1.0
    if isinstance(model, RegMLPRegressor):
        target = y_spread
    else:
        target, shares = 1.0, label_shares(model, y, s)
        objective = np.mean(shares * (1 - shares))
    units = np.r_[typical, np.ones(L - 1), target]
    if model.activation in ("relu", "identity"):
        units = np.geomspace(typical, target, L + 1)
    coefs = [
        np.full_like(W, units[k + 1] / units[k]) for k, W in enumerate(model.coefs_)
    ]
    lam = model.reg_lambda / (objective * target**2)
    l2 = lam * {"l2": 1, "elasticnet": 1 - L1_RATIO}.get(penalty, 0)
    l1 = lam * {"none": 0, "l2": 0, "elasticnet": L1_RATIO}.get(penalty, 1)
    rows = 1 / (np.sqrt((spread / units[1]) ** 2 + l2) + l1)
    coefs[0] = np.outer(rows, np.ones(coefs[0].shape[1]))
    intercepts = [np.full_like(b, u) for b, u in zip(model.intercepts_, units[1:])]
    for block in (*coefs[:-1], *intercepts[:-1]):
        block /= np.sqrt(model.n_outputs_)
    return [*coefs, *intercepts]


def label_shares(model, y, s=None):
    s = np.ones(len(y)) if s is None else s
    return np.array([np.average(y == k, weights=s) for k in model.classes_])


def gradient_unit(model, X, y, s=None, penalty="none"):
    """Largest gradient entry at the start, made constant at the mean prediction."""
    units, L = units_of(model, X, y, s, penalty), len(model.coefs_)
    mean, _, y_mean, *_ = spreads(X, y, s)
    params = [u * p for u, p in zip(units, start_of(model, X))]
    for k in (*range(L - 1), *range(L, 2 * L - 1)):
        params[k] *= np.sqrt(model.n_outputs_)  # the start does not know of it
    params[L] = params[L] - mean @ params[0]
    params[L - 1] = np.zeros_like(params[L - 1])
    null = y_mean
    if isinstance(model, RegMLPClassifier):
        logs = np.log(label_shares(model, y, s))
        null = logs[1] - logs[0] if len(logs) == 2 else logs - logs.mean()
    params[-1] = np.full_like(params[-1], null)
    return max(np.abs(g).max() for g in scaled_gradient(model, params, X, y, s, units))


def scaled_gradient(model, params, X, y, s, units):
    """Gradient of the data term in the solver's coordinates."""
    grads, L = data_term(model, params, X, y, s)[1], len(model.coefs_)
    grads[0] = grads[0] - np.outer(spreads(X, y, s)[0], grads[L])
    return [u * g for u, g in zip(units, grads)]


def relative_violation(model, X, y, penalty, s=None):
    """Largest entry of the least subgradient, in the solver's coordinates."""
    params, L = [*model.coefs_, *model.intercepts_], len(model.coefs_)
    units = units_of(model, X, y, s, penalty)
    grads = scaled_gradient(model, params, X, y, s, units)
    worst = max(
        *(
            np.abs(u * least_subgradient(W, G / u, penalty, model.reg_lambda)).max()
            for W, G, u in zip(model.coefs_, grads, units)
        ),
        *(np.abs(g).max() for g in grads[L:]),
    )
    return worst / gradient_unit(model, X, y, s, penalty)


def penalty_value(model, penalty):
    def value(W):
        lam = model.reg_lambda
        size = np.abs(W)
        if penalty == "mcp":
            near = np.minimum(size, TAU)
            return lam * np.sum(near - near**2 / (2 * TAU))
        norms = np.linalg.norm(W, axis=1)
        slope = slope_of(penalty, 0 * W, lam) * size
        rise = slope_of(penalty, size, lam) - slope_of(penalty, 0 * W, lam)
        groups = group_strength(penalty, W.shape[1], lam) * norms.sum()
        return np.sum(slope + rise * size / 2) + groups

    return sum(value(W) for W in model.coefs_)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 5)], ids=str)
@pytest.mark.parametrize("penalty", [p for p in PENALTIES if p != "none"])
@pytest.mark.parametrize("name", ["diabetes", "cancer", "digits"])
def test_optimality_conditions_hold(name, penalty, hidden):
    X, y = data(name)
    model = network(name, hidden, penalty).fit(X, y)
    assert model.n_iter_ < model.max_iter
    assert model.optimality_ <= model.tol
    found = relative_violation(model, X, y, penalty)
    assert found <= 1.01 * model.tol
    assert_allclose(model.optimality_, found, rtol=0.01, atol=1e-9)


@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize("loss", ["huber", "poisson", "gamma"])
@pytest.mark.parametrize("hidden", [(8,), (8, 5)], ids=str)
def test_optimality_conditions_hold_for_every_smooth_loss(hidden, loss, penalty):
    X, y = data("diabetes")
    y = y if loss == "huber" else np.exp(y / 2)
    lam = {"huber": 1e-2, "poisson": 3e-3, "gamma": 3e-3}[loss]
    settings = {"loss": loss, "reg_lambda": lam}
    model = network("diabetes", hidden, penalty, **settings).fit(X, y)
    assert model.n_iter_ < model.max_iter
    assert 5 < np.count_nonzero(model.coefs_[0]) <= X.shape[1] * 8
    params, L = [*model.coefs_, *model.intercepts_], len(model.coefs_)
    kwargs = {"activation": "tanh", "loss": loss, "loss_parameter": 1.0}
    _, grads = naive.loss_and_gradient(
        params, X, y[:, None], np.full(N, 1 / N), **kwargs
    )
    for W, G in zip(params[:L], grads):
        assert violation(W, G, penalty, lam) <= 1e-5
    for g in grads[L:]:
        assert np.abs(g).max() <= 1e-5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("max_iter", [1, 4, 10])
def test_optimality_is_measured_wherever_the_solver_stops(penalty, max_iter):
    X, y = data("digits")
    s = np.random.RandomState(0).randint(0, 4, N).astype(float)
    model = network("digits", (8,), penalty, max_iter=max_iter).fit(X, y, s)
    found = relative_violation(model, X, y, penalty, s)
    assert found > 1e-4
    assert_allclose(model.optimality_, found, rtol=0.02)


@pytest.mark.parametrize("penalty", [p for p in PENALTIES if p != "scad"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("name", ["diabetes", "digits"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_objective_falls_and_is_what_it_says(name, activation, penalty):
    X, y = data(name)
    model = network(
        name, (8, 5), penalty, activation=activation, max_iter=200, tol=1e-8
    ).fit(X, y)
    J = np.array(model.loss_curve_)
    assert len(J) == model.n_iter_
    assert np.all(np.diff(J) <= 10 * EPS * (1 + np.abs(J[:-1])))
    assert model.loss_ == J[-1]
    assert_allclose(model.best_loss_, J[-1], rtol=10 * EPS)
    assert_allclose(
        J, np.add(model.data_loss_curve_, model.penalty_curve_), rtol=4 * EPS
    )
    params = [*model.coefs_, *model.intercepts_]
    loss = data_term(model, params, X, y)[0]
    tight = {"rtol": 1e-12, "atol": 1e-13}
    assert_allclose(model.data_loss_curve_[-1], loss, **tight)
    assert_allclose(model.loss_, loss + penalty_value(model, penalty), **tight)


@pytest.mark.parametrize("name", ["diabetes", "cancer", "digits"])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 5)], ids=str)
def test_only_nonsmooth_penalties_make_zeros(name, hidden):
    X, y = data(name)
    X = X[:, X.std(axis=0) > 0]  # a constant zero would deserve a zero weight
    for penalty in ("l2", "none", "elasticnet"):
        settings = {"l1_ratio": 0.0, "max_iter": 300}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = network(name, hidden, penalty, **settings).fit(X, y)
        assert model.decay_mode_ == "coupled"
        assert all(np.all(W != 0) for W in model.coefs_)
    for penalty in ("l1", "group_lasso", "mcp"):
        settings = {"max_iter": 300, "reg_lambda": 0.02}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = network(name, hidden, penalty, **settings).fit(X, y)
        assert model.decay_mode_ == "proximal"
        assert np.any(model.coefs_[0] == 0)
        if penalty == "group_lasso":  # rows vanish as a whole, up to dead units
            for k, W in enumerate(model.coefs_):
                last = k + 1 == len(model.coefs_)
                alive = np.ones(W.shape[1], bool)
                if not last:
                    alive = model.coefs_[k + 1].any(axis=1)
                if alive.any():
                    zero = W[:, alive] == 0
                    assert_array_equal(zero.any(axis=1), zero.all(axis=1))


# Against proximal Adam ---------------------------------------------------------------

ADAM = {
    "solver": "adam",
    "decay_mode": "proximal",
    "learning_rate": "cosine",
    "learning_rate_init": 0.02,
    "batch_size": 50,
    "tol": 0.0,
    "n_iter_no_change": np.inf,
    "max_iter": 600,
}


def log_ratios_to_adam(name, penalty, activation):
    """Objectives of ours and of Adam from the same starts."""
    X, y = data(name)
    ratios = []
    for hidden, seed in itertools.product([(8,), (8, 5)], range(2)):
        model = network(name, hidden, penalty, activation=activation, random_state=seed)
        ours = model.set_params(max_iter=600).fit(X, y).loss_
        model.set_params(**ADAM).fit(X, y)
        params = [*model.coefs_, *model.intercepts_]
        adam = data_term(model, params, X, y)[0] + penalty_value(model, penalty)
        ratios.append(np.log(ours / adam))
    return ratios


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize("name", ["diabetes", "cancer", "digits"])
def test_objective_is_no_worse_than_that_of_long_runs_of_adam(name, penalty):
    """On average over starts, as single runs may end in different valleys."""
    assert np.mean(log_ratios_to_adam(name, penalty, "tanh")) <= 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
def test_relu_networks_are_no_worse_than_long_runs_of_adam(penalty):
    names = ["diabetes", "cancer", "digits"]
    ratios = [log_ratios_to_adam(name, penalty, "relu") for name in names]
    assert np.mean(ratios) <= 0


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_adam_is_continued(penalty):
    """From its weights, J falls from the first step on, and a certificate is there."""
    X, y = data("cancer")
    model = network("cancer", (8,), penalty).set_params(**ADAM | {"max_iter": 30})
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    params = [*model.coefs_, *model.intercepts_]
    J = data_term(model, params, X, y)[0] + penalty_value(model, penalty)
    lbfgs = network("cancer", (8,), penalty).get_params()
    model.set_params(**lbfgs | {"warm_start": True, "tol": 1e-4}).fit(X, y)
    changes = np.diff([J, *model.loss_curve_[30:]])
    assert changes[0] < 0
    # Up to rounding, as J shall also have hardly changed in the last 10 iterations.
    assert np.all(changes <= 10 * EPS * (1 + J))
    assert model.optimality_ <= 1e-4


# Warm starts -------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
def test_warm_start_begins_at_the_given_weights(penalty):
    X, y = data("diabetes")
    model = network("diabetes", (8,), penalty, warm_start=True).fit(X, y)
    rng = np.random.RandomState(7)
    model.coefs_ = [W + 0.1 * rng.normal(size=W.shape) for W in model.coefs_]
    model.intercepts_ = [b + 0.1 for b in model.intercepts_]
    params = [*model.coefs_, *model.intercepts_]
    J = data_term(model, params, X, y)[0] + penalty_value(model, penalty)
    n = len(model.loss_curve_)
    model.set_params(max_iter=1)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert 0 < J - model.loss_curve_[n] < J


@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
def test_warm_start_at_the_solution_stays_there(penalty):
    X, y = data("cancer")
    model = network("cancer", (8,), penalty, warm_start=True).fit(X, y)
    before = [W.copy() for W in model.coefs_]
    model.fit(X, y)
    assert model.n_iter_ == 0
    for W, old in zip(model.coefs_, before):
        assert_array_equal(W, old)
    assert model.optimality_ <= model.tol


def test_warm_starts_along_a_path_end_where_cold_fits_end():
    """Without hidden layers; tol keeps its meaning, that of the first cold start."""
    X, y = data("diabetes")
    warm = network("diabetes", (), "l1", warm_start=True, tol=1e-9)
    n_warm = n_cold = 0
    for lam in np.geomspace(0.3, 0.003, 8):
        warm.set_params(reg_lambda=lam).fit(X, y)
        cold = clone(warm).set_params(warm_start=False).fit(X, y)
        assert_allclose(warm.coefs_[0], cold.coefs_[0], rtol=0, atol=1e-7)
        assert_array_equal(warm.coefs_[0] == 0, cold.coefs_[0] == 0)
        n_warm, n_cold = n_warm + warm.n_iter_, n_cold + cold.n_iter_
    assert n_warm < n_cold


# Closed forms ------------------------------------------------------------------------


def orthonormal_problem():
    """Centered X with X'X / n = I, and centered Y: the best intercepts are 0."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 6))
    X = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(60)
    Y = X @ rng.normal(size=(6, 4)) + rng.normal(size=(60, 4))
    return X, Y - Y.mean(axis=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8, 1.2])
@pytest.mark.filterwarnings("ignore:The network predicts a constant")
def test_linear_network_with_l2_is_the_nuclear_norm(share, seed):
    """min ½ mean ‖Y − XB‖² + λ ‖B‖_*, as the norms of B = W₁W₂ are shared equally."""
    X, Y = orthonormal_problem()
    U, sigma, Vt = np.linalg.svd(X.T @ Y / len(X))
    lam = share * sigma[0]
    shrunk = np.maximum(sigma - lam, 0)
    B = U[:, :4] * shrunk @ Vt
    best = np.square(Y - X @ B).sum() / (2 * len(X)) + lam * shrunk.sum()

    model = RegMLPRegressor(
        (5,),
        activation="identity",
        penalty="l2",
        reg_lambda=lam,
        solver="lbfgs",
        tol=1e-10,
        max_iter=2000,
        random_state=seed,
    ).fit(X, Y)
    assert_allclose(model.loss_, best, rtol=1e-12)
    W1, W2 = model.coefs_
    assert_allclose(W1 @ W2, B, rtol=0, atol=1e-6)
    assert_allclose(model.predict(X), X @ B, rtol=0, atol=1e-6)
    rank = np.sum(np.linalg.svd(W1 @ W2)[1] > 1e-6 * sigma[0])
    assert rank == np.sum(sigma > lam)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "identity"])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["diabetes", "cancer", "digits"])
def test_penalties_of_the_two_sides_of_a_unit_balance(name, ratio, activation):
    """Scaling the inputs of a unit by c and its outputs by 1/c does not change f.

    Along this direction J is smooth even at the kinks where ReLU networks stop, so that
    the imbalance is bounded by the violation of the optimality conditions there.
    """
    X, y = data(name)
    penalty = {0.0: "l2", 0.5: "elasticnet", 1.0: "l1"}[ratio]
    model = network(name, (10,), penalty, activation=activation)
    model.set_params(max_iter=1000, tol=1e-7).fit(X, y)

    def change(W, axis):  # of the penalty by lambda, for c near 1
        l1, l2 = np.abs(W).sum(axis=axis), np.square(W).sum(axis=axis)
        return ratio * l1 + (1 - ratio) * l2

    into, out = model.coefs_
    left, right = change(into, 0), change(out, 1)
    assert left.max() > 0.1
    worst = model.optimality_ * gradient_unit(model, X, y, penalty=penalty)
    units = units_of(model, X, y, penalty=penalty)  # in which it is measured
    moved = np.abs(into / units[0]).sum(axis=0) + np.abs(out / units[1]).sum(axis=1)
    moved += np.abs((model.intercepts_[0] + X.mean(axis=0) @ into) / units[2])
    bound = 1.01 * worst * moved + 1e-9
    assert np.all(model.reg_lambda * np.abs(left - right) <= bound)
    if activation == "identity":
        assert_allclose(left, right, rtol=1e-3, atol=1e-3 * left.max())


def test_residuals_of_the_output_have_mean_zero():
    """The output intercepts are not penalized."""
    X, y = data("digits")
    model = network("digits", (8,), "l1", tol=1e-7).fit(X, y)
    shares = np.bincount(y) / len(y)
    assert_allclose(model.predict_proba(X).mean(axis=0), shares, rtol=0, atol=1e-6)


# Equivariances -----------------------------------------------------------------------


def linear_fit(X, y, penalty, lam):
    return RegMLPRegressor(
        (),
        penalty=penalty,
        reg_lambda=lam,
        l1_ratio=L1_RATIO,
        solver="lbfgs",
        tol=1e-11,
        max_iter=5000,
        random_state=0,
    ).fit(X, y)


LINEAR = ["l1", "l2", "group_lasso"]


@pytest.mark.parametrize("c", [1e-3, 7.0, 1e4])
@pytest.mark.parametrize("penalty", LINEAR)
def test_scaling_y(penalty, c):
    X, y = data("diabetes")
    model = linear_fit(X, y, penalty, 0.1)
    scaled = linear_fit(X, c * y, penalty, 0.1 if penalty == "l2" else 0.1 * c)
    assert_allclose(scaled.coefs_[0] / c, model.coefs_[0], rtol=0, atol=1e-7)
    assert_array_equal(scaled.coefs_[0] == 0, model.coefs_[0] == 0)
    assert_allclose(scaled.intercepts_[0] / c, model.intercepts_[0], atol=1e-7)


@pytest.mark.parametrize("penalty", LINEAR)
def test_order_of_columns_and_rows(penalty):
    X, y = data("diabetes")
    rng = np.random.RandomState(0)
    columns, rows = rng.permutation(X.shape[1]), rng.permutation(len(X))
    model = linear_fit(X, y, penalty, 0.1)
    other = linear_fit(X[rows][:, columns], y[rows], penalty, 0.1)
    assert_allclose(other.coefs_[0], model.coefs_[0][columns], rtol=0, atol=1e-8)
    assert_array_equal(other.coefs_[0] == 0, model.coefs_[0][columns] == 0)


@pytest.mark.parametrize("penalty", LINEAR)
def test_shifts_are_up_to_the_intercept(penalty):
    X, y = data("diabetes")
    model = linear_fit(X, y, penalty, 0.1)
    other = linear_fit(X + 3.0, y - 5.0, penalty, 0.1)
    assert_allclose(other.coefs_[0], model.coefs_[0], rtol=0, atol=1e-8)


def test_a_column_twice():
    """L2 shares its weight, L1 and rows of groups may share it in any way."""
    X, y = data("diabetes")
    twice = np.c_[X, X[:, 2]]
    model = linear_fit(twice, y, "l2", 0.1)
    assert_allclose(model.coefs_[0][2], model.coefs_[0][-1], rtol=1e-9)
    for penalty in ("l1", "group_lasso"):
        single, model = (
            linear_fit(X, y, penalty, 0.1),
            linear_fit(twice, y, penalty, 0.1),
        )
        weights = model.coefs_[0][:-1].copy()
        weights[2] += model.coefs_[0][-1]
        assert_allclose(weights, single.coefs_[0], rtol=0, atol=1e-8)
        assert_allclose(model.loss_, single.loss_, rtol=1e-13)


@pytest.mark.parametrize("penalty", LINEAR)
def test_integer_weights_are_repeated_rows(penalty):
    X, y = data("diabetes")
    s = np.random.RandomState(0).randint(0, 4, N)
    repeated = linear_fit(np.repeat(X, s, axis=0), np.repeat(y, s), penalty, 0.1)
    weighted = clone(repeated).fit(X, y, s)
    assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=0, atol=1e-8)
    scaled = clone(repeated).fit(X, y, 1e3 * s)
    assert_allclose(scaled.coefs_[0], weighted.coefs_[0], rtol=0, atol=1e-8)
    assert_allclose(scaled.loss_, weighted.loss_, rtol=1e-13)


def test_swapped_classes_turn_the_signs():
    X, y = data("cancer")
    params = {"tol": 1e-10, "reg_lambda": 0.02}
    model = network("cancer", (), "l1", **params).fit(X, y)
    other = network("cancer", (), "l1", **params).fit(X, 1 - y)
    assert_allclose(other.coefs_[0], -model.coefs_[0], rtol=0, atol=1e-7)


# Difficult inputs --------------------------------------------------------------------


def plain_data():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 6))
    return X, np.tanh(X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=80)


def difficult(name):
    X, y = plain_data()
    rng = np.random.RandomState(1)
    return {
        "powers": lambda: (np.vander(np.linspace(0, 1, 80), 12), y),
        "nearly dependent": lambda: (np.c_[X, X + 1e-7 * rng.normal(size=X.shape)], y),
        "vanishing columns": lambda: (X * np.logspace(0, -12, 6), y),
        "columns of all scales": lambda: (X * np.logspace(-4, 4, 6), y),
        "constant column": lambda: (np.c_[X, np.full(80, 5.0)], y),
        "large constant column": lambda: (np.c_[X, np.full(80, 1e4)], y),
        "only constants": lambda: (np.ones((80, 3)), y),
        "only zeros": lambda: (np.zeros((80, 3)), y),
        "duplicated columns": lambda: (np.c_[X, X, X], y),
        "duplicated rows": lambda: (np.r_[X, X, X], np.r_[y, y, y]),
        "one row": lambda: (X[:1], y[:1]),
        "many columns": lambda: (rng.normal(size=(80, 1000)), y),
        "tiny X": lambda: (1e-8 * X, y),
        "large X": lambda: (1e4 * X, y),
        "huge X": lambda: (1e100 * X, y),
        "shifted X": lambda: (X + 1e4, y),
        "large y": lambda: (X, 1e10 * y),
        "tiny y": lambda: (X, 1e-10 * y),
        "shifted y": lambda: (X, y + 1e5),
        "constant y": lambda: (X, np.ones(80)),
    }[name]()


# Without hidden layers, tol is then relative to a gradient that is far too large.
NOT_YET = ["huge X", "shifted X"]
DIFFICULT = (
    "powers,nearly dependent,vanishing columns,columns of all scales,constant column,"
    "large constant column,only constants,only zeros,duplicated columns,duplicated "
    "rows,one row,many columns,tiny X,large X,large y,tiny y,"
    "shifted y,constant y"
).split(",")


ADVICE = "Increase the limit, scale the data, or raise 'tol'"


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("hidden", [(), (5,)], ids=str)
@pytest.mark.parametrize("name", [*DIFFICULT, *NOT_YET])
def test_difficult_inputs_converge_or_warn(name, hidden, penalty):
    """Without a warning, J is close to what a run with a tiny tol reaches."""
    X, y = difficult(name)
    model = RegMLPRegressor(
        hidden,
        activation="tanh",
        penalty=penalty,
        reg_lambda=0.01,
        solver="lbfgs",
        random_state=0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    for warning in caught:
        assert warning.category is ConvergenceWarning
        assert "scale the data" in str(warning.message).lower()
    assert np.all(np.diff(model.loss_curve_) <= 10 * EPS * (1 + model.loss_curve_[0]))
    if not caught:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exact = clone(model).set_params(tol=1e-12, max_iter=3000).fit(X, y)
        null = np.mean((y - y.mean()) ** 2) / 2
        assert model.loss_ - exact.loss_ <= (2e-3 * null if null > 0 else 1e-5)


@pytest.mark.filterwarnings("ignore:The network predicts a constant")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("penalty", ["l1", "l2", None])
@pytest.mark.parametrize("hidden", [(), (5,)], ids=str)
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 5.0])
def test_inputs_that_tell_nothing_leave_the_mean(value, hidden, penalty):
    """Where all gradients at the mean are rounding, no warning says otherwise."""
    y = plain_data()[1] + 2
    X = np.full((len(y), 3), value)
    settings = dict(activation="tanh", penalty=penalty, reg_lambda=0.01, solver="lbfgs")
    model = RegMLPRegressor(hidden, **settings, random_state=0).fit(X, y)
    assert model.optimality_ <= model.tol
    assert_allclose(model.loss_, y.var() / 2, rtol=1e-12)
    assert_allclose(model.predict(X), y.mean(), rtol=1e-6)
    labels = (y > np.quantile(y, 0.75)).astype(int)
    model = RegMLPClassifier(hidden, **settings, random_state=0).fit(X, labels)
    assert_allclose(model.predict_proba(X)[:, 1], labels.mean(), rtol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_an_objective_that_tends_to_zero_converges(constant, activation):
    X, _ = plain_data()
    settings = dict(penalty="l2", reg_lambda=0.01, solver="lbfgs", random_state=0)
    model = RegMLPRegressor((5,), activation=activation, **settings)
    model.fit(X, np.full(len(X), constant))
    assert model.n_iter_ < model.max_iter
    # Predictions near 1 are rounded.
    assert model.loss_ < (EPS**2 if constant else 1e-50)
    assert model.optimality_ <= EPS


@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
def test_an_end_on_a_kink_of_relu_is_no_reason_to_warn(penalty):
    """Small steps of Adam find next to nothing to improve there.

    Rounding decides on which kink a fit ends, hence the median over starts.
    """
    rng = np.random.RandomState(3)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    gains = []
    for seed in range(5):
        settings = dict(penalty=penalty, reg_lambda=0.01, random_state=seed)
        model = RegMLPRegressor((10,), solver="lbfgs", max_iter=3000, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(X, y)
        reached = model.loss_
        model.set_params(solver="adam", learning_rate_init=1e-4, warm_start=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(max_iter=500, n_iter_no_change=500).fit(X, y)
        gains.append(1 - min(model.loss_curve_) / reached)
    assert np.median(gains) < 3e-3
    assert max(gains) < 1e-2


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("name", ["tiny X", "huge X", "shifted X", "shifted y"])
def test_relu_networks_are_better_than_a_constant_in_any_unit(name, penalty):
    X, y = difficult(name)
    degree = {"l1": 1, "l2": 2}[penalty]
    model = RegMLPRegressor(
        (5,),
        penalty=penalty,
        reg_lambda=1e-3 * np.std(X) ** (degree / 2),  # of a product of two weights
        solver="lbfgs",
        max_iter=2000,
        random_state=0,
    )
    assert model.fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_inputs_far_from_zero_are_as_easy_as_centered_ones(form, penalty):
    X, y = plain_data()
    s = np.random.RandomState(0).uniform(0, 2, size=len(X))
    near = RegMLPRegressor(
        (), penalty=penalty, reg_lambda=0.01, solver="lbfgs", tol=1e-6, random_state=0
    )
    far = clone(near).fit(form(X + 1e3), y, s)
    near.fit(form(X), y, s)
    assert_allclose(far.coefs_[0], near.coefs_[0], atol=1e-4)
    assert far.n_iter_ <= near.n_iter_ + 10


@pytest.mark.parametrize("kind", ["poisson", "gamma"])
@pytest.mark.parametrize("seed", range(5))
def test_an_exponential_link_forgives_a_bad_start(kind, seed):
    X, y = plain_data()
    model = RegMLPRegressor((), loss=kind, solver="lbfgs", random_state=seed)
    model.fit(2 * X + 1, np.exp(y))
    exact = clone(model).set_params(tol=1e-12).fit(2 * X + 1, np.exp(y))
    assert_allclose(model.loss_, exact.loss_, rtol=1e-4)


def test_units_that_overflow_end_in_the_message_of_divergence():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(25, 5)), 1e200 * rng.normal(size=25)
    huge = {"penalty": "group_lasso", "reg_lambda": 1e300, "loss": "huber"}
    model = RegMLPRegressor((3,), activation="tanh", solver="lbfgs", **huge)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.fit(X, y)


@pytest.mark.parametrize("size", [1e300, 1e307])
@pytest.mark.parametrize("hidden", [(), (3,)])
def test_targets_whose_gradients_overflow_are_an_error(hidden, size):
    """And no warning of NumPy."""
    X, y = np.eye(6)[:, :2], size * np.arange(6.0)
    with pytest.raises(ValueError, match=r"Scale|large values|diverged"):
        RegMLPRegressor(hidden, solver="lbfgs", penalty="group_lasso").fit(X, y)
    search = RegMLPRegressorCV(hidden, solver="lbfgs", reg_lambdas=3, cv=2)
    with pytest.raises(ValueError, match=r"Scale|large values|diverged"):
        search.fit(X, y)


@pytest.mark.parametrize(
    ("kind", "oracle", "deviance", "seeds"),
    [
        ("poisson", PoissonRegressor, mean_poisson_deviance, range(3, 6)),
        ("gamma", GammaRegressor, mean_gamma_deviance, range(2, 5)),
    ],
)
def test_an_exponential_link_is_judged_by_a_unit_without_overflow(
    kind, oracle, deviance, seeds
):
    """At some of the starts, J is above 1e80."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    exact = oracle(alpha=1e-4, solver="newton-cholesky", tol=1e-8).fit(X, y)
    best = deviance(y, exact.predict(X)) / 2 + 1e-4 * (exact.coef_**2).sum() / 2
    for seed in seeds:
        model = RegMLPRegressor(
            (), loss=kind, reg_lambda=1e-4, solver="lbfgs", max_iter=2000
        )
        model.set_params(random_state=seed).fit(X, y)
        assert_allclose(model.loss_, best, rtol=1e-6)


def test_what_is_worse_than_a_constant_warns():
    """Even where the gradient is small in units of the one at a constant."""
    X, y = plain_data()
    for scale_of_inputs in (1e4, 1e6, 1e8):
        for seed in range(3):
            model = RegMLPClassifier(
                (), penalty=None, solver="lbfgs", max_iter=5000, random_state=seed
            )
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(X * scale_of_inputs, y > 0)
            assert model.loss_ <= np.log(2) or len(caught) == 1


@pytest.mark.parametrize(("hidden", "patience"), [((50,), 1), ((50, 50), 10)])
def test_early_stopping_is_no_reason_to_warn(hidden, patience):
    """Although the gradient may be large where validation scores end the training."""
    X, y = (scale(values) for values in load_diabetes(return_X_y=True))
    model = RegMLPRegressor(hidden, activation="tanh", reg_lambda=1e-4, solver="lbfgs")
    model.set_params(early_stopping=True, n_iter_no_change=patience, random_state=0)
    model.fit(X, y)
    assert model.optimality_ > 0.1
    assert model.n_iter_ < model.max_iter


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_separable_classes_without_penalty_have_no_minimum_but_a_small_loss():
    X, y = plain_data()
    model = RegMLPClassifier((), penalty=None, solver="lbfgs", random_state=0)
    model.fit(X, X[:, 0] > 0)
    assert model.loss_ < 1e-3
    assert all(np.isfinite(W).all() for W in model.coefs_)


def test_the_limit_warns_with_advice():
    X, y = plain_data()
    for limit in ("max_iter", "max_fun"):
        model = RegMLPRegressor((5,), solver="lbfgs", **{limit: 5})
        with pytest.warns(ConvergenceWarning, match=ADVICE):
            model.fit(X, y)
