"""Adaptive factors: from pilots of each fold, as loops over folds by hand have them."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Lasso
from sklearn.model_selection import KFold
from sklearn.preprocessing import scale

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg._cv._adaptive import adaptive_factors, with_adaptive_factors
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

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6))
Y = X[:, 0] + np.abs(X[:, 1]) + 0.3 * RNG.normal(size=60)
CLASSES = np.where(Y > np.median(Y), "yes", "no")
WEIGHTS = RNG.integers(1, 4, 60).astype(float)
LAMBDAS = [0.003, 0.03, 0.1]
TANH = {"solver": "lbfgs", "activation": "tanh", "tol": 1e-3, "random_state": 0}
EXACT = {"solver": "lbfgs", "tol": 1e-9, "max_iter": 5000, "random_state": 0}
OWN = (1.0, 2.0, 1.0, 0.0, 0.5, 1.0)  # factors of a user
PENALTIES = [
    L1(),
    L2(factors=OWN),
    ElasticNet(l1_ratio=0.3),
    GroupLasso(),
    GroupLasso(groups=[0, 0, 1, 1, 2, 2], factors=(1, 1, 2, 2, 1, 1)),
    SparseGroupLasso(factors=OWN),
    MCP(saturation=0.5),
    SCAD(saturation=0.5),
]


def search(estimator=RegMLPRegressorCV, hidden=(3,), **params):
    return estimator(hidden, **{**TANH, "cv": 3, "reg_lambdas": LAMBDAS, **params})


def by_hand(penalty, W, gamma):
    """Penalty with factors of the pilot's weights, written out row by row."""
    own = np.ones(len(W)) if penalty.factors is None else penalty.factors
    labels = np.arange(len(W)) if getattr(penalty, "groups", None) is None else None
    labels = np.asarray(penalty.groups) if labels is None else labels
    norms = [np.sqrt(np.mean(np.sum(W[labels == g] ** 2, axis=1))) for g in labels]
    largest = max(norm for norm, factor in zip(norms, own) if factor > 0)
    shares = [min(norm / largest, 1.0) for norm in norms]
    factors = [c * ((r + 1e-3) / 1.001) ** -gamma for c, r in zip(own, shares)]
    return clone(penalty).set_params(factors=factors)


def pilot_row(plain):
    """Index of the least lambda within a standard error of the best score."""
    mean, error = plain.mean_scores_, plain.std_errors_
    best = int(np.argmax(mean))
    within = mean >= mean[best] - error[best]
    return int(np.argmin(np.where(within, plain.reg_lambdas_, np.inf)))


# Against loops by hand ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("start", ["warm", "cold"])
@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_scores_are_those_of_a_loop_over_folds(penalty, start):
    options = {"penalty": penalty, "start": start}
    plain = search(refit=False, **options).fit(X, Y)
    model = search(refit="folds", adaptive=1.0, **options).fit(X, Y)
    row = pilot_row(plain)
    for k, (train, test) in enumerate(KFold(3).split(X)):
        network = RegMLPRegressor((3,), penalty=penalty, **TANH)
        path = reg_mlp_path(
            network, X[train], Y[train], reg_lambdas=LAMBDAS, start=start
        )
        found = model.estimators_[k].penalty
        own = by_hand(penalty, path[row].coefs_[0], 1)
        assert_allclose(found.factors, own.factors, rtol=1e-12)
        # Training amplifies the last digit of a factor; so with those found.
        alone = search(penalty=found, start=start, refit=False, cv=[(train, test)])
        assert_array_equal(model.scores_[k], alone.fit(X, Y).scores_[0])


def test_exponents_are_candidates():
    several = search(penalty="l1", adaptive=[1, 0, 1]).fit(X, Y).cv_results_
    assert list(several["param_adaptive"]) == [0.0] * 3 + [1.0] * 3
    for first, adaptive in ((0, 0.0), (3, 1.0)):
        alone = search(penalty="l1", adaptive=adaptive).fit(X, Y)
        assert_array_equal(several["mean_test_score"][first:][:3], alone.mean_scores_)


@pytest.mark.parametrize("penalty", ["l1", ["group_lasso", "l2"]], ids=str)
def test_the_final_network_has_factors_of_all_rows(penalty):
    plain = search(penalty=penalty).fit(X, Y)
    row = pilot_row(plain)
    first = L1() if penalty == "l1" else GroupLasso()
    own = by_hand(first, plain.path_[row].coefs_[0], 1)
    rest = L1() if penalty == "l1" else L2()
    alone = search(penalty=[own, rest]).fit(X, Y)
    model = search(penalty=penalty, adaptive=1).fit(X, Y)
    index = LAMBDAS.index(model.reg_lambda_)
    assert_allclose(model.path_[index].coefs_[0], alone.path_[index].coefs_[0])
    found = model.best_estimator_.penalty
    found = found if penalty == "l1" else found[0]
    assert_allclose(found.factors, own.factors, rtol=1e-12)
    assert model.best_params_ == {"adaptive": 1.0, "reg_lambda": model.reg_lambda_}


