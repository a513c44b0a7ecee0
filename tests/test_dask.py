"""Fits on a cluster: the same objective as in memory, whatever the blocks are."""

import doctest
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from joblib import parallel_config
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, ShuffleSplit

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
    stability_selection,
)
from skreg._engines._compiled import CompiledRows
from skreg._network import Network
from skreg._optimizers import Optimizer
from skreg._problem import Problem
from skreg.penalties import L1, MCP, SCAD

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
skreg_dask = pytest.importorskip("skreg.dask")
term_module = pytest.importorskip("skreg.dask._term")
_epochs = pytest.importorskip("skreg.dask._epochs")
_sockets = pytest.importorskip("skreg.dask._sockets")
_cluster = pytest.importorskip("skreg.dask._cluster")
Cluster = _cluster.Cluster
aligned_blocks = pytest.importorskip("skreg.dask._collections").aligned_blocks
PeerLost, Sum = _sockets.PeerLost, _sockets.Sum
DaskRegMLPClassifier = skreg_dask.DaskRegMLPClassifier
DaskRegMLPRegressor = skreg_dask.DaskRegMLPRegressor

CHUNKS = (90, 10, 120, 80)  # unbalanced
DASK = {
    RegMLPClassifier: DaskRegMLPClassifier,
    RegMLPRegressor: DaskRegMLPRegressor,
}
EXACT = {
    "activation": "tanh",
    "solver": "lbfgs",
    "max_iter": 12,
    "random_state": 0,
    "reg_lambda": 3e-3,
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@contextmanager
def worker_in_this_process(memory_limit=0):
    with (
        distributed.LocalCluster(
            n_workers=1,
            processes=False,
            protocol="tcp",
            memory_limit=memory_limit,
            host="127.0.0.1",
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def make_data(kind):
    """X, targets of a kind, and weights with zeros: 300 rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    raw = np.tanh(X @ rng.standard_normal((4, 3))) + 0.3 * rng.standard_normal((300, 3))
    targets = {
        "classes": np.array(["a", "b", "c"])[raw.argmax(axis=1)],
        "two classes": raw[:, 0] > 0,
        "labels": (raw > 0).astype(int),
        "values": raw[:, 0],
        "outputs": raw,
    }
    weights = rng.integers(0, 3, 300).astype(float)
    return X, targets[kind], weights


def chunked(*arrays, chunks=CHUNKS):
    """Dask arrays with the same chunks of rows."""
    return [
        da.from_array(a, chunks=(chunks, *((n,) for n in a.shape[1:]))) for a in arrays
    ]


def unknown(X):
    """The same collection, but nobody knows the sizes of its blocks."""
    X = X.map_blocks(lambda block: block, dtype=X.dtype, meta=X._meta)
    X._chunks = ((np.nan,) * X.numblocks[0], *X.chunks[1:])
    return X


def local_class(kind):
    return RegMLPRegressor if kind in ("values", "outputs") else RegMLPClassifier


def assert_same_fit(fitted, local, rtol=1e-6):
    np.testing.assert_allclose(fitted.loss_, local.loss_, rtol=rtol)
    for a, b in zip(fitted.coefs_, local.coefs_):
        np.testing.assert_array_equal(a == 0, b == 0)


# The deterministic solver ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "penalty"),
    [
        ("classes", "l1"),
        ("two classes", "group_lasso"),
        ("labels", "elasticnet"),
        ("values", None),
        ("values", "l2"),
        ("outputs", "sparse_group_lasso"),
        ("classes", MCP()),
        ("values", SCAD()),
    ],
    ids=str,
)
def test_exact_fit_equals_the_local_one(client, kind, penalty):
    X, y, s = make_data(kind)
    local = local_class(kind)((5,), penalty=penalty, **EXACT).fit(X, y, s)
    model = DASK[type(local)]((5,), penalty=penalty, client=client, **EXACT)
    model.fit(*chunked(X, y, s))
    assert_same_fit(model, local)
    assert model.n_iter_ == local.n_iter_
    dX, dy, ds = chunked(X, y, s)
    assert model.score(dX, dy, ds) == pytest.approx(local.score(X, y, s), abs=1e-4)


def frame(X):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(X, columns=[f"x{k}" for k in range(X.shape[1])])


def as_frames(X, y, s):
    dd = pytest.importorskip("dask.dataframe")
    parts = [dd.from_pandas(frame(X), npartitions=3)]
    return parts + [
        dd.from_pandas(frame(a[:, None])["x0"], npartitions=3) for a in (y, s)
    ]


def as_csr(X, y, s):
    X, y, s = chunked(X, y, s)
    return X.map_blocks(sparse.csr_array), y, s


CONTAINERS = {
    "csr": as_csr,
    "frames": as_frames,
    "unknown sizes": lambda *arrays: map(unknown, chunked(*arrays)),
    "float32": lambda X, y, s: chunked(X.astype(np.float32), y, s),
    "empty blocks": lambda *arrays: chunked(*arrays, chunks=(0, 150, 0, 150)),
    "other chunks of y": lambda X, y, s: (*chunked(X), *chunked(y, s, chunks=(300,))),
    "columns cut": lambda X, y, s: (chunked(X)[0].rechunk((100, 2)), *chunked(y, s)),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_give_the_fit_of_arrays(client, container):
    X, y, s = make_data("two classes")
    X = np.where(np.abs(X) < 0.5, 0.0, X)
    if container == "float32":
        X = X.astype(np.float32)
    kwargs = {"penalty": "l1", "class_weight": "balanced", **EXACT}
    local = RegMLPClassifier((5,), **kwargs).fit(X, y, s)
    dX, dy, ds = CONTAINERS[container](X, y, s)
    model = DaskRegMLPClassifier((5,), client=client, **kwargs).fit(dX, dy, ds)
    assert_same_fit(model, local)
    assert model.coefs_[0].dtype == X.dtype
    np.testing.assert_array_equal(model.predict(dX).compute(), local.predict(X))
    np.testing.assert_allclose(
        model.predict_proba(dX).compute(), local.predict_proba(X), atol=1e-3
    )


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of Dask
def test_columns_of_one_parquet_data_set_have_like_blocks(tmp_path):
    pytest.importorskip("pyarrow")
    dd = pytest.importorskip("dask.dataframe")
    table = frame(np.random.default_rng(0).standard_normal((60, 10)))
    dd.from_pandas(table, npartitions=6).to_parquet(tmp_path)
    table = dd.read_parquet(tmp_path)
    X, y = table.drop(columns="x9"), table["x9"]
    assert len(y.to_delayed()) < 6  # Dask reads several files at once
    blocks = aligned_blocks(X, y)
    assert len(blocks) == 6
    for X_block, y_block, _ in blocks:
        X_block, y_block = dask.compute(X_block, y_block)
        assert X_block.index.equals(y_block.index)


def test_blocks_may_hold_one_class_or_no_weight(client):
    X, y, _ = make_data("classes")
    order = np.argsort(y)
    X, y = X[order], y[order]
    s = np.r_[np.zeros(90), np.ones(210)]
    kwargs = {"penalty": "l2", "class_weight": "balanced", **EXACT}
    local = RegMLPClassifier((5,), **kwargs).fit(X, y, s)
    model = DaskRegMLPClassifier((5,), client=client, **kwargs).fit(*chunked(X, y, s))
    assert_same_fit(model, local)
    assert model.classes_.tolist() == ["a", "b", "c"]


def test_bits_do_not_depend_on_what_lies_where(client):
    X, y, s = make_data("classes")
    model = DaskRegMLPClassifier((5,), client=client, **EXACT)
    thetas = [model.fit(*chunked(X, y, s)).fitted_.theta() for _ in range(3)]
    np.testing.assert_array_equal(thetas[0], thetas[1])
    np.testing.assert_array_equal(thetas[0], thetas[2])


def test_warm_start_goes_on(client):
    X, y, _ = make_data("values")
    model = DaskRegMLPRegressor((5,), client=client, **EXACT).fit(*chunked(X, y))
    before = model.loss_
    model.set_params(warm_start=True).fit(*chunked(X, y))
    assert model.loss_ < before
    assert len(model.loss_curve_) > model.n_iter_


# Mini-batch solvers ------------------------------------------------------------------

STOCHASTIC = ("adam", "sgd", "rmsprop")
LONG = {"tol": 0.0, "n_iter_no_change": 10**6, "random_state": 0}


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize(
    ("kind", "penalty", "mode"),
    [
        ("classes", "l1", "proximal"),
        ("labels", "group_lasso", "proximal"),
        ("values", "l2", "decoupled"),
    ],
)
def test_one_batch_of_all_rows_makes_the_local_steps(
    client, solver, kind, penalty, mode
):
    X, y, s = make_data(kind)
    kwargs = {"solver": solver, "penalty": penalty, "decay_mode": mode, **LONG}
    kwargs |= {"batch_size": 300, "max_iter": 6, "activation": "tanh"}
    kwargs |= {"learning_rate_init": 0.02, "reg_lambda": 0.02}
    local = local_class(kind)((5,), **kwargs).fit(X, y, s)
    model = DASK[type(local)]((5,), client=client, **kwargs).fit(*chunked(X, y, s))
    np.testing.assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-12)
    for a, b in zip(model.coefs_, local.coefs_):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(a == 0, b == 0)
    assert model.t_ == local.t_


def objective(model, X, y, s):
    """J of a linear regression with L1, from its formula."""
    residual = y - X @ model.coefs_[0][:, 0] - model.intercepts_[0]
    penalty = model.reg_lambda * np.abs(model.coefs_[0]).sum()
    return 0.5 * np.average(residual**2, weights=s) + penalty


@pytest.mark.slow
@pytest.mark.parametrize("solver", STOCHASTIC)
def test_small_batches_reach_the_objective_and_its_zeros(client, solver):
    X, y, s = make_data("values")
    X = np.hstack([X, np.random.default_rng(1).standard_normal((300, 6))])
    kwargs = {"penalty": "l1", "reg_lambda": 0.1, "random_state": 0}
    exact = RegMLPRegressor((), solver="lbfgs", **kwargs).fit(X, y, s)
    kwargs |= {"solver": solver, "batch_size": 30, "max_iter": 40, **LONG}
    kwargs |= {"learning_rate": "cosine", "learning_rate_init": 0.02}
    model = DaskRegMLPRegressor((), client=client, **kwargs).fit(*chunked(X, y, s))
    np.testing.assert_allclose(
        objective(model, X, y, s), objective(exact, X, y, s), rtol=0.01
    )
    local = RegMLPRegressor((), **kwargs).fit(X, y, s)
    np.testing.assert_allclose(model.sparsity_, local.sparsity_, atol=0.1)
    if solver != "rmsprop":  # whose metric leaves rounding in place of zeros
        np.testing.assert_array_equal(model.sparsity_, exact.sparsity_)


class Slow(L1):
    """A penalty that the core does not know."""

    def prox(self, W, step, lam):
        return super().prox(W, step, lam)


def cluster_term(client, X, y, s):
    """The data term of a regression on the cluster."""
    model = RegMLPRegressor()
    arrays = chunked(X, y, s)
    rows, _, facts = term_module.read(model, Cluster(client), *arrays)
    task = term_module.known_task(model, facts)
    return term_module.data_term(rows, model, task, rows.X, np.float64)


def test_data_term_is_that_of_the_rows_in_memory(client):
    X, y, s = make_data("values")
    term = cluster_term(client, X, y, s)
    rows = CompiledRows(X, y[:, None], s, term.loss, 1)
    assert (term.n_rows, term.weight_sum) == (rows.n_rows, rows.weight_sum)
    for name in ("input_mean", "input_spread", "target_spread"):
        found, expected = getattr(term, name), getattr(rows, name)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(term.null_prediction, rows.null_prediction, rtol=1e-12)
    np.testing.assert_allclose(term.null_value, rows.null_value, rtol=1e-12)
    line = Network((4, 1), "identity")
    found, expected = (t.losses_of_outputs(line, np.ones(5)) for t in (term, rows))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    found, expected = (t.losses_of_constants for t in (term, rows))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert term.largest_target == rows.largest_target
    network = Network((4, 3, 1), "tanh")
    theta = np.random.default_rng(0).standard_normal(network.n_parameters)
    for (value, grad), (expected, expected_grad) in [
        (t.value_grad(network, theta) for t in (term, rows))
    ]:
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-10)
    np.testing.assert_allclose(
        term.value(network, theta), rows.value(network, theta), rtol=1e-12
    )


@pytest.mark.parametrize("penalty", [L1(), Slow()], ids=["in the core", "in Python"])
def test_all_workers_have_the_same_bits(client, penalty):
    term = cluster_term(client, *make_data("values"))
    network, optimizer = Network((4, 3, 1), "tanh"), Optimizer("adam")
    theta = np.random.default_rng(0).standard_normal(network.n_parameters)
    penalties = Problem(term, network, (penalty, penalty)).penalty(
        [0.1, 0.1], ["proximal"] * 2
    )
    moments = {"first": np.zeros_like(theta), "second": np.zeros_like(theta)}
    runner = term.epochs(network, optimizer, penalties, theta, moments, 20)
    order = np.random.RandomState(0).permutation(term.row_order())
    loss = runner.run(order, np.full(15, 0.01), 0)
    assert len(runner.digests) == 2
    assert len(set(runner.digests)) == 1
    assert np.isfinite(loss)
    first = runner.theta
    runner.restore()
    np.testing.assert_array_equal(runner.theta, theta)
    assert runner.run(order, np.full(15, 0.01), 0) == loss
    np.testing.assert_array_equal(runner.theta, first)


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [
        ("classes", None),
        ("values", None),
        ("classes", "loss"),
        ("values", "neg_mean_absolute_error"),
    ],
)
def test_early_stopping_watches_the_scores_of_the_local_fit(client, kind, scoring):
    X, y, s = make_data(kind)
    held_out = dict(
        zip(("X_val", "y_val", "sample_weight_val"), (X[:90], y[:90], s[:90]))
    )
    kwargs = {"batch_size": 300, "max_iter": 5, "early_stopping": True}
    kwargs |= {"scoring": scoring, "random_state": 0, "learning_rate_init": 0.05}
    local = local_class(kind)((5,), **kwargs).fit(X, y, s, **held_out)
    model = DASK[type(local)]((5,), client=client, **kwargs)
    parts = chunked(*held_out.values(), chunks=(40, 50))
    model.fit(*chunked(X, y, s), **dict(zip(held_out, parts)))
    np.testing.assert_allclose(
        model.validation_scores_, local.validation_scores_, rtol=1e-10
    )
    assert model.best_validation_score_ == max(model.validation_scores_)


@pytest.mark.filterwarnings("ignore:early_stopping=True")
@pytest.mark.filterwarnings("ignore:.*ended with a data loss")
def test_early_stopping_watches_the_loss_of_constant_targets(client):
    X, y, _ = make_data("values")
    y_val = np.full(90, y.mean())
    kwargs = {"solver": "lbfgs", "early_stopping": True, "random_state": 0}
    local = RegMLPRegressor((5,), **kwargs).fit(X, y, X_val=X[:90], y_val=y_val)
    X_val, y_val = chunked(X[:90], y_val, chunks=(40, 50))
    model = DaskRegMLPRegressor((5,), client=client, **kwargs)
    with pytest.warns(UserWarning, match="validation targets are constant"):
        model.fit(*chunked(X, y), X_val=X_val, y_val=y_val)
    np.testing.assert_allclose(
        model.validation_scores_, local.validation_scores_, rtol=1e-6
    )


# Paths -------------------------------------------------------------------------------


def test_path_is_the_local_one(client):
    X, y, s = make_data("values")
    kwargs = {"penalty": "l1", "solver": "lbfgs"}
    options = {"reg_lambdas": [0.1, 0.3]}
    local = reg_mlp_path(
        RegMLPRegressor((), **kwargs), X, y, sample_weight=s, **options
    )
    dX, dy, ds = chunked(X, y, s)
    estimator = DaskRegMLPRegressor((), client=client, **kwargs)
    path = reg_mlp_path(estimator, dX, dy, sample_weight=ds, **options)
    np.testing.assert_allclose(path.reg_lambdas, local.reg_lambdas, rtol=1e-10)
    np.testing.assert_allclose(path.objective, local.objective, rtol=1e-6)
    np.testing.assert_array_equal(path.n_nonzero, local.n_nonzero)
    assert type(path[1]) is DaskRegMLPRegressor
    assert path[1].client is client


def test_refit_on_the_support_is_the_local_one(client):
    X, y, s = make_data("values")
    X = np.hstack([X, np.random.default_rng(1).standard_normal((300, 3))])
    kwargs = {"penalty": "l1", "reg_lambda": 0.1, "solver": "lbfgs"}
    model = DaskRegMLPRegressor((), client=client, **kwargs).fit(*chunked(X, y, s))
    assert 0 < model.selected_features_.sum() < 7
    again = model.refit_on_support(*chunked(X, y, s))
    local = model.to_local().refit_on_support(X, y, s)
    np.testing.assert_allclose(again.coefs_[0], local.coefs_[0], rtol=1e-6)


# Cross-validation --------------------------------------------------------------------

SEARCHES = {
    "adaptive": (
        "outputs",
        {
            "hidden_layer_sizes": (),
            "penalty": "l1",
            "solver": "lbfgs",
            "adaptive": [1.0],
            "selection": "1se",
            "max_iter": 2,
        },
    ),
    "a grid, the loss, and groups": (
        "classes",
        {
            "hidden_layer_sizes": (),
            "solver": "lbfgs",
            "param_grid": {"penalty": ["l1", "l2"]},
            "max_iter": 2,
            "class_weight": "balanced",
            "scoring": "loss",
            "cv": GroupKFold(2),
        },
    ),
    "cold mini-batches, stopped early": (
        "labels",
        {
            "hidden_layer_sizes": (3,),
            "batch_size": 300,
            "max_iter": 1,
            "reg_lambdas": [0.03],
            "early_stopping": True,
            "start": "cold",
            "scoring": "accuracy",
            "cv": ShuffleSplit(2, random_state=0),
        },
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Got batch_size")
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_is_the_local_one(client, name):
    kind, kwargs = SEARCHES[name]
    X, y, s = make_data(kind)
    kwargs = {"cv": 2, "reg_lambdas": [0.03, 0.1], "random_state": 0, **kwargs}
    options = {"groups": np.arange(300) % 7} if "GroupKFold" in str(kwargs) else {}
    local_cv = {
        RegMLPRegressor: RegMLPRegressorCV,
        RegMLPClassifier: RegMLPClassifierCV,
    }
    local = local_cv[local_class(kind)](**kwargs).fit(X, y, s, **options)
    search = getattr(skreg_dask, f"Dask{type(local).__name__}")(**kwargs, client=client)
    assert search.get_params() == {**local.get_params(), "client": client}
    dX, dy, ds = chunked(X, y, s)
    search.fit(dX, dy, ds, **options)
    assert search.best_params_ == local.best_params_
    for name in ("scores_", "train_scores_", "oof_predictions_"):
        found, expected = getattr(search, name), getattr(local, name)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    assert_same_fit(search, local)
    assert search.score(dX, dy, ds) == pytest.approx(local.score(X, y, s), rel=1e-6)
    again = pickle.loads(pickle.dumps(search)).to_local()
    assert type(again) is type(local)
    np.testing.assert_array_equal(search.predict(dX).compute(), again.predict(X))
    assert type(search.best_estimator_) is DASK[local_class(kind)]
    assert search.best_estimator_.client is client


@pytest.mark.slow
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_search_takes_folds_of_all_containers(client, container):
    X, y, s = make_data("outputs")
    y = y[:, 0]
    kwargs = {"penalty": "l1", "solver": "lbfgs", "reg_lambdas": [0.1], "cv": 2}
    local = RegMLPRegressorCV((), **kwargs).fit(X, y, s)
    search = skreg_dask.DaskRegMLPRegressorCV((), **kwargs, client=client)
    search.fit(*CONTAINERS[container](X, y, s))
    tol = 1e-4 if container == "float32" else 1e-8
    np.testing.assert_allclose(search.scores_, local.scores_, rtol=tol)
    np.testing.assert_allclose(
        search.oof_predictions_, local.oof_predictions_, rtol=tol, atol=tol
    )


def test_a_search_of_collections_needs_no_backend_of_joblib(client):
    search = skreg_dask.DaskRegMLPRegressorCV(
        (), solver="lbfgs", reg_lambdas=[0.1, 1.0], cv=2, client=client
    )
    expected = clone(search).fit(*chunked(X, Y))
    with parallel_config(backend="dask"):
        search.fit(*chunked(X, Y))
    np.testing.assert_allclose(search.scores_, expected.scores_, rtol=1e-9)
    search.set_params(solver="adam", penalty="l1")
    for model in (search.best_estimator_, search.to_local().best_estimator_):
        assert (model.solver, model.penalty) == ("lbfgs", "l2")  # as fitted


def test_a_search_names_what_it_can_not_do(client):
    arrays = chunked(X, Y)

    def fit(options=None, **params):
        search = skreg_dask.DaskRegMLPRegressorCV((), client=client, **params)
        search.fit(*arrays, **(options or {}))

    for params, name in (
        ({"param_grid": "auto"}, "param_grid"),
        ({"max_features": 2}, "max_features"),
        ({"refit": "stack"}, "refit"),
        ({"cv": "loo"}, "cv"),
        ({"device": "torch:cpu"}, "device"),
        ({"param_grid": {"device": ["torch:cpu"]}}, "device"),
    ):
        with pytest.raises(ValueError, match=f"'{name}' parameter .*on a cluster"):
            fit(**params)
    with pytest.raises(ValueError, match="scoring='r2' is not supported on a cluster"):
        fit(scoring="r2")
    with pytest.raises(TypeError, match=r"unexpected arguments: \['metadata'\]"):
        fit({"metadata": 1})
    with pytest.raises(TypeError, match="X must be a Dask array"):
        skreg_dask.DaskRegMLPRegressorCV((), client=client).fit(X, Y)
    labels = chunked((X[:, :2] > 0).astype(int))
    for cls in (DaskRegMLPClassifier, skreg_dask.DaskRegMLPClassifierCV):
        with pytest.raises(ValueError, match="'balanced' is not supported for multila"):
            cls((), class_weight="balanced", client=client).fit(arrays[0], *labels)
    assert not hasattr(skreg_dask.DaskRegMLPRegressorCV(), "predict_interval")


# Searches of arrays in memory --------------------------------------------------------


def test_a_search_of_arrays_sends_them_to_the_workers_once(client, monkeypatch, capsys):
    tcp = pytest.importorskip("distributed.comm.tcp")
    n_bytes, write = [], tcp.TCP.write

    async def counted(*args, **kwargs):
        n_bytes.append(await write(*args, **kwargs))
        return n_bytes[-1]

    monkeypatch.setattr(tcp.TCP, "write", counted)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 100))
    y = X[:, 0] + rng.standard_normal(2000)
    search = RegMLPRegressorCV(
        (),
        penalty="l1",
        solver="lbfgs",
        reg_lambdas=[0.01, 0.1],
        param_grid={"loss": ["squared_error", "huber"]},
        cv=6,
        scoring=lambda model, X, y: -np.abs(model.predict(X) - y).mean(),
        verbose=1,
    )
    local = clone(search).fit(X, y)
    lines = sorted(
        line.rpartition(",")[0] for line in capsys.readouterr().out.split("\n")
    )
    n_bytes.clear()  # of heartbeats
    with parallel_config(backend="dask"):
        search.fit(X, y)
    np.testing.assert_array_equal(search.scores_, local.scores_)
    np.testing.assert_array_equal(search.coefs_[0], local.coefs_[0])
    found = capsys.readouterr().out.split("\n")
    assert sorted(line.rpartition(",")[0] for line in found) == lines
    # X goes to the scheduler, and from there to a worker; 12 fits in all.
    assert 2 * X.nbytes <= sum(n_bytes) < 3 * X.nbytes


# Sockets of the workers --------------------------------------------------------------


def add_up(token, rank, size, address, values):
    with Sum(token, rank, size, address) as total:
        total(values)
    return values


def test_stability_selection_is_for_local_networks():
    model = skreg_dask.DaskRegMLPRegressor()
    with pytest.raises(ValueError, match=r"estimator must be a .*DaskRegMLPRegressor"):
        stability_selection(model, np.ones((9, 2)), np.arange(9.0))


def test_sums_are_the_same_everywhere_and_strangers_are_refused():
    token = b"t" * 32
    address = _sockets.listen(token, "127.0.0.1")
    strangers = [socket.create_connection(address) for _ in range(3)]
    strangers[0].close()
    strangers[1].sendall(b"x" * 200)  # the third says nothing at all
    values = [np.full(5, 0.1), np.full(5, 0.2), np.full(5, 0.3)]
    with ThreadPoolExecutor(4) as pool:
        root = pool.submit(add_up, token, 0, 3, address, values[0])
        with pytest.raises(PeerLost):
            add_up(b"w" * 32, 1, 3, address, values[1].copy())
        others = [
            pool.submit(add_up, token, rank, 3, address, values[rank])
            for rank in (2, 1)
        ]
        sums = [call.result(30) for call in (root, *others)]
    for total in sums:
        np.testing.assert_array_equal(total, 0.1 + np.full(5, 0.2) + 0.3)
    for stranger in strangers[1:]:
        stranger.close()
    assert token not in _sockets._open


def test_who_waits_for_a_lost_peer_is_told():
    token = b"t" * 32
    address = _sockets.listen(token, "127.0.0.1")
    with ThreadPoolExecutor(1) as pool:
        root = pool.submit(add_up, token, 0, 2, address, np.zeros(5))
        _sockets.close(token)
        with pytest.raises(PeerLost):
            root.result(30)
    with pytest.raises(PeerLost):
        add_up(token, 1, 2, address, np.zeros(5))


# Memory ------------------------------------------------------------------------------


def test_little_memory_changes_no_bits_and_is_named_by_mini_batches(
    client, monkeypatch
):
    model = DaskRegMLPRegressor((5,), client=client, **EXACT).fit(*chunked(X, Y))
    memory = dict.fromkeys(client.nthreads(), 5000.0)  # X has 9600 bytes
    for name in ("memory", "free"):
        monkeypatch.setattr(Cluster, name, lambda cluster: memory)
    again = clone(model).fit(*chunked(X, Y))
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    with pytest.raises(RuntimeError, match=r"tcp://.* holds 0 MB and may use 0 MB"):
        clone(model).set_params(solver="adam").fit(*chunked(X, Y))


LITTLE = {"target": 0.01, "spill": False, "pause": False, "terminate": False}


def test_what_does_not_fit_is_on_disk(monkeypatch):
    def n_on_disk(dask_worker):
        return len(dask_worker.data.disk)

    rng = np.random.default_rng(0)
    X = rng.standard_normal((40_000, 20)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + X[:, 2]
    chunks = (4000,) * 10  # of 320 kB; there is room for 1 MB
    little = {f"distributed.worker.memory.{name}": LITTLE[name] for name in LITTLE}
    with dask.config.set(little), worker_in_this_process("100MB") as client:
        found, value_grad = [], term_module.ClusterTerm.value_grad

        def watched(*args):
            found.append(client.run(n_on_disk))
            return value_grad(*args)

        monkeypatch.setattr(term_module.ClusterTerm, "value_grad", watched)
        model = DaskRegMLPRegressor((5,), client=client, **EXACT)
        in_time(model.fit, *chunked(X, y, chunks=chunks))
    assert all(n > 0 for numbers in found for n in numbers.values())
    assert_same_fit(model, RegMLPRegressor((5,), **EXACT).fit(X, y))


# Predictions -------------------------------------------------------------------------


def test_predictions_are_lazy_and_those_of_the_local_estimator(client):
    X, y, _ = make_data("classes")
    dX, dy = chunked(X, y)
    model = DaskRegMLPClassifier((5,), client=client, **EXACT).fit(dX, dy)
    local = model.to_local()
    assert type(local) is RegMLPClassifier
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        lazy = getattr(model, name)(dX)
        assert isinstance(lazy, da.Array)
        assert lazy.chunks[0] == CHUNKS
        expected = getattr(local, name)(X)
        assert lazy.shape == expected.shape
        assert lazy.dtype == expected.dtype
        np.testing.assert_array_equal(lazy.compute(), expected)


def test_predictions_of_frames_are_arrays(client):
    X, y, s = make_data("outputs")
    model = DaskRegMLPRegressor((), client=client, **EXACT)
    model.fit(*chunked(X, y))
    dX = as_frames(X, y[:, 0], s)[0]
    model.fit(dX, chunked(y, chunks=(100, 100, 100))[0])
    assert model.feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]
    lazy = model.predict(dX)
    np.testing.assert_array_equal(lazy.compute(), model.to_local().predict(frame(X)))
    with pytest.raises(ValueError, match=r"X has columns \['b', 'x1', 'x2', 'x3'\]"):
        model.predict(dX.rename(columns={"x0": "b"}))


# The estimator -----------------------------------------------------------------------


def test_parameters_are_those_of_the_local_estimator_and_the_client():
    for local, cls in DASK.items():
        assert cls().get_params() == {**local().get_params(), "client": None}
    model = DaskRegMLPClassifier((3,), penalty=MCP(gamma=4.0))
    assert "client" not in repr(model)
    assert model.set_params(penalty__gamma=5.0).penalty.gamma == 5.0
    with pytest.raises(ValueError, match="'reg_lambda'"):
        model.set_params(alpha=1.0)


def test_clones_keep_the_client_and_pickles_leave_it(client):
    X, y, _ = make_data("values")
    model = DaskRegMLPRegressor((5,), client=client, **EXACT).fit(*chunked(X, y))
    assert clone(model).client is client
    again = pickle.loads(pickle.dumps(model))
    assert again.client is None
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    assert model.client is client


def test_without_a_client_the_current_one_is_used(client):
    assert DaskRegMLPClassifier().client_ is client


def test_missing_dask_is_reported_with_the_extra():
    code = "import sys; sys.modules['dask'] = None; import skreg; import skreg.dask"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert "ImportError: skreg.dask needs dask and distributed" in result.stderr
    assert "skreg[dask]" in result.stderr


@pytest.mark.parametrize("name", skreg_dask.__all__)
def test_the_example_of_the_class_runs(client, name):
    cls = getattr(skreg_dask, name)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    (test,) = finder.find(cls, cls.__name__, globs={"client": client})
    assert runner.run(test).attempted > 0
    assert runner.failures == 0


# Errors ------------------------------------------------------------------------------


def poisoned(values, where, value):
    values = np.array(values, dtype=float)
    values[where] = value
    return values


X, Y, S = make_data("values")
BAD = {
    "X in memory": (lambda: (X, Y), TypeError, "X must be a Dask array"),
    "y in memory": (lambda: (*chunked(X), Y), TypeError, "y must be a Dask array"),
    "X of one dimension": (lambda: chunked(X[:, 0], Y), ValueError, "X must be 2D"),
    "NaN in X": (
        lambda: chunked(poisoned(X, 95, np.nan), Y),
        ValueError,
        "Block 1 of X and y: Input X contains NaN",
    ),
    "infinite y": (
        lambda: chunked(X, poisoned(Y, 299, np.inf)),
        ValueError,
        "Block 3 of X and y: Input y contains infinity",
    ),
    "negative weight": (
        lambda: chunked(X, Y, poisoned(S, 100, -1.0)),
        ValueError,
        "Block 2 of X and y: Negative values in data passed to 'sample_weight'",
    ),
    "no weight": (
        lambda: chunked(X, Y, 0 * S),
        ValueError,
        "all entries of sample_weight are 0",
    ),
    "lengths": (
        lambda: (*chunked(X), *chunked(Y[:290], chunks=(290,))),
        ValueError,
        "X has 300 rows, but y has 290",
    ),
    "unknown lengths": (
        lambda: (*chunked(X), unknown(chunked(Y[:299], chunks=(90, 10, 120, 79))[0])),
        ValueError,
        "Block 3 of X and y: X has 80 rows, but y has 79",
    ),
    "partitions": (
        lambda: (*chunked(X), unknown(chunked(Y, chunks=(150, 150))[0])),
        ValueError,
        "X has 4 blocks, but y has 2",
    ),
    "no rows": (
        lambda: chunked(X[:0], Y[:0], chunks=(0, 0)),
        ValueError,
        "X has no rows",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_data_is_named_and_loses_nothing(client, bad):
    make, error, message = BAD[bad]
    model = DaskRegMLPRegressor((), client=client, **EXACT)
    model.fit(*chunked(X, Y))
    before = model.fitted_
    with pytest.raises(error, match=message):
        model.fit(*make())
    assert model.fitted_ is before


def test_bad_parameters_are_named_before_anything_is_sent(client):
    arrays = chunked(X, Y)

    def fit(**params):
        DaskRegMLPRegressor((), **params).fit(*arrays)

    with pytest.raises(ValueError, match="'reg_lambda' parameter"):
        fit(reg_lambda=-1.0, solver="lbfgs")
    with pytest.raises(ValueError, match="needs X_val and y_val"):
        fit(early_stopping=True)
    with pytest.raises(ValueError, match="'device' parameter"):
        fit(device="cuda")
    with pytest.raises(ValueError, match="scoring='r2' is not supported"):
        fit(early_stopping=True, scoring="r2")
    with pytest.raises(ValueError, match="only used with early_stopping=True"):
        DaskRegMLPRegressor(()).fit(*arrays, X_val=arrays[0], y_val=arrays[1])
    assert not hasattr(DaskRegMLPRegressor(), "partial_fit")


# Faults ------------------------------------------------------------------------------


def in_time(call, *args):
    """Result of a call, or an error after two minutes."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call, *args).result(120)
    finally:
        pool.shutdown(wait=False)


def kill_a_worker(client):
    os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)


def before_call(monkeypatch, owner, name, number, act):
    """Act once, just before the numbered call of a function."""
    original, numbers = getattr(owner, name), itertools.count(1)

    def function(*args, **kwargs):
        if next(numbers) == number:
            act()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, function)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "owner", "name", "number"),
    [
        ("lbfgs", term_module.ClusterTerm, "value_grad", 4),
        ("adam", _epochs, "_results", 2),
    ],
    ids=["evaluation", "epoch"],  # more in cluster/check_cluster.py
)
def test_a_fit_survives_a_worker(
    mortal_client, monkeypatch, solver, owner, name, number
):
    X, y, s = make_data("values")
    kwargs = {**EXACT, "solver": solver, "max_iter": 6, "client": mortal_client}
    quiet = DaskRegMLPRegressor((5,), **kwargs).fit(*chunked(X, y, s))
    monkeypatch.setattr(_epochs, "_FETCH", 1.0)
    before_call(monkeypatch, owner, name, number, lambda: kill_a_worker(mortal_client))
    model = DaskRegMLPRegressor((5,), **kwargs)
    in_time(model.fit, *chunked(X, y, s))
    np.testing.assert_allclose(model.loss_curve_, quiet.loss_curve_, rtol=1e-9)


