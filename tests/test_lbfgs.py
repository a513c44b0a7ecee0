"""prox_lbfgs against optima from elsewhere, on objectives written in NumPy.

Oracles: closed forms, scikit-learn's linear models, optimality conditions written out
for each penalty, and long runs of FISTA and of SciPy's L-BFGS-B.
"""

from itertools import pairwise

import numpy as np
import pytest
import sklearn
from numpy.linalg import norm
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax
from scipy.stats import gmean
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LogisticRegression,
    MultiTaskLasso,
    PoissonRegressor,
    Ridge,
)
from sklearn.preprocessing import scale

from skreg._core import LBFGSMemory
from skreg._solvers._lbfgs import _Run, prox_lbfgs
from skreg._solvers._result import Status
from skreg._solvers._stopping import Stopping

EPS = np.finfo(float).eps

# Value and derivative with respect to f, per sample.
LOSSES = {
    "squared": lambda y, f: (((f - y) ** 2).sum(axis=1) / 2, f - y),
    "binary": lambda y, f: ((np.logaddexp(0, f) - y * f).sum(axis=1), expit(f) - y),
    "multiclass": lambda y, f: (
        logsumexp(f, axis=1) - (y * f).sum(axis=1),
        softmax(f, axis=1) - y,
    ),
    "poisson": lambda y, f: ((np.exp(f) - y * f).sum(axis=1), np.exp(f) - y),
}
# phi(z) and phi'(z), the latter in terms of phi(z).
ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(float)),
}


class Objective:
    """Mean loss of a network, and l1 Σ|w| + l2/2 Σw² + group Σ‖row‖ of its weights.

    theta holds the weight matrices, then the intercepts, if any.
    """

    def __init__(
        self,
        X,
        Y,
        loss="squared",
        hidden=(),
        activation="identity",
        *,
        l1=0.0,
        l2=0.0,
        group=0.0,
        intercept=True,
    ):
        self.X, self.Y = X, Y.reshape(len(X), -1)
        self.loss, self.activation = LOSSES[loss], ACTIVATIONS[activation]
        self.l1, self.l2, self.group, self.intercept = l1, l2, group, intercept
        units = [X.shape[1], *hidden, self.Y.shape[1]]
        self.shapes = list(pairwise(units))
        self.n_weights = sum(n_in * n_out for n_in, n_out in self.shapes)
        self.size = self.n_weights + (sum(units[1:]) if intercept else 0)
        self.is_nonsmooth = l1 > 0 or group > 0
        self.penalized = np.arange(self.size) < self.n_weights
        self.n_fun = 0

    def start(self, seed):
        return np.random.RandomState(seed).uniform(-0.5, 0.5, self.size)

    def split(self, theta):
        """Views of the weight matrices, and of the intercepts or zeros."""
        sizes = [n_in * n_out for n_in, n_out in self.shapes]
        parts = np.split(theta, np.cumsum(sizes + [n_out for _, n_out in self.shapes]))
        n_layers = len(sizes)
        weights = [w.reshape(s) for w, s in zip(parts, self.shapes)]
        return weights, parts[n_layers:-1] if self.intercept else [0.0] * n_layers

    def smooth_value_grad(self, theta):
        self.n_fun += 1
        weights, intercepts = self.split(theta)
        inputs = [self.X]
        for W, b in zip(weights, intercepts):
            inputs.append(self.activation[0](inputs[-1] @ W + b))
        f = inputs[-2] @ weights[-1] + intercepts[-1]
        value, delta = self.loss(self.Y, f)
        delta = delta / len(f)
        grad = self.l2 * np.where(self.penalized, theta, 0.0)
        slopes, rises = self.split(grad)
        for layer in reversed(range(len(weights))):
            slopes[layer] += inputs[layer].T @ delta
            if self.intercept:
                rises[layer] += delta.sum(axis=0)
            delta = delta @ weights[layer].T * self.activation[1](inputs[layer])
        w = theta[self.penalized]
        return value.mean() + self.l2 / 2 * (w @ w), grad

    def nonsmooth_value(self, theta):
        rows = sum(np.linalg.norm(W, axis=1).sum() for W in self.split(theta)[0])
        return float(self.l1 * np.abs(theta[self.penalized]).sum() + self.group * rows)

    def prox(self, theta, step):
        z = theta.copy()
        for W in self.split(z)[0]:
            W -= np.clip(W, -step * self.l1, step * self.l1)
            norm = np.linalg.norm(W, axis=1, keepdims=True)
            kept = norm > step * self.group
            W *= np.where(kept, 1 - step * self.group / np.where(kept, norm, 1), 0)
        return z

    def cross(self, theta, candidate):
        z = candidate.copy()
        for W, Z in zip(self.split(theta)[0], self.split(z)[0]):
            product = W * Z
            if self.group:
                product = product.sum(axis=1, keepdims=True) + 0 * product
            Z[product < 0] = 0
        return z

    def value(self, theta):
        return self.smooth_value_grad(theta)[0] + self.nonsmooth_value(theta)

    def violation(self, theta):
        """Largest entry of the least subgradient, for l1 or groups but not for both."""
        assert not (self.l1 and self.group)
        least = self.smooth_value_grad(theta)[1]
        for W, G in zip(self.split(theta)[0], self.split(least)[0]):
            size = np.abs(W), np.linalg.norm(W, axis=1, keepdims=True)
            slope = np.abs(G), np.linalg.norm(G, axis=1, keepdims=True)
            for c, w, g in zip((self.l1, self.group), size, slope):
                shrunk = np.maximum(1 - c / np.maximum(g, 1e-300), 0)
                G[:] = np.where(w > 0, G + c * W / np.where(w > 0, w, 1), shrunk * G)
        return np.abs(least).max()

    def minimize(self, theta0=None, scale=None, memory=50, callback=None, **rules):
        theta0 = np.zeros(self.size) if theta0 is None else theta0
        rules = {"tol": 1e-9, "max_iter": 3000, "max_fun": 15000} | rules
        how = {"scale": scale, "memory": memory, "callback": callback}
        return prox_lbfgs(self, theta0, Stopping(**rules), **how)


