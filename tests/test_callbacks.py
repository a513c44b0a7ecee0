"""Callbacks of scikit-learn hear of fits and their epochs, and may end them."""

import copy
import importlib
import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg import _callbacks as own

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn below 1.9")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
LABELS, TARGETS = (X[:, 0] > 0).astype(int), X[:, 0] + 1.0
NETWORKS = {RegMLPClassifier: LABELS, RegMLPRegressor: TARGETS}
BOTH = pytest.mark.parametrize("network", NETWORKS)
SOLVERS = pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adam", "lbfgs"])
N_EPOCHS = 5


class Recorder:
    """Notes what it hears; asks for an end, or fails, after some tasks."""

    def __init__(self, stop_after=np.inf, fail_after=np.inf, task="epoch"):
        self.stop_after, self.fail_after, self.task = stop_after, fail_after, task
        self.heard, self.networks, self.data = [], [], []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.heard.append(("begin", context.task_name))
        self.data.append({"X": X, "y": y, "metadata": metadata})

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.heard.append(("end", context.task_name))
        self.networks.append(fitted_estimator)
        n_done = self.heard.count(("end", self.task))
        if n_done >= self.fail_after:
            raise RuntimeError("of the callback")
        return n_done >= self.stop_after


def make(network=RegMLPRegressor, **params):
    defaults = {"hidden_layer_sizes": 4, "max_iter": N_EPOCHS, "random_state": 0}
    return network(**defaults | params)


@BOTH
@SOLVERS
def test_each_epoch_begins_and_ends_within_the_fit(network, solver):
    recorder = Recorder()
    model = make(network, solver=solver).set_callbacks(recorder)
    model.fit(X, NETWORKS[network])
    epochs = [("begin", "epoch"), ("end", "epoch")] * N_EPOCHS
    assert recorder.heard == [
        "setup",
        ("begin", "fit"),
        *epochs,
        ("end", "fit"),
        "teardown",
    ]


@BOTH
@SOLVERS
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_network_of_an_epoch_is_that_of_a_fit_that_stops_there(
    network, solver, early_stopping
):
    y, recorder = NETWORKS[network], Recorder()
    params = {"solver": solver, "early_stopping": early_stopping}
    params |= {"validation_fraction": 0.3, "max_fun": 10**6, "learning_rate_init": 0.05}
    make(network, **params).set_callbacks(recorder).fit(X, y)
    assert len(recorder.networks) == N_EPOCHS + 1
    for k, heard in enumerate(recorder.networks[:N_EPOCHS], start=1):
        alone = make(network, **params, max_iter=k).fit(X, y)
        assert_array_equal(heard.predict(X), alone.predict(X))
        assert_array_equal(heard.loss_curve_, alone.loss_curve_)
        assert heard.n_iter_ == k
    assert_array_equal(recorder.networks[-1].predict(X), alone.predict(X))


@BOTH
@SOLVERS
@pytest.mark.parametrize("last", [1, 3])
def test_a_callback_ends_a_fit(network, solver, last):
    y = NETWORKS[network]
    model = make(network, solver=solver).set_callbacks(Recorder(stop_after=last))
    model.fit(X, y)
    assert model.n_iter_ == last == len(model.loss_curve_)
    assert_array_equal(
        model.predict(X),
        make(network, solver=solver, max_iter=last).fit(X, y).predict(X),
    )


@SOLVERS
def test_callbacks_do_not_change_a_fit(solver):
    plain = make(solver=solver).fit(X, TARGETS)
    heard = make(solver=solver).set_callbacks(Recorder()).fit(X, TARGETS)
    for W, V in zip(plain.coefs_, heard.coefs_, strict=True):
        assert_array_equal(W, V)
    assert vars(heard).keys() - vars(plain).keys() == {"_skl_callbacks"}


