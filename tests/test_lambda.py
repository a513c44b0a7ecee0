"""Each convention is checked against the solution or the step of its own library.

A converted λ is right if that solution is stationary for the canonical objective, mean
loss + λ Ω(w). Solutions of libraries which the tests do not install are frozen.
"""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn import linear_model
from sklearn.base import clone
from sklearn.neural_network import MLPRegressor

from skreg import RegMLPRegressor, convert_lambda
from skreg._lambda import _CONVENTIONS

N, P, K = 60, 4, 3
RNG = np.random.RandomState(0)
X = RNG.standard_normal((N, P))
Y = X @ RNG.standard_normal((P, K)) + RNG.standard_normal((N, K))
SIGNAL = Y[:, 0]
LABEL = Y.argmax(axis=1)
WEIGHT = RNG.uniform(0.5, 3, size=N)
COEF = RNG.standard_normal((P, K))

FROZEN_X = np.array(
    [[1, 2], [-1, 0], [2, -1], [0, 1], [-2, 1], [1, -2], [-1, -1], [0.5, 0]]
)
FROZEN_Y = np.array([4.0, -3, 7, -1, -4, 6, -3, 2])
FROZEN_LABEL = np.array([1, 0, 1, 0, 1, 1, 0, 0])


def mean_gradient(slope, weight=None, X=X):
    """Gradient in w of the weighted mean of ℓ(y, X w), from the slopes of ℓ."""
    weight = np.ones(len(X)) if weight is None else weight
    return X.T @ (slope.T * weight).T / weight.sum()


def violation(gradient, w, *, l2=0.0, l1=0.0):
    """Largest violation of 0 ∈ gradient + l2 w + l1 ∂|w|."""
    smooth = gradient + l2 * w
    zero = np.maximum(np.abs(smooth) - l1, 0)
    return np.max(np.where(w == 0, zero, np.abs(smooth + l1 * np.sign(w))))


# scikit-learn


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_ridge(weight):
    model = linear_model.Ridge(alpha=7.0).fit(X, SIGNAL, sample_weight=weight)
    total = N if weight is None else weight.sum()
    l2 = convert_lambda(7.0, "sklearn_ridge", n_samples=total)
    gradient = mean_gradient(model.predict(X) - SIGNAL, weight)
    assert violation(gradient, model.coef_, l2=l2) < 1e-12


def test_ridge_classifier():
    model = linear_model.RidgeClassifier(alpha=7.0).fit(X, SIGNAL > 0)
    l2 = convert_lambda(7.0, "sklearn_ridge", n_samples=N)
    gradient = mean_gradient(model.decision_function(X) - np.where(SIGNAL > 0, 1, -1))
    assert violation(gradient, model.coef_.ravel(), l2=l2) < 1e-12


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_lasso(weight):
    model = linear_model.Lasso(alpha=0.4, tol=1e-12)
    model.fit(X, SIGNAL, sample_weight=weight)
    l1 = convert_lambda(0.4, "sklearn_lasso")
    gradient = mean_gradient(model.predict(X) - SIGNAL, weight)
    assert 0 < np.count_nonzero(model.coef_) < P
    assert violation(gradient, model.coef_, l1=l1) < 1e-9


def test_elastic_net():
    model = linear_model.ElasticNet(alpha=0.4, l1_ratio=0.3, tol=1e-12).fit(X, SIGNAL)
    strength = convert_lambda(0.4, "sklearn_elasticnet")
    gradient = mean_gradient(model.predict(X) - SIGNAL)
    parts = {"l1": 0.3 * strength, "l2": 0.7 * strength}
    assert violation(gradient, model.coef_, **parts) < 1e-9