def correlated(n, p, n_targets=1, rho=0.9, seed=0):
    """Neighboring features have correlation rho, one in ten tells on the targets."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    W = rng.normal(size=(p, n_targets)) * (rng.uniform(size=(p, 1)) < 0.1)
    return X, X @ W + 1.0 + 0.5 * rng.normal(size=(n, n_targets))


# Linear models ------------------------------------------------------------------------


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), y


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y.astype(float)


def digits(n=300):
    X, y = load_digits(return_X_y=True)
    return X[:n] / 16, np.eye(10)[y[:n]]


def counts():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(200, 8))
    return X, rng.poisson(np.exp(X @ rng.normal(size=8) / 3)).astype(float)


def logistic(n, lam, l1_ratio, **settings):
    if sklearn.__version__ < "1.8":
        settings["penalty"] = "elasticnet" if l1_ratio else "l2"
    settings = {"C": 1 / (n * lam), "l1_ratio": l1_ratio, "tol": 1e-12} | settings
    return LogisticRegression(max_iter=10**5, random_state=0, **settings)


EXACT = {"tol": 1e-14, "max_iter": 10**6}
# Data, loss, penalties, and the model of scikit-learn with the same optimum.
MODELS = {
    "lasso": (
        correlated(100, 60),
        "squared",
        {"l1": 0.1},
        Lasso(0.1, **EXACT),
    ),
    "lasso diabetes": (
        diabetes(),
        "squared",
        {"l1": 0.5},
        Lasso(0.5, **EXACT),
    ),
    "lasso with more features than samples": (
        correlated(60, 300, rho=0.5),
        "squared",
        {"l1": 0.05},
        Lasso(0.05, **EXACT),
    ),
    "elastic net": (
        correlated(100, 150),
        "squared",
        {"l1": 0.03, "l2": 0.07},
        ElasticNet(0.1, l1_ratio=0.3, **EXACT),
    ),
    "ridge": (
        correlated(100, 150),
        "squared",
        {"l2": 0.1},
        Ridge(0.1 * 100, solver="cholesky"),
    ),
    "ridge with a condition number of 1e6": (
        correlated(200, 100, rho=0.9999),
        "squared",
        {"l2": 1e-4},
        Ridge(1e-4 * 200, solver="cholesky"),
    ),
    "multi-task lasso": (
        correlated(100, 60, n_targets=4),
        "squared",
        {"group": 0.3},
        MultiTaskLasso(0.3, **EXACT),
    ),
    "logistic l1": (
        cancer(),
        "binary",
        {"l1": 0.02},
        logistic(569, 0.02, 1.0, solver="saga"),
    ),
    "logistic l2": (
        cancer(),
        "binary",
        {"l2": 0.01},
        logistic(569, 0.01, 0.0, solver="newton-cg"),
    ),
    "multinomial l1": (
        digits(),
        "multiclass",
        {"l1": 0.02},
        logistic(300, 0.02, 1.0, solver="saga"),
    ),
    "multinomial l2": (
        digits(),
        "multiclass",
        {"l2": 0.01},
        logistic(300, 0.01, 0.0, solver="newton-cg"),
    ),
    "poisson": (
        counts(),
        "poisson",
        {"l2": 0.05},
        PoissonRegressor(alpha=0.05, solver="newton-cholesky", tol=1e-12),
    ),
}


def optimum_of(model, objective, Y):
    """theta of a fitted linear model."""
    classes = isinstance(model, LogisticRegression)
    targets = Y.argmax(axis=1) if classes and Y.ndim > 1 else Y.squeeze()
    model.fit(objective.X, targets)
    return np.append(np.atleast_2d(model.coef_).T, model.intercept_)


@pytest.mark.parametrize("name", MODELS)
def test_optima_of_linear_models(name):
    (X, Y), loss, penalties, model = MODELS[name]
    objective = Objective(X, Y, loss, **penalties)
    result = objective.minimize(tol=1e-10)
    best = optimum_of(model, objective, Y)
    assert result.status is Status.CONVERGED
    gap = objective.value(result.theta) / objective.value(best) - 1
    assert gap <= 1e-13
    assert gap >= -1e-10
    assert_array_equal(result.theta != 0, best != 0)
    # Weights of softmax classes are unique only up to a constant without l1.
    assert_allclose(result.theta, best, atol=1e-6 * np.abs(best).max())


@pytest.mark.parametrize("tol", [1e-4, 1e-7, 1e-9])
@pytest.mark.parametrize("name", MODELS)
def test_certificate_is_the_violation_of_the_optimality_conditions(name, tol):
    (X, Y), loss, penalties, _ = MODELS[name]
    objective = Objective(X, Y, loss, **penalties)
    result = objective.minimize(tol=tol)
    unit = np.abs(objective.smooth_value_grad(np.zeros(objective.size))[1]).max()
    violation = objective.violation(result.theta) / unit
    assert result.status is Status.CONVERGED
    assert result.state == unit
    assert violation <= 1.01 * tol
    assert_allclose(result.optimality, violation, rtol=0.01, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_work_is_that_of_a_line_search_that_mostly_takes_full_steps(name):
    (X, Y), loss, penalties, _ = MODELS[name]
    objective = Objective(X, Y, loss, **penalties)
    result = objective.minimize()
    assert objective.n_fun <= 1.3 * result.n_iter + 5


@pytest.mark.parametrize("name", [n for n in MODELS if "l2" in n or "ridge" in n])
def test_without_a_nonsmooth_part_the_work_is_that_of_scipy(name):
    (X, Y), loss, penalties, _ = MODELS[name]
    objective = Objective(X, Y, loss, **penalties)
    start = np.zeros(objective.size)
    unit = np.abs(objective.smooth_value_grad(start)[1]).max()
    oracle = scipy_lbfgs(objective, start, gtol=1e-7 * unit)
    objective.n_fun = 0
    result = objective.minimize(tol=1e-7)
    assert objective.value(result.theta) <= oracle.fun * (1 + 1e-7)
    assert objective.n_fun <= 1.2 * oracle.nfev + 5


@pytest.mark.parametrize("c", [1e-8, 1e8])
def test_units_of_the_target_do_not_matter(c):
    X, Y = correlated(100, 60)
    plain = Objective(X, Y, l1=0.1).minimize()
    scaled = Objective(X, c * Y, l1=c * 0.1).minimize()
    assert scaled.status is Status.CONVERGED
    assert_allclose(scaled.theta, c * plain.theta, atol=1e-7 * c)


def test_features_that_are_not_scaled():
    """Standard deviations from 2e-3 to 6e2: few features decide for a long time."""
    X, y = load_breast_cancer(return_X_y=True)
    objective = Objective(X, y.astype(float), "binary", l1=0.01)
    result = objective.minimize(tol=1e-6, max_iter=5000)
    assert result.status is Status.CONVERGED
    assert objective.violation(result.theta) / result.state <= 1.01e-6
    assert 0 < np.count_nonzero(result.theta) < 15


# Networks -----------------------------------------------------------------------------


def network(penalty, activation="tanh", hidden=(8,), n=150):
    X, y = load_diabetes(return_X_y=True)
    lam = {"l1": 1e-2, "l2": 1e-2, "group": 2e-2}[penalty]
    return Objective(
        scale(X[:n]), scale(y[:n]), "squared", hidden, activation, **{penalty: lam}
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("hidden", [(8,), (6, 4)], ids=str)
@pytest.mark.parametrize("penalty", ["l1", "l2", "group"])
def test_networks_end_where_the_optimality_conditions_hold(penalty, hidden, seed):
    objective = network(penalty, hidden=hidden)
    result = objective.minimize(objective.start(seed), tol=1e-6)
    assert result.status is Status.CONVERGED
    violation = objective.violation(result.theta) / result.state
    assert violation <= 1.01e-6
    assert_allclose(result.optimality, violation, rtol=0.01, atol=1e-9)
    zeros = result.theta[objective.penalized] == 0
    if penalty == "l2":
        assert not zeros.any()
    else:
        assert zeros.mean() > 0.2


@pytest.mark.parametrize("n_iter", [0, 1, 7, 30])
@pytest.mark.parametrize("penalty", ["l1", "l2", "group"])
def test_optimality_is_measured_wherever_the_solver_stops(penalty, n_iter):
    objective = network(penalty)
    result = objective.minimize(objective.start(0), max_iter=n_iter)
    violation = objective.violation(result.theta) / result.state
    assert result.status is Status.MAX_ITER
    assert result.n_iter == n_iter
    assert violation > 1e-3
    assert_allclose(result.optimality, violation, rtol=0.02)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 1.1])
@pytest.mark.parametrize("seed", range(2))
def test_l2_on_two_linear_layers_is_the_nuclear_norm(share, seed):
    """min ½ ‖Y − XB‖²/n + λ‖B‖_* soft-thresholds the singular values of XᵀY/n."""
    rng = np.random.RandomState(1)
    X = np.linalg.qr(rng.normal(size=(40, 6)))[0] * np.sqrt(40)
    Y = rng.normal(size=(40, 4)) + X[:, :4]
    U, s, Vt = np.linalg.svd(X.T @ Y / 40, full_matrices=False)
    lam = share * s[0]
    best = U * np.maximum(s - lam, 0) @ Vt
    J = ((Y - X @ best) ** 2).sum() / 80 + lam * np.maximum(s - lam, 0).sum()

    objective = Objective(X, Y, hidden=(5,), l2=lam, intercept=False)
    result = objective.minimize(objective.start(seed), tol=1e-9)
    W, V = objective.split(result.theta)[0]
    assert_allclose(objective.value(result.theta), J, rtol=1e-12)
    assert_allclose(W @ V, best, atol=1e-7)


def fista(objective, theta, n_iter):
    """Least F of FISTA, with a backtracking step and restarts when F rises."""
    z, momentum, step, F = theta, 1.0, 1.0, objective.value(theta)
    best = F
    for _ in range(n_iter):
        f, grad = objective.smooth_value_grad(z)
        step *= 1.1
        while True:
            new = objective.prox(z - step * grad, step)
            d = new - z
            value = objective.smooth_value_grad(new)[0]
            if value <= f + grad @ d + d @ d / (2 * step) or step < 1e-4:
                break
            step /= 2
        last, F = F, value + objective.nonsmooth_value(new)
        momentum = 1.0 if F > last else momentum
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        z = new + (momentum - 1) / following * (new - theta)
        theta, momentum, best = new, following, min(best, F)
    return best


def scipy_lbfgs(objective, theta, **options):
    options = {"maxiter": 10**4, "maxfun": 10**4, "ftol": 0, "maxcor": 30} | options
    return minimize(
        objective.smooth_value_grad,
        theta,
        jac=True,
        method="L-BFGS-B",
        options=options,
    )


@pytest.mark.slow
@pytest.mark.parametrize("penalty", ["l1", "l2", "group"])
def test_relu_networks_are_no_worse_than_long_runs_of_others(penalty):
    """On average over starts, as single runs end in different valleys."""
    objective = network(penalty, "relu", n=80)
    ratios = []
    for seed in range(8):
        start = objective.start(seed)
        result = objective.minimize(start, tol=1e-6, flat=1e-9, max_iter=1000)
        assert result.status in set(Status) - {Status.NON_FINITE, Status.INTERRUPTED}
        if penalty == "l2":
            reference = scipy_lbfgs(objective, start, maxfun=1000, maxcor=10).fun
        else:
            reference = fista(objective, start, 600)
        ratios.append(np.log(objective.value(result.theta) / reference))
    # The standard error of this mean is about 0.02.
    assert np.mean(ratios) <= 0.04


# What is promised of every run --------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("penalty", ["l1", "l2", "group"])
def test_objective_never_increases(penalty, activation):
    objective = network(penalty, activation)
    start = objective.start(0)
    iterates = []
    result = objective.minimize(
        start, max_iter=400, callback=lambda *args: iterates.append(args)
    )
    F = np.array(result.history["objective"])
    best = np.minimum.accumulate(np.append(objective.value(start), F))
    assert np.all(F <= best[:-1] * (1 + 10 * EPS))
    assert len(F) == len(iterates) == result.n_iter
    assert [value for _, value, _, _ in iterates] == result.history["objective"]
    assert [n for _, _, _, n in iterates] == list(range(1, len(F) + 1))
    assert_allclose([objective.value(args[0]) for args in iterates], F, rtol=1e-14)
    assert [h for _, _, h, _ in iterates] == [
        objective.nonsmooth_value(args[0]) for args in iterates
    ]
    assert_array_equal(iterates[-1][0], result.theta)


def test_the_start_is_not_changed_and_runs_are_reproducible():
    objective = network("l1")
    start = objective.start(0)
    kept = start.copy()
    results = [objective.minimize(start, max_iter=50) for _ in range(2)]
    assert_array_equal(start, kept)
    assert_array_equal(results[0].theta, results[1].theta)


def test_the_gradient_may_live_in_a_buffer():
    class Reusing(Objective):
        def smooth_value_grad(self, theta):
            value, grad = super().smooth_value_grad(theta)
            if not hasattr(self, "buffer"):
                self.buffer = np.empty_like(grad)
            self.buffer[:] = grad
            return value, self.buffer

    X, Y = correlated(50, 20)
    plain, reusing = (kind(X, Y, l1=0.1).minimize() for kind in (Objective, Reusing))
    assert_array_equal(plain.theta, reusing.theta)


def test_tol_is_relative_to_the_scale():
    X, Y = correlated(50, 20)
    objective = Objective(X, Y, l1=0.1)
    cold = objective.minimize(tol=1e-5)
    warm = objective.minimize(cold.theta, tol=1e-5, scale=cold.state)
    assert warm.status is Status.CONVERGED
    assert warm.n_iter == 0
    assert warm.history == {"objective": []}
    assert_array_equal(warm.theta, cold.theta)
    assert warm.optimality == cold.optimality
    strict = objective.minimize(tol=1e-5, scale=1e-5 * cold.state)
    assert strict.n_iter > cold.n_iter
    assert strict.optimality <= 1e-5
    assert objective.violation(strict.theta) <= 1.01e-10 * cold.state


def test_steady_asks_for_more_where_the_scale_is_too_large():
    """A target far from 0 has a huge gradient at a cold start."""
    X, Y = correlated(100, 20)
    best = Objective(X, Y, l1=0.1).minimize().theta[:-1]
    objective = Objective(X, Y + 1e5, l1=0.1)
    hasty = objective.minimize(tol=1e-5)
    steady = objective.minimize(tol=1e-5, steady=1e-8)
    assert hasty.status is steady.status is Status.CONVERGED
    assert np.abs(hasty.theta[:-1] - best).max() > 0.1
    assert_allclose(steady.theta[:-1], best, atol=1e-3)
    F = steady.history["objective"]
    assert F[-11] - F[-1] <= 1e-8 * F[-1]
    # An optimal start is steady.
    again = objective.minimize(steady.theta, tol=1e-5, steady=1e-8, scale=steady.state)
    assert again.n_iter == 0


def test_memory_shortens_the_way():
    X, Y = correlated(200, 100, rho=0.99)
    objective = Objective(X, Y, l2=1e-3)
    n_iter = [objective.minimize(memory=m).n_iter for m in (1, 5, 50)]
    assert n_iter[0] > n_iter[1] > n_iter[2]


# Why it stops -------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["l1", "l2", "group"])
def test_max_iter_and_max_fun(penalty):
    objective = network(penalty)
    assert objective.minimize(objective.start(0), max_iter=3).n_iter == 3
    for max_fun in (1, 20):
        objective.n_fun = 0
        result = objective.minimize(objective.start(0), max_fun=max_fun)
        assert result.status is Status.MAX_ITER
        # The two evaluations before the first iteration, and one line search.
        assert max_fun <= objective.n_fun <= max_fun + 15


@pytest.mark.parametrize("penalty", ["l1", "l2", "group"])
def test_flatness(penalty):
    objective = network(penalty)
    result = objective.minimize(objective.start(0), tol=0.0, flat=1e-4)
    F = result.history["objective"]
    assert result.status is Status.FTOL
    assert F[-11] - F[-1] <= 1e-4 * F[-1]
    assert F[-12] - F[-2] > 1e-4 * F[-2]
    shorter = objective.minimize(objective.start(0), tol=0.0, flat=1e-4, window=3)
    assert shorter.n_iter < result.n_iter


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_interrupts_keep_the_last_iterate(penalty):
    def interrupt(theta, F, h, n_iter):
        if n_iter == 5:
            raise KeyboardInterrupt

    objective = network(penalty)
    start = objective.start(0)
    result = objective.minimize(start, callback=interrupt)
    assert result.status is Status.INTERRUPTED
    assert result.n_iter == 5
    assert len(result.history["objective"]) == 5
    assert_array_equal(result.theta, objective.minimize(start, max_iter=5).theta)
    violation = objective.violation(result.theta) / result.state
    assert_allclose(result.optimality, violation, rtol=0.02)


def test_interrupts_before_the_first_iterate_are_passed_on():
    class Impatient(Objective):
        def smooth_value_grad(self, theta):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Impatient(*correlated(20, 3)).minimize()


def test_interrupts_within_an_evaluation():
    class Impatient(Objective):
        def smooth_value_grad(self, theta):
            if self.n_fun == 12:
                raise KeyboardInterrupt
            return super().smooth_value_grad(theta)

    result = Impatient(*correlated(50, 20), l1=0.1).minimize()
    assert result.status is Status.INTERRUPTED
    assert 5 < result.n_iter <= 11
    assert len(result.history["objective"]) == result.n_iter


def test_callbacks_may_stop():
    result = network("l1").minimize(callback=lambda theta, F, h, n_iter: n_iter == 4)
    assert result.status is Status.STOPPED
    assert result.n_iter == 4


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_starts_that_are_not_finite(value, l1):
    objective = Objective(*correlated(20, 3), l1=l1)
    start = np.array([0.0, value, 0.0, 0.0])
    with np.errstate(all="ignore"):
        result = objective.minimize(start)
    assert result.status is Status.NON_FINITE
    assert result.n_iter == 0
    assert result.optimality == np.inf
    assert_array_equal(result.theta, start)


@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_a_stationary_start(l1):
    """A constant f; without h nothing is to be done, with h the weights vanish."""
    X = np.zeros((5, 3))
    objective = Objective(X, np.zeros(5), l1=l1, intercept=False)
    result = objective.minimize(np.ones(3))
    assert result.status is Status.CONVERGED
    if l1 == 0:
        assert result.n_iter == 0
    assert_array_equal(result.theta, 0.0 if l1 else 1.0)
    assert result.optimality == 0


# Failure modes ------------------------------------------------------------------------


def test_trial_points_that_overflow_are_rejected():
    """From a flat region of exp, the first steps are far too long."""
    X, y = counts()
    objective = Objective(X, y, "poisson", l1=0.01)
    start = np.append(np.zeros(8), -30.0)
    result = objective.minimize(start)
    assert result.status is Status.CONVERGED
    assert_allclose(result.theta, objective.minimize().theta, atol=1e-6)


@pytest.mark.parametrize("l1", [0.0, 1e-12])
def test_separable_classes_without_a_penalty_end_without_harm(l1):
    X = np.linspace(-1, 1, 20)[:, None]
    objective = Objective(X, (X > 0).astype(float), "binary", l1=l1)
    result = objective.minimize(tol=1e-300, max_iter=200)
    assert result.status in {Status.MAX_ITER, Status.STALLED, Status.CONVERGED}
    assert np.isfinite(result.theta).all()
    assert result.history["objective"][-1] < 1e-8


def test_objectives_without_a_lower_bound_end_without_harm():
    class Slope(Objective):
        def smooth_value_grad(self, theta):
            return theta.sum(), np.ones_like(theta)

    for l1 in (0.0, 0.5):
        result = Slope(*correlated(20, 3), l1=l1).minimize(max_iter=2000)
        assert result.status in {Status.MAX_ITER, Status.STALLED}
        assert result.history["objective"][-1] < -1e6


def test_a_kink_of_f_is_not_mistaken_for_an_optimum():
    """At |w| = 0 no step of any length decreases F, and its gradient says nothing."""

    class Absolute(Objective):
        def smooth_value_grad(self, theta):
            return np.abs(theta).sum(), np.where(theta >= 0, 1.0, -1.0)

    result = Absolute(*correlated(20, 3), intercept=False).minimize(
        np.array([0.7, -0.2, 0.1])
    )
    assert result.status is Status.STALLED
    assert result.optimality == 1
    assert result.history["objective"][-1] < 1e-6


def test_small_steps_are_not_mistaken_for_convergence():
    """Next to a huge intercept, γ∇f almost vanishes in rounding."""
    X, Y = correlated(50, 20)
    best = Objective(X, Y, l1=0.1).minimize().theta
    start = np.append(np.ones(20), 1e7)
    result = Objective(X, Y + 1e7, l1=0.1).minimize(start, tol=1e-7)
    assert result.status is Status.CONVERGED
    assert_array_equal(result.theta[:-1] != 0, best[:-1] != 0)
    assert_allclose(result.theta[:-1], best[:-1], atol=1e-5)


def test_the_limit_of_precision_is_reported():
    X, Y = correlated(50, 20)
    for l1 in (0.0, 0.1):
        objective = Objective(X, Y, l1=l1)
        result = objective.minimize(tol=1e-18, max_iter=10**4)
        assert result.status in {Status.STALLED, Status.MAX_ITER}
        assert objective.violation(result.theta) <= 1e-12 * result.state


class Constrained(Objective):
    """h is 0 on a set, inf elsewhere; `project` is its projection."""

    def __init__(self, *args, project, known_to_cross, **kwargs):
        super().__init__(*args, **kwargs)
        self.project, self.known_to_cross = project, known_to_cross
        self.is_nonsmooth = True

    def nonsmooth_value(self, theta):
        w = theta[self.penalized]
        return 0.0 if np.abs(w - self.project(w)).max() <= 1e-12 else np.inf

    def prox(self, theta, step):
        z = theta.copy()
        z[self.penalized] = self.project(theta[self.penalized])
        return z

    def cross(self, theta, candidate):
        return self.prox(candidate, 0.0) if self.known_to_cross else candidate


@pytest.mark.parametrize("known_to_cross", [True, False])
@pytest.mark.parametrize(
    "project",
    [
        lambda w: np.maximum(w, 0),
        lambda w: w * min(1, 0.3 / np.linalg.norm(w)),
    ],
    ids=["nonnegative", "ball"],
)
def test_constraints(project, known_to_cross):
    X, Y = correlated(100, 20, seed=4)
    objective = Constrained(X, Y, project=project, known_to_cross=known_to_cross)
    start = -np.ones(objective.size)
    values = []
    result = objective.minimize(
        start, tol=1e-8, callback=lambda *args: values.append(args)
    )
    assert result.status is Status.CONVERGED
    assert result.n_iter < 100
    assert all(np.isfinite(objective.nonsmooth_value(theta)) for theta, *_ in values)
    # The projected gradient step leads nowhere.
    grad = objective.smooth_value_grad(result.theta)[1]
    moved = objective.prox(result.theta - 0.1 * grad, 0.1)
    assert_allclose(moved, result.theta, atol=1e-7)
    assert np.abs(grad).max() > 1e-2  # the constraint is active


def test_counting_penalty_ends_in_a_local_minimum():
    """L0: not convex, and its prox jumps."""

    class Count(Objective):
        def nonsmooth_value(self, theta):
            return self.l1 * np.count_nonzero(theta[self.penalized])

        def prox(self, theta, step):
            small = self.penalized & (theta**2 <= 2 * step * self.l1)
            return np.where(small, 0.0, theta)

        def cross(self, theta, candidate):
            return candidate

    X, Y = correlated(200, 20, rho=0.3, seed=4)
    objective = Count(X, Y, l1=0.05)
    result = objective.minimize(tol=1e-8)
    assert result.status is Status.CONVERGED
    chosen = result.theta[:-1] != 0
    assert 0 < chosen.sum() < 20
    least_squares = Objective(X[:, chosen], Y).minimize().theta
    assert_allclose(result.theta[result.theta != 0], least_squares, atol=1e-6)


def test_line_search_survives_a_rise_that_is_as_predicted():
    """Up to rounding, at an iterate that is itself above the lowest by rounding."""

    class Plateau:
        is_nonsmooth, penalized = True, np.array([True])

        def smooth_value_grad(self, theta):
            return 0.0, np.array([1e-300])

        def nonsmooth_value(self, theta):
            return 1.0 if theta[0] == 1 else 1 + 4 * EPS

        def prox(self, theta, step):
            return theta

        def cross(self, theta, candidate):
            return candidate

    run = _Run(Plateau(), np.ones(1), scale=None, n_pairs=5, is_longer=False)
    run.lowest = 1 - 9 * EPS
    assert run.quasi_newton_step(np.ones(1), np.ones(1), 1.0) is None


# Memory -------------------------------------------------------------------------------


def two_loops(pairs, q, is_longer):
    """Nocedal and Wright (2006), algorithm 7.4."""
    q, alphas = q.copy(), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q -= alphas[-1] * y
    if not is_longer:
        s, y = pairs[-1]
        initial = s @ y / (y @ y)
    else:
        initial = gmean([norm(s) / norm(y) for s, y in pairs[-10:]])
    r = initial * q
    for (s, y), alpha in zip(pairs, reversed(alphas)):
        r += s * (alpha - y @ r / (s @ y))
    return r


@pytest.mark.parametrize("capacity", [5, 15])
@pytest.mark.parametrize("is_longer", [False, True])
def test_memory_is_the_two_loop_recursion_on_any_support(is_longer, capacity):
    """Supports that change little, much, or not at all between pairs."""
    rng = np.random.RandomState(0)
    d = 30
    A = np.diag(np.logspace(0, 3, d)) + 0.1
    memory, pairs = LBFGSMemory(d, capacity, 1e-10, is_longer), []
    q = rng.normal(size=d)
    support = np.ones(d, bool)
    for everything in (support, None):
        found = q.copy()
        memory.multiply(found, everything, 0.5)
        assert_array_equal(found, 0.5 * q)
    for k in range(25):
        s = rng.normal(size=d)
        y = A @ s if k % 4 else -s  # one in four is of no use
        memory.push(s, y)
        pairs = [*pairs, (s, y)][-capacity:]
        assert memory.n_pushed == k + 1
        if k > 7:
            flipped = rng.choice(d, size=[0, 1, 2, 20][k % 3 + k // 20], replace=False)
            support[flipped] = ~support[flipped]
        usable = [(s * support, y * support) for s, y in pairs]
        usable = [(s, y) for s, y in usable if s @ y > 0]
        found = q * support
        expected = two_loops(usable, found, is_longer) if usable else found.copy()
        memory.multiply(found, support, 1.0)
        assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", [1, 6, 100])
def test_memory_satisfies_the_secant_equation(d):
    rng = np.random.RandomState(0)
    memory = LBFGSMemory(d, 3, 0.0, False)
    for _ in range(7):
        s = rng.normal(size=d)
        y = np.arange(1, d + 1) * s
        memory.push(s, y)
    memory.multiply(y, None, 1.0)
    assert_allclose(y, s, rtol=1e-12)


def test_memory_passes_over_pairs_of_little_curvature():
    memory = LBFGSMemory(2, 5, 0.5, True)
    memory.push(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    memory.push(np.array([1.0, 0.0]), np.array([1.0, 2.0]))  # a cosine of 0.45
    q = np.array([2.0, 4.0])
    memory.multiply(q, None, 1.0)
    assert_array_equal(q, [1.0, 2.0])
    q = np.array([3.0, 0.0])
    memory.multiply(q, np.array([True, False]), 1.0)  # and of 1 there
    assert_array_equal(q, [3.0, 0.0])


def test_memory_refuses_vectors_of_another_size():
    memory = LBFGSMemory(6, 3, 0.0, False)
    with pytest.raises(ValueError, match="size"):
        memory.push(np.ones(5), np.ones(6))
    with pytest.raises(ValueError, match="size"):
        memory.multiply(np.ones(6), np.ones(5, bool), 1.0)
    with pytest.raises(ValueError, match="size"):
        memory.multiply(np.ones(5), None, 1.0)
