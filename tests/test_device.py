"""Estimators on devices: those of torch give what the compiled core gives."""

import importlib
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg._engines import _device
from skreg.penalties import L1, L2, MCP, GroupLasso, Penalty

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, P = 90, 6
RNG = np.random.RandomState(0)
X = RNG.standard_normal((N, P))
SCORE = X[:, :3] @ RNG.standard_normal((3, 3))
LABELS = np.array(["a", "b", "c"])[SCORE.argmax(axis=1)]
SOME_WEIGHTS = RNG.randint(0, 3, N).astype(float)
SETTINGS = {"max_iter": 12, "batch_size": 32, "random_state": 0, "reg_lambda": 0.02}
SETTINGS |= {"learning_rate_init": 0.01}


def pair(kind, hidden=(5,), **params):
    """The same estimator on the compiled core and on torch."""
    params = {**SETTINGS, **params}
    return [kind(hidden, device=d, **params) for d in ("cpu", "torch:cpu")]


def check_equal(core, other, atol=1e-10):
    for name in ("coefs_", "intercepts_"):
        for expected, found in zip(getattr(core, name), getattr(other, name)):
            assert type(found) is np.ndarray and found.dtype == expected.dtype
            assert_allclose(found, expected, rtol=0, atol=atol)
            if name == "coefs_":
                assert_array_equal(found == 0, expected == 0)
    assert_allclose(other.loss_curve_, core.loss_curve_, rtol=max(atol, 1e-12))
    assert_allclose(other.predict(X), core.predict(X), atol=10 * atol)
    assert other.n_iter_ == core.n_iter_ and other.t_ == core.t_


FITS = {
    "plain": {},
    "momentum": {"solver": "sgd", "penalty": "l1"},
    "rmsprop": {"solver": "rmsprop", "penalty": "group_lasso"},
    "decoupled": {"decay_mode": "decoupled", "penalty": "elasticnet"},
    "no hidden layer": {"hidden": (), "penalty": "l1"},
    "two": {"hidden": (4, 3), "penalty": [GroupLasso(), MCP(), L2()]},
    "strengths of layers": {
        "penalty": "l1",
        "reg_lambda": [0.05, 0.001],
        "activation": "tanh",
    },
    "intercepts": {"penalty": "l1", "penalize_intercepts": True},
    "factors": {"penalty": L1(factors=[1, 0, 2, 0.5, 1, 3])},
    "cosine": {"learning_rate": "cosine"},
    "adaptive": {"learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1},
    "no shuffle": {"shuffle": False},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2},
    "watched loss": {"early_stopping": True, "scoring": "loss"},
    "watched scorer": {"early_stopping": True, "scoring": "r2"},
    "lbfgs": {"solver": "lbfgs", "penalty": "l1", "activation": "tanh"},
    "average": {"ema": 0.5, "penalty": "l1"},
    "huber": {"loss": "huber"},
    "poisson": {"loss": "poisson"},
}


@pytest.mark.parametrize("params", FITS.values(), ids=FITS)
def test_fits_are_those_of_the_compiled_core(params):
    core, other = pair(RegMLPRegressor, **params)
    y = np.abs(SCORE[:, :2]) if "loss" in params else SCORE[:, :2]
    for weights in (None, SOME_WEIGHTS):
        check_equal(core.fit(X, y, weights), other.fit(X, y, weights), 1e-8)


@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 2.0, "b": 0.0}])
def test_classes_and_their_weights(class_weight):
    core, other = pair(RegMLPClassifier, class_weight=class_weight, penalty="l1")
    core.fit(X, LABELS), other.fit(X, LABELS)
    assert_array_equal(other.classes_, core.classes_)
    assert_array_equal(other.predict(X), core.predict(X))
    assert_allclose(other.predict_proba(X), core.predict_proba(X), atol=1e-10)


def test_single_precision():
    core, other = pair(RegMLPRegressor, penalty="l1")
    x = X.astype(np.float32)
    check_equal(core.fit(x, SCORE[:, 0]), other.fit(x, SCORE[:, 0]), 1e-5)


