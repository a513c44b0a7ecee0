"""Where the stochastic solvers end, and what lambda means on the way there.

Oracles: the optima of scikit-learn's linear models, invariances of the objective, and
the trajectories of scikit-learn's own networks.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import (
    load_digits,
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LogisticRegression,
    MultiTaskLasso,
    Ridge,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skreg import (
    RegMLPClassifier,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg._core import loss_gradient
from skreg._network import Network
from skreg.losses import regression_loss
from tests.cases import compile_network, make_problem

# Runs of a fixed number of epochs end at max_iter, here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ENDLESS = {"tol": 0.0, "n_iter_no_change": np.inf}


def weights_of(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same_weights(estimator, other, rtol=1e-7, atol=0.0):
    for actual, desired in zip(weights_of(estimator), weights_of(other), strict=True):
        assert_allclose(actual, desired, rtol=rtol, atol=atol)


# 6. Optima of linear models ---------------------------------------------------------

N, LAM, L1_RATIO = 60, 0.3, 0.6


def linear_data(n_targets=1):
    """Correlated, uncentered and well conditioned; half of the features are idle."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, 8)) @ (np.eye(8) + 0.1) + 0.3
    W = rng.normal(size=(8, n_targets)) * (np.arange(8) < 4)[:, None]
    Y = X @ W + 2.0 + 0.3 * rng.normal(size=(N, n_targets))
    return X, Y.squeeze()


ORACLES = {
    "l1": lambda lam: Lasso(alpha=lam, tol=1e-14, max_iter=10**6),
    "l2": lambda lam: Ridge(alpha=N * lam, solver="cholesky"),
    "elasticnet": lambda lam: ElasticNet(
        alpha=lam, l1_ratio=L1_RATIO, tol=1e-14, max_iter=10**6
    ),
}
HEAVY_BALL = {
    f"momentum {momentum}{', nesterov' * nesterov}": {
        "solver": "sgd",
        "momentum": momentum,
        "nesterovs_momentum": nesterov,
        "learning_rate_init": 0.05,
        "max_iter": 6000 if momentum == 0.99 else 1500,
    }
    for momentum in (0.0, 0.5, 0.9, 0.99)
    for nesterov in (False, True)
    if momentum or not nesterov
}
# Adaptive steps do not become small by themselves: the rate has to fall to 0. And where
# a gradient vanishes, RMSProp jumps back and forth by the rate itself, which disturbs
# the other weights until the rate falls below epsilon; Adam's first moment damps that.
ADAPTIVE = {
    solver: {
        "solver": solver,
        "learning_rate": "cosine",
        "learning_rate_init": 0.02,
        "epsilon": epsilon,
        "max_iter": 6000,
    }
    for solver, epsilon in (("rmsprop", 1e-2), ("adam", 1e-8))
}
FULL_BATCH = HEAVY_BALL | ADAPTIVE


def linear_fit(X, y, penalty, mode, settings, lam=LAM):
    return RegMLPRegressor(
        (),
        penalty=penalty,
        reg_lambda=lam,
        l1_ratio=L1_RATIO,
        decay_mode=mode,
        batch_size=len(X),
        random_state=0,
        **ENDLESS,
        **settings,
    ).fit(X, y)


def assert_is_optimum(estimator, oracle, atol=1e-8):
    W = np.atleast_2d(oracle.coef_).T
    assert_allclose(estimator.coefs_[0], W, rtol=0, atol=atol)
    assert_allclose(
        estimator.intercepts_[0], np.ravel(oracle.intercept_), rtol=0, atol=atol
    )
    return W


@pytest.mark.parametrize("penalty", ORACLES)
@pytest.mark.parametrize("settings", FULL_BATCH.values(), ids=FULL_BATCH)
def test_proximal_solvers_reach_the_optimum_and_its_zeros(settings, penalty):
    X, y = linear_data()
    oracle = ORACLES[penalty](LAM).fit(X, y)
    estimator = linear_fit(X, y, penalty, "proximal", settings)
    W = assert_is_optimum(estimator, oracle)
    assert_array_equal(estimator.coefs_[0] == 0, W == 0)
    assert np.any(W == 0) == (penalty != "l2")