def test_adaptive_lasso_is_a_lasso_on_rescaled_columns():
    plain = RegMLPRegressorCV((), penalty="l1", reg_lambdas=LAMBDAS, **EXACT)
    model = clone(plain).set_params(adaptive=1.0).fit(X, Y)
    plain.fit(X, Y)
    lam = plain.reg_lambdas_[pilot_row(plain)]
    pilot = Lasso(lam, tol=1e-12, max_iter=10**6).fit(X, Y)
    norms = np.abs(pilot.coef_)
    c = ((norms / norms.max() + 1e-3) / 1.001) ** -1.0
    lasso = Lasso(model.reg_lambda_, tol=1e-12, max_iter=10**6).fit(X / c, Y)
    assert_allclose(model.coef_, lasso.coef_ / c, rtol=1e-6, atol=1e-8)


def test_no_exponent_but_zero_is_no_factors():
    plain = search(penalty="l1").fit(X, Y)
    for adaptive in (0, [0.0], np.zeros(1)):
        model = search(penalty="l1", adaptive=adaptive).fit(X, Y)
        assert_array_equal(model.scores_, plain.scores_)
        assert model.best_params_ == plain.best_params_
        assert "param_adaptive" not in model.cv_results_
        assert_array_equal(model.predict(X), plain.predict(X))


# What it is for ----------------------------------------------------------------------


@pytest.mark.slow
def test_fewer_false_inputs():
    rng = np.random.default_rng(1)
    Z = scale(rng.normal(size=(150, 40)))
    y = np.sin(Z[:, 0]) + Z[:, 1] * Z[:, 2] + Z[:, 3] + np.abs(Z[:, 4])
    y = scale(y + 0.3 * rng.normal(size=150))
    options = {"penalty": "group_lasso", "reg_lambdas": 12, "max_iter": 500}
    shares, scores = [], []
    for adaptive in (0.0, [0, 1]):
        model = search(hidden=(8,), adaptive=adaptive, **options).fit(Z, y)
        kept = np.flatnonzero(model.selected_features_)
        assert set(kept) >= set(range(5))
        shares.append((kept >= 5).mean())
        scores.append(model.best_score_)
    assert shares[0] > 0.6
    assert shares[1] < 0.2
    assert scores[1] > scores[0] + 0.1


def test_noise_is_not_found_to_predict():
    """Factors from all rows would let each fold know which inputs fit what it holds."""
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(60, 100)), rng.normal(size=60)
    options = {"hidden": (), "penalty": "l1", "reg_lambdas": [0.01]}
    model = search(adaptive=1.0, **options).fit(Z, y)
    every = search(**options).fit(Z, y)
    known = by_hand(L1(), every.best_estimator_.coefs_[0], 1)
    leaky = search(**options | {"penalty": known}).fit(Z, y)
    assert model.best_score_ < -1
    assert leaky.best_score_ > 0


# With everything else ----------------------------------------------------------------


def test_results_do_not_depend_on_jobs_and_are_kept_by_pickles():
    grid = {"penalty": ["l1", "group_lasso"]}
    options = {"param_grid": grid, "adaptive": [1, 0, 0.5]}
    model = search(RegMLPClassifierCV, **options).fit(X, CLASSES, WEIGHTS)
    other = clone(model).set_params(n_jobs=2).fit(X, CLASSES, WEIGHTS)
    table = model.cv_results_
    assert len(table["params"]) == 2 * 3 * len(LAMBDAS)
    assert sorted(set(table["param_adaptive"])) == [0.0, 0.5, 1.0]
    assert table["params"] == other.cv_results_["params"]
    assert table["params"][model.best_index_] == model.best_params_
    for name in ("mean_test_score", "mean_train_score", "n_features"):
        assert_array_equal(table[name], other.cv_results_[name])
    assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    assert again.get_params() == model.get_params()
    assert isinstance(again.best_estimator_, RegMLPClassifier)


