"""`Loss` objects: values worked out by hand, constants, ranges and inverse links."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_gamma_deviance,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
)

from skreg._network import Network
from skreg.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, regression_loss
from tests.cases import make_problem
from tests.naive import LOSSES

BINARY, MULTICLASS = (CLASSIFICATION_LOSSES[k] for k in ("binary", "multiclass"))
MULTILABEL = CLASSIFICATION_LOSSES["multilabel-indicator"]
QUANTILE = regression_loss("quantile", 0.9)
POSITIVE = {"poisson": 0.0, "gamma": np.nextafter(0, 1)}
SMOOTH = {"squared_error", "huber", "poisson", "gamma"}
LOG_2 = np.log(2)


def mean_loss(loss, y, f, sample_weight=None):
    """Mean loss of raw predictions f of shape (n, k), through a linear network."""
    y, f = (np.asarray(a, float).reshape(len(a), -1) for a in (y, f))
    network = Network((f.shape[1], f.shape[1]), "identity")
    theta = network.pack([np.eye(f.shape[1])], [np.zeros(f.shape[1])], float)
    return make_problem(f, y, sample_weight, network, loss, (None,)).data_value(theta)


@pytest.mark.parametrize(
    ("loss", "y", "f", "value"),
    [
        (BINARY, 1, 0, LOG_2),
        (BINARY, 0, 0, LOG_2),
        (BINARY, 1, np.log(3), np.log(4 / 3)),
        (BINARY, 0, np.log(3), np.log(4)),
        (MULTILABEL, [1, 0], [0, np.log(3)], LOG_2 + np.log(4)),
        (MULTICLASS, 2, [0, 0, 0], np.log(3)),
        (MULTICLASS, 0, [np.log(2), 0, 0], LOG_2),
        (REGRESSION_LOSSES["squared_error"], 2, 5, 4.5),
        (REGRESSION_LOSSES["squared_error"], [2, 1], [5, 3], 6.5),
        (REGRESSION_LOSSES["absolute_error"], [2, 1], [5, 0], 4),
        (REGRESSION_LOSSES["huber"], 2, 1.5, 0.125),
        (REGRESSION_LOSSES["huber"], 2, 1, 0.5),
        (REGRESSION_LOSSES["huber"], 2, 5, 2.5),
        (REGRESSION_LOSSES["huber"], 2, -1, 2.5),
        (QUANTILE, 5, 2, 2.7),
        (QUANTILE, 2, 5, 0.3),
        (REGRESSION_LOSSES["poisson"], 0, 0, 1),
        (REGRESSION_LOSSES["poisson"], 2, 0, 2 * LOG_2 - 1),
        (REGRESSION_LOSSES["poisson"], 2, LOG_2, 0),
        (REGRESSION_LOSSES["gamma"], 2, 0, 1 - LOG_2),
        (REGRESSION_LOSSES["gamma"], 2, LOG_2, 0),
        (REGRESSION_LOSSES["gamma"], 1, LOG_2, LOG_2 - 0.5),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else None,
)
def test_values_worked_out_by_hand(loss, y, f, value):
    assert_allclose(mean_loss(loss, [y], [f]), value, rtol=1e-14, atol=1e-15)


def outputs_summed(metric):
    return lambda y, f, s: metric(y, f, sample_weight=s, multioutput="raw_values").sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        (
            REGRESSION_LOSSES["squared_error"],
            lambda y, f, s: outputs_summed(mean_squared_error)(y, f, s) / 2,
        ),
        (REGRESSION_LOSSES["absolute_error"], outputs_summed(mean_absolute_error)),
        (
            QUANTILE,
            outputs_summed(lambda y, f, **kw: mean_pinball_loss(y, f, alpha=0.9, **kw)),
        ),
    ],
    ids=["squared_error", "absolute_error", "quantile"],
)
def test_mean_losses_are_metrics_summed_over_outputs(loss, metric, weighted):
    rng = np.random.default_rng(0)
    y, f = rng.normal(size=(2, 30, 3))
    s = rng.uniform(0.1, 3, size=30) if weighted else None
    assert_allclose(mean_loss(loss, y, f, s), metric(y, f, s), rtol=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "deviance"),
    [("poisson", mean_poisson_deviance), ("gamma", mean_gamma_deviance)],
)
def test_poisson_and_gamma_are_half_the_deviance(name, deviance, weighted):
    rng = np.random.default_rng(0)
    y = rng.poisson(2, size=50) + (0.5 if name == "gamma" else 0)
    f = rng.normal(size=50)
    s = rng.uniform(0.1, 3, size=50) if weighted else None
    expected = deviance(y, np.exp(f), sample_weight=s) / 2
    assert_allclose(mean_loss(REGRESSION_LOSSES[name], y, f, s), expected, rtol=1e-13)


def test_a_mean_beyond_all_floats_is_the_largest_one():
    loss = REGRESSION_LOSSES["gamma"]
    assert_allclose(loss.predict(np.array([0, 1])), [1, np.e])
    for dtype in (np.float32, np.float64):
        largest = loss.predict(np.array([1000], dtype))
        assert largest == np.finfo(dtype).max and largest.dtype == dtype


@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_deviance_of_a_perfect_prediction_is_zero(name):
    y = np.array([0.1, 1.0, 7.0, 1e6])
    value = mean_loss(REGRESSION_LOSSES[name], y, np.log(y))
    assert abs(value) < 1e-15 * 1e6 * 20


@pytest.mark.parametrize("weighted", [False, True])
def test_log_loss_is_the_one_of_scikit_learn(weighted):
    rng = np.random.default_rng(0)
    s = rng.uniform(0.1, 3, size=40) if weighted else None
    for loss, k, n_classes in ((BINARY, 1, 2), (MULTICLASS, 4, 4)):
        y, f = rng.integers(n_classes, size=40), 3 * rng.normal(size=(40, k))
        expected = log_loss(
            y, loss.predict(f), sample_weight=s, labels=range(n_classes)
        )
        assert_allclose(mean_loss(loss, y, f, s), expected, rtol=1e-13)


# The part without f ------------------------------------------------------------------


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_constant_is_the_weighted_mean_of_the_terms_of_each_sample(name):
    y = np.array([[1.0, 2.0], [3.0, 0.5], [0.25, 1.0]])
    s = np.array([1.0, 2.0, 0.0])
    terms = {"poisson": y * np.log(y) - y, "gamma": -1 - np.log(y)}.get(name, 0 * y)
    loss = REGRESSION_LOSSES[name]
    assert_allclose(loss.mean_constant(y, s), s @ terms.sum(axis=1) / 3, rtol=1e-15)
    assert_allclose(loss.mean_constant(y, None), terms.sum() / 3, rtol=1e-15)


def test_constant_of_poisson_at_zero_is_zero():
    assert REGRESSION_LOSSES["poisson"].mean_constant(np.zeros((3, 1)), None) == 0.0


@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_constant_is_summed_in_double_precision(name):
    y = np.random.default_rng(0).exponential(size=(1000, 1)).astype(np.float32)
    loss = REGRESSION_LOSSES[name]
    single, double = (loss.mean_constant(a, None) for a in (y, y.astype(float)))
    assert single == double


# Ranges of y -------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_targets_are_accepted_down_to_the_bound(name):
    lowest = POSITIVE.get(name, -1e300)
    REGRESSION_LOSSES[name].check_targets(np.array([[lowest], [1.0]]))


@pytest.mark.parametrize(
    ("name", "y", "bound"),
    [
        ("poisson", -np.nextafter(0, 1), ">= 0"),
        ("poisson", -3.5, ">= 0"),
        ("gamma", 0.0, "> 0"),
        ("gamma", -0.0, "> 0"),
        ("gamma", -1.0, "> 0"),
    ],
)
def test_targets_below_the_bound_are_refused_by_name(name, y, bound):
    message = rf"out of the valid range of loss='{name}': y must be {bound}, got a"
    with pytest.raises(ValueError, match=message):
        REGRESSION_LOSSES[name].check_targets(np.array([[1.0, 2.0], [y, 3.0]]))


# Inverse links -----------------------------------------------------------------------


def test_output_activations_by_loss():
    exponential = {"poisson", "gamma"}
    for name, loss in REGRESSION_LOSSES.items():
        assert loss.out_activation == ("exp" if name in exponential else "identity")
    assert BINARY.out_activation == MULTILABEL.out_activation == "logistic"
    assert MULTICLASS.out_activation == "softmax"


def test_inverse_links_undo_the_links():
    p = np.array([[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]])
    assert_allclose(MULTICLASS.predict(np.log(p) + 5), p, rtol=1e-14)
    assert_allclose(BINARY.predict(np.log(p / (1 - p))), p, rtol=1e-14)
    assert_allclose(REGRESSION_LOSSES["poisson"].predict(np.log(p)), p, rtol=1e-14)
    assert_array_equal(REGRESSION_LOSSES["huber"].predict(p), p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [BINARY, MULTICLASS, *REGRESSION_LOSSES.values()])
def test_inverse_links_keep_the_precision(loss, dtype):
    predicted = loss.predict(np.zeros((2, 3), dtype))
    assert predicted.dtype == dtype
    assert predicted.shape == (2, 3)


def test_inverse_links_of_extreme_raw_predictions():
    raw = np.array([[-1e4, 1e4]])
    assert_array_equal(BINARY.predict(raw), [[0, 1]])
    assert_array_equal(MULTICLASS.predict(raw), [[0, 1]])


# Facts and lookup --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_means_that_no_float_holds_are_the_largest_one(name, dtype):
    predicted = regression_loss(name).predict(np.array([[1e3], [-1e3]], dtype))
    assert predicted.dtype == dtype
    assert_array_equal(predicted, [[np.finfo(dtype).max], [0]])


def test_smooth_losses_are_declared():
    assert {n for n, loss in REGRESSION_LOSSES.items() if loss.is_smooth} == SMOOTH
    assert BINARY.is_smooth and MULTICLASS.is_smooth


def test_names_are_those_of_the_estimators():
    assert all(name == loss.name for name, loss in REGRESSION_LOSSES.items())
    assert {loss.name for loss in CLASSIFICATION_LOSSES.values()} == {"log_loss"}


def test_codes_are_distinct_but_for_multilabel():
    losses = [BINARY, MULTICLASS, *REGRESSION_LOSSES.values()]
    assert [loss.code for loss in losses] == list(range(8))
    assert MULTILABEL.code == BINARY.code


@pytest.mark.parametrize("quantile", [0.0, 0.5, 1.0])
def test_quantile_level_is_the_parameter_of_its_loss_alone(quantile):
    assert regression_loss("quantile", quantile).param == quantile
    assert not regression_loss("quantile", quantile).is_smooth
    for name, loss in REGRESSION_LOSSES.items():
        if name != "quantile":
            assert regression_loss(name, quantile) is loss


def test_median_quantile_is_half_the_absolute_error():
    rng = np.random.default_rng(0)
    y, f = rng.normal(size=(2, 20, 2))
    half = mean_loss(REGRESSION_LOSSES["absolute_error"], y, f) / 2
    assert_allclose(mean_loss(regression_loss("quantile"), y, f), half, rtol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_rows_are_those_of_the_twin(name):
    rng = np.random.default_rng(0)
    f = 2 * rng.normal(size=(20, 3))
    y = rng.exponential(size=(20, 3)) + 0.1
    if name == "binary":
        loss, y = CLASSIFICATION_LOSSES["binary"], rng.integers(2, size=(20, 3))
    elif name == "multiclass":
        loss, y = CLASSIFICATION_LOSSES["multiclass"], rng.integers(3, size=(20, 1))
    else:
        loss = regression_loss(name, 0.3)
    expected = LOSSES[name](y, f, loss.param)[0].sum(axis=1)
    assert_allclose(loss.per_row(y, f), expected, rtol=1e-12)