def test_multitask_lasso():
    model = linear_model.MultiTaskLasso(alpha=1.5, tol=1e-12).fit(X, Y)
    strength = convert_lambda(1.5, "sklearn_multitask_lasso", n_outputs=K)
    gradient = mean_gradient(model.predict(X) - Y)
    coef = model.coef_.T
    norms = np.linalg.norm(coef, axis=1, keepdims=True)
    active = norms[:, 0] > 0
    # The canonical group lasso weighs a group of K weights by √K.
    pull = strength * np.sqrt(K)
    assert 0 < active.sum() < P
    assert_allclose(
        gradient[active], -pull * coef[active] / norms[active], rtol=0, atol=1e-9
    )
    assert np.all(np.linalg.norm(gradient[~active], axis=1) <= pull)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_logistic_regression(weight):
    model = linear_model.LogisticRegression(C=0.2, tol=1e-10, max_iter=1000)
    model.fit(X, LABEL, sample_weight=weight)
    total = N if weight is None else weight.sum()
    l2 = convert_lambda(0.2, "sklearn_logistic", n_samples=total)
    gradient = mean_gradient(model.predict_proba(X) - np.eye(K)[LABEL], weight)
    assert violation(gradient, model.coef_.T, l2=l2) < 1e-6


def test_logistic_regression_elastic_net():
    model = linear_model.LogisticRegression(
        C=0.2, l1_ratio=0.4, solver="saga", tol=1e-12, max_iter=10000, random_state=0
    )
    if model.penalty != "deprecated":  # scikit-learn < 1.8
        model.set_params(penalty="elasticnet")
    model.fit(X, SIGNAL > 0)
    strength = convert_lambda(0.2, "sklearn_logistic", n_samples=N)
    gradient = mean_gradient(model.predict_proba(X)[:, 1] - (SIGNAL > 0))
    parts = {"l1": 0.4 * strength, "l2": 0.6 * strength}
    assert violation(gradient, model.coef_.ravel(), **parts) < 1e-9


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_sgd_step(penalty):
    model = linear_model.SGDRegressor(
        penalty=penalty, alpha=0.3, learning_rate="constant", eta0=0.1, random_state=0
    )
    before = model.partial_fit(X[:1], SIGNAL[:1]).coef_.copy()
    slope = model.predict(X[1:2]) - SIGNAL[1:2]
    after = model.partial_fit(X[1:2], SIGNAL[1:2]).coef_
    strength = convert_lambda(0.3, "sklearn_sgd", penalty=penalty)
    moved = before - 0.1 * slope * X[1]
    if penalty == "l2":
        expected = moved - 0.1 * strength * before
    else:
        expected = np.sign(moved) * np.maximum(np.abs(moved) - 0.1 * strength, 0)
    assert_allclose(after, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "power"),
    [
        (linear_model.PoissonRegressor(alpha=0.3, tol=1e-9), 1),
        (linear_model.GammaRegressor(alpha=0.3, tol=1e-9), 2),
        (
            linear_model.TweedieRegressor(power=1.5, link="log", alpha=0.3, tol=1e-9),
            1.5,
        ),
    ],
)
def test_half_deviance(model, power):
    y = np.exp(0.3 * SIGNAL)
    mean = model.fit(X, y, sample_weight=WEIGHT).predict(X)
    gradient = mean_gradient((mean - y) * mean ** (1 - power), WEIGHT)
    l2 = convert_lambda(0.3, "sklearn_glm")
    assert violation(gradient, model.coef_, l2=l2) < 1e-8


def test_huber():
    y = np.where(np.arange(N) % 10 == 0, SIGNAL + 20, SIGNAL)
    model = linear_model.HuberRegressor(alpha=9.0, tol=1e-8, max_iter=1000).fit(X, y)
    limit = model.epsilon * model.scale_
    gradient = mean_gradient(np.clip(model.predict(X) - y, -limit, limit))
    l2 = convert_lambda(9.0, "sklearn_huber", n_samples=N, y_scale=model.scale_)
    assert violation(gradient, model.coef_, l2=l2) < 1e-4