@pytest.mark.parametrize("settings", FULL_BATCH.values(), ids=FULL_BATCH)
def test_coupled_solvers_reach_the_ridge_optimum(settings):
    X, y = linear_data()
    oracle = ORACLES["l2"](LAM).fit(X, y)
    assert_is_optimum(linear_fit(X, y, "l2", "coupled", settings), oracle)


@pytest.mark.parametrize("settings", HEAVY_BALL.values(), ids=HEAVY_BALL)
def test_decoupled_momentum_reaches_the_ridge_optimum_of_a_smaller_lambda(settings):
    """lambda (1 - momentum): the buffer amplifies the data gradient, not the decay."""
    X, y = linear_data()
    effective = LAM * (1 - settings["momentum"])
    oracle = ORACLES["l2"](effective).fit(X, y)
    assert_is_optimum(linear_fit(X, y, "l2", "decoupled", settings), oracle)


@pytest.mark.parametrize("mode", ["coupled", "proximal"])
def test_logistic_regression_is_reached(mode):
    X, y = make_classification(N, 6, n_classes=3, n_informative=4, random_state=0)
    lam = 0.1
    oracle = LogisticRegression(
        C=1 / (N * lam), solver="newton-cg", tol=1e-12, max_iter=1000
    ).fit(X, y)
    estimator = RegMLPClassifier(
        (),
        penalty="l2",
        reg_lambda=lam,
        decay_mode=mode,
        solver="sgd",
        learning_rate_init=0.2,
        batch_size=N,
        max_iter=1500,
        random_state=0,
        **ENDLESS,
    ).fit(X, y)
    assert_allclose(estimator.coefs_[0], oracle.coef_.T, atol=1e-7)
    # A constant may be added to all intercepts.
    centered = estimator.intercepts_[0] - estimator.intercepts_[0].mean()
    assert_allclose(centered, oracle.intercept_ - oracle.intercept_.mean(), atol=1e-7)


@pytest.mark.parametrize("name", ["momentum 0.9", "adam"])
def test_group_lasso_of_rows_is_the_multi_task_lasso(name):
    """A penalty that runs in Python, with its root in the metric of Adam."""
    X, Y = linear_data(n_targets=3)
    oracle = MultiTaskLasso(alpha=LAM * np.sqrt(3), tol=1e-14, max_iter=10**6).fit(X, Y)
    settings = FULL_BATCH[name] | {"max_iter": 3000}
    estimator = linear_fit(X, Y, "group_lasso", "proximal", settings)
    W = oracle.coef_.T
    assert_allclose(estimator.coefs_[0], W, rtol=0, atol=1e-8)
    assert_array_equal(estimator.coefs_[0] == 0, W == 0)
    assert np.any(W == 0)


# 7. What lambda means ---------------------------------------------------------------


def norms_at_equal_step_counts(make_estimator):
    """Norm of all weights after 960 steps, for three batch sizes."""
    X, y = make_regression(512, 10, noise=20.0, random_state=0)
    y = y / y.std()
    norms = []
    for batch_size in (16, 64, 256):
        estimator = make_estimator(
            batch_size=batch_size,
            max_iter=960 * batch_size // len(X),
            hidden_layer_sizes=(20,),
            activation="tanh",
            solver="sgd",
            momentum=0.9,
            learning_rate_init=0.01,
            random_state=0,
            **ENDLESS,
        ).fit(X, y)
        norms.append(np.sqrt(sum(np.square(W).sum() for W in estimator.coefs_)))
    return np.array(norms)


def test_lambda_means_the_same_for_every_batch_size():
    norms = norms_at_equal_step_counts(
        lambda **options: RegMLPRegressor(
            penalty="l2", reg_lambda=0.02, decay_mode="coupled", **options
        )
    )
    assert norms.max() / norms.min() < 1.05


def test_alpha_of_scikit_learn_depends_on_the_batch_size():
    """alpha / 64 = 0.02: the strength above, in batches of 64."""
    norms = norms_at_equal_step_counts(
        lambda **options: MLPRegressor(alpha=64 * 0.02, **options)
    )
    assert norms.max() / norms.min() > 1.4


def weighted_fit(sample_weight, X, y, batch_size=16, max_iter=20, **options):
    options = {"penalty": "l1", "reg_lambda": 0.01, "solver": "adam"} | options
    return RegMLPRegressor(
        (6, 4),
        activation="tanh",
        batch_size=batch_size,
        max_iter=max_iter,
        random_state=0,
        **ENDLESS,
        **options,
    ).fit(X, y, sample_weight)


@pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adam"])
def test_rescaled_weights_leave_the_trajectory_unchanged(solver):
    X, y = linear_data()
    s = np.random.RandomState(1).uniform(0.1, 3.0, N)
    fit = weighted_fit(s, X, y, solver=solver)
    scaled = weighted_fit(1000 * s, X, y, solver=solver)
    assert_same_weights(scaled, fit, rtol=0, atol=1e-12)
    assert_allclose(scaled.loss_curve_, fit.loss_curve_, rtol=1e-12)
    constant, none = (weighted_fit(c, X, y, solver=solver) for c in (7.0, None))
    assert_same_weights(constant, none, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adam"])
def test_integer_weights_equal_repeated_rows_in_full_batches(solver):
    X, y = linear_data()
    counts = np.random.RandomState(1).randint(0, 4, N)
    weighted = weighted_fit(counts, X, y, batch_size=N, solver=solver)
    X, y = np.repeat(X, counts, axis=0), np.repeat(y, counts)
    repeated = weighted_fit(None, X, y, batch_size=len(X), solver=solver)
    assert_same_weights(weighted, repeated, rtol=0, atol=1e-12)
    assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-12)


# 8. The mini-batch estimate ---------------------------------------------------------


@pytest.mark.parametrize("rows", [None, np.arange(3, 39)], ids=["all rows", "subset"])
@pytest.mark.parametrize("batch_size", [1, 4, 12])
def test_mean_of_batch_gradients_is_the_full_gradient(batch_size, rows):
    rng = np.random.RandomState(0)
    n_all, units = 48, (5, 6, 4, 2)
    X, y = rng.normal(size=(n_all, 5)), rng.normal(size=(n_all, 2))
    s = rng.exponential(size=n_all)
    network = Network(units, "tanh")
    problem = make_problem(
        X, y, s, network, regression_loss("squared_error"), (None,) * 3, rows=rows
    )
    theta = network.initial_theta(rng, np.float64)
    net, scratch = compile_network(
        network, batch_size, problem.dtype, problem.data.loss, problem.data.n_targets
    )
    order = np.arange(n_all) if rows is None else rows.copy()
    rng.shuffle(order)
    scale = problem.data.n_rows / problem.data.weight_sum / batch_size
    gradients, loss_total = [], 0.0
    for start in range(0, problem.data.n_rows, batch_size):
        grad = np.empty_like(theta)
        loss_total += loss_gradient(
            net,
            problem.data._data,
            order,
            start,
            start + batch_size,
            theta,
            grad,
            scale,
            scratch,
        )
        gradients.append(grad)

    value, full = problem.data_value_grad(theta)
    assert_allclose(np.mean(gradients, axis=0), full, rtol=0, atol=1e-12)
    assert_allclose(problem.data.mean(loss_total), value, rtol=1e-12)


# 9. Trajectories of scikit-learn ----------------------------------------------------


def classification(n_classes):
    return make_classification(
        150, 8, n_informative=5, n_classes=n_classes, random_state=0
    )


def multilabel():
    X, Y = make_multilabel_classification(150, 8, n_classes=4, random_state=0)
    return X / 4, Y


def regression(n_targets=1):
    X, Y = make_regression(150, 8, n_targets=n_targets, noise=1.0, random_state=0)
    return X, Y / Y.std(axis=0)


def counts():
    X, y = regression()
    return X, np.random.RandomState(0).poisson(np.exp(y / 2))


CLASSIFIERS = RegMLPClassifier, MLPClassifier
REGRESSORS = RegMLPRegressor, MLPRegressor
# Ours, theirs, data, more parameters, number of outputs over which theirs averages.
TASKS = {
    "binary": (CLASSIFIERS, lambda: classification(2), {}, 1),
    "multiclass": (CLASSIFIERS, lambda: classification(4), {}, 1),
    "multilabel": (CLASSIFIERS, multilabel, {}, 1),
    "regression": (REGRESSORS, regression, {}, 1),
    "multi-output": (REGRESSORS, lambda: regression(3), {}, 3),
    "poisson": (REGRESSORS, counts, {"loss": "poisson"}, 1),
}
# scikit-learn adds epsilon to the square root of the uncorrected second moment, we and
# Kingma & Ba to the corrected one. That is the same for an epsilon below all gradients.
OPTIMIZERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "adam": {"solver": "adam", "learning_rate_init": 0.01, "epsilon": 1e-12},
}