def test_hooks_get_what_fit_was_given():
    weights, recorder = np.arange(60.0), Recorder()
    make().set_callbacks(recorder).fit(X, TARGETS, weights)
    assert all(data["X"] is X and data["y"] is TARGETS for data in recorder.data)
    given = [data["metadata"]["sample_weight"] for data in recorder.data]
    assert len(given) == N_EPOCHS + 1 and all(s is weights for s in given)


def test_without_callbacks_no_context_is_made(monkeypatch):
    monkeypatch.setattr(RegMLPRegressor, "_init_callback_context", None)
    make().fit(X, TARGETS)
    with pytest.raises(TypeError):
        make().set_callbacks(Recorder()).fit(X, TARGETS)


def test_epochs_of_a_stream_are_fits_of_one_epoch():
    recorder = Recorder()
    model = make().set_callbacks(recorder)
    model.partial_fit(X, TARGETS).partial_fit(X, TARGETS)
    assert recorder.heard.count(("end", "epoch")) == 2
    assert recorder.heard.count("teardown") == 2


def test_a_refit_on_the_support_is_heard():
    recorder = Recorder()
    model = make().fit(X, TARGETS).set_callbacks(recorder)
    model.refit_on_support(X, TARGETS)
    assert recorder.heard.count(("end", "epoch")) == N_EPOCHS
    assert recorder.heard[-1] == "teardown"


def test_a_failed_fit_tears_callbacks_down_and_loses_nothing():
    model = make().fit(X, TARGETS)
    before, recorder = model.predict(X), Recorder(fail_after=2)
    model.set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="of the callback"):
        model.fit(X, TARGETS + 1)
    assert recorder.heard[-1] == "teardown"
    assert_array_equal(model.predict(X), before)
    with pytest.raises(ValueError, match="max_iter"):
        model.set_params(max_iter=0).fit(X, TARGETS)
    assert not hasattr(model, "_callback_fit_ctx")


def test_fitted_networks_with_callbacks_are_copied_and_pickled():
    model = make().set_callbacks(Recorder()).fit(X, TARGETS)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_array_equal(other.predict(X), model.predict(X))
    assert clone(model)._skl_callbacks == model._skl_callbacks


@pytest.mark.parametrize("sizes", [(), (4,)])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_paths_have_a_task_per_lambda(sizes, solver):
    recorder = Recorder()
    network = make(hidden_layer_sizes=sizes, solver=solver).set_callbacks(recorder)
    grid = [1e-3, 1e-2, 1e-1]
    path = reg_mlp_path(network, X, TARGETS, reg_lambdas=grid)
    tasks = [("begin", "reg_lambda"), ("end", "reg_lambda")] * len(grid)
    assert recorder.heard[1:-1] == [("begin", "fit"), *tasks, ("end", "fit")]
    heard = recorder.networks[: len(grid)]
    assert [model.reg_lambda for model in heard] == path.reg_lambdas.tolist()
    if not sizes:  # there is no way back
        for model, network in zip(heard, path, strict=True):
            assert_array_equal(model.predict(X), network.predict(X))
    stopped = make(hidden_layer_sizes=sizes, solver=solver)
    stopped.set_callbacks(Recorder(stop_after=2, task="reg_lambda"))
    assert len(reg_mlp_path(stopped, X, TARGETS, reg_lambdas=grid)) == 2


SEARCHES = {RegMLPClassifierCV: LABELS, RegMLPRegressorCV: TARGETS}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("refit", [True, False, "folds"])
def test_searches_have_a_task_per_fold_with_one_per_lambda(search, n_jobs, refit):
    y, weights, recorder = SEARCHES[search], np.arange(1, 61.0), Recorder()
    grid = {"reg_lambdas": [1e-3, 1e-2, 1e-1], "cv": 2, "refit": refit}
    model = make(search, n_jobs=n_jobs, **grid).set_callbacks(recorder)
    model.fit(X, y, weights)
    path = [("begin", "reg_lambda"), ("end", "reg_lambda")] * 3
    assert recorder.heard[:2] == ["setup", ("begin", "fit")]
    assert recorder.heard[-2:] == [("end", "fit"), "teardown"]
    for k in (1, 2):
        first = next(i for i, h in enumerate(recorder.heard) if f"fold {k}" in h[1])
        assert recorder.heard[first + 1 : first + 7] == path
        assert recorder.heard[first + 7] == ("end", recorder.heard[first][1])
    sizes = [len(data["X"]) for data in recorder.data]
    assert sizes == [60, *[30] * 8]
    for data in recorder.data:
        assert (
            len(data["y"]) == len(data["X"]) == len(data["metadata"]["sample_weight"])
        )
    networks = [model for model in recorder.networks if model is not None]
    assert len(networks) == 6 + (refit is not False)
    for network in networks[:6]:
        assert network.reg_lambda_ in grid["reg_lambdas"]
        assert network.predict(X).shape == y.shape
    if refit:
        assert_array_equal(networks[-1].predict(X), model.predict(X))


