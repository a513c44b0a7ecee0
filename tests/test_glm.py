"""solver="lbfgs" without hidden layers: the exact optima of scikit-learn's GLMs.

scikit-learn brings its own optimizers, one per model. Objectives are computed by the
slow twins in naive.py, so that neither library judges itself.
"""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import brentq
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LogisticRegression,
    MultiTaskLasso,
    PoissonRegressor,
    Ridge,
)
from sklearn.utils.fixes import parse_version

from skreg import RegMLPClassifier, RegMLPRegressor
from skreg.penalties import MCP, SCAD, GroupLasso, SparseGroupLasso
from tests import naive

N, P, K = 120, 8, 3
L1_RATIO = 0.6
EXACT = {"tol": 1e-14, "max_iter": 10**6}
MAX_ITER = 2000


def design():
    """Correlated, uncentered inputs of unequal scale, a third of them zeros."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, P)) @ (np.eye(P) + 0.2) * np.linspace(0.5, 2, P) + 0.3
    return np.where(rng.uniform(size=X.shape) < 1 / 3, 0.0, X)


def targets(kind):
    """Targets of which the second half of the inputs knows nothing."""
    rng = np.random.RandomState(1)
    W = rng.normal(size=(P, K)) * (np.arange(P) < P // 2)[:, None]
    F = design() @ W
    f = F[:, 0]
    return {
        "squared_error": lambda: f + 1 + 0.3 * rng.normal(size=N),
        "several": lambda: F + np.array([-2, 0, 5]) + 0.3 * rng.normal(size=F.shape),
        "binary": lambda: (f + rng.logistic(size=N) > 0.3).astype(int),
        "multiclass": lambda: (F + rng.gumbel(size=F.shape)).argmax(axis=1),
        "poisson": lambda: rng.poisson(np.exp(f / 2)),
        "gamma": lambda: rng.gamma(2.0, np.exp(f / 2) / 2),
    }[kind]()


WEIGHTS = np.random.RandomState(2).randint(0, 4, N).astype(float)


def logistic(lam, l1_ratio, s):
    penalty = (
        {}
        if parse_version(sklearn.__version__) >= parse_version("1.8")
        else {"penalty": "elasticnet"}
    )
    return LogisticRegression(
        C=1 / (s.sum() * lam),
        l1_ratio=l1_ratio,
        solver="saga",
        tol=1e-14,
        max_iter=10**5,
        random_state=0,
        **penalty,
    )


class RepeatedRows:
    """A model without sample_weight, fitted to as many copies of each row."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y, sample_weight):
        copies = np.repeat(np.arange(len(X)), sample_weight.astype(int))
        return self.model.fit(X[copies], y[copies])


GROUPS = GroupLasso(weighted=False)

# kind of target, penalty of ours, lambda, their model
MODELS = {
    "Lasso": (
        "squared_error",
        "l1",
        0.3,
        lambda lam, s: Lasso(alpha=lam, **EXACT),
    ),
    "ElasticNet": (
        "squared_error",
        "elasticnet",
        0.3,
        lambda lam, s: ElasticNet(alpha=lam, l1_ratio=L1_RATIO, **EXACT),
    ),
    "Ridge": (
        "squared_error",
        "l2",
        0.3,
        lambda lam, s: Ridge(alpha=lam * s.sum(), solver="cholesky"),
    ),
    "Ridge of several targets": (
        "several",
        "l2",
        0.3,
        lambda lam, s: Ridge(alpha=lam * s.sum(), solver="cholesky"),
    ),
    "MultiTaskLasso": (
        "several",
        GROUPS,
        0.5,
        lambda lam, s: RepeatedRows(MultiTaskLasso(alpha=lam, **EXACT)),
    ),
    "PoissonRegressor": (
        "poisson",
        "l2",
        0.05,
        lambda lam, s: PoissonRegressor(
            alpha=lam, solver="newton-cholesky", tol=1e-10, max_iter=100
        ),
    ),
    "GammaRegressor": (
        "gamma",
        "l2",
        0.05,
        lambda lam, s: GammaRegressor(
            alpha=lam, solver="newton-cholesky", tol=1e-10, max_iter=100
        ),
    ),
} | {
    f"LogisticRegression {kind} {penalty}": (
        kind,
        penalty,
        0.05,
        lambda lam, s, ratio=ratio: logistic(lam, ratio, s),
    )
    for kind in ("binary", "multiclass")
    for penalty, ratio in {"l1": 1.0, "l2": 0.0, "elasticnet": L1_RATIO}.items()
}


def estimator(kind, penalty, reg_lambda, **params):
    params = {
        "penalty": penalty,
        "reg_lambda": reg_lambda,
        "l1_ratio": L1_RATIO,
        "solver": "lbfgs",
        "tol": 1e-9,
        "max_iter": MAX_ITER,
        "random_state": 0,
    } | params
    if kind in ("binary", "multiclass"):
        return RegMLPClassifier((), **params)
    loss = "squared_error" if kind == "several" else kind
    return RegMLPRegressor((), loss=loss, **params)