def test_quantile_enters_at_its_threshold():
    slope_at_zero = np.where(SIGNAL < 0, 1, 0) - 0.3
    threshold = abs(mean_gradient(slope_at_zero)[0])
    for share, is_zero in [(0.99, False), (1.01, True)]:
        alpha = convert_lambda(share * threshold, "skreg", "sklearn_quantile")
        model = linear_model.QuantileRegressor(
            quantile=0.3, alpha=alpha, fit_intercept=False
        )
        assert (model.fit(X[:, :1], SIGNAL).coef_[0] == 0) == is_zero


def test_mlp_lbfgs():
    model = MLPRegressor(
        hidden_layer_sizes=(), solver="lbfgs", alpha=30.0, tol=1e-9, random_state=0
    )
    model.fit(X, SIGNAL)
    l2 = convert_lambda(30.0, "sklearn_mlp_lbfgs", n_samples=N)
    gradient = mean_gradient(model.predict(X) - SIGNAL)
    assert violation(gradient, model.coefs_[0].ravel(), l2=l2) < 1e-4


def test_mlp_minibatch():
    # With one sample repeated, every batch has the gradient of all the data.
    features, targets = np.repeat(X[:1], 30, axis=0), np.repeat(Y[:1], 30, axis=0)
    model = MLPRegressor(
        hidden_layer_sizes=(),
        solver="sgd",
        alpha=4.0,
        batch_size=10,
        learning_rate_init=0.1,
        momentum=0,
        random_state=0,
    )
    model.partial_fit(features, targets)
    w, b = model.coefs_[0].copy(), model.intercepts_[0].copy()
    l2 = convert_lambda(4.0, "sklearn_mlp_minibatch", batch_size=10)
    for _ in range(3):
        slope = X[0] @ w + b - Y[0]
        w, b = w - 0.1 * (np.outer(X[0], slope) + l2 * w), b - 0.1 * slope
    model.partial_fit(features, targets)
    assert_allclose(model.coefs_[0], w, rtol=1e-12)


# Deep learning


@pytest.mark.parametrize(
    ("source", "loss", "share"),
    [
        ("torch", "CrossEntropyLoss", 1),
        ("torch_mse", "MSELoss", 2 / K),
        ("torch_bce", "BCEWithLogitsLoss", 1 / K),
    ],
)
def test_torch_step(source, loss, share):
    torch = pytest.importorskip("torch")
    targets, link = {
        "CrossEntropyLoss": (np.eye(K)[LABEL], lambda z: softmax(z, axis=1)),
        "MSELoss": (Y, lambda z: z),
        "BCEWithLogitsLoss": ((Y > 0).astype(float), expit),
    }[loss]
    w = torch.nn.Parameter(torch.tensor(COEF))
    optimizer = torch.optim.SGD([w], lr=0.1, weight_decay=0.3)
    getattr(torch.nn, loss)()(torch.tensor(X) @ w, torch.tensor(targets)).backward()
    optimizer.step()
    l2 = convert_lambda(0.3, source, n_outputs=K)
    # torch minimizes this share of the canonical objective.
    step = 0.1 * share * (mean_gradient(link(X @ COEF) - targets) + l2 * COEF)
    assert_allclose(w.detach().numpy(), COEF - step, rtol=1e-12)


def test_torch_adamw_shrinks():
    torch = pytest.importorskip("torch")
    w = torch.nn.Parameter(torch.tensor(COEF))
    w.grad = torch.zeros_like(w)
    torch.optim.AdamW([w], lr=0.1, weight_decay=0.3).step()
    shrink = 1 - 0.1 * convert_lambda(0.3, "torch_adamw")
    assert_allclose(w.detach().numpy(), shrink * COEF, rtol=1e-12)


def test_keras_weight_decay_shrinks():
    # AdamW of Keras 3.15, learning rate 0.1, weight_decay 0.3, zero gradient.
    assert_allclose(5 * (1 - 0.1 * convert_lambda(0.3, "keras_weight_decay")), 4.85)