def test_a_lost_scheduler_ends_the_fit_with_a_clear_error(monkeypatch):
    X, y, s = make_data("values")
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        before_call(
            monkeypatch, term_module.ClusterTerm, "value_grad", 4, cluster.close
        )
        model = DaskRegMLPRegressor((5,), client=client, **EXACT)
        with pytest.raises(RuntimeError, match="connection to the Dask scheduler"):
            in_time(model.fit, *chunked(X, y, s))
    assert not hasattr(model, "fitted_")


def lose_all_workers(client):
    client.cluster.scale(0)


def pause_all_workers(client):
    def pause(dask_worker):
        dask_worker.status = distributed.core.Status.paused

    client.run(pause)


def test_large_parameters_are_sent_again_after_a_death(client, monkeypatch):
    def fail():
        raise distributed.comm.CommClosedError("a worker died")

    X, y, s = make_data("values")
    quiet = DaskRegMLPRegressor((5,), client=client, **EXACT).fit(*chunked(X, y, s))
    monkeypatch.setattr(_cluster, "_LARGE", 0)
    before_call(monkeypatch, distributed.Client, "scatter", 3, fail)
    model = DaskRegMLPRegressor((5,), client=client, **EXACT)
    in_time(model.fit, *chunked(X, y, s))
    np.testing.assert_array_equal(model.loss_curve_, quiet.loss_curve_)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "message"),
    [(lose_all_workers, "all were lost"), (pause_all_workers, "want of memory")],
    ids=["lost", "paused"],
)
@pytest.mark.parametrize(
    ("solver", "owner", "name", "number"),
    [
        ("lbfgs", term_module.ClusterTerm, "value_grad", 4),
        ("adam", Cluster, "wait", 2),
    ],
)
def test_a_fit_without_workers_ends_with_a_clear_error(
    monkeypatch, solver, owner, name, number, act, message
):
    X, y, s = make_data("values")
    kwargs = {**EXACT, "solver": solver, "max_iter": 6}
    with worker_in_this_process() as client:
        before_call(monkeypatch, owner, name, number, lambda: act(client))
        model = DaskRegMLPRegressor((5,), client=client, **kwargs)
        with (
            dask.config.set({"distributed.scheduler.no-workers-timeout": "1s"}),
            pytest.raises(RuntimeError, match=f"No worker .* for 1 s: .*{message}"),
        ):
            in_time(model.fit, *chunked(X, y, s))
    assert not hasattr(model, "fitted_")


