"""Arrays of other libraries as X, y and weights, and as results."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skreg import RegMLPClassifier, RegMLPClassifierCV, RegMLPRegressor
from skreg._arrays import as_numpy, like

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(int)
WEIGHTS = RNG.uniform(size=60)
SETTINGS = {"max_iter": 5, "random_state": 0}


def test_what_is_numpy_already_or_no_array_stays_as_it_is():
    for values in (X, [1, 2], np.float64(1.0), None, "text"):
        assert as_numpy(values) is values


def test_tensors_are_read_as_arrays():
    expected = RegMLPClassifier((3,), early_stopping=True, **SETTINGS)
    expected.fit(X, Y, WEIGHTS, X_val=X, y_val=Y, sample_weight_val=WEIGHTS)
    x, y, s = (torch.tensor(a) for a in (X, Y, WEIGHTS))
    x.requires_grad_()
    model = RegMLPClassifier((3,), early_stopping=True, **SETTINGS)
    model.fit(x, y, s, X_val=x, y_val=y, sample_weight_val=s)
    assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert model.coefs_[0].dtype == np.float32
    for method in ("predict", "predict_proba", "predict_log_proba"):
        found = getattr(model, method)(x)
        assert type(found) is np.ndarray  # without dispatch
        assert_array_equal(found, getattr(expected, method)(X))
    assert model.score(x.detach(), y) == expected.score(X, Y)


def test_streams_and_searches_of_tensors():
    x, y = torch.tensor(X), torch.tensor(Y)
    model = RegMLPClassifier((), **SETTINGS).partial_fit(x, y, classes=torch.arange(2))
    expected = RegMLPClassifier((), **SETTINGS).partial_fit(X, Y, classes=[0, 1])
    assert_array_equal(model.coefs_[0], expected.coefs_[0])
    options = {**SETTINGS, "reg_lambdas": [0.01, 0.1], "cv": 3, "scoring": "accuracy"}
    search = RegMLPClassifierCV((), **options).fit(x, y)
    expected = RegMLPClassifierCV((), **options).fit(X, Y)
    assert_array_equal(search.scores_, expected.scores_)


def test_tensors_that_numpy_does_not_have():
    with pytest.raises(TypeError, match=r"X, a Tensor of torch.bfloat16, cannot be"):
        RegMLPRegressor(()).fit(torch.tensor(X).bfloat16(), Y)
    with pytest.raises(TypeError, match=r"y, a Tensor of torch.float64, .* dense"):
        RegMLPRegressor(()).fit(X, torch.tensor(WEIGHTS).to_sparse())


def test_no_tensors_of_text_and_none_without_dispatch():
    x = torch.tensor(X)
    assert type(like(x, X)) is np.ndarray
    model = RegMLPClassifier((), **SETTINGS).fit(X, np.array(["no", "yes"])[Y])
    assert model.predict(x).dtype.kind == "U"


# SciPy reads the variable when it is imported.
DISPATCH = """
import warnings
import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_array_api_input
from skreg import RegMLPClassifier, RegMLPClassifierCV, RegMLPRegressor

warnings.simplefilter("ignore")
settings = {"max_iter": 5, "random_state": 0}
namespaces = [("torch", "cpu")]
try:
    import array_api_strict
    namespaces.append(("array_api_strict", None))
except ImportError:
    pass
for namespace, device in namespaces:
    for estimator in (
        RegMLPClassifier((3,), **settings),
        RegMLPRegressor((3,), **settings),
        RegMLPRegressor((), device="torch:cpu", **settings),
    ):
        for dtype in ("float32", "float64"):
            for weighted in (False, True):
                check_array_api_input(
                    type(estimator).__name__, estimator, namespace, device, dtype,
                    # scikit-learn's accuracy of tensors is in float32
                    check_values=isinstance(estimator, RegMLPRegressor),
                    check_sample_weight=weighted,
                )
import torch
X = torch.tensor(np.random.RandomState(0).standard_normal((30, 2)))
y = X[:, 0] > 0
for model in (
    RegMLPClassifier((3,), **settings),
    RegMLPClassifierCV((), cv=2, reg_lambdas=[0.01, 0.1], **settings),
):
    expected = clone(model).fit(X.numpy(), y.numpy())
    with config_context(array_api_dispatch=True):
        model.fit(X, y)
        for name in (
            "predict", "predict_proba", "predict_log_proba", "decision_function"
        ):
            found = getattr(model, name)(X)
            assert isinstance(found, torch.Tensor)
            np.testing.assert_array_equal(found, getattr(expected, name)(X.numpy()))
X = np.random.RandomState(0).standard_normal((30, 2))
texts = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
model = RegMLPClassifier((), **settings).fit(X, texts)
with config_context(array_api_dispatch=True):
    assert type(model.predict(torch.tensor(X))) is np.ndarray
    assert isinstance(model.decision_function(torch.tensor(X)), torch.Tensor)
    assert type(model.predict_proba(X)) is np.ndarray
print("done", [namespace for namespace, _ in namespaces])
"""


def test_results_are_in_the_library_of_the_input_with_dispatch():
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-c", DISPATCH]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "done ['torch'" in result.stdout


def test_gradients_and_devices_of_results(monkeypatch):
    monkeypatch.setattr(
        "skreg._arrays.get_config", lambda: {"array_api_dispatch": True}
    )
    x = torch.tensor(X, requires_grad=True)
    found = RegMLPRegressor((), **SETTINGS).fit(X, WEIGHTS).predict(x)
    assert isinstance(found, torch.Tensor) and not found.requires_grad
    assert found.device == x.device and found.dtype == torch.float32
    assert_allclose(found, RegMLPRegressor((), **SETTINGS).fit(X, WEIGHTS).predict(X))