def test_decay_which_is_not_scaled_by_the_learning_rate():
    decay = convert_lambda(0.02, "tfa_weight_decay", learning_rate=0.1)
    assert_allclose(1 - 0.1 * decay, 1 - 0.02)
    # The paper multiplies λ by the schedule alone, skreg by schedule * base rate.
    schedule, base = 0.5, 0.1
    decay = convert_lambda(0.02, "loshchilov_hutter", learning_rate=base)
    assert_allclose(1 - schedule * base * decay, 1 - schedule * 0.02)


@pytest.mark.parametrize("epochs", [1, 5])
@pytest.mark.parametrize("batch_size", [10, 40])
@pytest.mark.parametrize("learning_rate", [0.1, 0.003])
def test_weights_without_updates_fall_to_1_over_e_in_one_timescale(
    epochs, batch_size, learning_rate
):
    shared = {"learning_rate": learning_rate, "batch_size": batch_size}
    decay = convert_lambda(epochs, "timescale", n_samples=200, **shared)
    model = RegMLPRegressor(
        (),
        solver="adam",
        decay_mode="decoupled",
        reg_lambda=decay,
        batch_size=batch_size,
        learning_rate_init=learning_rate,
        random_state=0,
    )
    X = np.zeros((200, 3))  # no gradient
    start = clone(model).set_params(reg_lambda=0.0).partial_fit(X, X[:, 0])
    for _ in range(epochs):
        model.partial_fit(X, X[:, 0])
    steps = epochs * 200 // batch_size
    share = model.coefs_[0] / start.coefs_[0]
    assert_allclose(share, (1 - 1 / steps) ** steps, rtol=1e-6)
    # (1 - 1/m)^m = (1 - 1/(2m) - ...) / e
    assert np.all((share < 1 / np.e) & (share > (1 - 0.6 / steps) / np.e))


def test_an_infinite_timescale_is_no_decay():
    given = {"n_samples": 10, "batch_size": 2, "learning_rate": 0.1}
    assert convert_lambda(np.inf, "timescale", **given) == 0
    assert convert_lambda(0.0, "skreg", "timescale", **given) == np.inf
    with pytest.raises(ValueError, match="`value` must be > 0 for 'timescale'; got 0"):
        convert_lambda(0, "timescale", **given)


ODD_NUMBERS = [10**400, Fraction(1, 2), "0.5", True, [True], ["1"], 1j, None, [[1], []]]


@pytest.mark.parametrize("value", ODD_NUMBERS, ids=lambda v: repr(v)[:20])
def test_what_only_looks_like_a_number_is_named(value):
    with pytest.raises(ValueError, match=r"`value` must be finite and >= 0 .* got"):
        convert_lambda(value, "sklearn_lasso")
    if value is not None:
        with pytest.raises(ValueError, match="`n_samples` must be a finite number > 0"):
            convert_lambda(1.0, "sklearn_ridge", n_samples=value)


@pytest.mark.parametrize("value", [10**20, np.float16(2), np.int8(2), np.array(2.0)])
def test_numbers_of_any_type_are_strengths(value):
    assert convert_lambda(value, "textbook_sum", penalty="l1", n_samples=2) == value / 2
    assert type(convert_lambda(value, "sklearn_lasso")) is float


def test_factors_beyond_the_range_of_floats_are_named():
    with pytest.raises(ValueError, match=r"'sklearn_huber' .* `y_scale`=1e.300, `n_s"):
        convert_lambda(0.0, "sklearn_huber", y_scale=1e300, n_samples=5e-324)