def penalty_value(W, penalty, lam):
    if penalty == GROUPS:
        return lam * np.linalg.norm(W, axis=1).sum()
    l1, l2 = naive.strengths(penalty, lam, L1_RATIO)
    return l1 * np.abs(W).sum() + l2 / 2 * np.square(W).sum()


def objective(W, b, X, y, s, kind, penalty, lam):
    loss = "squared_error" if kind == "several" else kind
    data, _ = naive.loss_and_gradient(
        [W, b],
        X,
        y.reshape(N, -1),
        s / s.sum(),
        activation="identity",
        loss=loss,
    )
    return data + penalty_value(W, penalty, lam)


@pytest.mark.parametrize("as_matrix", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_optimum_is_that_of_scikit_learn(name, weighted, as_matrix):
    kind, penalty, lam, oracle = MODELS[name]
    X, y = design(), targets(kind)
    s = WEIGHTS if weighted else np.ones(N)
    theirs = oracle(lam, s).fit(X, y, sample_weight=s)
    ours = estimator(kind, penalty, lam)
    ours.fit(as_matrix(X), y, s if weighted else None)

    W, b = np.atleast_2d(theirs.coef_).T, np.ravel(theirs.intercept_)
    problem = (X, y, s, kind, penalty, lam)
    best = objective(W, b, *problem)
    reached = objective(ours.coefs_[0], ours.intercepts_[0], *problem)
    assert abs(reached - best) <= 1e-10 * best
    assert_allclose(ours.loss_, reached, rtol=1e-12)
    assert_allclose(ours.coefs_[0], W, rtol=0, atol=1e-6)
    assert_array_equal(ours.coefs_[0] == 0, W == 0)
    assert np.any(W == 0) == (penalty != "l2")
    # The intercepts of a multinomial model are unique up to a constant.
    shift = (ours.intercepts_[0] - b).mean() if kind == "multiclass" else 0.0
    assert_allclose(ours.intercepts_[0] - shift, b, rtol=0, atol=1e-6)
    assert ours.optimality_ <= 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_weights_have_the_shapes_of_scikit_learn_as_well(name):
    kind, penalty, lam, oracle = MODELS[name]
    X, y, s = design(), targets(kind), np.ones(N)
    theirs = oracle(lam, s).fit(X, y, sample_weight=s)
    ours = estimator(kind, penalty, lam).fit(X, y)
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)
    assert_array_equal(np.atleast_2d(ours.coef_).T, ours.coefs_[0])
    small = ours.compact()
    assert_array_equal(small.coef_, ours.coef_)
    assert_array_equal(small.intercept_, ours.intercept_)
    network = ours.set_params(hidden_layer_sizes=2, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        network.fit(X, y)
    with pytest.raises(AttributeError, match=r"coef_ .* only with hidden_layer_sizes="):
        _ = network.coef_


@pytest.mark.parametrize("name", MODELS)
def test_the_start_does_not_matter(name):
    kind, penalty, lam, _ = MODELS[name]
    X, y = design(), targets(kind)
    fits = [
        estimator(kind, penalty, lam, random_state=seed, tol=1e-12).fit(X, y)
        for seed in (1, 2)
    ]
    assert_allclose(fits[0].loss_, fits[1].loss_, rtol=1e-12)
    assert_allclose(fits[0].coefs_[0], fits[1].coefs_[0], rtol=0, atol=1e-6)
    assert_array_equal(fits[0].coefs_[0] == 0, fits[1].coefs_[0] == 0)


def test_more_inputs_than_samples():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 300))
    y = X[:, :5] @ rng.normal(size=5) + 0.1 * rng.normal(size=60)
    theirs = Lasso(alpha=0.1, **EXACT).fit(X, y)
    ours = estimator("squared_error", "l1", 0.1).fit(X, y)
    assert_allclose(ours.coefs_[0][:, 0], theirs.coef_, rtol=0, atol=1e-6)
    assert_array_equal(ours.coefs_[0][:, 0] == 0, theirs.coef_ == 0)
    assert ours.optimality_ <= 1e-9


@pytest.mark.parametrize("rho", [0.9, 0.99])
@pytest.mark.parametrize("name", ["Lasso", "ElasticNet", "Ridge", "MultiTaskLasso"])
def test_correlated_inputs_of_unequal_scale(name, rho):
    """Condition numbers of X'X up to 1e7."""
    kind, penalty, _, oracle = MODELS[name]
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, 20))
    for j in range(1, 20):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    X *= rng.permutation(np.logspace(-1, 1, 20))
    y = X[:, :K] @ rng.normal(size=(K, K)) + 0.3 * rng.normal(size=(N, K))
    y = y if kind == "several" else y[:, 0]
    s, lam = np.ones(N), 0.02
    theirs = oracle(lam, s).fit(X, y, sample_weight=s)
    ours = estimator(kind, penalty, lam).fit(X, y)
    W, b = np.atleast_2d(theirs.coef_).T, np.ravel(theirs.intercept_)
    best = objective(W, b, X, y, s, kind, penalty, lam)
    assert abs(ours.loss_ - best) <= 1e-10 * best
    assert_allclose(ours.coefs_[0], W, rtol=0, atol=1e-5)
    assert_array_equal(ours.coefs_[0] == 0, W == 0)
    assert 1e3 < np.linalg.cond(X.T @ X) < 1e8