def test_a_fit_waits_for_workers_that_come_back(monkeypatch):
    X, y, s = make_data("values")
    with worker_in_this_process() as client:
        quiet = DaskRegMLPRegressor((5,), client=client, **EXACT)
        quiet.fit(*chunked(X, y, s))
        look = _cluster.Watch.look

        def look_and_start(watch):
            look(watch)
            client.cluster.scale(1)

        monkeypatch.setattr(_cluster.Watch, "look", look_and_start)
        before_call(
            monkeypatch,
            term_module.ClusterTerm,
            "value_grad",
            4,
            lambda: lose_all_workers(client),
        )
        model = DaskRegMLPRegressor((5,), client=client, **EXACT)
        in_time(model.fit, *chunked(X, y, s))
    np.testing.assert_array_equal(model.loss_curve_, quiet.loss_curve_)


def test_a_source_that_has_failed_is_tried_again(client, tmp_path):
    X, y, s = make_data("values")
    missing = tmp_path / "there"

    def read(block):
        missing.read_text()
        return block

    dX = chunked(X)[0].map_blocks(read, dtype=float, meta=X)
    model = DaskRegMLPRegressor((), client=client, **EXACT)
    with pytest.raises(FileNotFoundError) as kept:
        in_time(model.fit, dX, *chunked(y, s))
    missing.write_text("")
    in_time(model.fit, dX, *chunked(y, s))
    assert kept.value.__traceback__ is not None


def test_two_fits_at_once_end_as_one_by_one(client):
    X, y, s = make_data("classes")
    kwargs = {**EXACT, "solver": "adam", "max_iter": 4, "client": client}
    alone = DaskRegMLPClassifier((5,), **kwargs).fit(*chunked(X, y, s))
    with ThreadPoolExecutor(2) as pool:
        fits = [
            pool.submit(DaskRegMLPClassifier((5,), **kwargs).fit, *chunked(X, y, s))
            for _ in range(2)
        ]
        models = [fit.result(120) for fit in fits]
    for model in models:
        np.testing.assert_allclose(model.loss_curve_, alone.loss_curve_, rtol=1e-9)