# Objectives as documentation and textbooks write them, from the canonical loss of each
# sample and output, and the multiple of the canonical objective which they are.
OBJECTIVES = {
    "keras": (lambda loss, omega, v: loss.sum(axis=1).mean() + v * omega, 1),
    "keras_mse": (lambda loss, omega, v: (2 * loss).mean() + v * omega, 2 / K),
    "keras_bce": (lambda loss, omega, v: loss.mean() + v * omega, 1 / K),
    "textbook_sum": (lambda loss, omega, v: loss.sum() + v * omega, N),
    "textbook_mean_n": (lambda loss, omega, v: (loss.sum() + v * omega) / N, 1),
    "textbook_mean_2n": (lambda loss, omega, v: (loss.sum() + v / 2 * omega) / N, 1),
    "textbook_mean_half": (lambda loss, omega, v: loss.sum() / N + v / 2 * omega, 1),
    "textbook_sum_half": (lambda loss, omega, v: loss.sum() + v / 2 * omega, N),
}


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("source", OBJECTIVES)
def test_written_objective(source, penalty):
    objective, multiple = OBJECTIVES[source]
    strength = convert_lambda(0.3, source, penalty=penalty, n_samples=N, n_outputs=K)
    loss = (Y - X @ COEF) ** 2 / 2
    if penalty == "l2":
        written, canonical = np.sum(COEF**2), np.sum(COEF**2) / 2
    else:
        written = canonical = np.abs(COEF).sum()
    expected = multiple * (loss.sum(axis=1).mean() + strength * canonical)
    assert_allclose(objective(loss, written, 0.3), expected, rtol=1e-13)


# Frozen solutions


@pytest.mark.parametrize(
    ("alpha", "intercept", "coef"),
    [
        (0.0, 0.8226646159384309, [2.8373661449851064, -0.3456291273464191]),
        (0.4, 0.823354947090716, [2.8263208465485437, -0.23199704356478928]),
        (1.0, 0.8242506811989095, [2.8119891008174474, -0.047002724795638315]),
    ],
)
def test_glmnet_gaussian(alpha, intercept, coef):
    # C++ core of glmnet 4, lambda=0.5, standardize=FALSE, thresh=1e-24.
    gradient = mean_gradient(intercept + FROZEN_X @ coef - FROZEN_Y, X=FROZEN_X)
    l1 = convert_lambda(0.5 * alpha, "glmnet_gaussian", penalty="l1")
    l2 = convert_lambda(
        0.5 * (1 - alpha), "glmnet_gaussian", penalty="l2", y_scale=np.std(FROZEN_Y)
    )
    assert violation(gradient, np.array(coef), l1=l1, l2=l2) < 1e-10


def test_glmnet_poisson():
    # R: glmnet(x, y, alpha=0, family="poisson", standardize=F, thresh=1e-10), s=1;
    # the value in scikit-learn's own tests.
    x, y = np.array([[-2, 0], [-1, 0], [1, 1], [2, 1]]), np.array([0, 1, 1, 2])
    coef = np.array([0.29019207995, 0.03741173122])
    gradient = mean_gradient(np.exp(x @ coef - 0.12889386979) - y, X=x)
    assert violation(gradient, coef, l2=convert_lambda(1.0, "glmnet")) < 1e-5


@pytest.mark.parametrize(
    ("source", "l1_ratio", "coef"),
    [
        ("statsmodels", 0.0, [2.330677290836652, -0.3754980079681277]),
        ("statsmodels", 0.4, [2.4973262032085564, -0.27139037433155067]),
        ("statsmodels", 1.0, [2.847826086956522, -0.038043478260869464]),
        ("skglm", 0.4, [2.497326203208557, -0.27139037433155083]),
        ("celer", 0.4, [2.497326203208582, -0.2713903743315456]),
    ],
)
def test_elastic_net_elsewhere(source, l1_ratio, coef):
    # statsmodels 0.15 OLS, skglm 0.5, celer 0.7.4: alpha=0.5, no intercept.
    gradient = mean_gradient(FROZEN_X @ coef - FROZEN_Y, X=FROZEN_X)
    strength = convert_lambda(0.5, source)
    parts = {"l1": l1_ratio * strength, "l2": (1 - l1_ratio) * strength}
    assert violation(gradient, np.array(coef), **parts) < 1e-10