def test_callbacks_do_not_change_a_search_and_cannot_end_it():
    params = {"reg_lambdas": [1e-3, 1e-1], "cv": 2}
    plain = make(RegMLPRegressorCV, **params).fit(X, TARGETS)
    heard = make(RegMLPRegressorCV, **params)
    heard.set_callbacks(Recorder(stop_after=1, task="reg_lambda"))
    with pytest.warns(UserWarning, match="needs every lambda on every fold"):
        heard.fit(X, TARGETS)
    assert_array_equal(heard.scores_, plain.scores_)
    assert_array_equal(heard.predict(X), plain.predict(X))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_searches_are_monitored_and_show_progress(n_jobs, capsys):
    pytest.importorskip("rich")
    monitor = callback.ScoringMonitor(scoring="r2")
    search = make(RegMLPRegressorCV, reg_lambdas=[1e-3, 1e-1], cv=2, n_jobs=n_jobs)
    search.set_callbacks(monitor, callback.ProgressBar()).fit(X, TARGETS)
    rows = [r for r in monitor.get_logs().data if r["task_name"] == "reg_lambda"]
    assert len(rows) == 4
    assert_allclose(
        np.sort([r["r2"] for r in rows]), np.sort(search.train_scores_.ravel())
    )
    assert "fold 2" in capsys.readouterr().out


@pytest.mark.parametrize("n_jobs", [1, 2])
@SOLVERS
def test_scores_are_monitored_in_pipelines_and_searches(n_jobs, solver):
    monitor = callback.ScoringMonitor(scoring="r2")
    pipeline = make_pipeline(StandardScaler(), make(solver=solver))
    pipeline[-1].set_callbacks(monitor)
    grid = {"regmlpregressor__reg_lambda": [1e-3, 1e-1]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).fit(X, TARGETS)
    rows = monitor.get_logs().data
    epochs = [row for row in rows if row["task_name"] == "epoch"]
    assert len(epochs) % N_EPOCHS == 0 < len(epochs)
    last = [row for row in rows if row["estimator_name"] == "RegMLPRegressor"][-1]
    assert np.isfinite(last["r2"])
    assert search.best_estimator_.score(X, TARGETS) > -10


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_bars_of_progress_reach_the_epochs(n_jobs, capsys):
    pytest.importorskip("rich")
    bars = callback.ProgressBar(max_propagation_depth=None)
    pipeline = make_pipeline(StandardScaler(), make())
    grid = {"regmlpregressor__reg_lambda": [1e-3, 1e-1]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).set_callbacks(bars)
    search.fit(X, TARGETS)
    shown = capsys.readouterr().out
    assert "RegMLPRegressor" in shown and "100%" in shown


def test_older_versions_of_scikit_learn_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    spec = importlib.util.find_spec("skreg._callbacks")
    old = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(old)
    with pytest.raises(ImportError, match=r"needs scikit-learn >= 1\.9\. This is"):
        old.CallbackSupportMixin().set_callbacks()
    assert old.with_callbacks(make) is make
    assert old.Report.of(make(), X, TARGETS, None, 3) is None
    assert own.CallbackSupportMixin is callback.CallbackSupportMixin
