"""One step and whole trajectories against PyTorch and against slow NumPy twins."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_classification, make_regression

from skreg import RegMLPClassifier, RegMLPRegressor, _core
from skreg._network import ACTIVATIONS, Network
from skreg._optimizers import Optimizer
from skreg.losses import CLASSIFICATION_LOSSES, regression_loss
from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    Penalty,
    SparseGroupLasso,
    check_penalty,
)
from tests import naive
from tests.cases import make_problem

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Estimator settings of each optimizer.
SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "momentum": {
        "solver": "sgd",
        "momentum": 0.9,
        "nesterovs_momentum": False,
        "learning_rate_init": 0.05,
    },
    "nesterov": {"solver": "sgd", "momentum": 0.9, "learning_rate_init": 0.05},
    "rmsprop": {"solver": "rmsprop", "rho": 0.95, "learning_rate_init": 0.01},
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}
MODES = ("coupled", "decoupled", "proximal")
HYPER = {
    "momentum": 0.9,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "rho": 0.95,
    "epsilon": 1e-8,
}
L1_RATIO = 0.3


def weights_of(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def flat_weights(estimator):
    return np.concatenate([w.ravel() for w in weights_of(estimator)])


def assert_same_weights(estimator, expected, atol):
    for actual, desired in zip(weights_of(estimator), expected, strict=True):
        assert_allclose(actual, desired, rtol=0, atol=atol)


def classification(n_classes, n=50):
    X, y = make_classification(
        n, 6, n_informative=4, n_classes=n_classes, random_state=0
    )
    return X, y


def regression(n=50):
    X, Y = make_regression(n, 6, n_targets=3, noise=1.0, random_state=0)
    return X, Y / Y.std(axis=0)


TASKS = {
    "binary": (RegMLPClassifier, lambda: classification(2)),
    "multiclass": (RegMLPClassifier, lambda: classification(3)),
    "squared_error": (RegMLPRegressor, regression),
}


def target_columns(y):
    return np.asarray(y, float).reshape(len(y), -1)


# 1. PyTorch -------------------------------------------------------------------------


@pytest.fixture
def torch():
    """PyTorch on one thread: more would only wait for each other here."""
    module = pytest.importorskip("torch")
    n_threads = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(n_threads)


def torch_penalty(penalty, lam, weights):
    """lam * Omega; the derivative of torch.abs at 0 is 0, as ours."""
    l1 = {"l1": 1.0, "l2": 0.0, "elasticnet": L1_RATIO}[penalty]
    return lam * sum(
        l1 * w.abs().sum() + (1 - l1) / 2 * w.square().sum() for w in weights
    )


def torch_optimizer(torch, name, weights, biases, weight_decay):
    """Optimizer; AdamW decays by itself, and biases never do."""
    settings = SOLVERS[name]
    groups = [{"params": weights}, {"params": biases}]
    lr = settings["learning_rate_init"]
    if name == "adam" and weight_decay:
        groups[0]["weight_decay"], groups[1]["weight_decay"] = weight_decay, 0.0
        return torch.optim.AdamW(groups, lr=lr)
    if name == "adam":
        return torch.optim.Adam(groups, lr=lr)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=lr, alpha=settings["rho"], eps=1e-8)
    return torch.optim.SGD(
        groups, lr=lr, momentum=settings["momentum"], nesterov=name == "nesterov"
    )


def torch_fit(torch, params, X, y, batches, task, activation, name, penalty, mode, lam):
    """Train a PyTorch network on given batches; returns weights, then biases."""
    functional = torch.nn.functional
    phi = {"tanh": torch.tanh, "relu": torch.relu}[activation]
    params = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in params]
    n_layers = len(params) // 2
    weights, biases = params[:n_layers], params[n_layers:]
    decay = lam if mode == "decoupled" else 0.0
    optimizer = torch_optimizer(torch, name, weights, biases, decay)
    X = torch.tensor(X)
    y = torch.tensor(y.astype(np.int64 if task == "multiclass" else np.float64))

    def mean_loss(rows):
        a = X[rows]
        for layer in range(n_layers):
            a = a @ weights[layer] + biases[layer]
            a = phi(a) if layer < n_layers - 1 else a
        if task == "multiclass":
            return functional.cross_entropy(a, y[rows])
        if task == "binary":
            return functional.binary_cross_entropy_with_logits(a[:, 0], y[rows])
        return (a - y[rows]).square().sum(dim=1).mean() / 2

    for rows in batches:
        optimizer.zero_grad()
        loss = mean_loss(torch.tensor(rows))
        if mode == "coupled":
            loss = loss + torch_penalty(penalty, lam, weights)
        loss.backward()
        if mode == "decoupled" and name != "adam":
            with torch.no_grad():
                for w in weights:
                    w *= 1 - SOLVERS[name]["learning_rate_init"] * decay
        optimizer.step()
    return [p.detach().numpy() for p in params]


TORCH_PENALTIES = [
    (None, "auto"),
    ("l1", "coupled"),
    ("l2", "coupled"),
    ("elasticnet", "coupled"),
    ("l2", "decoupled"),
]


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("penalty, mode", TORCH_PENALTIES, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("task", TASKS)
def test_training_equals_torch_step_by_step(
    torch, task, activation, penalty, mode, name
):
    make_estimator, make_data = TASKS[task]
    X, y = make_data()
    seed, n_epochs, batch_size, lam = 3, 4, 16, 0.02
    estimator = make_estimator(
        (5, 4),
        activation=activation,
        penalty=penalty,
        reg_lambda=lam,
        l1_ratio=L1_RATIO,
        decay_mode=mode,
        batch_size=batch_size,
        max_iter=n_epochs,
        random_state=seed,
        **SOLVERS[name],
    ).fit(X, y)
    n_outputs = {"binary": 1, "multiclass": 3, "squared_error": 3}[task]

    rng = np.random.RandomState(seed)
    start = naive.initial_params(rng, (6, 5, 4, n_outputs), activation)
    batches = [b for _, b in naive.shuffled_batches(rng, len(X), batch_size, n_epochs)]
    assert len(batches[-1]) == 2  # the last batch of an epoch is a short one
    expected = torch_fit(
        torch, start, X, y, batches, task, activation, name, penalty, mode, lam
    )

    assert_same_weights(estimator, expected, atol=1e-10)


# 2. NumPy twins ---------------------------------------------------------------------


LOSS_CASES = {
    "binary": (CLASSIFICATION_LOSSES["binary"], 2, 0.0),
    "multiclass": (CLASSIFICATION_LOSSES["multiclass"], 3, 0.0),
    "squared_error": (regression_loss("squared_error"), 2, 0.0),
    "absolute_error": (regression_loss("absolute_error"), 2, 0.0),
    "huber": (regression_loss("huber"), 2, 1.0),
    "quantile": (regression_loss("quantile", 0.8), 2, 0.8),
    "poisson": (regression_loss("poisson"), 2, 0.0),
    "gamma": (regression_loss("gamma"), 2, 0.0),
}


def random_targets(rng, loss, n, n_outputs):
    if loss == "multiclass":
        return rng.randint(n_outputs, size=(n, 1)).astype(float)
    if loss == "binary":
        return rng.randint(2, size=(n, n_outputs)).astype(float)
    if loss == "poisson":
        return rng.poisson(1.0, size=(n, n_outputs)).astype(float)
    if loss == "gamma":
        return rng.gamma(2.0, size=(n, n_outputs))
    return rng.normal(size=(n, n_outputs))


def random_params(rng, units):
    shapes = list(pairwise(units))
    return [rng.normal(0, 0.6, s) for s in shapes + [(m,) for m in units[1:]]]


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4, 3)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSS_CASES)
def test_data_term_and_gradient_equal_the_naive_twin(loss, activation, hidden):
    rng = np.random.RandomState(0)
    definition, n_outputs, parameter = LOSS_CASES[loss]
    n, units = 23, (4, *hidden, n_outputs)
    X, y = rng.normal(size=(n, 4)), random_targets(rng, loss, n, n_outputs)
    s, params = rng.uniform(0.1, 2.0, n), random_params(rng, units)
    network = Network(units, activation)
    problem = make_problem(X, y, s, network, definition, (None,) * network.n_layers)
    theta = network.pack(params[: network.n_layers], params[network.n_layers :], float)

    value, grad = problem.data_value_grad(theta)
    expected, gradients = naive.loss_and_gradient(
        params,
        X,
        y,
        s / s.sum(),
        activation=activation,
        loss=loss,
        loss_parameter=parameter,
    )

    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(problem.data_value(theta), expected, rtol=1e-12)
    desired = np.concatenate([g.ravel() for g in gradients])
    assert_allclose(grad, desired, rtol=0, atol=1e-12 * np.abs(desired).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSS_CASES)
def test_naive_gradient_equals_finite_differences(loss, activation):
    rng = np.random.RandomState(1)
    _, n_outputs, parameter = LOSS_CASES[loss]
    X, y = rng.normal(size=(7, 3)), random_targets(rng, loss, 7, n_outputs)
    weight, params = rng.uniform(size=7), random_params(rng, (3, 4, 3, n_outputs))
    direction = [rng.normal(size=p.shape) for p in params]

    def value_and_slope(t):
        moved = [p + t * d for p, d in zip(params, direction)]
        value, grads = naive.loss_and_gradient(
            moved,
            X,
            y,
            weight,
            activation=activation,
            loss=loss,
            loss_parameter=parameter,
        )
        return value, sum(np.vdot(g, d) for g, d in zip(grads, direction))

    h = 1e-6
    difference = (value_and_slope(h)[0] - value_and_slope(-h)[0]) / (2 * h)
    assert_allclose(value_and_slope(0.0)[1], difference, rtol=1e-6, atol=1e-7)


# penalty and lambda of each of three layers.
LAYERS = {
    "l1": (("l1",) * 3, (0.3,) * 3),
    "l2": (("l2",) * 3, (0.3,) * 3),
    "elasticnet": (("elasticnet",) * 3, (0.3,) * 3),
    "l1, lambda per layer": (("l1",) * 3, (0.3, 0.0, 0.05)),
    "one penalty per layer": (("elasticnet", None, "l1"), (0.1, 0.7, 0.3)),
    "another one per layer": ((None, "l2", "l2"), (0.1, 0.2, 0.4)),
}


def strengths_per_array(layers, penalize_intercepts, l1_ratio=L1_RATIO):
    """(l1, l2) for W_1..W_L, b_1..b_L."""
    penalties, lam = LAYERS[layers]
    terms = [naive.strengths(p, v, l1_ratio) for p, v in zip(penalties, lam)]
    return terms + (terms if penalize_intercepts else [(0.0, 0.0)] * len(terms))


def core_rule(
    network, method, mode, penalties, lam, penalize_intercepts=False, l1_ratio=L1_RATIO
):
    """What the core receives for these settings of an estimator."""
    problem = make_problem(
        np.zeros((1, network.units[0])),
        np.zeros((1, network.units[-1])),
        None,
        network,
        regression_loss("squared_error"),
        tuple(check_penalty(p, l1_ratio) for p in penalties),
        penalize_intercepts,
    )
    settings = {k: v for k, v in SOLVERS[method].items() if k != "learning_rate_init"}
    optimizer = Optimizer.of(**settings)
    penalties = problem.penalty(np.array(lam), (mode,) * network.n_layers)
    assert not penalties.others
    return penalties.rule(optimizer.code, optimizer.hyper)


def core_and_naive_steps(dtype, method, mode, layers, penalize_intercepts, n_steps=40):
    """Parameters after some steps along random gradients, from the core and naive."""
    rng = np.random.RandomState(0)
    units = (6, 5, 4, 3)
    network = Network(units, "tanh")
    params = random_params(rng, units)
    params[0][2] = 0.0  # where sign(0) = 0 matters
    theta = network.pack(params[:3], params[3:], dtype)
    params = [p.astype(dtype).astype(float) for p in params]
    rule = core_rule(network, method, mode, *LAYERS[layers], penalize_intercepts)
    terms = strengths_per_array(layers, penalize_intercepts)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    states = [{} for _ in params]
    for t in range(1, n_steps + 1):
        grads = [rng.normal(size=p.shape).astype(dtype) for p in params]
        lr = 0.05 / np.sqrt(t)
        grad = network.pack(grads[:3], grads[3:], dtype)
        _core.step(rule, theta, grad, first, second, lr, t)
        for k, g in enumerate(grads):
            params[k] = naive.step(
                method,
                mode,
                params[k],
                g.astype(float),
                states[k],
                lr,
                t,
                HYPER,
                *terms[k],
            )
    return theta, np.concatenate([p.ravel() for p in params])


@pytest.mark.parametrize("penalize_intercepts", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", SOLVERS)
def test_steps_equal_the_naive_twin(method, mode, layers, penalize_intercepts):
    case = method, mode, layers, penalize_intercepts
    double, expected = core_and_naive_steps(np.float64, *case)
    assert_allclose(double, expected, rtol=0, atol=1e-12)
    assert_array_equal(double == 0, expected == 0)

    single, expected = core_and_naive_steps(np.float32, *case)
    assert single.dtype == np.float32
    assert_allclose(single, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", SOLVERS)
def test_metric_of_the_core_is_that_of_the_naive_twin(method):
    rng = np.random.RandomState(0)
    second, out, t, state = rng.uniform(size=9), np.empty(9), 4, {}
    rule = core_rule(Network((8, 1), "tanh"), method, "coupled", [None], [0.0])
    keep = HYPER["rho"] if method == "rmsprop" else HYPER["beta_2"]
    state["v"] = second / keep  # a step with g = 0 leaves v = second
    expected = naive.optimizer_move(method, np.zeros(9), state, 0.1, t, HYPER)[1]
    _core.write_metric(rule, second, t, out)
    assert_allclose(out, np.broadcast_to(expected, 9), rtol=1e-14)


N_SAMPLES, BATCH_SIZE, N_EPOCHS = 50, 16, 6
STEPS_PER_EPOCH = 4


def scheduled_rates(schedule, initial, power_t):
    """Rate of every step of a fit; "adaptive" for a loss that never improves."""
    steps = np.arange(N_EPOCHS * STEPS_PER_EPOCH)
    epoch = steps // STEPS_PER_EPOCH
    if schedule == "invscaling":
        return initial / (epoch * N_SAMPLES + 1) ** power_t
    if schedule == "cosine":
        return initial * (1 + np.cos(np.pi * steps / len(steps))) / 2
    if schedule == "adaptive":
        # The first epoch improves on nothing; then two stale ones lower the rate.
        return initial / 5.0 ** np.array([0, 0, 0, 1, 1, 2])[epoch]
    return np.full(len(steps), initial)


def fit_both(method, mode, layers, penalize_intercepts=False, schedule="constant"):
    """The estimator and the naive weights, on weighted multi-output data."""
    X, Y = regression(N_SAMPLES)
    s = np.random.RandomState(5).uniform(0.2, 2.0, N_SAMPLES)
    penalties, lam = LAYERS[layers]
    seed, power_t = 7, 0.3
    estimator = RegMLPRegressor(
        (5, 4),
        activation="tanh",
        penalty=penalties,
        reg_lambda=lam,
        l1_ratio=L1_RATIO,
        decay_mode=mode,
        penalize_intercepts=penalize_intercepts,
        learning_rate=schedule,
        power_t=power_t,
        batch_size=BATCH_SIZE,
        max_iter=N_EPOCHS,
        # "adaptive" sees no improvement after the first epoch.
        tol=1e6 if schedule == "adaptive" else 0.0,
        n_iter_no_change=1 if schedule == "adaptive" else np.inf,
        random_state=seed,
        **SOLVERS[method],
    ).fit(X, Y, s)
    rng = np.random.RandomState(seed)
    start = naive.initial_params(rng, (6, 5, 4, 3), "tanh")
    if mode == "auto":
        modes = ["coupled" if p in ("l2", None) else "proximal" for p in penalties] * 2
    else:
        modes = [mode] * 6
    expected = naive.fit(
        start,
        X,
        Y,
        s,
        batches=[
            b for _, b in naive.shuffled_batches(rng, N_SAMPLES, BATCH_SIZE, N_EPOCHS)
        ],
        rates=scheduled_rates(schedule, SOLVERS[method]["learning_rate_init"], power_t),
        method=method,
        modes=modes,
        penalties=strengths_per_array(layers, penalize_intercepts),
        hyper=HYPER,
        activation="tanh",
        loss="squared_error",
    )
    return estimator, expected


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive", "cosine"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", SOLVERS)
def test_weighted_fit_under_each_schedule_equals_the_naive_twin(method, mode, schedule):
    estimator, expected = fit_both(
        method, mode, "one penalty per layer", schedule=schedule
    )
    assert estimator.n_iter_ == N_EPOCHS
    assert_same_weights(estimator, expected, atol=1e-12)


@pytest.mark.parametrize("penalize_intercepts", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("method", SOLVERS)
def test_auto_mode_is_coupled_if_smooth_else_proximal(
    method, layers, penalize_intercepts
):
    estimator, expected = fit_both(method, "auto", layers, penalize_intercepts)
    assert_same_weights(estimator, expected, atol=1e-12)


# 3. Coupled and decoupled L2 --------------------------------------------------------


def distance_of_coupled_and_decoupled(name):
    X, Y = regression()

    def fit(mode):
        estimator = RegMLPRegressor(
            (5, 4),
            activation="tanh",
            penalty="l2",
            reg_lambda=0.1,
            decay_mode=mode,
            batch_size=16,
            max_iter=10,
            random_state=0,
            **SOLVERS[name],
        )
        return flat_weights(estimator.fit(X, Y))

    coupled, decoupled = fit("coupled"), fit("decoupled")
    return np.linalg.norm(coupled - decoupled) / np.linalg.norm(coupled)


def test_coupled_and_decoupled_l2_are_one_under_plain_sgd():
    assert distance_of_coupled_and_decoupled("sgd") < 1e-14


@pytest.mark.parametrize("name", ["momentum", "nesterov", "rmsprop", "adam"])
def test_coupled_and_decoupled_l2_differ_under_momentum_and_adaptive_steps(name):
    assert distance_of_coupled_and_decoupled(name) > 0.01


# 4. One weight without data ---------------------------------------------------------

# With 5, 1/2 and 1 every number of these tests is exact in binary.
W0, LR, LAM = 5.0, 0.5, 1.0


def core_toy(mode, penalty, n_steps, lr=LR, method="sgd"):
    """The weight after each step of the core, without data."""
    rule = core_rule(Network((1, 1), "tanh"), method, mode, [penalty], [LAM])
    theta, first, second, path = np.array([W0, 0.0]), np.zeros(2), np.zeros(2), []
    for t in range(1, n_steps + 1):
        _core.step(rule, theta, np.zeros(2), first, second, lr, t)
        path.append(theta[0])
    return np.array(path)


def estimator_toy(mode, penalty, n_steps, lr=LR):
    """The same by partial_fit: where X = 0, the data tell nothing about W."""
    X, y = np.zeros((1, 1)), np.zeros(1)
    estimator = RegMLPRegressor(
        (),
        penalty=penalty,
        reg_lambda=LAM,
        decay_mode=mode,
        solver="sgd",
        momentum=0.0,
        learning_rate_init=lr,
        batch_size=1,
    ).partial_fit(X, y)
    estimator.coefs_[0][:] = W0
    path = [estimator.partial_fit(X, y).coefs_[0][0, 0] for _ in range(n_steps)]
    return np.array(path)


@pytest.fixture(params=[core_toy, estimator_toy], ids=["core", "estimator"])
def toy(request):
    return request.param


@pytest.mark.parametrize("mode", MODES)
def test_toy_l1_reaches_zero_in_ten_equal_steps_and_stays(toy, mode):
    expected = [4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0, 0, 0, 0, 0, 0]
    assert_array_equal(toy(mode, "l1", 15), expected)


@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
def test_toy_l2_halves_and_never_reaches_zero(toy, mode):
    assert_array_equal(toy(mode, "l2", 60), W0 / 2.0 ** np.arange(1, 61))


def test_toy_proximal_l2_shrinks_by_two_thirds(toy):
    path = toy("proximal", "l2", 60)
    assert_allclose(path, W0 * (2 / 3) ** np.arange(1, 61), rtol=1e-14)
    assert np.all(path > 0)


@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
def test_toy_l2_with_rate_one_reaches_zero_at_once(toy, mode):
    assert_array_equal(toy(mode, "l2", 3, lr=1.0), 0)


@pytest.mark.filterwarnings("ignore:reg_lambda=1.0 times learning_rate_init=1.5")
def test_toy_decoupled_l2_never_changes_the_sign(toy):
    assert_array_equal(toy("decoupled", "l2", 3, lr=1.5), 0)


def test_toy_proximal_l2_with_rate_one_halves(toy):
    assert_array_equal(toy("proximal", "l2", 5, lr=1.0), W0 / 2.0 ** np.arange(1, 6))


def test_toy_sign_steps_overshoot_and_soft_thresholds_do_not(toy):
    # 5 is no multiple of 0.3: after 17 steps the sign flips back and forth.
    coupled = toy("coupled", "l1", 20, lr=0.3)[16:]
    assert_allclose(coupled, [-0.1, 0.2, -0.1, 0.2], atol=1e-13)
    for mode in ("decoupled", "proximal"):
        assert_array_equal(toy(mode, "l1", 20, lr=0.3)[16:], 0)


@pytest.mark.parametrize("method", SOLVERS)
def test_toy_decoupled_decay_ignores_the_optimizer(method):
    """No momentum and no metric enter a decoupled step."""
    assert_array_equal(
        core_toy("decoupled", "l1", 12, method=method),
        core_toy("decoupled", "l1", 12, method="sgd"),
    )
    assert_array_equal(
        core_toy("decoupled", "l2", 12, method=method),
        core_toy("decoupled", "l2", 12, method="sgd"),
    )


@pytest.mark.parametrize("method", ["momentum", "nesterov", "rmsprop", "adam"])
def test_toy_proximal_l1_without_data_is_zero_at_once(method):
    """With momentum 0.9 the step is 5; an adaptive metric without gradient is tiny."""
    assert_array_equal(core_toy("proximal", "l1", 5, method=method), 0)


def test_toy_coupled_momentum_and_adam_miss_zero():
    assert core_toy("coupled", "l1", 30, method="momentum").min() < -1
    assert core_toy("coupled", "l2", 30, method="momentum").min() < -1
    path = core_toy("coupled", "l1", 30, method="adam")
    assert_allclose(path[:5], [4.5, 4.0, 3.5, 3.0, 2.5], rtol=1e-7)
    assert np.all(path != 0)


# 5. Exact zeros, and penalties written in Python ------------------------------------


class TwinL1(Penalty):
    """The lasso once more; by exact type, the core does not know it."""

    is_convex = is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        return float(lam * np.abs(W).sum())

    def gradient(self, W, lam=1.0):
        return lam * np.sign(W)

    def prox(self, W, step, lam=1.0):
        return np.sign(W) * np.maximum(np.abs(W) - step * lam, 0)

    def shrink(self, W, step, lam=1.0):
        return np.sign(W) * np.maximum(np.abs(W) - step * lam, 0)


def sparse_fit(name, mode, penalty, reg_lambda=0.05, max_iter=12, data=None, **options):
    X, Y = data or regression()
    s = np.random.RandomState(5).uniform(0.2, 2.0, len(X))
    return RegMLPRegressor(
        (5, 4),
        activation="tanh",
        penalty=penalty,
        reg_lambda=reg_lambda,
        decay_mode=mode,
        batch_size=16,
        max_iter=max_iter,
        random_state=0,
        **SOLVERS[name],
        **options,
    ).fit(X, Y, s)


def count_zeros(estimator):
    return sum(int((W == 0).sum()) for W in estimator.coefs_)


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("name", SOLVERS)
def test_only_proximal_steps_give_exact_zeros(name, penalty):
    proximal, coupled, decoupled = (
        sparse_fit(name, mode, penalty, max_iter=30)
        for mode in ("proximal", "coupled", "decoupled")
    )
    assert 0 < count_zeros(proximal) < sum(W.size for W in proximal.coefs_)
    assert all(np.all(b != 0) for b in proximal.intercepts_)
    assert count_zeros(coupled) == count_zeros(decoupled) == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SOLVERS)
def test_penalty_in_python_equals_the_compiled_one(name, mode):
    options = {"reg_lambda": (0.05, 0.02, 0.08), "penalize_intercepts": True}
    compiled = sparse_fit(name, mode, "l1", **options)
    for penalty in (TwinL1(), (TwinL1(), "l1", TwinL1())):
        twin = sparse_fit(name, mode, penalty, **options)
        assert_same_weights(twin, weights_of(compiled), atol=1e-12)
        assert count_zeros(twin) == count_zeros(compiled)
        assert_allclose(twin.loss_curve_, compiled.loss_curve_, rtol=1e-12)
        assert_allclose(twin.penalty_curve_, compiled.penalty_curve_, rtol=1e-12)


BUILT_IN = [
    L1(),
    L2(),
    ElasticNet(L1_RATIO),
    GroupLasso(),
    GroupLasso(by="units", weighted=False),
    GroupLasso(groups=["a", "b", "a", "c", "b", "a"]),
    SparseGroupLasso(L1_RATIO),
    SparseGroupLasso(L1_RATIO, by="units"),
    MCP(gamma=4.0),
    MCP(gamma=0.05),  # long steps, which jump
    MCP(saturation=0.5),
    SCAD(saturation=0.6),
]

over_penalties_and_modes = pytest.mark.parametrize(
    "penalty, mode",
    [(p, m) for p in BUILT_IN for m in MODES if p.has_shrink or m != "decoupled"],
    ids=str,
)


def subclass_of(penalty):
    """The same penalty, but of a type that the core leaves to Python."""
    kind = type("Twin", (type(penalty),), {})
    return kind(**penalty.get_params())


@pytest.mark.parametrize("dtype, atol", [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", SOLVERS)
@over_penalties_and_modes
def test_built_in_penalties_in_the_core_equal_their_python_methods(
    penalty, mode, name, dtype, atol
):
    X, Y = (a.astype(dtype) for a in regression())

    def fit(penalty):
        penalties = (penalty, L1(), SparseGroupLasso())  # labels fit the first layer
        return sparse_fit(name, mode, penalties, data=(X, Y), max_iter=5)

    compiled, twin = fit(penalty), fit(subclass_of(penalty))
    assert_same_weights(compiled, weights_of(twin), atol=atol)
    assert compiled.coefs_[0].dtype == dtype
    if dtype == np.float64:
        for W, V in zip(compiled.coefs_, twin.coefs_):
            assert_array_equal(W == 0, V == 0)


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-13), (np.float32, 1e-6)])
@pytest.mark.parametrize("penalize_intercepts", [False, True])
@over_penalties_and_modes
def test_penalty_value_of_the_core_equals_the_python_methods(
    penalty, mode, penalize_intercepts, dtype, rtol
):
    X, Y = (a.astype(dtype) for a in regression())
    network, loss = Network((6, 5, 3), "tanh"), regression_loss("squared_error")
    penalties, lam = (penalty, SparseGroupLasso(L1_RATIO)), np.array([0.3, 0.7])
    problem = make_problem(
        X, Y, None, network, loss, penalties, penalize_intercepts, dtype
    )
    optimizer = Optimizer.of("adam")
    penalties = problem.penalty(lam, (mode,) * 2)
    assert not penalties.others
    rule = penalties.rule(optimizer.code, optimizer.hyper)
    theta = np.random.default_rng(0).normal(size=network.n_parameters).astype(dtype)
    theta[::7] = 0
    expected = sum(
        block_penalty.value(theta[s].reshape(shape), lam[layer])
        for layer, block_penalty, s, shape in problem.blocks()
    )
    assert_allclose(rule.penalty_value(theta), expected, rtol=rtol)


@pytest.mark.parametrize("penalty", [L1(), L2(), ElasticNet(), GroupLasso()], ids=str)
def test_penalty_value_at_infinite_weights_is_infinite(penalty):
    network, loss = Network((6, 3), "tanh"), regression_loss("squared_error")
    problem = make_problem(*regression(), None, network, loss, (penalty,))
    theta = np.full(network.n_parameters, np.inf)
    assert problem.penalty_value(theta, np.array([0.5])) == np.inf


def test_penalty_that_returns_another_type_gives_plain_floats():
    class Single(L2):
        def value(self, W, lam=1.0):
            return np.float32(super().value(W, lam))

    X, Y = (a.astype(np.float32) for a in regression())
    model = RegMLPRegressor((3,), penalty=Single(), max_iter=2, random_state=0)
    model.fit(X, Y)
    assert {type(value) for value in model.loss_curve_} == {float}


def core_group_prox(W, D, kappa, by):
    """Prox of Σ kappa_g ‖w_g‖ over rows in the metric D: RMSProp without gradient."""
    rho, rmsprop, proximal, by_columns = 0.25, 3, 3, by == "units"
    if by_columns:
        W, D = W.T, D.T
    theta, second = W.flatten(), (D.flatten() / rho**0.5) ** 2
    segment = (0, W.size, proximal, 0.0, 0.0, 0.0, 0.0)
    block = (0, *W.shape, by_columns, proximal, 0.0, [], [], kappa.tolist())
    rule = _core.Rule(rmsprop, (0.0, 0.0, rho, 0.0), [segment], [block])
    _core.step(rule, theta, np.zeros_like(theta), np.zeros_like(theta), second, 1.0, 1)
    return theta.reshape(W.shape).T if by_columns else theta.reshape(W.shape)


def naive_group_prox(W, D, kappa):
    """The same by bisection for the norms, and the condition numbers of these."""
    kappa = kappa[:, None]
    low, high = np.zeros_like(kappa), np.linalg.norm(W, axis=1, keepdims=True)
    is_zero = np.linalg.norm(D * W, axis=1, keepdims=True) <= kappa
    for _ in range(200):
        s = np.where(is_zero, 1.0, (low + high) / 2)
        is_low = np.sum((D * W / (s * D + kappa)) ** 2, axis=1, keepdims=True) > 1
        low, high = np.where(is_low, s, low), np.where(is_low, high, s)
    Z = np.where(is_zero, 0, D * W * s / (s * D + kappa))
    slope = np.sum(Z**2 * D / (s * D + kappa), axis=1) / s[:, 0]
    return Z, 1 / np.where(is_zero[:, 0], 1, slope)


@pytest.mark.parametrize("by", ["inputs", "units"])
@pytest.mark.parametrize("dtype, size", [(np.float32, 1e8), (np.float64, 1e16)])
def test_group_prox_of_zeros_in_a_large_metric_is_zero(dtype, size, by):
    W = np.ones((4, 3), dtype)
    W[1] = 0
    for kappa in (0.0, 1e-30):
        Z = core_group_prox(W, np.full_like(W, size), np.full(4, kappa), by)
        assert_array_equal(Z, W)


@pytest.mark.parametrize("by", ["inputs", "units"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_group_prox_shows_a_norm_that_overflows(dtype, by):
    W = np.ones((4, 3), dtype)
    W[1] = 10 * np.sqrt(np.finfo(dtype).max)
    Z = core_group_prox(W, np.ones_like(W), np.full(4, 0.1), by)
    assert not np.isfinite(Z[1]).any()
    others = [0, 2, 3]
    assert_allclose(Z[others], naive_group_prox(W[others], 1.0, np.full(3, 0.1))[0])


def test_sparse_group_lasso_without_groups_is_the_lasso():
    X, Y = regression()
    fits = [
        sparse_fit("adam", "proximal", (penalty, L1(), L1()), data=(X, Y), max_iter=5)
        for penalty in (SparseGroupLasso(l1_ratio=1.0), L1())
    ]
    assert_same_weights(fits[0], weights_of(fits[1]), atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("by", ["inputs", "units"])
@pytest.mark.parametrize("spread", [0, 1, 6])
@pytest.mark.parametrize(
    "shape", [(20, 1), (1, 40), (7, 5), (35, 33), (3, 400), (30, 300)], ids=str
)
def test_metric_group_prox_of_the_core_is_exact(shape, spread, by, dtype):
    rng = np.random.default_rng(0)
    W = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3, size=(shape[0], 1))
    W[rng.random(shape) < 0.1] = 0
    W[2:3] = 0
    D = 10.0 ** (spread * rng.uniform(-0.5, 0.5, size=shape) - 3)
    D[::4, 1:] = D[::4, :1] * 10.0**spread  # one entry far below the others
    D[1::4, 1:] = D[1::4, :1] / 10.0**spread  # or above
    W, D = W.astype(dtype), D.astype(dtype)
    cut = np.linalg.norm((W * D).astype(float), axis=1)
    for level in (0, 1e-9, 1e-5, 1e-2, 0.3, 0.9, 1 - 1e-4, 1 - 1e-6, 1 + 1e-4, 1e3):
        kappa = (level * cut).astype(dtype).astype(float)
        Z = core_group_prox(W, D, kappa, by)
        expected, condition = naive_group_prox(W.astype(float), D.astype(float), kappa)
        error = 20 * np.finfo(dtype).eps * condition
        for z, e, w, rtol in zip(Z, expected, W, error):
            if rtol < 0.1:
                assert_allclose(z, e, rtol=rtol)
            else:  # within rounding of the cut
                assert np.linalg.norm(z) <= 0.1 * np.linalg.norm(w)


@pytest.mark.parametrize("by", ["inputs", "units"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_metric_group_prox_of_the_core_leaves_nan_to_its_group(bad, by):
    W, D, kappa = np.full((3, 3), 2.0), np.ones((3, 3)), np.full(3, 0.5)
    expected = core_group_prox(W, D, kappa, by)
    W[1, 1] = bad
    Z = core_group_prox(W, D, kappa, by)
    assert not np.isfinite(Z[1, 1])
    assert_array_equal(Z[::2], expected[::2])


# Sizes --------------------------------------------------------------------------------


def small_rule(segments=((0, 6, 0, 0, 0, 0, 0),), groups=()):
    return _core.Rule(0, (0.0,) * 4, segments, groups)


@pytest.mark.parametrize("wrong", range(4))
def test_a_step_on_arrays_of_wrong_size_raises(wrong):
    arrays = [np.zeros(6 - (k == wrong)) for k in range(4)]
    with pytest.raises(ValueError):
        _core.step(small_rule(), *arrays, 0.1, 1)


def test_values_and_metrics_of_wrong_size_raise():
    with pytest.raises(ValueError, match="6 parameters"):
        small_rule().penalty_value(np.zeros(5))
    with pytest.raises(ValueError, match="size"):
        _core.write_metric(small_rule(), np.zeros(5), 1, np.zeros(6))


@pytest.mark.parametrize(
    "segments",
    [
        [(1, 6, 0, 0, 0, 0, 0)],
        [(0, 3, 0, 0, 0, 0, 0), (4, 6, 0, 0, 0, 0, 0)],
        [(0, -1, 0, 0, 0, 0, 0)],
        [(0, 6, 9, 0, 0, 0, 0)],
        [(0, 6, 0, 0)],
    ],
)
def test_segments_with_gaps_or_unknown_slots_raise(segments):
    with pytest.raises(ValueError):
        small_rule(segments)


@pytest.mark.parametrize(
    "block",
    [
        (1, 2, 3, False, 3, 0.0, [], [], [1.0, 1.0]),
        (0, 2, 3, False, 9, 0.0, [], [], [1.0, 1.0]),
        (-1, 2, 3, False, 3, 0.0, [], [], [1.0, 1.0]),
        (0, 2, 3, True, 3, 0.0, [], [], [1.0, 1.0]),
        (0, 2, 3, False, 3, 0.0, [0, 2], [0, 2], [1.0, 1.0]),
        (0, 2, 3, False, 3, 0.0, [0, 3], [0, 1], [1.0, 1.0]),
    ],
)
def test_blocks_of_groups_that_do_not_fit_raise(block):
    with pytest.raises(ValueError):
        small_rule(groups=[block])


@pytest.mark.parametrize("slot", [1, 4])
def test_infinite_weights_without_strength_have_no_penalty(slot):
    rule = small_rule([(0, 2, slot, 0.0, 0.0, 0.5, 2.0)])
    assert rule.penalty_value(np.array([1e300, -np.inf])) == 0.0


def test_groups_of_huge_weights_without_strength_have_no_penalty():
    block = (0, 2, 3, False, 3, 0.0, [], [], [0.0, 1.0])
    theta = np.array([1e300, 1e300, 1e300, 3.0, 4.0, 0.0])
    assert small_rule(groups=[block]).penalty_value(theta) == 5.0
