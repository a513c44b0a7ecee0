"""What a sparse network uses, and the small network that is left of it.

Oracles: a tiny case by hand, removal of one dead unit at a time, products of absolute
weights, and networks that are trained on the selected columns alone.
"""

import doctest
import pickle
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, ndtr
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skreg import RegMLPClassifier, RegMLPRegressor, _base
from skreg._network import ACTIVATIONS
from skreg._prune import alive_units, prune
from skreg.penalties import GroupLasso

# Runs of a fixed number of epochs end at max_iter, here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ENDLESS = {"tol": 0.0, "n_iter_no_change": np.inf}
NUMPY = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z * ndtr(z),
    "silu": lambda z: z * expit(z),
}
HIDDEN = [(), (12,), (12, 9), (12, 9, 10)]
P = 8


def sparse_weights(units, rng, dead=0.3):
    """Random weights, of which whole rows, whole columns and single ones are zero."""
    coefs = []
    for shape in pairwise(units):
        W = rng.normal(size=shape)
        for alive in ((shape[0], 1), (1, shape[1]), shape):
            W *= rng.random(alive) > dead
        coefs.append(W)
    return coefs, [rng.normal(size=n) for n in units[1:]]


def forward(coefs, intercepts, activation, X):
    for W, b in zip(coefs[:-1], intercepts[:-1]):
        X = NUMPY[activation](X @ W + b)
    return X @ coefs[-1] + intercepts[-1]


def remove_one(W, b, inputs, activation):
    """Remove one input or unit that is dead on sight; False if there is none."""
    for j in range(len(W[0])):
        if not W[0][j].any():
            W[0] = np.delete(W[0], j, axis=0)
            del inputs[j]
            return True
    for layer, j in ((k, j) for k in range(1, len(W)) for j in range(len(W[k]))):
        is_constant = not W[layer - 1][:, j].any()
        if is_constant:
            b[layer] = b[layer] + NUMPY[activation](b[layer - 1][j]) * W[layer][j]
        if is_constant or not W[layer][j].any():
            W[layer] = np.delete(W[layer], j, axis=0)
            W[layer - 1] = np.delete(W[layer - 1], j, axis=1)
            b[layer - 1] = np.delete(b[layer - 1], j)
            return True
    return False


def prune_one_by_one(coefs, intercepts, activation):
    W, b, inputs = list(coefs), list(intercepts), list(range(len(coefs[0])))
    while remove_one(W, b, inputs, activation):
        pass
    return inputs, W, b


# The arrays --------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_prune_equals_removing_one_dead_unit_at_a_time(hidden, activation):
    rng = np.random.default_rng(len(hidden))
    X = rng.normal(size=(20, P))
    sizes = set()
    for dead in (0.1, 0.2, 0.3, 0.4):
        W, b = sparse_weights((P, *hidden, 2), rng, dead)
        inputs, small_W, small_b = prune(W, b, activation)
        naive_inputs, naive_W, naive_b = prune_one_by_one(W, b, activation)
        assert len(small_W) == len(naive_W) == len(W)
        if naive_inputs:
            assert_array_equal(inputs, naive_inputs)
            for actual, desired in zip(small_W, naive_W):
                assert_array_equal(actual, desired)
            for actual, desired in zip(small_b, naive_b):
                assert_allclose(actual, desired, rtol=0, atol=1e-13)
        assert_allclose(
            forward(small_W, small_b, activation, X[:, inputs]),
            forward(W, b, activation, X),
            rtol=0,
            atol=1e-12,
        )
        sizes.add(sum(w.size for w in small_W) / sum(w.size for w in W))
    assert min(sizes) < 0.5 and len(sizes) >= 3