def test_weights_are_repeated_rows_and_sparse_inputs_dense_ones():
    options = {"hidden": (), "penalty": "l1", "adaptive": 1.0, **EXACT}
    pairs = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    weighted = search(cv=pairs, scoring="loss", **options).fit(X, Y, WEIGHTS)
    times = WEIGHTS.astype(int)
    rows = np.repeat(np.arange(60), times)
    several = [tuple(np.flatnonzero(np.isin(rows, p)) for p in pair) for pair in pairs]
    repeated = search(cv=several, scoring="loss", **options).fit(X[rows], Y[rows])
    assert_allclose(weighted.scores_, repeated.scores_, rtol=1e-6)
    assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-5, atol=1e-8)
    thin = search(cv=pairs, scoring="loss", **options)
    thin.fit(sparse.csr_matrix(X), Y, WEIGHTS)
    assert_allclose(weighted.scores_, thin.scores_, rtol=1e-6)


@pytest.mark.parametrize("refit", ["folds", "stack"])
def test_networks_of_folds_have_their_own_factors(refit):
    model = search(penalty="l1", adaptive=1.0, refit=refit).fit(X, Y)
    factors = [network.penalty.factors for network in model.estimators_]
    assert len(set(factors)) == 3
    if refit == "folds":
        mean = np.mean([network.predict(X) for network in model.estimators_], axis=0)
        assert_allclose(model.predict(X), mean, rtol=1e-12)
    assert np.isfinite(model.predict(X)).all()


def test_automatic_grids_and_stochastic_solvers():
    model = RegMLPRegressorCV(
        (4,), solver="adam", max_iter=5, penalty="l1", adaptive=[0, 1], cv=2,
        reg_lambdas=4, random_state=0,
    ).fit(X.astype(np.float32), Y)  # fmt: skip
    assert set(model.cv_results_["param_adaptive"]) == {0.0, 1.0}
    assert model.best_estimator_.coefs_[0].dtype == np.float32


# Factors -----------------------------------------------------------------------------


def test_factors_of_special_pilots():
    norms = np.array([2.0, 1.0, 0.0])
    assert_allclose(adaptive_factors(norms, 1), [1, 1.001 / 0.501, 1001])
    assert_allclose(adaptive_factors(norms, 0.5)[2], np.sqrt(1001))
    assert_array_equal(adaptive_factors(np.zeros(3), 1), np.ones(3))
    own = adaptive_factors(norms, 1, factors=[0, 3, 1])
    assert_allclose(own, [0, 3, 1001])
    grouped = adaptive_factors(np.array([3.0, 4.0, 0.0]), 1, groups=["a", "b", "b"])
    assert_allclose(grouped[1:], 1.001 / (np.sqrt(8) / 3 + 1e-3))
    assert grouped[0] == 1


@pytest.mark.parametrize("size", [1e-300, 1e-3, 1e300])
def test_only_ratios_of_weights_count(size):
    weights = np.array([[1.0, 0.5], [0.25, 0.0], [0.0, 0.0]])
    network = RegMLPRegressor(penalty="l1")
    factors = [
        with_adaptive_factors(network, W, 1.0).penalty.factors
        for W in (weights, size * weights)
    ]
    assert_allclose(*factors, rtol=1e-12)


class Mine(Penalty):
    def value(self, W, lam=1.0):
        return lam * np.abs(W).sum()

    def prox(self, W, step, lam=1.0):
        return L1().prox(W, step, lam)


@pytest.mark.parametrize(
    "penalty", [None, Mine(), GroupLasso(by="units"), [None, "l1"]], ids=repr
)
def test_penalties_without_factors_are_refused(penalty):
    with pytest.raises(ValueError, match=r"'adaptive' parameter needs .* 'factors'"):
        search(penalty=penalty, adaptive=1.0).fit(X, Y)


@pytest.mark.parametrize("exponents", [1.0, [0.0, 1.0]])
def test_pilots_that_all_diverge_are_said(exponents):
    model = search(adaptive=exponents, solver="sgd", learning_rate_init=1e300)
    with pytest.raises(ValueError, match="No value of 'reg_lambdas' has a score"):
        model.fit(X, Y)


@pytest.mark.parametrize("wrong", [-1, 21, np.nan, np.inf, "1", None, [], [0, -1]])
def test_wrong_exponents_are_refused(wrong):
    with pytest.raises(ValueError, match=r"'adaptive' .* number in \[0, 20\]"):
        search(adaptive=wrong).fit(X, Y)


@pytest.mark.parametrize("other", [{"param_grid": "auto"}, {"max_features": 2}])
def test_not_with_a_selection_of_another_kind(other):
    with pytest.raises(ValueError, match=r"'adaptive' parameter .* max_features"):
        search(adaptive=1.0, **other).fit(X, Y)
