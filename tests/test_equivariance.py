"""Results do not depend on the units of X and y: exact solver, paths and searches.

Metamorphic: X or y are scaled, shifted or repeated, lambda is converted as the
objective demands, and predictions stay. No expected value comes from the library
itself, except for the fit in the first units; where convex, that one is compared with
scikit-learn on standardized data.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes, make_friedman1, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg.penalties import L1, L2, GroupLasso

N = 60
LOSSES = ["squared_error", "huber", "poisson", "gamma", "binary", "multiclass"]
DEGREES = {None: 0, "l1": 1, "group_lasso": 1, "l2": 2}
HIDDEN = [(), (4,), (4, 3)]
# What remains of rounding where no minimum is approached to more than this.
TIGHT = {"rtol": 1e-6, "atol": 1e-6}


def data(loss="squared_error", seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(N, 4))
    raw = X[:, 0] - 0.5 * X[:, 1] ** 2 + 0.3 * rng.normal(size=N)
    y = {
        "poisson": lambda: rng.poisson(np.exp(raw / 2)).astype(float),
        "gamma": lambda: np.exp(raw / 2),
        "binary": lambda: (raw > 0).astype(int),
        "multiclass": lambda: np.digitize(raw, [-0.7, 0.4]),
    }.get(loss, lambda: raw)()
    return X, y


def network(loss="squared_error", hidden=(4,), lam=0.01, **params):
    settings = {
        "activation": "tanh",
        "solver": "lbfgs",
        "tol": 1e-8,
        "max_iter": 5000,
        "max_fun": 50_000,
        "random_state": 0,
        "reg_lambda": lam,
    } | params
    if loss in ("binary", "multiclass"):
        return RegMLPClassifier(hidden, **settings)
    return RegMLPRegressor(hidden, loss=loss, **settings)


def raw(model, X):
    """Predictions before the output activation."""
    if isinstance(model, RegMLPClassifier):
        return model.decision_function(X)
    prediction = model.predict(X)
    return np.log(prediction) if model.loss in ("poisson", "gamma") else prediction


def per_layer(hidden, first=1.0, last=1.0, every=1.0, lam=0.01):
    """lambda of each layer, with factors for the first, the last and all of them."""
    lam = np.full(len(hidden) + 1, lam * every)
    lam[0] *= first
    lam[-1] *= last
    return tuple(lam)


@pytest.fixture(autouse=True)
def quiet():
    """Fits without a penalty may grow for ever; what they predict is judged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def supports(model):
    """Non-zero weights, or rows: in a row a weight may vanish by rounding alone."""
    alive = [W != 0 for W in model.coefs_]
    groups = "group" in str(model.penalty).lower()
    return [W.any(axis=1) for W in alive] if groups else alive


def assert_same(model, other, X, other_X, change=lambda f: f, support=True):
    expected = raw(model, X)
    assert_allclose(change(raw(other, other_X)), expected, **TIGHT)
    if support:
        for one, another in zip(supports(model), supports(other)):
            assert_array_equal(one, another)


# Single fits: networks whose activation is smooth -------------------------------------


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize("loss", LOSSES)
class TestEveryLoss:
    def test_scaled_inputs(self, loss, penalty, hidden):
        X, y = data(loss)
        model = network(loss, hidden, penalty=penalty).fit(X, y)
        for c in (1e-6, 1e5):
            lam = per_layer(hidden, first=c ** DEGREES[penalty])
            other = network(loss, hidden, lam, penalty=penalty).fit(c * X, y)
            assert_same(model, other, X, c * X)

    def test_shifted_inputs(self, loss, penalty, hidden):
        X, y = data(loss)
        model = network(loss, hidden, penalty=penalty).fit(X, y)
        shift = np.array([100.0, -10.0, 0.0, 1.0])
        other = network(loss, hidden, penalty=penalty).fit(X + shift, y)
        assert_same(model, other, X, X + shift)

    def test_repeated_rows_and_scaled_weights(self, loss, penalty, hidden):
        X, y = data(loss)
        s = np.random.RandomState(1).randint(1, 3, N)
        model = network(loss, hidden, penalty=penalty)
        model.fit(np.repeat(X, s, axis=0), np.repeat(y, s))
        other = network(loss, hidden, penalty=penalty).fit(X, y, 1e6 * s)
        assert_same(model, other, X, X)


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
def test_scaled_targets_of_squared_error(penalty, hidden):
    X, y = data()
    model = network(hidden=hidden, penalty=penalty).fit(X, y)
    for c in (1e-6, 1e5):
        lam = per_layer(hidden, last=c ** -DEGREES[penalty], every=c**2)
        other = network(hidden=hidden, lam=lam, penalty=penalty).fit(X, c * y)
        assert_same(model, other, X, X, lambda f, c=c: f / c)


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_scaled_targets_shift_the_log(loss, penalty, hidden):
    X, y = data(loss)
    model = network(loss, hidden, penalty=penalty).fit(X, y)
    for c in (1e-3, 1e3):
        lam = 0.01 * (c if loss == "poisson" else 1)
        other = network(loss, hidden, lam, penalty=penalty).fit(X, c * y)
        assert_same(model, other, X, X, lambda f, c=c: f - np.log(c))


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_shifted_targets(loss, penalty, hidden):
    X, y = data(loss)
    model = network(loss, hidden, penalty=penalty).fit(X, y)
    for shift in (-10.0, 1e3):
        other = network(loss, hidden, penalty=penalty).fit(X, y + shift)
        assert_same(model, other, X, X, lambda f, a=shift: f - a)


