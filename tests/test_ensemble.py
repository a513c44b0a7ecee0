"""Means of networks: predictions, and weights of stacks, against plain formulas."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from skreg._cv._ensemble import mean_raw, sharpness_of, stacking_weights
from skreg.losses import CLASSIFICATION_LOSSES, regression_loss

LOSSES = {
    "binary": (CLASSIFICATION_LOSSES["binary"], 1),
    "multiclass": (CLASSIFICATION_LOSSES["multiclass"], 3),
    "multilabel": (CLASSIFICATION_LOSSES["multilabel-indicator"], 2),
    "squared_error": (regression_loss("squared_error"), 2),
    "poisson": (regression_loss("poisson"), 1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_prediction_of_the_mean_is_the_mean_of_predictions(name):
    loss, k = LOSSES[name]
    rng = np.random.default_rng(0)
    raws, weights = rng.normal(size=(4, 7, k)), rng.dirichlet(np.ones(4))
    expected = sum(w * loss.predict(raw) for w, raw in zip(weights, raws))
    assert_allclose(loss.predict(mean_raw(loss, raws, weights)), expected, rtol=1e-12)
    far = mean_raw(loss, 1e4 * raws, weights)
    assert np.isfinite(far).all()


def problem(name, n=80, m=5, seed=0):
    loss, k = LOSSES[name]
    rng = np.random.default_rng(seed)
    if name == "squared_error":
        targets = rng.normal(size=(n, k))
        raws = targets + rng.normal(size=(m, n, k)) * rng.uniform(0.5, 2, (m, 1, 1))
    else:
        classes = rng.integers(k, size=(n, 1)) if k == 3 else None
        targets = rng.integers(2, size=(n, k)) if classes is None else classes
        signs = np.eye(3)[classes[:, 0]] if k == 3 else 2 * targets - 1
        raws = rng.uniform(-1, 2, (m, 1, 1)) * signs + 2 * rng.normal(size=(m, n, k))
    return loss, targets.astype(float), raws, rng.uniform(0, 2, n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["binary", "multiclass", "multilabel", "squared_error"]
)
def test_weights_of_a_stack_are_optimal(name, seed, weighted):
    loss, targets, raws, s = problem(name, seed=seed)
    s = s if weighted else None
    w = stacking_weights(loss, targets, raws, s)
    assert (w >= 0).all()
    assert_allclose(w.sum(), 1, rtol=1e-12)

    def objective(w):
        raw = mean_raw(loss, raws, np.maximum(w, 0) / np.maximum(w, 0).sum())
        return np.average(loss.per_row(targets, raw), weights=s)

    # KKT: the loss falls in no direction of the simplex, and in none of what has weight
    # does it change.
    step = 1e-5
    slopes = [
        (objective((1 - step) * w + step * e) - objective(w)) / step
        for e in np.eye(len(w))
    ]
    assert min(slopes) > -1e-4
    assert_allclose(np.array(slopes)[w > 1e-3], 0, atol=1e-3)
    theirs = minimize(
        objective,
        np.full(len(w), 1 / len(w)),
        bounds=[(0, 1)] * len(w),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert objective(w) <= theirs.fun + 1e-9


def test_a_stack_takes_weight_from_networks_that_are_sure_and_wrong():
    loss, targets = CLASSIFICATION_LOSSES["binary"], np.tile([[0.0], [1.0]], (50, 1))
    good, bad = 12 * (2 * targets - 1), -40 * (2 * targets - 1)
    near = good + 1e-9
    w = stacking_weights(loss, targets, [good, bad, near, bad, 0 * good])
    assert w[0] + w[2] > 1 - 1e-6


def test_equal_networks_and_one_network():
    loss, targets, raws, _ = problem("squared_error")
    assert_allclose(stacking_weights(loss, targets, raws[:1]), [1.0])
    same = stacking_weights(loss, targets, [raws[0]] * 3)
    assert_allclose(same.sum(), 1)
    exact = stacking_weights(loss, targets, [targets, targets + 1])
    assert_allclose(exact, [1, 0], atol=1e-12)


CLASSES = ["binary", "multiclass", "multilabel"]


def naive_objective(name, targets, raw, s):
    """Mean log-loss, and that of a row of any class, which counts as one row more."""
    if name == "multiclass":
        logs = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
        own, any_class = (
            -logs[range(len(raw)), targets[:, 0].astype(int)],
            -logs.mean(1),
        )
    else:
        yes, no = np.log1p(np.exp(-raw)), np.log1p(np.exp(raw))
        own = np.where(targets == 1, yes, no).sum(axis=1)
        any_class = (0.5 * yes + 0.5 * no).sum(axis=1)
    return np.average(own, weights=s) + np.average(any_class, weights=s) / len(raw)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_sharpness_is_of_the_least_log_loss(name, weighted):
    loss, k = LOSSES[name]
    rng = np.random.default_rng(0)
    raw, s = rng.normal(size=(500, k)), rng.uniform(0, 2, 500) if weighted else None
    # Targets of three times the raw predictions.
    if name == "multiclass":
        targets = (3 * raw + rng.gumbel(size=raw.shape)).argmax(axis=1)[:, None]
    else:
        targets = 3 * raw + rng.logistic(size=raw.shape) > 0
    targets = targets.astype(float)
    factor = sharpness_of(loss, targets, raw, s)
    assert 2.5 < factor < 3.5
    at = [
        naive_objective(name, targets, c * factor * raw, s) for c in (0.999, 1, 1.001)
    ]
    assert at[1] < min(at[0], at[2])
    # The same predictions in the end, until nothing is to be gained.
    assert_allclose(sharpness_of(loss, targets, raw * 1.1, s), factor / 1.1, rtol=1e-4)
    assert sharpness_of(loss, targets, raw * factor * 1.1, s) == 1.0
    none = np.append(np.ones(len(raw)) if s is None else s, 0.0)
    more = [np.vstack([values, -9 * values[:1]]) for values in (targets, raw)]
    more[0][-1] = targets[0]
    assert_allclose(sharpness_of(loss, *more, none), factor, rtol=1e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_rows_that_are_all_right_are_not_predicted_for_sure(name):
    loss, targets, _, _ = problem(name)
    raw = (
        np.eye(3)[targets[:, 0].astype(int)]
        if name == "multiclass"
        else 2 * targets - 1
    )
    factor = sharpness_of(loss, targets, raw)
    # of n rows and one of any class, a share of 1 / K is right
    k = 3 if name == "multiclass" else 2
    n = len(targets)
    right = loss.predict(factor * raw)
    right = right.max(axis=1) if name == "multiclass" else right[targets == 1]
    assert_allclose(1 - right, (1 - 1 / k) / (n + 1), rtol=1e-3)


def test_values_are_not_sharpened():
    loss, targets, raws, _ = problem("squared_error")
    assert sharpness_of(loss, targets, raws[0] / 9) == 1.0