@pytest.mark.parametrize("precision", ["exact", "tf32"])
def test_training_has_the_precision_that_is_asked_for(precision, monkeypatch):
    """What is computed without training is exact in any case."""
    training = importlib.import_module("skreg._engines._torch_training")
    computing, seen = training.computing, set()

    def watched(device, precision):
        seen.add(precision)
        return computing(device, precision)

    monkeypatch.setattr(training, "computing", watched)
    core, other = pair(RegMLPRegressor, precision=precision)
    check_equal(core.fit(X, SCORE[:, 0]), other.fit(X, SCORE[:, 0]))
    assert seen == {precision}
    seen.clear()
    options = {**SETTINGS, "reg_lambdas": [0.003, 3.0], "start": "cold", "cv": 3}
    del options["reg_lambda"]
    given = {} if precision == "tf32" else {"precision": precision}  # the default
    search = RegMLPRegressorCV((5,), device="torch:cpu", **given, **options)
    search.fit(X, SCORE[:, 0])
    assert seen == {precision} == {search.best_estimator_.precision}
    seen.clear()
    search.set_params(start="warm").fit(X, SCORE[:, 0])
    assert seen == {"exact"}


def test_threads_do_not_change_the_precision_of_each_other(monkeypatch):
    passes = importlib.import_module("skreg._engines._torch_passes")
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    settings, cuda = torch.backends.cuda.matmul, torch.device("cuda")
    before = settings.fp32_precision

    def look(precision):
        seen = set()
        for _ in range(300):
            with passes.computing(cuda, precision):
                seen.add(settings.fp32_precision)
                with passes.computing(cuda, "exact"):  # of a pass in between
                    seen.add(f"inner {settings.fp32_precision}")
                time.sleep(0)  # another thread may go on
                seen.add(settings.fp32_precision)
        return seen

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(look, ["exact", "tf32"] * 2))
    assert found == [{"ieee", "inner ieee"}, {"tf32", "inner ieee"}] * 2
    assert settings.fp32_precision == before
    with passes.computing(torch.device("cpu"), "tf32"):
        assert settings.fp32_precision == before


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_inputs(container, solver):
    thin = container(np.where(np.abs(X) < 1, 0, X))
    core, other = pair(RegMLPRegressor, penalty="l1", solver=solver)
    core.fit(thin, SCORE[:, 0]), other.fit(thin, SCORE[:, 0])
    check_equal(core, other, 1e-8)
    assert_allclose(other.predict(thin), core.predict(thin), atol=1e-8)


def test_a_warm_start_goes_on_on_either_device():
    core, other = pair(RegMLPRegressor, penalty="l1", warm_start=True)
    for model in (core, other):
        model.fit(X, SCORE[:, 0]).fit(X, SCORE[:, 0])
    check_equal(core, other)
    core.set_params(device="torch:cpu").fit(X, SCORE[:, 0])
    check_equal(core, other.set_params(device="cpu").fit(X, SCORE[:, 0]))


def test_streams():
    core, other = pair(RegMLPClassifier, penalty="l1")
    for model in (core, other):
        for rows in (slice(0, 50), slice(50, 90), slice(0, 90)):
            model.partial_fit(X[rows], LABELS[rows], classes=["a", "b", "c"])
    assert_allclose(core.coefs_[0], other.coefs_[0], atol=1e-10)
    assert core.t_ == other.t_


@pytest.mark.parametrize(
    "hidden, solver, rtol", [((), "lbfgs", 1e-6), ((3,), "adam", 1e-9)]
)
def test_paths_and_searches(hidden, solver, rtol):
    params = {"solver": solver, "penalty": "l1", "max_iter": 50, "random_state": 0}
    core, other = (
        reg_mlp_path(
            RegMLPRegressor(hidden, activation="tanh", device=device, **params),
            X,
            SCORE[:, 0],
            reg_lambdas=4,
        )
        for device in ("cpu", "torch:cpu")
    )
    assert_allclose(other.reg_lambdas, core.reg_lambdas, rtol=1e-8)
    assert_allclose(other.objective, core.objective, rtol=rtol)
    params |= {"solver": "adam", "reg_lambdas": [0.001, 0.1], "max_iter": 5}
    searches = [
        RegMLPRegressorCV(hidden, cv=3, device=device, **params).fit(X, SCORE[:, 0])
        for device in ("cpu", "torch:cpu")
    ]
    assert_allclose(searches[0].scores_, searches[1].scores_, atol=1e-8)
    assert searches[1].best_estimator_.device == "torch:cpu"