COLUMNS = np.array([1e-9, 1e-3, 1e4, 1e9])


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("penalty", [L1, L2, GroupLasso])
@pytest.mark.parametrize("loss", ["squared_error", "binary", "poisson"])
def test_single_columns_in_units_of_their_own(loss, penalty, hidden):
    """Factors of the rows of W_1 make this a symmetry of the objective."""
    X, y = data(loss)
    others = [penalty()] * len(hidden)
    model = network(loss, hidden, penalty=[penalty(), *others]).fit(X, y)
    factors = [penalty(factors=COLUMNS.tolist()), *others]
    other = network(loss, hidden, penalty=factors).fit(X * COLUMNS, y)
    assert_same(model, other, X, X * COLUMNS)


@pytest.mark.parametrize("loss", ["squared_error", "binary"])
def test_single_columns_without_a_penalty(loss):
    X, y = data(loss)
    y = y if loss == "squared_error" else np.random.RandomState(5).permutation(y)
    model = network(loss, (), penalty=None).fit(X, y)
    other = network(loss, (), penalty=None).fit(X * COLUMNS, y)
    assert_same(model, other, X, X * COLUMNS)


@pytest.mark.filterwarnings("ignore:reg_lambda=.*one number")
@pytest.mark.parametrize("penalty", ["l1", "group_lasso", "l2"])
@pytest.mark.parametrize("n_hidden", [1, 2])
def test_relu_networks_start_from_the_same_function(penalty, n_hidden):
    """A few iterations: later, rounding decides on which side of a kink a row lies."""
    X, y = data()
    hidden, L, q = (4,) * n_hidden, n_hidden + 1, DEGREES[penalty]
    short = {"activation": "relu", "penalty": penalty, "max_iter": 5}
    model = network(hidden=hidden, **short).fit(X, y)
    for c in (1e-6, 1e5):
        # One lambda for all layers: f is homogeneous of degree L in the weights.
        lam = 0.01 * c ** (q / L)
        other = network(hidden=hidden, lam=lam, **short).fit(c * X, y)
        assert_same(model, other, X, c * X)
        # Or as the first layer alone would have it.
        lam = per_layer(hidden, first=c**q)
        other = network(hidden=hidden, lam=lam, **short).fit(c * X, y)
        assert_same(model, other, X, c * X)
        lam = 0.01 * c ** (2 - q / L)
        other = network(hidden=hidden, lam=lam, **short).fit(X, c * y)
        assert_same(model, other, X, X, lambda f, c=c: f / c)


# Against scikit-learn on standardized data --------------------------------------------

