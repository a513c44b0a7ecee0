"""Stability selection, against loops over the halves written out."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import make_classification
from sklearn.preprocessing import scale

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    StabilitySelection,
    reg_mlp_path,
    stability_selection,
)
from skreg.penalties import L1, L2, GroupLasso

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GRID = [0.02, 0.06, 0.2]
ALL = {"max_false": 1e3}  # the whole grid


def lasso(**params):
    return RegMLPRegressor((), penalty="l1", solver="lbfgs", random_state=0, **params)


def tanh_network(estimator=RegMLPClassifier, **params):
    settings = {"activation": "tanh", "penalty": "group_lasso", "solver": "lbfgs"}
    settings |= {"tol": 1e-3, "max_iter": 300, "random_state": 0}
    return estimator((3,), **(settings | params))


@pytest.fixture
def needed():
    """80 rows of 8 inputs, of which the first 3 are needed, and a target of values."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 8))
    return X, X[:, 0] - X[:, 1] + 2 * X[:, 2] + 0.5 * rng.normal(size=80)


def halves(n_rows, n_pairs, seed):
    rng = np.random.RandomState(seed)
    for _ in range(n_pairs):
        order = rng.permutation(n_rows)
        yield np.sort(order[: n_rows // 2])
        yield np.sort(order[n_rows // 2 : 2 * (n_rows // 2)])


def loop(estimator, X, y, grid, n_pairs, seed, weights=None):
    """Masks of shape (n_halves, n_lambdas, n_features), lambda increasing."""
    masks = []
    for rows in halves(len(y), n_pairs, seed):
        part = None if weights is None else weights[rows]
        path = reg_mlp_path(
            estimator, X[rows], y[rows], reg_lambdas=grid, sample_weight=part
        )
        used = {path.reg_lambdas[k]: path[k].selected_features_ for k in range(3)}
        masks.append([used[lam] for lam in sorted(used)])
    return np.array(masks)


# The oracle --------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("network", [lasso(), tanh_network(RegMLPRegressor)], ids=str)
def test_frequencies_are_those_of_a_loop_over_halves(needed, network, weighted, odd):
    X, y = needed
    X, y = (X[:-1], y[:-1]) if odd else (X, y)
    weights = np.linspace(0.5, 2, len(y)) if weighted else None
    options = {"reg_lambdas": GRID, "n_pairs": 4, "random_state": 3, **ALL}
    result = stability_selection(network, X, y, sample_weight=weights, **options)
    masks = loop(network, X, y, GRID, 4, 3, weights)
    assert_array_equal(result.reg_lambdas, GRID)
    assert_array_equal(result.frequencies, masks.mean(axis=0))
    union = [masks[:, k:].any(axis=1).sum(axis=1).mean() for k in range(3)]
    assert_allclose(result.n_selected, union, rtol=1e-15)
    assert 0 < result.frequencies.mean() < 1


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_classes(kind, request):
    X, y = request.getfixturevalue(kind)
    network = tanh_network()
    result = stability_selection(
        network, X, y, reg_lambdas=GRID, n_pairs=2, random_state=1, **ALL
    )
    masks = loop(network, X, y, GRID, 2, 1)
    assert_array_equal(result.frequencies, masks.mean(axis=0))


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
def test_sparse_is_dense(needed, container):
    X, y = needed
    X = np.where(np.abs(X) < 0.5, 0, X)
    options = {"reg_lambdas": GRID, "n_pairs": 3, "random_state": 0, **ALL}
    dense = stability_selection(lasso(), X, y, **options)
    other = stability_selection(lasso(), container(X), y, **options)
    assert_array_equal(dense.frequencies, other.frequencies)


@pytest.mark.parametrize("network", [lasso(), tanh_network(RegMLPRegressor)], ids=str)
def test_automatic_grid_is_that_of_all_rows_and_twice_as_high(needed, network):
    X, y = needed
    result = stability_selection(network, X, y, reg_lambdas=6, n_pairs=1, **ALL)
    lams = np.sort(reg_mlp_path(network, X, y, reg_lambdas=6, eps=0.03).reg_lambdas)
    expected = np.geomspace(lams[0], 2 * lams[-1], len(lams))
    assert_allclose(result.reg_lambdas, expected, rtol=1e-12)


# The rule ----------------------------------------------------------------------------


def by_hand(**changes):
    fields = {
        "reg_lambdas": np.array([0.1, 0.2, 0.3]),
        "frequencies": np.array([[1.0, 0.95, 0.9], [1.0, 0.8, 0.3], [0.6, 0.9, 0.1]]),
        "n_selected": np.array([2.9, 1.5, 1.0]),
        "is_penalized": np.array([True, True, True]),
        "threshold": 0.75,
        "max_false": 1.6,
    }
    return StabilitySelection(**{**fields, **changes})


def test_inputs_are_selected_where_the_bound_allows():
    result = by_hand()
    assert_allclose(result.bounds, np.array([2.9, 1.5, 1.0]) ** 2 / (0.5 * 3))
    assert result.reg_lambda_ == 0.2
    assert_allclose(result.expected_false_, 1.5)
    assert_array_equal(result.max_frequencies_, [1.0, 0.9, 0.3])
    assert_array_equal(result.selected_features_, [True, True, False])
    assert repr(result) == (
        "StabilitySelection of 2 of 3 inputs, threshold 0.75, expected_false <= 1.6"
    )
    wider = result.at(max_false=6.0)
    assert wider.reg_lambda_ == 0.1 and wider.selected_features_.all()
    assert_array_equal(result.at(threshold=0.95).selected_features_, [1, 0, 0])
    assert result.threshold == 0.75


def test_where_no_lambda_keeps_the_bound_nothing_is_selected():
    result = by_hand(max_false=0.1)
    assert np.isnan(result.reg_lambda_)
    assert result.expected_false_ == 0
    assert not result.selected_features_.any()


def test_a_grid_that_starts_too_low_is_told(needed):
    with pytest.warns(UserWarning, match=r"no input is selected.*'reg_lambdas'"):
        result = stability_selection(lasso(), *needed, reg_lambdas=[1e-6], n_pairs=2)
    assert not result.selected_features_.any()


def test_inputs_that_are_never_penalized_are_kept_and_not_counted(needed):
    X, y = needed
    factors = np.r_[np.ones(7), 0.0]  # the last one is noise
    network = RegMLPRegressor((), penalty=L1(factors), solver="lbfgs", random_state=0)
    result = stability_selection(
        network, X, y, n_pairs=5, max_false=3.0, random_state=0
    )
    assert_array_equal(result.is_penalized, factors > 0)
    assert (result.frequencies[:, -1] == 1).all()
    assert result.n_selected.min() < 1  # at the largest lambda
    assert_array_equal(np.flatnonzero(result.selected_features_), [0, 1, 2, 7])
    assert_allclose(result.bounds, result.n_selected**2 / (0.8 * 7))


# What it is for ----------------------------------------------------------------------


def test_needed_inputs_of_a_network_are_found():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 15))
    y = scale(np.tanh(X[:, 0] + X[:, 1]) + X[:, 2] + 0.3 * rng.normal(size=300))
    network = tanh_network(RegMLPRegressor)
    result = stability_selection(
        network, X, y, reg_lambdas=12, n_pairs=10, random_state=0
    )
    assert_array_equal(np.flatnonzero(result.selected_features_), [0, 1, 2])


@pytest.mark.slow
def test_false_inputs_are_rarer_than_the_bound():
    """30 inputs that tell nothing, 10 times: at most 2 selected on average."""
    n_false = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(60, 30)), rng.normal(size=60)
        options = {"n_pairs": 10, "threshold": 0.6, "max_false": 2.0}
        result = stability_selection(
            lasso(), X, y, reg_lambdas=10, random_state=seed, **options
        )
        assert result.expected_false_ <= 2
        n_false.append(result.selected_features_.sum())
    assert np.mean(n_false) <= 2


# Reproducibility, and who is left alone ----------------------------------------------


@pytest.mark.parametrize("seed", [None, 0])
def test_results_do_not_depend_on_n_jobs(needed, seed):
    network = tanh_network(RegMLPRegressor, random_state=seed)
    options = {"reg_lambdas": GRID, "n_pairs": 3, "random_state": 0, **ALL}
    one, two, many = (
        stability_selection(network, *needed, n_jobs=n_jobs, **options)
        for n_jobs in (None, 2, -1)
    )
    for other in (two, many):
        assert_array_equal(one.frequencies, other.frequencies)
        assert_array_equal(one.n_selected, other.n_selected)


def test_seed_decides(needed):
    options = {"reg_lambdas": GRID, "n_pairs": 3, **ALL}
    first, again, other = (
        stability_selection(lasso(), *needed, random_state=seed, **options).frequencies
        for seed in (0, np.random.RandomState(0), 1)
    )
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_estimator_is_not_changed(needed):
    network = lasso(reg_lambda=7.0)
    stability_selection(network, *needed, reg_lambdas=GRID, n_pairs=1, **ALL)
    assert not hasattr(network, "fitted_")
    assert network.get_params() == lasso(reg_lambda=7.0).get_params()


def test_rows_of_weight_0_are_left_out(needed):
    X, y = needed
    options = {"reg_lambdas": GRID, "n_pairs": 3, "random_state": 0, **ALL}
    weights = np.where(np.arange(80) < 60, 2.0, 0.0)
    weighted = stability_selection(lasso(), X, y, sample_weight=weights, **options)
    fewer = stability_selection(lasso(), X[:60], y[:60], **options)
    assert_array_equal(weighted.frequencies, fewer.frequencies)


def test_a_class_may_be_missing_in_a_half():
    X, y = make_classification(30, 5, random_state=0)
    y = np.where(np.arange(30) == 3, 2, y)  # one row of the third class
    result = stability_selection(
        tanh_network(), X, y, reg_lambdas=GRID, n_pairs=2, random_state=0, **ALL
    )
    assert result.frequencies.min() >= 0
    assert 0 < result.frequencies.max() <= 1


def test_names_table_and_pickle(needed):
    pandas = pytest.importorskip("pandas")
    X, y = needed
    names = [f"input {j}" for j in range(8)]
    frame = pandas.DataFrame(X, columns=names)
    options = {"reg_lambdas": 10, "n_pairs": 5, "random_state": 0}
    result = stability_selection(lasso(), frame, y, **options)
    table = result.to_frame()
    assert table.index.tolist() == names
    assert_array_equal(table["selected"], result.selected_features_)
    assert_array_equal(table["frequency"], result.max_frequencies_)
    unnamed = stability_selection(lasso(), X, y, **options).to_frame()
    assert unnamed.index.tolist() == list(range(8))
    copy = pickle.loads(pickle.dumps(result))
    assert type(copy).__module__ == "skreg"
    assert_array_equal(copy.selected_features_, result.selected_features_)


# Errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_pairs": 0}, "'n_pairs' must be an int >= 1"),
        ({"n_pairs": 2.0}, "'n_pairs' must be an int >= 1"),
        ({"threshold": 0.5}, "'threshold' must be a float in"),
        ({"threshold": 1.1}, "'threshold' must be a float in"),
        ({"threshold": "0.9"}, "'threshold' must be a float in"),
        ({"max_false": 0}, "'max_false' must be a finite float > 0"),
        ({"max_false": np.inf}, "'max_false' must be a finite float > 0"),
        ({"eps": 1.0}, "'eps' must be a float in"),
        ({"reg_lambdas": [-1.0]}, "'reg_lambdas' must be"),
        ({"n_jobs": 0}, "'n_jobs' must be None or an int"),
        ({"random_state": "zero"}, "'random_state' must be"),
        ({"sample_weight": np.ones(3)}, "sample_weight has 3 entries"),
        ({"sample_weight": np.eye(80)[0]}, "X has 1 rows with a weight"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(needed, options, message):
    with pytest.raises(ValueError, match=message):
        stability_selection(lasso(), *needed, **options)


@pytest.mark.parametrize(
    "penalty", [None, "l2", L2(), GroupLasso(by="units"), [L2(), L1()]], ids=str
)
def test_penalties_that_drop_no_input_are_refused(needed, penalty):
    network = RegMLPRegressor((3,), penalty=penalty, solver="lbfgs")
    with pytest.raises(ValueError, match=r"penalty=.* sets no input to 0"):
        stability_selection(network, *needed)


@pytest.mark.parametrize(
    "estimator", [RegMLPClassifierCV(), "network", RegMLPRegressor]
)
def test_other_estimators_are_refused(needed, estimator):
    with pytest.raises(ValueError, match="must be a RegMLPClassifier or"):
        stability_selection(estimator, *needed)


@pytest.mark.parametrize("change", [{"threshold": 0.4}, {"max_false": -1}])
def test_another_rule_is_checked(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        by_hand().at(**change)
