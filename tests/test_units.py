"""Standard units, and networks taken back from them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from skreg import RegMLPClassifier, RegMLPRegressor, RegMLPRegressorCV
from skreg._cv._units import Units
from skreg._rows import Rows, read_X_y
from skreg._task import task_of

# Three epochs are enough.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SCALES = np.array([1e-9, 1.0, 1e6, 30.0])


def read(estimator, X, y, s=None):
    X, y, header = read_X_y(estimator, X, y)
    task = task_of(estimator, y, s)
    return task, Rows.of(task, X, y, s), header


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_units_are_those_of_scikit_learn(multioutput, container, weighted):
    X, y = multioutput
    X = X * SCALES + 5 * SCALES
    s = np.random.default_rng(0).integers(3, size=len(X)).astype(float)
    s = s if weighted else None
    task, rows, _ = read(RegMLPRegressor(), container(X), y, s)
    units = Units.of(task, rows)
    is_dense = container is np.asarray
    scaler = StandardScaler(with_mean=is_dense).fit(X, sample_weight=s)
    got = units.standardized(task, rows)
    got_X = got.X if is_dense else got.X.toarray()
    assert_allclose(got_X, scaler.transform(X), rtol=0, atol=1e-8)
    y_scaler = StandardScaler().fit(y, sample_weight=s)
    assert_allclose(got.targets, y_scaler.transform(y), rtol=0, atol=1e-8)
    assert_allclose(got.y, got.targets)


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2)])
@pytest.mark.parametrize(
    "loss", ["squared_error", "huber", "absolute_error", "poisson", "gamma", None]
)
def test_networks_are_taken_back_to_the_units_of_the_data(binary, loss, hidden):
    X = binary[0] * SCALES + SCALES
    if loss is None:
        estimator, y = RegMLPClassifier(hidden), binary[1]
    else:
        estimator, y = RegMLPRegressor(hidden, loss=loss), 1e3 * np.exp(binary[0][:, 0])
    estimator.set_params(max_iter=3, random_state=0)
    task, rows, header = read(estimator, X, y)
    units = Units.of(task, rows)
    inside = units.standardized(task, rows)
    estimator.fit(inside.X, inside.y)
    back = units.restored(estimator.fitted_)
    raw = estimator.fitted_.raw(inside.X)
    expected = raw * units.y_scale + units.y_mean
    if loss in ("poisson", "gamma"):
        expected = raw + np.log(units.y_scale)
    assert_allclose(back.raw(rows.X), expected, rtol=0, atol=1e-6 * expected.std())


def test_constant_columns_and_scales_far_from_1():
    X = np.ones((20, 4)) * [0.0, 7.0, 1e-300, 1e300]
    X[:10, 2:] *= 2
    task, rows, _ = read(RegMLPRegressor(), X, np.arange(20.0))
    inside = Units.of(task, rows).standardized(task, rows)
    assert_allclose(inside.X[:, :2], 0)
    assert_allclose(np.abs(inside.X[:, 2:]), 1, rtol=1e-7)


@pytest.mark.parametrize("dtype, size", [(np.float64, 1e-310), (np.float32, 1e-44)])
def test_weights_beyond_floats_are_an_error(dtype, size):
    X = np.random.default_rng(0).normal(size=(40, 2)) * size
    search = RegMLPRegressorCV(
        (3,), param_grid="auto", solver="lbfgs", cv=2, random_state=0
    )
    with pytest.raises(ValueError, match=rf"beyond {np.dtype(dtype)}. Scale X and y"):
        search.fit(X.astype(dtype), (1e30 * X[:, 0] / size).astype(dtype))