@pytest.mark.parametrize("penalty", [MCP(saturation=0.1), SCAD(saturation=0.1)])
def test_large_weights_are_not_shrunk_by_folded_concave_penalties(penalty):
    """Least squares on the inputs whose weights lie beyond the saturation point."""
    X, y = design(), targets("squared_error")
    model = estimator("squared_error", penalty, 0.1).fit(X, y)
    w = model.coefs_[0][:, 0]
    chosen = np.abs(w) > 0.1
    assert_array_equal(chosen, w != 0)
    assert 0 < chosen.sum() < P
    columns = np.c_[X[:, chosen], np.ones(N)]
    expected = np.linalg.lstsq(columns, y)[0]
    assert_allclose([*w[chosen], model.intercepts_[0][0]], expected, atol=1e-6)


@pytest.mark.parametrize("loss", ["absolute_error", "quantile"])
@pytest.mark.parametrize("hidden", [(), (5,)])
def test_a_loss_with_a_kink_is_refused_with_alternatives(loss, hidden):
    model = RegMLPRegressor(hidden, loss=loss, solver="lbfgs")
    with pytest.raises(ValueError, match=f"loss='{loss}'.*solver='adam'.*'huber'"):
        model.fit(design(), targets("squared_error"))


# The smallest lambda at which all weights are zero -----------------------------------


def at_intercept_only(X, y, s, kind):
    """Gradient with respect to W at W = 0 and the best intercepts, which are known."""
    if kind == "multiclass":
        y = (y[:, None] == np.arange(K)).astype(float)
    y = y.reshape(N, -1)
    mean = np.average(y, axis=0, weights=s)
    # All links but Gamma's are canonical: the derivative of the loss is mean - y.
    delta = 1 - y / mean if kind == "gamma" else mean - y
    return X.T @ (s[:, None] * delta) / s.sum()


def sparse_group_root(G, r):
    c = (1 - r) * np.sqrt(G.shape[1])

    def excess(lam, g):
        return np.linalg.norm(naive.soft_threshold(g, r * lam)) - c * lam

    top = np.abs(G).max() / r
    return max(brentq(excess, 0, top, args=(g,), xtol=1e-16, rtol=1e-15) for g in G)


# Penalty, and lambda_max by formula.
NONSMOOTH = {
    "l1": ("l1", lambda G: np.abs(G).max()),
    "elasticnet": ("elasticnet", lambda G: np.abs(G).max() / L1_RATIO),
    "group_lasso": (
        "group_lasso",
        lambda G: np.linalg.norm(G, axis=1).max() / np.sqrt(G.shape[1]),
    ),
    "unweighted groups": (GROUPS, lambda G: np.linalg.norm(G, axis=1).max()),
    "units": (
        GroupLasso(by="units"),
        lambda G: np.linalg.norm(G, axis=0).max() / np.sqrt(G.shape[0]),
    ),
    "sparse_group_lasso": (
        SparseGroupLasso(L1_RATIO),
        lambda G: sparse_group_root(G, L1_RATIO),
    ),
    # So wide that J is convex: else 0 is a minimum, but perhaps not the one found.
    "mcp": (MCP(saturation=100.0), lambda G: np.abs(G).max()),
    "scad": (SCAD(saturation=100.0), lambda G: np.abs(G).max()),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "kind", ["squared_error", "several", "binary", "multiclass", "poisson", "gamma"]
)
@pytest.mark.parametrize("name", NONSMOOTH)
@pytest.mark.filterwarnings("ignore:The network predicts a constant")
def test_lambda_max_is_where_the_last_weight_vanishes(name, kind, weighted):
    X, y = design(), targets(kind)
    s = WEIGHTS if weighted else np.ones(N)
    penalty, formula = NONSMOOTH[name]
    lam = formula(at_intercept_only(X, y, s, kind))
    # At lambda_max itself, zero is optimal, but so are weights of the size of tol.
    some, null = (
        estimator(kind, penalty, lam * factor, warm_start=True).fit(X, y, s)
        for factor in (0.99, 1 + 1e-6)
    )
    assert some.coefs_[0].any()
    assert not null.coefs_[0].any()
    assert max(null.optimality_, some.optimality_) <= 1e-9
    null.set_params(reg_lambda=lam, tol=1e-8).fit(X, y, s)
    assert not null.coefs_[0].any()

    classes = kind in ("binary", "multiclass")
    predicted = null.predict_proba(X) if classes else null.predict(X)
    seen = y[:, None] == np.unique(y) if classes else y
    mean = np.average(seen, axis=0, weights=s)
    assert_allclose(predicted, np.broadcast_to(mean, seen.shape), rtol=1e-6)
