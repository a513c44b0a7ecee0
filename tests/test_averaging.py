"""`ema`: an average of the weights over epochs that predicts in their place."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import log_loss

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    reg_mlp_path,
)
from skreg.penalties import L1, L2, MCP, GroupLasso, Penalty

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = {
    "sgd": {"learning_rate_init": 0.05},
    "rmsprop": {"learning_rate_init": 0.01},
    "adam": {"learning_rate_init": 0.02},
}
N_EPOCHS, DECAY = 12, 0.7


class InPython(Penalty):
    """L1 of a user's own, which acts in Python."""

    is_convex = is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        return float(lam * np.abs(W).sum())

    def prox(self, W, step, lam=1.0):
        return np.sign(W) * np.maximum(np.abs(W) - step * lam, 0)


PENALTIES = [
    None,
    "l1",
    "l2",
    "elasticnet",
    "group_lasso",
    "sparse_group_lasso",
    MCP(),
    InPython(),
    [L1(), L2()],
]


def network(estimator=RegMLPRegressor, solver="adam", **params):
    settings = {"hidden_layer_sizes": (6,), "batch_size": 16, "max_iter": N_EPOCHS}
    settings |= {"tol": 0.0, "n_iter_no_change": np.inf, "random_state": 0}
    settings |= {"shuffle": False, "reg_lambda": 0.03, **SOLVERS.get(solver, {})}
    return estimator(solver=solver, **(settings | params))


def weights(model):
    return [a.copy() for a in (*model.coefs_, *model.intercepts_)]


def iterates(model, X, y, n_epochs=N_EPOCHS):
    """Weights after each epoch of the same network without an average."""
    plain = clone(model).set_params(ema=0.0, early_stopping=False)
    return [weights(plain.partial_fit(X, y)) for _ in range(n_epochs)]


def replayed(epochs, decay=DECAY):
    """What the average must predict with after each epoch, by its definition."""
    average, networks = None, []
    for now in epochs:
        if average is None:
            average = now
        else:
            average = [decay * a + (1 - decay) * w for a, w in zip(average, now)]
        networks.append([np.where(w == 0, 0, a) for a, w in zip(average, now)])
    return networks