def test_statsmodels_logit():
    # statsmodels 0.15, fit_regularized(method="l1", alpha=0.5), no intercept.
    coef = np.array([0.4259468151567493, 0.0])
    gradient = mean_gradient(expit(FROZEN_X @ coef) - FROZEN_LABEL, X=FROZEN_X)
    l1 = convert_lambda(0.5, "statsmodels_logit", n_samples=8)
    assert violation(gradient, coef, l1=l1) < 1e-8


def test_xgboost_gblinear():
    # xgboost 3.2 in float32, reg_alpha=0.2, reg_lambda=0.3.
    coef = np.array([2.46717, -0.277672])
    gradient = mean_gradient(0.845802 + FROZEN_X @ coef - FROZEN_Y, X=FROZEN_X)
    l1 = convert_lambda(0.2, "xgboost_gblinear", penalty="l1")
    l2 = convert_lambda(0.3, "xgboost_gblinear", penalty="l2")
    assert violation(gradient, coef, l1=l1, l2=l2) < 1e-4


def test_xgboost_gbtree():
    # xgboost 3.2, one tree with a leaf for y < 0 and one for y > 0, base_score=0,
    # reg_alpha=2, reg_lambda=3. The leaves are the weights of two indicator features.
    leaves = np.array([-1.28571427, 2.42857146])
    indicators = np.column_stack([FROZEN_Y < 0, FROZEN_Y > 0]).astype(float)
    gradient = mean_gradient(indicators @ leaves - FROZEN_Y, X=indicators)
    l1 = convert_lambda(2.0, "xgboost_gbtree", penalty="l1", n_samples=8)
    l2 = convert_lambda(3.0, "xgboost_gbtree", penalty="l2", n_samples=8)
    assert violation(gradient, leaves, l1=l1, l2=l2) < 1e-6


# The function


@pytest.mark.parametrize("penalty", [None, "l2", "l1", "group_lasso"])
def test_skreg_is_canonical(penalty):
    assert convert_lambda(0.3, "skreg", penalty=penalty) == 0.3


@pytest.mark.parametrize("source", _CONVENTIONS.values(), ids=lambda c: c.name)
def test_round_trips(source):
    arguments = {
        "n_samples": 60,
        "batch_size": 15,
        "n_outputs": 3,
        "y_scale": 1.7,
        "learning_rate": 0.05,
    }
    for target in _CONVENTIONS.values():
        for penalty in source.formulas.keys() & target.formulas.keys():
            chosen = arguments | {"penalty": penalty}
            there = convert_lambda(0.3, source.name, target.name, **chosen)
            back = convert_lambda(there, target.name, source.name, **chosen)
            assert_allclose(back, 0.3, rtol=1e-14)
            canonical = convert_lambda(0.3, source.name, **chosen)
            also_canonical = convert_lambda(there, target.name, **chosen)
            assert_allclose(also_canonical, canonical, rtol=1e-14)


def test_scalar_gives_float_and_array_like_gives_array():
    for value in (2, 2.0, np.float32(2), np.array(2.0)):
        converted = convert_lambda(value, "sklearn_ridge", n_samples=4)
        assert type(converted) is float
        assert converted == 0.5
    values = np.array([[0.0, 1.0], [2.0, 4.0]])
    converted = convert_lambda(values, "sklearn_ridge", n_samples=4)
    assert_array_equal(converted, values / 4)
    assert_array_equal(values, [[0.0, 1.0], [2.0, 4.0]])
    assert convert_lambda([], "skreg").shape == (0,)


def test_no_penalty_is_infinite_c():
    assert convert_lambda(0.0, "skreg", "sklearn_logistic", n_samples=4) == np.inf
    assert convert_lambda(np.inf, "sklearn_logistic", n_samples=4) == 0
    for target in ("skreg", "sklearn_logistic"):
        result = convert_lambda([0.5, np.inf], "sklearn_logistic", target, n_samples=4)
        assert_allclose(result, [0.5, 0.0 if target == "skreg" else np.inf])


