"""What sparse penalties are for: fewer inputs, fewer units, the same accuracy."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import scale

from skreg import RegMLPClassifier, RegMLPRegressor
from skreg._network import Network
from skreg._validation import equivalent_lambda
from skreg.losses import regression_loss
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
from tests.cases import make_problem

# Runs of a fixed number of epochs end at max_iter, here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SPARSE = [
    L1(),
    ElasticNet(),
    GroupLasso(),
    GroupLasso(by="units"),
    GroupLasso(weighted=False),
    SparseGroupLasso(),
    MCP(),
    MCP(saturation=2.0),
    SCAD(),
    SCAD(saturation=2.0),
]
SOLVERS = {
    "sgd": {"learning_rate_init": 0.05},
    "rmsprop": {"learning_rate_init": 0.01},
    "adam": {"learning_rate_init": 0.01},
    "lbfgs": {},
}


class Nonnegative(Penalty):
    """Weights that must not be negative."""

    is_convex = is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        return 0.0 if np.all(W >= 0) else np.inf

    def prox(self, W, step, lam=1.0):
        return np.maximum(W, 0)


class L0(Penalty):
    """lambda times the number of weights that are not 0: a hard threshold."""

    is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        return float(lam * np.count_nonzero(W))

    def prox(self, W, step, lam=1.0):
        return np.where(np.square(W) > 2 * step * lam, W, 0)


def each(table, name):
    ids = [" ".join(repr(row).split()) for row in table]
    return pytest.mark.parametrize(name, list(table), ids=ids)


def small(estimator=RegMLPClassifier, solver="adam", **params):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 20, "batch_size": 20}
    settings |= {"random_state": 0, "activation": "tanh", **SOLVERS[solver]}
    return estimator(solver=solver, **(settings | params))


# Accuracy ----------------------------------------------------------------------------


def test_sparse_digits_are_as_accurate():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16, y, test_size=0.5, stratify=y, random_state=0
    )
    dense = RegMLPClassifier(
        (256, 128),
        reg_lambda=1e-4,
        learning_rate_init=0.01,
        learning_rate="cosine",
        batch_size=50,
        max_iter=30,
        n_iter_no_change=np.inf,
        random_state=0,
    ).fit(X_train, y_train)
    sparse = RegMLPClassifier(**dense.get_params())
    sparse.set_params(penalty="sparse_group_lasso", reg_lambda=2e-4)
    sparse.fit(X_train, y_train)
    assert dense.score(X_test, y_test) > 0.96
    assert sparse.score(X_test, y_test) >= dense.score(X_test, y_test) - 0.01

    compact = sparse.compact()
    n_inputs, *n_units = (len(W) for W in compact.coefs_)
    assert dense.selected_features_.all()
    assert n_inputs == sparse.selected_features_.sum() < 50
    assert n_units[0] < 150 and n_units[1] < 100
    assert compact.hidden_layer_sizes == tuple(n_units)
    assert_array_equal([len(W) for W in dense.compact().coefs_], [64, 256, 128])
    assert sum(W.size for W in compact.coefs_) < sum(W.size for W in dense.coefs_) / 2
    assert_allclose(
        compact.predict_proba(X_test), sparse.predict_proba(X_test), rtol=0, atol=1e-12
    )


def test_few_inputs_among_noise():
    """Clusters on a hypercube, like madelon: 5 of 100 inputs tell the class."""
    X, y = make_classification(
        900,
        100,
        n_informative=5,
        n_redundant=0,
        n_clusters_per_class=8,
        class_sep=2.0,
        flip_y=0.01,
        shuffle=False,
        random_state=0,
    )
    X_train, X_test, y_train, y_test = train_test_split(
        scale(X), y, test_size=300, random_state=0
    )
    network = RegMLPClassifier(
        (32,),
        penalty="group_lasso",
        learning_rate_init=0.005,
        batch_size=50,
        max_iter=20,
        n_iter_no_change=np.inf,
        warm_start=True,
        random_state=0,
    )
    for lam in np.geomspace(0.002, 0.04, 16):  # from dense to sparse
        network.set_params(reg_lambda=lam).fit(X_train, y_train)
        if network.selected_features_.sum() <= 8:
            break
    free = RegMLPClassifier(**network.get_params())
    free.set_params(penalty=None, max_iter=100, warm_start=False)
    free.fit(X_train, y_train)
    assert free.selected_features_.all()

    used = network.selected_features_
    assert used.sum() <= 8 and used[:5].all()
    assert network.score(X_test, y_test) >= free.score(X_test, y_test)
    refit = network.refit_on_support(X_train, y_train, max_iter=100)
    assert refit.score(X_test, y_test) > free.score(X_test, y_test) + 0.1


# Limits ------------------------------------------------------------------------------


@each(SOLVERS, "solver")
@each(SPARSE, "penalty")
def test_huge_lambda_gives_the_intercept_only_model(penalty, solver, multiclass):
    X, y = multiclass
    rows = np.r_[np.flatnonzero(y != 2), np.flatnonzero(y == 2)[12:]]
    X, y = X[rows], y[rows]
    rate = {} if solver == "lbfgs" else {"learning_rate": "cosine"}
    model = small(solver=solver, penalty=penalty, reg_lambda=1e3, max_iter=300, **rate)
    model.set_params(batch_size=len(X), n_iter_no_change=np.inf, tol=1e-8).fit(X, y)
    assert not any(W.any() for W in model.coefs_)
    assert not model.selected_features_.any()
    prior = np.bincount(y)[[2, 5, 7]] / len(y)
    proba = model.predict_proba(X)
    assert np.ptp(proba, axis=0).max() == 0
    atol = 1e-5 if solver == "lbfgs" else 0.02
    assert_allclose(proba[0], prior, rtol=0, atol=atol)


@each(SOLVERS, "solver")
@each([L2(), *SPARSE, Nonnegative(), L0()], "penalty")
def test_zero_lambda_is_the_identity(penalty, solver, regression):
    X, y = regression
    model = small(RegMLPRegressor, solver, penalty=penalty, reg_lambda=0.0).fit(X, y)
    free = small(RegMLPRegressor, solver, penalty=None).fit(X, y)
    assert_allclose(model.predict(X), free.predict(X), rtol=0, atol=1e-12)
    assert model.penalty_curve_[-1] == 0


@each(SOLVERS, "solver")
@pytest.mark.parametrize("layer", [0, 1, 2])
@each([L1(), GroupLasso(), SparseGroupLasso(), MCP(saturation=2.0)], "penalty")
def test_penalties_act_on_their_layer_only(penalty, layer, solver, regression):
    X, y = regression
    penalties = [None, None, None]
    penalties[layer] = penalty
    model = small(RegMLPRegressor, solver, hidden_layer_sizes=(6, 5), reg_lambda=100.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the other layers are free
        model.set_params(penalty=penalties).fit(X, y)
    zero = [not W.any() for W in model.coefs_]
    assert_array_equal(zero, np.arange(3) == layer)
    assert_array_equal(model.sparsity_ == 1, np.arange(3) == layer)


@each(SOLVERS, "solver")
def test_lambdas_act_on_their_layer_only(solver, regression):
    X, y = regression
    model = small(RegMLPRegressor, solver, penalty="l1", reg_lambda=[0.0, 100.0])
    model.fit(X, y)
    assert model.coefs_[0].all() and not model.coefs_[1].any()


# Penalty objects in estimators -------------------------------------------------------


@pytest.mark.parametrize(
    "penalty, parameter, values",
    [
        (SparseGroupLasso(), "l1_ratio", [0.0, 0.5, 1.0]),
        (ElasticNet(), "l1_ratio", [0.1, 0.9]),
        (MCP(), "gamma", [1.5, 30.0]),
        (MCP(saturation=1.0), "saturation", [0.1, 1.0]),
    ],
    ids=repr,
)
def test_grid_search_over_parameters_of_a_penalty(
    penalty, parameter, values, multiclass
):
    X, y = multiclass
    model = small(penalty=penalty, reg_lambda=0.02, max_iter=10)
    grid = {f"penalty__{parameter}": values}
    search = GridSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    best = search.best_estimator_.penalty
    assert getattr(best, parameter) == search.best_params_[f"penalty__{parameter}"]
    assert len(set(search.cv_results_["mean_test_score"])) == len(values)
    assert model.penalty is penalty  # the search works on clones


@each(SOLVERS, "solver")
def test_custom_nonnegativity(solver, regression):
    X, y = regression
    model = small(RegMLPRegressor, solver, penalty=Nonnegative(), max_iter=100)
    model.fit(X, y)
    assert all((W >= 0).all() for W in model.coefs_)
    rising = model.predict(X + 0.1 * np.eye(4)[1]) >= model.predict(X)
    assert rising.all()
    assert model.score(X, y) > 0.3


def test_custom_nonnegativity_is_a_constrained_least_squares_fit(regression):
    from scipy.optimize import lsq_linear

    X, y = regression
    y = y - 2 * X[:, 1]
    model = RegMLPRegressor(
        (), penalty=Nonnegative(), solver="lbfgs", tol=1e-10, max_iter=1000
    ).fit(X, y)
    bounds = ([0] * 4 + [-np.inf], [np.inf] * 5)
    reference = lsq_linear(np.c_[X, np.ones(len(X))], y, bounds, tol=1e-14).x
    assert_allclose(model.coefs_[0].ravel(), reference[:4], rtol=0, atol=1e-7)
    assert (reference[:4] < 1e-10).any()


@each(SOLVERS, "solver")
def test_custom_hard_threshold(solver, regression):
    X, y = regression
    model = small(RegMLPRegressor, solver, penalty=L0(), reg_lambda=5e-3, max_iter=200)
    model.fit(X, y)
    n_nonzero = sum(map(np.count_nonzero, model.coefs_))
    assert 0 < n_nonzero < 30  # of 30
    assert model.score(X, y) > 0.8
    if solver == "lbfgs":
        assert_allclose(model.penalty_curve_[-1], 5e-3 * n_nonzero, rtol=1e-12)


# Input groups alone ------------------------------------------------------------------


@each(["group_lasso", GroupLasso(), SparseGroupLasso()], "penalty")
@each([{"reg_lambda": 0.01}, {"reg_lambda": [0.01, 0.0]}], "params")
def test_input_groups_with_free_later_layers_warn(penalty, params, regression):
    model = small(RegMLPRegressor, **params)
    free = isinstance(params["reg_lambda"], float)
    model.set_params(penalty=[penalty, None] if free else penalty)
    with pytest.warns(UserWarning, match="layer"):
        model.fit(*regression)


@each([["group_lasso", "l2"], "group_lasso", GroupLasso(by="units")], "penalty")
def test_input_groups_with_penalized_later_layers_do_not_warn(penalty, regression):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        small(RegMLPRegressor, penalty=penalty, reg_lambda=0.01).fit(*regression)


# Layers that can be rescaled ---------------------------------------------------------


def problem_of(activation, penalties, penalize_intercepts=False):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    network = Network((4, 5, 3, 2), activation)
    loss = regression_loss("squared_error")
    return make_problem(X, y, None, network, loss, penalties, penalize_intercepts)


RESCALED = [
    (L1(), L1(), L1()),
    (L2(), L2(), L2()),
    (GroupLasso(), L1(), L2([1.0, 0.0, 2.0])),
    (SparseGroupLasso(), ElasticNet(0), ElasticNet(1)),
]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "identity"])
@each(RESCALED, "penalties")
def test_one_lambda_is_as_good_as_one_per_layer(activation, penalties):
    problem, lam = problem_of(activation, penalties), np.array([0.3, 0.002, 0.05])
    network, single = problem.network, equivalent_lambda(problem, lam)
    theta = np.random.default_rng(1).normal(size=network.n_parameters)
    factors = (single / lam) ** (1 / np.array([p.degree for p in penalties]))
    assert_allclose(np.prod(factors), 1, rtol=1e-12)
    coefs = [c * W for c, W in zip(factors, network.coefs(theta))]
    above = np.cumprod(factors)
    intercepts = [c * b for c, b in zip(above, network.intercepts(theta))]
    rescaled = network.pack(coefs, intercepts, np.float64)
    assert_allclose(problem.data_value(rescaled), problem.data_value(theta), rtol=1e-12)
    assert_allclose(
        problem.penalty_value(rescaled, lam),
        problem.penalty_value(theta, np.full(3, single)),
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    "activation, penalties, free, lam",
    [
        ("tanh", RESCALED[0], True, [0.3, 0.002, 0.05]),
        ("relu", RESCALED[0], False, [0.3, 0.002, 0.05]),
        ("relu", (L1(), None, L1()), True, [0.3, 0.002, 0.05]),
        ("relu", (L1(), ElasticNet(), L1()), True, [0.3, 0.002, 0.05]),
        ("relu", (L1(), MCP(), L1()), True, [0.3, 0.002, 0.05]),
        ("relu", (L1(), Nonnegative(), L1()), True, [0.3, 0.002, 0.05]),
        ("relu", RESCALED[0], True, [0.3, 0.0, 0.05]),
    ],
)
def test_other_layers_are_not_alike(activation, penalties, free, lam):
    problem = problem_of(activation, penalties, not free)
    assert equivalent_lambda(problem, np.array(lam)) is None


def test_linear_networks_with_one_lambda_or_several_predict_the_same(regression):
    X, y = regression
    params = {"activation": "identity", "solver": "lbfgs", "tol": 1e-9}
    model = small(RegMLPRegressor, penalty=["l2", "l2"], **params)
    model.set_params(max_iter=5000, reg_lambda=[0.2, 0.05])
    with pytest.warns(UserWarning, match=r"same minima as reg_lambda=0\.1 for every"):
        several = model.fit(X, y).predict(X)
    one = model.set_params(reg_lambda=0.1).fit(X, y).predict(X)
    assert_allclose(one, several, rtol=0, atol=1e-5)
    assert np.abs(one - one.mean()).max() > 0.1


@each(
    [
        {"activation": "tanh"},
        {"reg_lambda": [0.01, 0.01]},
        {"decay_mode": "decoupled"},
        {"penalize_intercepts": True},
        {"penalty": "elasticnet"},
    ],
    "params",
)
def test_lambdas_that_differ_for_a_reason_do_not_warn(params, regression):
    params = {"activation": "relu", "reg_lambda": [0.1, 0.01]} | params
    small(RegMLPRegressor, **params).fit(*regression)  # warnings are errors