def assert_weights(model, expected):
    for a, b in zip(weights(model), expected, strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-14 if a.dtype == np.float64 else 1e-6)
        assert_array_equal(a == 0, b == 0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_average_is_that_of_the_epochs(regression, solver, penalty):
    X, y = regression
    model = network(solver=solver, penalty=penalty, ema=DECAY).fit(X, y)
    epochs = iterates(model, X, y)
    assert_weights(model, replayed(epochs)[-1])
    assert not np.allclose(model.coefs_[0], epochs[-1][0], rtol=0, atol=1e-4)


def test_average_is_that_of_torch(regression):
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    X, y = regression
    model = network(penalty=None, ema=DECAY).fit(X, y)
    epochs = iterates(model, X, y)
    twin = torch.nn.ParameterList([torch.tensor(a) for a in epochs[0]])
    averaged = AveragedModel(twin, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    for epoch in epochs:
        with torch.no_grad():
            for parameter, value in zip(twin, epoch, strict=True):
                parameter.copy_(torch.tensor(value))
        averaged.update_parameters(twin)
    assert_weights(model, [p.detach().numpy() for p in averaged.module])


def test_zeros_are_those_of_the_last_epoch(regression):
    X, y = regression
    model = network(penalty="l1", reg_lambda=0.1, max_iter=40, ema=0.9).fit(X, y)
    last = iterates(model, X, y, 40)[-1]
    assert_array_equal(model.coefs_[0] == 0, last[0] == 0)
    assert 0.2 < model.sparsity_[0] < 1
    assert_array_equal(model.selected_features_, model.coefs_[0].any(axis=1))
    small = model.compact()
    assert_allclose(small.predict(X), model.predict(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [float, np.float64, np.longdouble])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_that_of_X(regression, dtype, kind):
    X, y = regression
    model = network(penalty="l1", ema=kind(DECAY)).fit(X.astype(dtype), y)
    assert all(a.dtype == dtype for a in weights(model))
    assert all(a.dtype == dtype for a in model.fitted_.state.moments.values())
    assert model.fitted_.state.average.dtype == dtype
    assert_weights(model, replayed(iterates(model, X.astype(dtype), y))[-1])


def test_no_average_is_the_default(regression):
    X, y = regression
    model = network(ema=0.0).fit(X, y)
    assert RegMLPRegressor().ema == 0
    for a, b in zip(weights(model), iterates(model, X, y)[-1], strict=True):
        assert_array_equal(a, b)


def test_curves_are_those_of_the_weights_that_train(regression):
    X, y = regression
    model, plain = network(ema=DECAY).fit(X, y), network().fit(X, y)
    assert model.loss_curve_ == plain.loss_curve_
    assert model.loss_ == plain.loss_
    assert model.n_iter_ == plain.n_iter_


# Early stopping ----------------------------------------------------------------------


@pytest.mark.parametrize("scoring", [None, "loss", "neg_log_loss"])
def test_the_average_is_watched_and_kept(binary, scoring):
    X, y = binary
    train, test = np.arange(0, 40), np.arange(40, 60)
    held_out = {"X_val": X[test], "y_val": y[test]}
    model = network(RegMLPClassifier, penalty="l1", ema=DECAY, scoring=scoring)
    model.set_params(early_stopping=True, max_iter=30).fit(
        X[train], y[train], **held_out
    )
    plain = clone(model).set_params(early_stopping=False, ema=0.0)
    epochs = [
        weights(plain.partial_fit(X[train], y[train], classes=["no", "yes"]))
        for _ in range(30)
    ]
    scores = []
    for expected in replayed(epochs):
        plain.coefs_, plain.intercepts_ = expected[:2], expected[2:]
        if scoring is None:
            scores.append(plain.score(X[test], y[test]))
        else:
            scores.append(-log_loss(y[test], plain.predict_proba(X[test])))
    assert_allclose(model.validation_scores_, scores, rtol=1e-9)
    assert_weights(model, replayed(epochs)[int(np.argmax(scores))])
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_warm_start_after_early_stopping_begins_at_the_kept_network(binary):
    X, y = binary
    model = network(RegMLPClassifier, ema=DECAY, early_stopping=True, warm_start=True)
    model.set_params(n_iter_no_change=2, scoring="loss", learning_rate_init=0.3)
    model.fit(X, y)
    kept = [*model.coefs_, *model.intercepts_]
    assert np.argmax(model.validation_scores_) < model.n_iter_ - 1
    model.set_params(max_iter=1, learning_rate_init=1e-12).fit(X, y)
    for a, b in zip(weights(model), kept, strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-9)


# Going on ----------------------------------------------------------------------------


def via_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("carry", [copy.deepcopy, via_pickle])
@pytest.mark.parametrize("solver", SOLVERS)
def test_streams_and_warm_starts_are_one_fit(regression, solver, carry):
    X, y = regression
    params = {"solver": solver, "penalty": "l1", "ema": DECAY}
    whole = network(**params).fit(X, y)
    stream = network(**params)
    for _ in range(N_EPOCHS):
        stream = carry(stream.partial_fit(X, y))
    warm = network(max_iter=N_EPOCHS // 2, warm_start=True, **params).fit(X, y)
    warm = carry(warm).fit(X, y)
    for model in (stream, warm):
        for a, b in zip(weights(model), weights(whole), strict=True):
            assert_array_equal(a, b)
        assert model.loss_curve_ == whole.loss_curve_


def test_average_starts_anew_where_weights_are_replaced(regression):
    X, y = regression
    model = network(ema=DECAY).fit(X, y)
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    plain = copy.deepcopy(model).set_params(ema=0.0).partial_fit(X, y)
    model.partial_fit(X, y)  # the first epoch of a new average
    for a, b in zip(weights(model), weights(plain), strict=True):
        assert_array_equal(a, b)


def test_average_may_begin_and_end_in_a_warm_start(regression):
    X, y = regression
    model = network(warm_start=True, max_iter=3).fit(X, y)
    start = copy.deepcopy(model)
    model.set_params(ema=DECAY).fit(X, y)
    epochs = [weights(start.partial_fit(X, y)) for _ in range(3)]
    assert_weights(model, replayed(epochs)[-1])
    model.set_params(ema=0.0, learning_rate_init=1e-12, max_iter=1).fit(X, y)
    for a, b in zip(weights(model), replayed(epochs)[-1], strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-9)


def test_interrupt_keeps_the_average_of_complete_epochs(regression, monkeypatch):
    from skreg._engines._compiled import CompiledEpochs

    X, y = regression
    complete, n_epochs = CompiledEpochs.run, 0

    def run(self, *args):
        nonlocal n_epochs
        n_epochs += 1
        if n_epochs > 5:
            raise KeyboardInterrupt
        return complete(self, *args)

    model = network(penalty="l1", ema=DECAY)
    with monkeypatch.context() as patch:
        patch.setattr(CompiledEpochs, "run", run)
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit(X, y)
    assert_weights(model, replayed(iterates(model, X, y, 5))[-1])


# Elsewhere ---------------------------------------------------------------------------


def test_paths_and_searches_average(binary):
    X, y = binary
    model = network(RegMLPClassifier, penalty="l1", ema=DECAY)
    path = reg_mlp_path(model, X, y, reg_lambdas=[0.01, 0.1])
    codes = (y == "yes").astype(int)
    first = clone(model).set_params(reg_lambda=0.01)
    assert_weights(path[0], replayed(iterates_of_classes(first, X, y))[-1])
    search = RegMLPClassifierCV((4,), ema=0.5, max_iter=5, reg_lambdas=3, cv=2)
    search.fit(X, codes)
    assert search.best_estimator_.ema == 0.5


def iterates_of_classes(model, X, y):
    plain = clone(model).set_params(ema=0.0)
    return [
        weights(plain.partial_fit(X, y, classes=np.unique(y))) for _ in range(N_EPOCHS)
    ]


@pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPRegressor])
def test_lbfgs_has_no_epochs(estimator, binary):
    X, y = binary
    y = (y == "yes").astype(int)
    with pytest.raises(ValueError, match=r"ema=0\.9 .*solver='lbfgs'.*ema=0"):
        estimator(solver="lbfgs", ema=0.9).fit(X, y)


def test_an_average_that_lags_behind_is_told(regression):
    X, y = regression
    far = y + 30.0
    stopping = {"max_iter": 5000, "tol": 1e-3, "n_iter_no_change": 5}
    plain = network(penalty=None, learning_rate_init=0.05, **stopping).fit(X, far)
    assert plain.data_loss_curve_[-1] < np.var(far) / 2
    with pytest.warns(UserWarning, match="but a constant has"):
        clone(plain).set_params(ema=0.9999).fit(X, far)


def test_group_lasso_drops_the_same_inputs(regression):
    X, y = regression
    X = np.c_[X, np.random.default_rng(0).normal(size=(60, 6))]
    model = network(penalty=GroupLasso(), reg_lambda=0.1, max_iter=60, ema=DECAY)
    model.fit(X, y)
    plain = clone(model).set_params(ema=0.0).fit(X, y)
    assert 0 < model.selected_features_.sum() < 10
    assert_array_equal(model.selected_features_, plain.selected_features_)