def test_penalty_is_needed_only_where_it_matters():
    with pytest.raises(ValueError, match=r"`penalty` must be given .*'l2', 'l1'"):
        convert_lambda(0.3, "keras")
    # One text to another: the factors of n differ, but not between L1 and L2.
    mean_n = convert_lambda(0.3, "textbook_sum", "textbook_mean_n", n_samples=4)
    assert_allclose(mean_n, 0.3)
    assert convert_lambda(0.3, "glmnet_gaussian", penalty="l1") == 0.3


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"source": "ridge"}, r"`source` must be one of .*'sklearn_ridge'.*'ridge'"),
        ({"source": None}, r"`source` must be one of .*got None"),
        ({"target": "lasso"}, r"`target` must be one of .*'sklearn_lasso'.*'lasso'"),
        ({"n_samples": None}, r"`n_samples` must be given for 'sklearn_ridge'.*v / n"),
        ({"n_samples": 0}, r"`n_samples` must be a finite number > 0; got 0"),
        ({"n_samples": -3.0}, r"`n_samples` must be .* > 0; got -3\.0"),
        ({"n_samples": np.inf}, r"`n_samples` must be a finite number"),
        ({"n_samples": np.nan}, r"`n_samples` must be a finite number"),
        ({"n_samples": "10"}, r"`n_samples` must be a finite number > 0; got '10'"),
        ({"source": "sklearn_mlp_minibatch"}, r"`batch_size` must be given"),
        ({"source": "torch_mse"}, r"`n_outputs` must be given"),
        ({"source": "sklearn_huber"}, r"`y_scale` must be given"),
        ({"source": "tfa_weight_decay"}, r"`learning_rate` must be given"),
        ({"value": -1.0}, r"`value` must be finite and >= 0 .*got -1\.0"),
        ({"value": [0.1, -1.0]}, r"`value` must be finite and >= 0"),
        ({"value": np.nan}, r"`value` must be finite and >= 0"),
        ({"value": np.inf}, r"`value` must be finite and >= 0"),
        (
            {"value": [0.1, 1e300], "target": "keras_mse", "n_outputs": 1e-10},
            r"converted to a positive float; got \[0.1, 1e\+300\] with .*'n_outputs'",
        ),
        (
            {"value": 5e-324},
            "converted to a positive float; got 5e-324 .* 0.0 as 'skreg'",
        ),
        ({"value": None}, r"`value` must be finite and >= 0 .*got None"),
        ({"value": "a"}, r"`value` must be finite and >= 0 .*got 'a'"),
        ({"value": 0.0, "source": "sklearn_logistic"}, r"`value` must be > 0"),
        ({"value": np.nan, "source": "sklearn_logistic"}, r"`value` must be > 0"),
        ({"penalty": np.ones(2)}, r"`penalty` must be one of \('l2', 'l1'"),
        ({"penalty": "l0"}, r"`penalty` must be one of \('l2', 'l1', .*got 'l0'"),
        ({"penalty": "l1"}, r"got 'l1', but 'sklearn_ridge' has \['l2'\]"),
        ({"target": "sklearn_lasso"}, r"`penalty` must be known to both conventions"),
    ],
)
def test_errors_name_parameter_value_and_what_is_allowed(arguments, match):
    valid = {"value": 1.0, "source": "sklearn_ridge", "n_samples": 10}
    with pytest.raises(ValueError, match=match):
        convert_lambda(**(valid | arguments))


@pytest.mark.parametrize("convention", _CONVENTIONS.values(), ids=lambda c: c.name)
def test_docstring_lists_the_convention(convention):
    (row,) = (
        line
        for line in convert_lambda.__doc__.splitlines()
        if line.split()[:1] == [convention.name]
    )
    assert convention.meaning in row
    assert all(formula in row for formula in convention.formulas.values())