@pytest.mark.parametrize("rows", [1, N])
def test_predictions_on_the_device(rows, monkeypatch):
    model = RegMLPClassifier((4, 7), device="torch:cpu", **SETTINGS).fit(X, LABELS)
    expected = model.predict_proba(X[:rows])
    used = []
    engine = importlib.import_module("skreg._engines._torch")
    monkeypatch.setattr(_device, "WORTH_THE_WAY", 0.0)
    predict_many = engine.predict_many
    monkeypatch.setattr(
        engine, "predict_many", lambda *args: used.append(1) or predict_many(*args)
    )
    for inputs in (X[:rows], sparse.csr_array(X[:rows]), np.asfortranarray(X[:rows])):
        assert_allclose(model.predict_proba(inputs), expected, atol=1e-12)
    assert len(used) == 3
    small = model.compact()
    assert_allclose(small.predict_proba(X[:rows]), expected, atol=1e-12)


def test_many_rows_are_worth_the_way():
    network = RegMLPRegressor((3,), **SETTINGS).fit(X, SCORE[:, 0]).fitted_.network
    needed = int(_device.WORTH_THE_WAY / 2 / network.n_weights) + 1
    here = _device.predictor("torch:cpu", network, np.broadcast_to(X[:1], (9, P)))
    there = _device.predictor("torch:cpu", network, np.broadcast_to(X[:1], (needed, P)))
    assert here.__module__ == "skreg._engines._device"
    assert there.__module__ == "skreg._engines._torch"


# Refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["gpu", "cuda:x", None, 0, "torch:"])
@pytest.mark.parametrize("kind", [RegMLPRegressor, RegMLPClassifierCV])
def test_names_of_devices(kind, device):
    message = r"'device' parameter of .* must be 'cpu', 'cuda'.* Got "
    with pytest.raises(ValueError, match=message):
        kind((), device=device).fit(X, LABELS)


def test_devices_that_torch_does_not_know_or_that_do_not_do():
    with pytest.raises(
        ValueError, match=r"device='torch:abacus' is no device of torch"
    ):
        RegMLPRegressor((), device="torch:abacus").fit(X, SCORE)
    with pytest.raises(ValueError, match="float64, which mps has not"):
        RegMLPRegressor((), device="torch:mps").fit(X, SCORE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_trains_nothing_but_predicts(monkeypatch):
    monkeypatch.setattr(_device, "WORTH_THE_WAY", 0.0)
    model = RegMLPRegressor((3,), **SETTINGS).fit(X, SCORE)
    expected = model.predict(X)
    elsewhere = pickle.loads(pickle.dumps(model.set_params(device="cuda")))
    assert_array_equal(elsewhere.predict(X), expected)
    with pytest.raises(ValueError, match=r"device='cuda' needs a GPU"):
        elsewhere.fit(X, SCORE)
    assert_array_equal(elsewhere.predict(X), expected)


class Nonnegative(Penalty):
    has_metric_prox = True

    def value(self, W, lam=1.0):
        return 0.0 if np.all(W >= 0) else np.inf

    def prox(self, W, step, lam=1.0):
        return np.maximum(W, 0)


def test_a_penalty_of_your_own_needs_the_processor_or_lbfgs():
    model = RegMLPRegressor((), penalty=Nonnegative(), device="torch:cpu", **SETTINGS)
    with pytest.raises(ValueError, match=r"Nonnegative.*device='cpu'.*'lbfgs'"):
        model.fit(X, SCORE)
    model.set_params(solver="lbfgs").fit(X, SCORE)
    expected = clone(model).set_params(device="cpu").fit(X, SCORE)
    assert (model.coefs_[0] >= 0).all()
    assert_allclose(model.coefs_[0], expected.coefs_[0], atol=1e-6)


WITHOUT_TORCH = """
import pickle, sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing)
import numpy as np
from skreg import RegMLPRegressor
from skreg._engines import _device
_device.WORTH_THE_WAY = 0.0
with open(sys.argv[1], "rb") as file:
    model, X, expected = pickle.load(file)
np.testing.assert_allclose(model.predict(X), expected, atol=1e-12)
try:
    model.fit(X, X)
except ImportError as error:
    print(error)
"""


def test_without_torch(tmp_path):
    model = RegMLPRegressor((3,), device="torch:cpu", **SETTINGS).fit(X, SCORE)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((model, X, model.predict(X))))
    command = [sys.executable, "-c", WITHOUT_TORCH, str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "device='torch:cpu' needs PyTorch: pip install 'skreg[gpu]'" in result.stdout