def fit_pair(task, max_iter=20, dtype=np.float64, **options):
    """Ours and theirs, fitted without a penalty from the same seed."""
    (ours, theirs), make_data, parameters, _ = TASKS[task]
    X, y = make_data()
    X = X.astype(dtype)
    y = y.astype(dtype) if ours is RegMLPRegressor else y
    shared = {
        "hidden_layer_sizes": (7, 5),
        "batch_size": 40,
        "max_iter": max_iter,
        "random_state": 1,
        **parameters,
        **options,
    }
    return ours(penalty=None, **shared).fit(X, y), theirs(alpha=0.0, **shared).fit(X, y)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", TASKS)
def test_trajectory_is_that_of_scikit_learn(task, optimizer, activation):
    ours, theirs = fit_pair(task, activation=activation, **OPTIMIZERS[optimizer])
    expected = TASKS[task][-1] * np.array(theirs.loss_curve_)
    assert len(ours.loss_curve_) == 20
    assert_allclose(ours.loss_curve_, expected, rtol=1e-5)
    assert_same_weights(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours.out_activation_ == theirs.out_activation_
    assert ours.t_ == theirs.t_


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", TASKS)
def test_trajectory_in_float32_is_that_of_scikit_learn(task, optimizer):
    ours, theirs = fit_pair(task, dtype=np.float32, **OPTIMIZERS[optimizer])
    expected = TASKS[task][-1] * np.array(theirs.loss_curve_)
    assert_allclose(ours.loss_curve_, expected, rtol=1e-5)
    assert all(w.dtype == np.float32 for w in weights_of(ours))


@pytest.mark.parametrize("schedule", ["invscaling", "adaptive"])
def test_schedules_are_those_of_scikit_learn(schedule):
    """Without momentum: their velocity keeps old rates, ours does not."""
    options = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.3}
    options |= {"power_t": 0.2, "tol": 1e-2, "n_iter_no_change": 3, "max_iter": 60}
    ours, theirs = fit_pair("regression", learning_rate=schedule, **options)
    constant, _ = fit_pair("regression", learning_rate="constant", **options)
    assert ours.loss_curve_ != constant.loss_curve_
    assert ours.n_iter_ == theirs.n_iter_
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
@pytest.mark.parametrize("task", TASKS)
def test_early_stopping_is_that_of_scikit_learn(task, optimizer):
    """The same split, scores, number of epochs and best weights."""
    options = {"early_stopping": True, "validation_fraction": 0.2}
    options |= {"n_iter_no_change": 4, "tol": 5e-3, **OPTIMIZERS[optimizer]}
    ours, theirs = fit_pair(task, max_iter=100, **options)
    expected = TASKS[task][-1] * np.array(theirs.loss_curve_)
    assert ours.n_iter_ == theirs.n_iter_ < 100
    assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-5)
    assert_allclose(ours.loss_curve_, expected, rtol=1e-5)
    assert_same_weights(ours, theirs, rtol=1e-5, atol=1e-6)


def test_convergence_on_the_training_loss_is_that_of_scikit_learn():
    options = {"tol": 1e-3, "n_iter_no_change": 5, **OPTIMIZERS["adam"]}
    ours, theirs = fit_pair("binary", max_iter=500, **options)
    assert ours.n_iter_ == theirs.n_iter_ < 500
    assert_allclose(ours.best_loss_, theirs.best_loss_, rtol=1e-5)