@pytest.mark.parametrize("hidden", HIDDEN)
def test_alive_units_are_those_on_a_path(hidden):
    """Products of absolute weights are sums over paths, in which nothing cancels."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        W, _ = sparse_weights((P, *hidden, 3), rng)
        size = [np.abs(w) for w in W]
        for layer, alive in enumerate(alive_units(W)):
            to, onward = np.eye(P), np.eye(len(alive))
            for w in size[:layer]:
                to = to @ w
            for w in size[layer:]:
                onward = onward @ w
            on_path = (to.sum(axis=0) > 0) & (onward.sum(axis=1) > 0)
            assert_array_equal(alive, on_path)


def with_weights(coefs, intercepts, hidden, dtype=np.float64, **params):
    """Regressor with the given weights."""
    X = np.zeros((4, len(coefs[0])), dtype)
    y = np.zeros((4, len(intercepts[-1])))
    model = RegMLPRegressor(hidden, max_iter=1, **params)
    model.fit(X, y.ravel() if y.shape[1] == 1 else y)
    model.coefs_ = [np.array(W, dtype) for W in coefs]
    model.intercepts_ = [np.array(b, dtype) for b in intercepts]
    return model


@pytest.fixture
def tiny():
    """Input 1 has no weights, unit 1 is constant, and nothing reads unit 2."""
    return with_weights(
        [[[1.0, 0.0, 4.0], [0.0, 0.0, 0.0], [3.0, 0.0, 1.0]], [[2.0], [3.0], [0.0]]],
        [[0.5, 2.0, -1.0], [1.0]],
        (3,),
    )


def test_by_hand(tiny):
    small = tiny.compact()
    assert small.hidden_layer_sizes == (1,)
    assert_array_equal(small.coefs_[0], [[1.0], [3.0]])
    assert_array_equal(small.coefs_[1], [[2.0]])
    assert_array_equal(small.intercepts_[0], [0.5])
    assert_array_equal(small.intercepts_[1], [1.0 + 2.0 * 3.0])
    assert_array_equal(small.predict([[1.0, 9.0, 2.0]]), [2 * (1 + 6 + 0.5) + 7])
    for model in (tiny, small):  # weights to unit 2 do not count
        assert_array_equal(model.selected_features_, [True, False, True])
        assert_array_equal(model.feature_importances_, [1.0, 0.0, 3.0])
    assert_array_equal(tiny.sparsity_, [5 / 9, 1 / 3])
    assert_array_equal(small.sparsity_, [0.0, 0.0])


def test_input_of_dead_units_alone_is_unused():
    """Input 1 -> unit 1 -> unit 1, which no output reads."""
    model = with_weights(
        [np.eye(2), np.eye(2), [[1.0], [0.0]]], [[0, 0]] * 2 + [[0]], (2, 2)
    )
    assert_array_equal(model.selected_features_, [True, False])
    assert_array_equal(model.feature_importances_, [1.0, 0.0])
    assert [W.shape for W in model.compact().coefs_] == [(1, 1)] * 3


# Estimators --------------------------------------------------------------------------

N = 40
RNG = np.random.default_rng(7)
X = RNG.normal(size=(N, P)) * (RNG.random((N, P)) > 0.4)
CLASSES = np.array(["a", "b", "c"])
TARGETS = {
    "regression": X[:, 0] + np.sin(X[:, 1]),
    "multioutput": X[:, :2] + X[:, 2:4],
    "binary": CLASSES[(X[:, 0] + X[:, 1] > 0).astype(int)],
    "multiclass": CLASSES[np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])],
    "multilabel": (X[:, :2] > 0).astype(int),
}
KINDS = pytest.mark.parametrize("kind", TARGETS)
CONTAINERS = {
    "array": np.array,
    "csr": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
}


def sparse_model(kind, hidden=(12, 9), dtype=np.float64, dead=0.3, **params):
    """Estimator with random weights, of which many are zero if dead > 0."""
    regression = kind in ("regression", "multioutput")
    estimator = RegMLPRegressor if regression else RegMLPClassifier
    params = {"max_iter": 1, "random_state": 0, **params}
    model = estimator(hidden, **params).fit(X.astype(dtype), TARGETS[kind])
    units = (P, *hidden, model.n_outputs_)
    coefs, intercepts = sparse_weights(units, np.random.default_rng(1), dead)
    if dead:
        coefs[0][[1, 4, 6]] = 0.0
    model.coefs_ = [W.astype(dtype) for W in coefs]
    model.intercepts_ = [b.astype(dtype) for b in intercepts]
    return model


def raw(model, X):
    method = getattr(model, "decision_function", model.predict)
    return method(X)


@KINDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", CONTAINERS)
def test_predictions_stay(kind, dtype, container):
    for hidden, activation in product(HIDDEN, ("relu", "gelu")):
        model = sparse_model(kind, hidden, dtype, activation=activation)
        small = model.compact()
        assert type(small) is type(model)
        assert sum(W.size for W in small.coefs_) < sum(W.size for W in model.coefs_)
        assert {a.dtype for a in small.coefs_ + small.intercepts_} == {np.dtype(dtype)}
        data = CONTAINERS[container](X.astype(dtype))
        before, after = raw(model, data), raw(small, data)
        assert after.dtype == before.dtype
        atol = 1e-12 if dtype == np.float64 else 1e-4
        assert_allclose(after, before, rtol=0, atol=atol)


@KINDS
def test_attributes_agree(kind):
    model = sparse_model(kind)
    small = model.compact()
    selected = model.selected_features_
    assert selected.dtype == bool and 0 < selected.sum() < P
    for name in ("selected_features_", "feature_importances_"):
        assert_array_equal(getattr(small, name), getattr(model, name))
    assert_array_equal(small.feature_importances_ > 0, selected)
    assert small.coefs_[0].shape[0] == selected.sum()
    assert small.hidden_layer_sizes == tuple(len(b) for b in small.intercepts_[:-1])
    assert small.n_features_in_ == P and small.n_layers_ == model.n_layers_
    assert small.n_outputs_ == model.n_outputs_ == len(small.intercepts_[-1])
    assert_allclose(
        forward(small.coefs_, small.intercepts_, "relu", X[:, selected]).squeeze(),
        raw(model, X),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("hidden", HIDDEN)
def test_sparsity(hidden):
    model = sparse_model("multiclass", hidden)
    expected = [1 - np.count_nonzero(W) / W.size for W in model.coefs_]
    assert_allclose(model.sparsity_, expected, rtol=1e-15)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_compact_twice_is_compact_once(hidden):
    once = sparse_model("multiclass", hidden).compact()
    twice = once.compact()
    assert twice.get_params() == once.get_params()
    for name in ("coefs_", "intercepts_"):
        for actual, desired in zip(getattr(twice, name), getattr(once, name)):
            assert_array_equal(actual, desired)
    assert_array_equal(twice.selected_features_, once.selected_features_)
    assert_array_equal(raw(twice, X), raw(once, X))


def test_further_zeros_in_a_compact_network():
    """Inputs are counted from the start, not from the first compact."""
    small = sparse_model("regression").compact()
    used = np.flatnonzero(small.selected_features_)
    small.coefs_[0][0] = 0
    smaller = small.compact()
    assert_array_equal(np.flatnonzero(smaller.selected_features_), used[1:])
    assert_allclose(smaller.predict(X), small.predict(X), rtol=0, atol=1e-12)


def test_dense_network_is_returned_as_it_is():
    model = sparse_model("binary", (4,), dead=0.0)
    small = model.compact()
    assert small.hidden_layer_sizes == (4,)
    assert model.selected_features_.all()
    for name in ("coefs_", "intercepts_"):
        for actual, desired in zip(getattr(small, name), getattr(model, name)):
            assert_array_equal(actual, desired)
    assert_array_equal(raw(small, X), raw(model, X))


def test_original_is_left_alone():
    model = sparse_model("binary", penalty=GroupLasso())
    before = pickle.dumps(model)
    small = model.compact()
    small.set_params(penalty__by="units")
    for array in small.coefs_ + small.intercepts_:
        array += 1
    small.partial_fit(X, TARGETS["binary"])
    assert pickle.dumps(model) == before


def test_pickle():
    small = sparse_model("multiclass").compact()
    again = pickle.loads(pickle.dumps(small))
    assert_array_equal(raw(again, X), raw(small, X))
    assert_array_equal(again.selected_features_, small.selected_features_)


def test_compact_network_takes_less_memory():
    """Neither the weights that were removed nor their moments are stored."""
    model = RegMLPRegressor((200,), max_iter=1).fit(X, X[:, 0])
    model.coefs_[1][10:] = 0
    size, small_size = (len(pickle.dumps(m)) for m in (model, model.compact()))
    assert small_size < size / 5


def test_subclass_stays():
    class Mine(RegMLPRegressor):
        pass

    assert type(Mine(3, max_iter=1).fit(X, X[:, 0]).compact()) is Mine


def test_data_frames():
    pd = pytest.importorskip("pandas")
    names = [f"x{j}" for j in range(P)]
    frame = pd.DataFrame(X, columns=names)
    model = RegMLPRegressor(5, max_iter=3, random_state=0).fit(frame, X[:, 0])
    model.coefs_[0][1::2] = 0
    small = model.compact()
    assert_array_equal(small.feature_names_in_, names)
    assert_allclose(small.predict(frame), model.predict(frame), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="feature names should match"):
        small.predict(frame[names[::2]])
    dense = small.refit_on_support(frame, X[:, 0])
    assert_array_equal(dense.feature_names_in_, names)
    with pytest.raises(ValueError, match="feature names should match"):
        small.refit_on_support(frame[names[::-1]], X[:, 0])


def test_number_of_features_is_checked():
    small = sparse_model("regression").compact()
    with pytest.raises(ValueError, match=f"expecting {P} features"):
        small.predict(X[:, small.selected_features_])
    with pytest.raises(ValueError, match=f"expecting {P} features"):
        small.partial_fit(X[:, 1:], X[:, 0])
    with pytest.raises(ValueError, match=f"expecting {P} features"):
        small.refit_on_support(X[:, 1:], X[:, 0])


# Constant networks -------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("hidden", HIDDEN)
def test_constant_network(kind, hidden):
    """One matrix is zero, others are not: what is left are the last intercepts."""
    for cut in range(len(hidden) + 1):
        model = sparse_model(kind, hidden, dead=0.0, activation="silu")
        model.coefs_[cut][:] = 0
        small = model.compact()
        sizes = (1,) * len(hidden)
        assert small.hidden_layer_sizes == sizes
        units = (1, *sizes, model.n_outputs_)
        assert [W.shape for W in small.coefs_] == list(pairwise(units))
        assert not any(W.any() for W in small.coefs_)
        assert_allclose(raw(small, X), raw(model, X), rtol=0, atol=1e-12)
        for m in (model, small, small.compact()):
            assert_array_equal(m.selected_features_, np.zeros(P, bool))
            assert_array_equal(m.feature_importances_, np.zeros(P))
            with pytest.raises(ValueError, match=r"No input is left.*reg_lambda"):
                m.refit_on_support(X, TARGETS[kind])
        small.partial_fit(X, TARGETS[kind])
        assert np.isfinite(raw(small, X)).all()
        assert clone(small).fit(X, TARGETS[kind]).coefs_[0].shape[0] == P


@pytest.mark.parametrize("penalty", ["l1", "group_lasso"])
def test_huge_lambda(penalty):
    model = RegMLPClassifier(
        (6, 5), penalty=penalty, reg_lambda=1e3, max_iter=3, random_state=0
    ).fit(X, TARGETS["multiclass"])
    assert_array_equal(model.sparsity_, np.ones(3))
    small = model.compact()
    assert small.hidden_layer_sizes == (1, 1)
    assert_allclose(small.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-12)
    assert np.ptp(small.predict_proba(X), axis=0).max() == 0


def test_single_input():
    model = with_weights([[[0.0]]], [[2.0]], ())
    assert_array_equal(model.compact().predict([[1.0], [5.0]]), [2.0, 2.0])


# Training goes on --------------------------------------------------------------------


def on_columns(small, **params):
    """The same small network as an estimator on the selected columns."""
    used = small.selected_features_
    model = clone(small).set_params(**params)
    model.fit(X[:, used], TARGETS["multiclass"])
    model.coefs_ = [W.copy() for W in small.coefs_]
    model.intercepts_ = [b.copy() for b in small.intercepts_]
    model.fitted_ = replace(model.fitted_, state=None, rng=None)
    return model, used


def assert_same_network(small, model, used):
    assert len(small.coefs_) == len(model.coefs_)
    for name in ("coefs_", "intercepts_"):
        for actual, desired in zip(getattr(small, name), getattr(model, name)):
            assert_array_equal(actual, desired)
    assert_array_equal(raw(small, X), raw(model, X[:, used]))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adam"])
def test_partial_fit_trains_the_small_network(container, solver):
    small = sparse_model("multiclass", solver=solver).compact()
    model, used = on_columns(small)
    small.fitted_ = replace(small.fitted_, rng=None)
    for _ in range(2):
        small.partial_fit(CONTAINERS[container](X), TARGETS["multiclass"])
        model.partial_fit(CONTAINERS[container](X[:, used]), TARGETS["multiclass"])
    assert_same_network(small, model, used)


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("container", ["array", "csr"])
def test_warm_start_trains_the_small_network(scoring, given, container):
    params = {
        "warm_start": True,
        "max_iter": 4,
        "early_stopping": True,
        "scoring": scoring,
        "penalty": None,
    }
    make = CONTAINERS[container]
    small = sparse_model("multiclass").compact().set_params(**params)
    model, used = on_columns(small)
    y = TARGETS["multiclass"]
    val = {"X_val": make(X), "y_val": y} if given else {}
    small.fit(make(X), y, **val)
    if given:
        val["X_val"] = make(X[:, used])
    model.fit(make(X[:, used]), y, **val)
    assert_same_network(small, model, used)
    n_new = len(small.validation_scores_)
    assert small.validation_scores_ == model.validation_scores_[-n_new:]


def test_scorer_sees_all_features():
    def scorer(estimator, X, y):
        seen.append(X.shape[1])
        return estimator.score(X, y)

    seen = []
    small = sparse_model("binary").compact()
    small.set_params(warm_start=True, early_stopping=True, scoring=scorer)
    small.fit(X, TARGETS["binary"])
    assert set(seen) == {P}


def test_cold_fit_and_clone_train_small_layers_on_all_inputs():
    small = sparse_model("multiclass").compact()
    sizes = small.hidden_layer_sizes
    cold = pickle.loads(pickle.dumps(small)).fit(X, TARGETS["multiclass"])
    other = clone(small).fit(X, TARGETS["multiclass"])
    for model in (cold, other):
        assert model.coefs_[0].shape == (P, sizes[0])
        assert model.selected_features_.all()
    assert_array_equal(raw(cold, X), raw(other, X))


def test_failed_fit_leaves_the_small_network():
    small = sparse_model("multiclass").compact()
    before = raw(small, X)
    with pytest.raises(ValueError, match="reg_lambda"):
        small.set_params(reg_lambda=-1.0).fit(X, TARGETS["multiclass"])
    assert_array_equal(raw(small, X), before)


def test_labels_of_groups_must_fit_the_small_network():
    penalty = [GroupLasso(groups=[0, 0, 1, 1, 2, 2, 3, 3]), "l2", "l2"]
    small = sparse_model("regression", penalty=penalty).compact()
    with pytest.raises(ValueError, match=r"'groups'.*one label"):
        small.partial_fit(X, TARGETS["regression"])
    small.set_params(penalty="l1").partial_fit(X, TARGETS["regression"])


# Refit on the support ----------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("container", CONTAINERS)
def test_refit_is_a_fit_on_the_selected_columns(kind, container):
    make, y = CONTAINERS[container], TARGETS[kind]
    weight = np.linspace(0, 1, N)
    model = sparse_model(kind, max_iter=3)
    used = model.selected_features_
    dense = model.refit_on_support(make(X), y, weight)
    expected = clone(model).set_params(penalty=None)
    expected.fit(make(X[:, used]), y, weight)
    assert dense.hidden_layer_sizes == model.hidden_layer_sizes
    assert dense.penalty is None and dense.n_features_in_ == P
    assert_same_network(dense, expected, used)
    assert_array_equal(dense.selected_features_, used)
    assert_array_equal(dense.sparsity_, np.zeros(3))


def test_refit_takes_parameters():
    model = sparse_model("regression", penalty="group_lasso")
    y, used = TARGETS["regression"], model.selected_features_
    dense = model.refit_on_support(
        X, y, penalty="l2", reg_lambda=0.3, hidden_layer_sizes=(5,), max_iter=2
    )
    expected = RegMLPRegressor((5,), reg_lambda=0.3, max_iter=2, random_state=0)
    assert_same_network(dense, expected.fit(X[:, used], y), used)
    assert model.get_params()["penalty"] == "group_lasso"
    with pytest.raises(ValueError, match="Invalid parameter 'lam'"):
        model.refit_on_support(X, y, lam=1.0)


def test_refit_of_a_compact_network_is_small():
    small = sparse_model("regression").compact()
    dense = small.refit_on_support(X, TARGETS["regression"])
    assert [W.shape for W in dense.coefs_] == [W.shape for W in small.coefs_]


def test_refit_with_all_inputs():
    model = sparse_model("regression", dead=0.0)
    dense = model.refit_on_support(X, TARGETS["regression"])
    expected = clone(model).set_params(penalty=None).fit(X, TARGETS["regression"])
    assert_array_equal(dense.predict(X), expected.predict(X))


# Fits --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """Group lasso on a subset of the digits, of which the outer pixels are idle."""
    data, y = load_digits(return_X_y=True)
    data = data[:600] / 16
    model = RegMLPClassifier(
        (30,),
        penalty="group_lasso",
        reg_lambda=0.003,
        learning_rate_init=0.01,
        batch_size=50,
        max_iter=30,
        random_state=0,
    )
    return data, y[:600], model.fit(data, y[:600])


def test_digits(digits):
    data, y, model = digits
    small = model.compact()
    n_inputs, n_units = small.coefs_[0].shape
    assert n_inputs == model.selected_features_.sum() < 50
    assert n_units < 30
    proba = model.predict_proba(data)
    assert_allclose(small.predict_proba(data), proba, rtol=0, atol=1e-12)
    assert small.score(data, y) > 0.9
    dense = model.refit_on_support(data, y)
    assert dense.coefs_[0].shape == (n_inputs, 30)
    assert dense.loss_ < model.data_loss_curve_[-1]


def test_idle_inputs_are_not_selected(digits):
    data, _, model = digits
    idle = np.ptp(data, axis=0) == 0
    assert idle.any() and not model.selected_features_[idle].any()


def test_select_from_model(digits):
    data, y, model = digits
    selector = SelectFromModel(model, prefit=True, threshold=1e-10)
    assert_array_equal(selector.get_support(), model.selected_features_)
    from_small = SelectFromModel(model.compact(), prefit=True, threshold=1e-10)
    assert_array_equal(from_small.get_support(), model.selected_features_)
    pipeline = make_pipeline(
        SelectFromModel(clone(model).set_params(max_iter=5), max_features=20),
        StandardScaler(),
        RegMLPClassifier((10,), max_iter=20, learning_rate_init=0.01, random_state=0),
    ).fit(data, y)
    assert pipeline[-1].n_features_in_ <= 20
    assert pipeline.score(data, y) > 0.8


def test_rfe():
    y = 2 * X[:, 2] - 3 * X[:, 5]
    model = RegMLPRegressor(
        (5,),
        penalty="group_lasso",
        reg_lambda=0.03,
        solver="sgd",
        learning_rate_init=0.02,
        batch_size=10,
        max_iter=60,
        random_state=0,
    )
    rfe = RFE(model, n_features_to_select=2).fit(X, y)
    assert_array_equal(np.flatnonzero(rfe.support_), [2, 5])


# Contract ----------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPRegressor])
def test_unfitted(estimator):
    model = estimator()
    for name in ("selected_features_", "sparsity_", "feature_importances_"):
        with pytest.raises(NotFittedError, match=estimator.__name__):
            getattr(model, name)
    with pytest.raises(NotFittedError, match=estimator.__name__):
        model.compact()
    with pytest.raises(NotFittedError, match=estimator.__name__):
        model.refit_on_support(X, X[:, 0])


def test_docstring_examples():
    for method in (_base.BaseRegMLP.compact, _base.BaseRegMLP.refit_on_support):
        examples = doctest.DocTestFinder().find(method, module=_base)
        runner = doctest.DocTestRunner()
        for example in examples:
            assert runner.run(example).failed == 0
        assert runner.tries > 5