GLM = {
    "squared_error": lambda lam: Ridge(alpha=lam * N, tol=1e-12),
    "poisson": lambda lam: PoissonRegressor(alpha=lam, tol=1e-10, max_iter=10_000),
    "gamma": lambda lam: GammaRegressor(alpha=lam, tol=1e-10, max_iter=10_000),
    "binary": lambda lam: LogisticRegression(
        C=1 / (lam * N), tol=1e-10, max_iter=10_000
    ),
}


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("units", [np.ones(4), COLUMNS], ids=["ones", "columns"])
@pytest.mark.parametrize("loss", GLM)
def test_generalized_linear_models_in_any_unit(loss, units, shift):
    X, y = data(loss)
    expected = GLM[loss](0.01).fit(X, y)
    Z = (X + shift) * units
    penalty = L2(factors=units.tolist())
    model = network(loss, (), penalty=penalty).fit(Z, y)
    predict = "predict_proba" if loss == "binary" else "predict"
    assert_allclose(
        getattr(model, predict)(Z), getattr(expected, predict)(X), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("penalty", [None, "l1", "l2", "group_lasso"])
def test_unpenalized_least_squares_in_small_units(penalty):
    rng = np.random.RandomState(0)
    X = 1e-6 * rng.randn(200, 6)
    y = X[:, 0] - 0.5 * X[:, 1] + 0.5e-6 * rng.randn(200)
    lam = 0.0 if penalty is None else 1e-30
    model = network(hidden=(), lam=lam, penalty=penalty).fit(X, y)
    assert_allclose(
        model.score(X, y), LinearRegression().fit(X, y).score(X, y), rtol=1e-6
    )


@pytest.mark.parametrize("loss", ["squared_error", "huber", "binary"])
@pytest.mark.parametrize("size", [1e3, 1e6, 2e6, 1e9])
def test_the_intercept_of_large_centered_inputs_is_fitted(size, loss):
    rng = np.random.RandomState(0)
    Z = rng.randn(200, 4)
    Z -= Z.mean(axis=0)
    f = Z @ [1.0, 2, 0, 0] + 0.1 * rng.randn(200)
    y = 5 + f if loss != "binary" else (f > -1).astype(int)
    lam = 1e-3 * size**2
    model = network(loss, (), lam, penalty="l2").fit(size * Z, y)
    expected = network(loss, (), 1e-3, penalty="l2").fit(Z, y)
    assert_allclose(model.intercepts_[0], expected.intercepts_[0], rtol=1e-6)


@pytest.mark.parametrize("hidden", [(), (5,)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_huge_column_is_no_worse_than_scaled(hidden, activation):
    rng = np.random.RandomState(0)
    Z = rng.randn(300, 4)
    X = np.c_[np.exp(2 * Z[:, 0] + 18), Z[:, 1:]]
    y = (Z @ [1.0, 2, 0, 0] + rng.logistic(size=300) > 0).astype(int)
    settings = {"activation": activation, "lam": 1e-4, "penalty": "l2"}
    model = network("binary", hidden, **settings).fit(X, y)
    Z[:, 0] = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    scaled = network("binary", hidden, **settings).fit(Z, y)
    assert model.score(X, y) >= scaled.score(Z, y) - 0.03
    shares = np.bincount(y) / len(y)
    assert model.loss_ < -np.sum(shares * np.log(shares))


@pytest.mark.parametrize("hidden", [(), (10,)], ids=str)
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso", None])
def test_prices(hidden, penalty):
    X, y = data()
    lam = per_layer(hidden, 1, 1e6 ** -DEGREES[penalty], 1e12, 1e-3)
    model = network(hidden=hidden, lam=lam, penalty=penalty)
    z = (y - y.mean()) / y.std()
    expected = network(hidden=hidden, lam=1e-3, penalty=penalty)
    expected = expected.fit(X, z).score(X, z)
    assert model.fit(X, 1e6 * z + 1e7).score(X, 1e6 * z + 1e7) > expected - 0.01


@pytest.mark.parametrize("n_hidden", [1, 2])
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
def test_no_square_on_the_way_overflows_or_vanishes(penalty, n_hidden):
    """Powers of two, of which each of 2 or 3 layers has its root, round nothing."""
    X, y = data()
    fits = []
    for c in (1.0, 2.0**396, 2.0**-396):
        root = c ** (1 / (n_hidden + 1))
        lam = 0.01 * c**2 * root ** -DEGREES[penalty]
        net = network("squared_error", (4,) * n_hidden, lam, penalty=penalty)
        net.set_params(activation="relu", max_iter=30).fit(X, c * y)
        fits.append(net.predict(X) / c)
    assert np.ptp(fits[0]) > 1
    assert_allclose(fits, [fits[0]] * 3, **TIGHT)


# Paths and searches -------------------------------------------------------------------


def path_factor(penalty, n_layers, c_X, c_y):
    """Conversion of one lambda for all layers; exact where f is homogeneous."""
    return c_y**2 * (c_X / c_y) ** (DEGREES[penalty] / n_layers)


@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize(
    "c_X, c_y",
    [(1e-5, 1.0), (1e4, 1.0), (1.0, 1e-6), (1.0, 1e5), (1.0, 1e-100), (1.0, 1e100)],
)
def test_linear_paths(penalty, c_X, c_y):
    X, y = data()
    linear = network(hidden=(), penalty=penalty)
    path = reg_mlp_path(linear, X, y, reg_lambdas=8)
    other = reg_mlp_path(linear, c_X * X + c_X, c_y * y - c_y, reg_lambdas=8)
    factor = path_factor(penalty, 1, c_X, c_y)
    assert_allclose(other.reg_lambdas, factor * path.reg_lambdas, rtol=1e-5)
    assert_array_equal(other.n_features, path.n_features)
    for k in range(len(path)):
        found = other[k].predict(c_X * X + c_X)
        assert_allclose(found / c_y + 1, path[k].predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
@pytest.mark.parametrize("hidden", [(4,), (4, 3)], ids=str)
def test_grids_of_networks(hidden, penalty, activation):
    X, y = data()
    net = network(hidden=hidden, penalty=penalty, activation=activation, max_iter=30)
    path = reg_mlp_path(net, X, y, reg_lambdas=3, eps=0.1)
    for c_X, c_y in ((1e-5, 1.0), (1.0, 1e5), (1e3, 1e-2)):
        other = reg_mlp_path(net, c_X * X + c_X, c_y * y, reg_lambdas=3, eps=0.1)
        factor = path_factor(penalty, len(hidden) + 1, c_X, c_y)
        some = slice(0, min(len(path), len(other)))
        assert_allclose(
            other.reg_lambdas[some], factor * path.reg_lambdas[some], rtol=1e-6
        )


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("c_X, c_y", [(1e-6, 1.0), (1.0, 1e6), (1e3, 1e-3)])
def test_linear_searches_choose_the_same(penalty, c_X, c_y):
    X, y = data()
    settings = {"penalty": penalty, "solver": "lbfgs", "tol": 1e-8, "max_iter": 5000}
    search = RegMLPRegressorCV((), reg_lambdas=8, **settings).fit(X, y)
    other = RegMLPRegressorCV((), reg_lambdas=8, **settings)
    other.fit(c_X * X + c_X, c_y * y + 3 * c_y)
    assert len(other.reg_lambdas_) == len(search.reg_lambdas_)
    factor = path_factor(penalty, 1, c_X, c_y)
    assert_allclose(other.reg_lambda_, factor * search.reg_lambda_, rtol=1e-5)
    prediction = other.predict(c_X * X + c_X) / c_y - 3
    assert_allclose(prediction, search.predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("c_X", [1e-6, 1e5])
def test_searches_of_classifiers_choose_the_same(c_X):
    X, y = data("binary")
    settings = {"penalty": "l1", "solver": "lbfgs", "tol": 1e-8, "max_iter": 5000}
    search = RegMLPClassifierCV((), reg_lambdas=8, **settings).fit(X, y)
    other = RegMLPClassifierCV((), reg_lambdas=8, **settings).fit(c_X * X + c_X, y)
    assert_allclose(other.reg_lambda_, c_X * search.reg_lambda_, rtol=1e-5)


RAW = {
    "regression": lambda: make_regression(
        200, 10, n_informative=5, noise=5, random_state=0
    ),
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "friedman": lambda: (lambda X, y: (X, 1e4 * y))(
        *make_friedman1(200, noise=1, random_state=0)
    ),
    "friedman far away": lambda: (lambda X, y: (X, y + 2000))(
        *make_friedman1(200, noise=1, random_state=0)
    ),
}
LEAST = {
    ("relu", "regression"): 0.99,
    ("relu", "friedman"): 0.9,
    ("relu", "friedman far away"): 0.9,
    ("tanh", "regression"): 0.95,
    ("tanh", "friedman far away"): 0.9,
}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("name", RAW)
def test_searches_over_networks_do_not_collapse_on_raw_data(name, activation):
    """They did: an end on the plateau of the start left one network, the constant.

    With tanh one lambda for all layers is no symmetry: of large targets it penalizes
    the last layer alone, so that less is asked of it.
    """
    X, y = RAW[name]()
    search = RegMLPRegressorCV(
        (5,),
        activation=activation,
        solver="lbfgs",
        max_iter=1000,
        cv=3,
        reg_lambdas=8,
        random_state=2,
    ).fit(X, y)
    assert len(search.reg_lambdas_) > 3
    assert search.score(X, y) > LEAST.get((activation, name), 0.5)


# Warnings -----------------------------------------------------------------------------


def test_a_result_above_the_null_model_is_said(monkeypatch):
    """The exact solver that can do no step, from a bad start."""
    X, y = data()
    model = network(penalty=None, warm_start=True, tol=1e-4).fit(X, y)
    model.coefs_ = [1e3 * W for W in model.coefs_]
    stay = "skreg._solvers._lbfgs._Run.quasi_newton_step"
    monkeypatch.setattr(stay, lambda *_: None)
    monkeypatch.setattr(stay.replace("quasi_newton", "prox_gradient"), lambda *_: None)
    with pytest.warns(ConvergenceWarning, match="but a constant has"):
        model.fit(X, y)