def test_digits_with_constant_pixels_train_as_in_scikit_learn():
    """Gradients of corner pixels are tiny, those of constant ones are 0."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:600] / 16, y[:600]
    shared = {"hidden_layer_sizes": (16,), "epsilon": 1e-12, "random_state": 0}
    shared |= {"max_iter": 20, "learning_rate_init": 0.005}
    ours = RegMLPClassifier(penalty=None, **shared).fit(X, y)
    theirs = MLPClassifier(alpha=0.0, **shared).fit(X, y)
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-5)
    assert_array_equal(ours.predict(X), theirs.predict(X))


# Fits of which nothing is left -------------------------------------------------------

HUGE = {
    ("l1", "adam"): 1e3,
    ("group_lasso", "sgd"): 1e2,
    ("elasticnet", "rmsprop"): 1e3,
    ("l1", "lbfgs"): 1e3,
    ("l2", "lbfgs"): 1e10,
    (("l1", None), "lbfgs"): 1e3,
}


def sample(kind):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 3))
    return X, (X[:, 0] > 0).astype(int) if kind is RegMLPClassifier else X[:, 0] + 1


@pytest.mark.parametrize("kind", [RegMLPClassifier, RegMLPRegressor])
@pytest.mark.parametrize(("penalty", "solver"), HUGE)
def test_a_strength_that_leaves_nothing_is_named(kind, penalty, solver):
    X, y = sample(kind)
    params = {"penalty": penalty, "solver": solver, "max_iter": 500, "random_state": 0}
    huge = kind(4, reg_lambda=HUGE[penalty, solver], **params)
    with pytest.warns(
        ConvergenceWarning, match="predicts a constant: reg_lambda=1"
    ) as caught:
        huge.fit(X, y)
    assert len(caught) == 1
    predicted = huge.predict(X)
    assert_allclose(predicted, predicted[0])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).*predicts a constant")
        kind(4, reg_lambda=1e-4, **params).fit(X, y)


@pytest.mark.parametrize("penalty", [None, "l1", "l2"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_constant_that_is_right_is_no_cause_for_a_warning(penalty, solver):
    X, _ = sample(RegMLPRegressor)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).*predicts a constant")
        model = RegMLPRegressor(4, penalty=penalty, solver=solver, random_state=0)
        model.fit(X, np.zeros(len(X)))


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_searches_that_choose_a_constant_say_so(penalty):
    """Also where weights are not exactly 0."""
    X, y = sample(RegMLPRegressor)
    search = RegMLPRegressorCV(
        4, penalty=penalty, solver="lbfgs", reg_lambdas=[1e8], cv=2, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="The choice, .* predicts a constant"):
        search.fit(X, y)
    assert search.fitted_.is_constant
    search.coefs_ = [np.ones_like(W) for W in search.coefs_]
    assert not search.fitted_.is_constant


@pytest.mark.parametrize("sizes", [(), 4])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_paths_of_constants_say_so(sizes, solver):
    X, y = sample(RegMLPRegressor)
    network = RegMLPRegressor(
        sizes, penalty="l1", solver=solver, learning_rate_init=0.01, random_state=0
    )
    with pytest.warns(
        UserWarning, match=r"path predicts a constant: .* from 1e\+03 on"
    ):
        reg_mlp_path(network, X, y, reg_lambdas=[1e3, 1e4])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).*predicts a constant")
        reg_mlp_path(network, X, y, reg_lambdas=[1e-3, 1e4])


@pytest.mark.parametrize(
    ("sizes", "params"),
    [
        ((2, 2), {"solver": "rmsprop", "learning_rate_init": 1e300}),
        ((2, 2), {"solver": "adam", "learning_rate_init": 1e300}),
        ((), {"loss": "gamma", "learning_rate_init": 1e3}),
        ((4,), {"loss": "poisson", "learning_rate_init": 1e3}),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_last_step_that_goes_astray_is_an_error(sizes, params, method):
    # Its loss is not among those of the batches, each taken before its step.
    X, y = sample(RegMLPRegressor)
    model = RegMLPRegressor(sizes, max_iter=1, random_state=0, **params)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        getattr(model, method)(X, np.abs(y) + 0.1)
    assert not hasattr(model, "coefs_")


def test_paths_and_searches_find_last_steps_that_go_astray():
    X, y = sample(RegMLPRegressor)
    params = {"solver": "adam", "learning_rate_init": 1e300, "max_iter": 1}
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        reg_mlp_path(RegMLPRegressor((2, 2), **params), X, y, reg_lambdas=[0.0, 1.0])
    search = RegMLPRegressorCV((2, 2), reg_lambdas=[0.0, 1.0], cv=2, **params)
    with pytest.raises(ValueError, match="diverged"):
        search.fit(X, y)
