"""The compiled core: losses, activations and gradients against other implementations.

Oracles are finite differences, PyTorch's autograd, SciPy's special functions, and the
core itself on the same data in another form (sparse, other precision, in blocks).
``test_losses.py`` compares losses with scikit-learn's metrics.
"""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, special

from skreg import RegMLPClassifier
from skreg._core import Data, Net, loss_gradient, loss_sum, raw_predictions, train
from skreg._engines._rules import PenaltySum, Term
from skreg._matrix import engine_matrix
from skreg._network import ACTIVATIONS, Network
from skreg._optimizers import METHODS
from skreg.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, regression_loss
from skreg.penalties import L1, L2, MCP, GroupLasso, SparseGroupLasso
from tests import cases, naive

N_ROWS, N_INPUTS = 9, 3
HIDDEN = [(), (4,), (4, 3)]

# Loss, number of outputs, and which targets it takes.
LOSSES = {
    "binary": (CLASSIFICATION_LOSSES["binary"], 1, "labels"),
    "multilabel": (CLASSIFICATION_LOSSES["multilabel-indicator"], 3, "labels"),
    "multiclass": (CLASSIFICATION_LOSSES["multiclass"], 3, "indices"),
    "squared_error": (REGRESSION_LOSSES["squared_error"], 2, "real"),
    "absolute_error": (REGRESSION_LOSSES["absolute_error"], 2, "real"),
    "huber": (REGRESSION_LOSSES["huber"], 2, "real"),
    "quantile": (regression_loss("quantile", 0.3), 2, "real"),
    "poisson": (REGRESSION_LOSSES["poisson"], 1, "counts"),
    "gamma": (REGRESSION_LOSSES["gamma"], 2, "positive"),
}
ARCHITECTURES = [("identity", ())] + [
    (activation, hidden) for activation in ACTIVATIONS for hidden in HIDDEN[1:]
]
PRECISIONS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def draw_targets(kind, n, k, rng):
    return {
        "labels": lambda: rng.integers(2, size=(n, k)).astype(float),
        "indices": lambda: rng.integers(k, size=(n, 1)).astype(float),
        "real": lambda: 2 * rng.normal(size=(n, k)),
        "counts": lambda: rng.poisson(1.5, size=(n, k)).astype(float),
        "positive": lambda: rng.exponential(size=(n, k)) + 0.1,
    }[kind]()


class Case:
    """A network with data, weights and parameters; the core evaluated on them."""

    def __init__(self, loss, activation="tanh", hidden=(4,), n=N_ROWS, seed=0):
        self.loss, n_outputs, kind = LOSSES[loss]
        rng = np.random.default_rng(seed)
        self.network = Network((N_INPUTS, *hidden, n_outputs), activation)
        self.X = rng.normal(size=(n, N_INPUTS))
        self.y = draw_targets(kind, n, n_outputs, rng)
        self.s = rng.uniform(0.5, 2, size=n)
        self.theta = rng.uniform(-1, 1, size=self.network.n_parameters)

    def value_grad(
        self,
        theta=None,
        *,
        X=None,
        weighted=True,
        rows=None,
        bounds=None,
        capacity=None,
        scale=1.0,
        dtype=np.float64,
    ):
        """Weighted sum of the losses and its gradient, by the core."""
        dtype = np.dtype(dtype)
        theta = (self.theta if theta is None else theta).astype(dtype)
        X = self.X.astype(dtype) if X is None else X
        s = self.s.astype(dtype) if weighted else None
        data = Data(X, dtype, self.y.astype(dtype), s)
        n = X.shape[0] if rows is None else len(rows)
        start, stop = (0, n) if bounds is None else bounds
        net, scratch = cases.compile_network(
            self.network, capacity or n, dtype, self.loss, self.y.shape[1]
        )
        grad = np.full_like(theta, np.nan)
        total = loss_gradient(net, data, rows, start, stop, theta, grad, scale, scratch)
        return total, grad

    def margin(self):
        """Distance of hidden sums and residuals from the nearest kink."""
        network, theta = self.network, self.theta
        coefs, intercepts = network.coefs(theta), network.intercepts(theta)
        gaps = [np.inf]
        for depth in range(1, network.n_layers):
            below = Network(network.units[: depth + 1], network.activation)
            part = below.pack(coefs[:depth], intercepts[:depth], np.float64)
            gaps.append(np.abs(cases.raw_predictions(below, self.X, part)).min())
        if self.y.shape[1] == network.units[-1]:
            residual = np.abs(cases.raw_predictions(network, self.X, theta) - self.y)
            gaps += [residual.min(), np.abs(residual - 1).min()]  # huber's threshold
        return min(gaps)


def case_away_from_kinks(loss, activation, hidden):
    return next(
        case
        for seed in range(1000)
        if (case := Case(loss, activation, hidden, seed=seed)).margin() > 1e-3
    )


def over_architectures(test):
    ids = [f"{a}-{'-'.join(map(str, h)) or 'linear'}" for a, h in ARCHITECTURES]
    test = pytest.mark.parametrize(("activation", "hidden"), ARCHITECTURES, ids=ids)(
        test
    )
    return pytest.mark.parametrize("loss", LOSSES)(test)


def assert_close_as_a_whole(actual, desired, rtol):
    """Compare relative to the largest entry: a sum cannot be better than its terms."""
    assert_allclose(actual, desired, rtol=0, atol=rtol * np.abs(desired).max())


# Gradients ---------------------------------------------------------------------------


@over_architectures
def test_gradient_equals_central_differences(loss, activation, hidden):
    case = case_away_from_kinks(loss, activation, hidden)
    h = 1e-6 * np.eye(case.theta.size)
    differences = [
        (case.value_grad(case.theta + e)[0] - case.value_grad(case.theta - e)[0]) / 2e-6
        for e in h
    ]
    assert_close_as_a_whole(case.value_grad()[1], np.array(differences), 1e-7)


def torch_activation(torch, name):
    F = torch.nn.functional
    return {
        "identity": lambda z: z,
        "logistic": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": F.relu,
        "leaky_relu": F.leaky_relu,
        "gelu": F.gelu,
        "silu": F.silu,
    }[name]


def torch_loss(torch, name, f, y):
    """Loss per sample, in the words of PyTorch."""
    F = torch.nn.functional
    if name == "multiclass":
        return F.cross_entropy(f, y[:, 0].long(), reduction="none")
    terms = {
        "binary": lambda: F.binary_cross_entropy_with_logits(f, y, reduction="none"),
        "squared_error": lambda: F.mse_loss(f, y, reduction="none") / 2,
        "absolute_error": lambda: F.l1_loss(f, y, reduction="none"),
        "huber": lambda: F.huber_loss(f, y, delta=1.0, reduction="none"),
        "quantile": lambda: torch.maximum(0.3 * (y - f), -0.7 * (y - f)),
        "poisson": lambda: F.poisson_nll_loss(f, y, reduction="none"),
        "gamma": lambda: y * torch.exp(-f) + f,
    }
    terms["multilabel"] = terms["binary"]
    return terms[name]().sum(dim=1)


def torch_value_grad(torch, loss, case):
    phi = torch_activation(torch, case.network.activation)
    theta = torch.tensor(case.theta, requires_grad=True)
    A = torch.tensor(case.X)
    layers = list(zip(case.network.slices, case.network.shapes))
    for layer, (s, shape) in enumerate(layers):
        b = theta[case.network.slices[len(layers) + layer]]
        A = A @ theta[s].reshape(shape) + b
        if layer < len(layers) - 1:
            A = phi(A)
    losses = torch_loss(torch, loss, A, torch.tensor(case.y))
    value = (torch.tensor(case.s) * losses).sum()
    value.backward()
    return value.item(), theta.grad.numpy()


@over_architectures
def test_value_and_gradient_equal_those_of_torch(loss, activation, hidden):
    torch = pytest.importorskip("torch")
    case = case_away_from_kinks(loss, activation, hidden)
    value, grad = case.value_grad()
    expected_value, expected_grad = torch_value_grad(torch, loss, case)
    assert_allclose(value, expected_value, rtol=1e-12)
    assert_close_as_a_whole(grad, expected_grad, 1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_scaled_and_the_sum_is_not(loss):
    case = Case(loss)
    value, grad = case.value_grad()
    scaled_value, scaled_grad = case.value_grad(scale=0.25)
    assert scaled_value == value
    assert_array_equal(scaled_grad, grad / 4)


@pytest.mark.parametrize("loss", LOSSES)
def test_forward_pass_alone_gives_the_same_sum(loss):
    case = Case(loss)
    net, scratch = cases.compile_network(
        case.network, 4, np.float64, case.loss, case.y.shape[1]
    )
    data = Data(case.X, np.dtype(float), case.y, case.s)
    total = loss_sum(net, data, case.theta, scratch)
    assert_allclose(total, case.value_grad()[0], rtol=1e-14)


# Losses, entry by entry --------------------------------------------------------------


def loss_at(loss, y, f, dtype=np.float64):
    """Loss sum and dl/df at raw predictions f, the intercepts of one linear layer."""
    f, y = np.atleast_2d(f).astype(dtype), np.atleast_2d(y).astype(dtype)
    network = Network((1, f.shape[1]), "identity")
    theta = network.pack([np.zeros((1, f.shape[1]))], [f[0]], f.dtype)
    net, scratch = cases.compile_network(network, 1, f.dtype, loss, y.shape[1])
    grad = np.empty_like(theta)
    data = Data(np.zeros((1, 1), dtype), f.dtype, y)
    total = loss_gradient(net, data, None, 0, 1, theta, grad, 1.0, scratch)
    return total, network.intercepts(grad)[0]


@pytest.mark.parametrize("loss", ["absolute_error", "quantile", "huber"])
def test_derivative_at_a_perfect_prediction_is_zero(loss):
    assert loss_at(LOSSES[loss][0], [2.5], [2.5])[1] == 0


@PRECISIONS
@pytest.mark.parametrize("f", [1e4, -1e4])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_huge_raw_predictions_are_finite(loss, f, dtype):
    loss, k, kind = LOSSES[loss]
    y = np.full(1 if kind == "indices" else k, 0.5 if kind == "positive" else 1.0)
    value, derivative = loss_at(loss, y, np.full(k, f), dtype)
    assert np.isfinite(value)
    assert np.isfinite(derivative).all()


@PRECISIONS
@pytest.mark.parametrize(("loss", "sign"), [("poisson", 1), ("gamma", -1)])
def test_an_overflowing_mean_never_looks_like_a_good_fit(loss, sign, dtype):
    # e^f is clipped, the linear term of the loss must not outgrow it
    loss, limits = LOSSES[loss][0], np.finfo(dtype)
    for f in (1e3, 1e30, limits.max, np.inf):
        value, derivative = loss_at(loss, [1.0], [sign * f], dtype)
        assert value > 1e37
        assert sign * derivative > 1e37


@PRECISIONS
def test_log_loss_grows_linearly_on_the_wrong_side(dtype):
    binary = CLASSIFICATION_LOSSES["binary"]
    for f in (50, 1e3, 1e4):
        for y in (0, 1):
            value, derivative = loss_at(binary, [y], [f], dtype)
            assert value == (0 if y else f)
            assert derivative == 1 - y
            value, derivative = loss_at(binary, [1 - y], [-f], dtype)
            assert value == (0 if y else f)
            assert_allclose(derivative, y - 1, atol=1e-20)


@PRECISIONS
def test_multinomial_loss_of_extreme_logits_is_exact(dtype):
    multinomial = CLASSIFICATION_LOSSES["multiclass"]
    f = [1e4, -1e4, 0.0]
    for y, (value, slope) in enumerate(
        [(0, [0, 0, 0]), (2e4, [1, -1, 0]), (1e4, [1, 0, -1])]
    ):
        actual, derivative = loss_at(multinomial, [y], f, dtype)
        assert actual == value
        assert_allclose(derivative, slope, atol=1e-30)
    actual, derivative = loss_at(multinomial, [1], [-1e4, -1e4], dtype)
    assert_allclose(actual, np.log(2), rtol=1e-6)
    assert_array_equal(derivative, [0.5, -0.5])


@pytest.mark.parametrize("weighted", [False, True])
def test_multinomial_loss_of_many_rows_is_the_sum_of_its_rows(weighted):
    # The softmax sums of many rows share one logarithm, which must not overflow.
    case = Case("multiclass", hidden=(), n=3000)
    case.theta *= 1e-3  # each sum of three exponentials is about 3: 3^3000 in all
    value, _ = case.value_grad(weighted=weighted)
    f = cases.raw_predictions(case.network, case.X, case.theta)
    rows = special.logsumexp(f, axis=1) - f[np.arange(3000), case.y[:, 0].astype(int)]
    assert_allclose(value, rows @ (case.s if weighted else np.ones(3000)), rtol=1e-12)


@PRECISIONS
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_derivative_of_nan_are_nan(loss, dtype):
    loss, k, kind = LOSSES[loss]
    y = np.ones(1 if kind == "indices" else k)
    value, derivative = loss_at(loss, y, np.full(k, np.nan), dtype)
    assert np.isnan(value)
    assert np.isnan(derivative).all()


# Elementary functions, through the kernels that use them -----------------------------


def activation_at(name, z):
    """phi(z): a network of weights 1 and intercepts 0."""
    network = Network((1, 1, 1), name)
    theta = network.pack([np.ones((1, 1))] * 2, [np.zeros(1)] * 2, z.dtype)
    return cases.raw_predictions(network, np.ascontiguousarray(z[:, None]), theta)[:, 0]


def slope_at(name, z):
    """phi'(z): the gradient of the hidden intercepts z, under a loss of slope 1."""
    k = z.size
    network = Network((1, k, 1), name)
    theta = network.pack([np.zeros((1, k)), np.ones((k, 1))], [z, np.zeros(1)], z.dtype)
    gamma = REGRESSION_LOSSES["gamma"]  # 1 - y e^-f, for y = 0
    net, scratch = cases.compile_network(network, 1, z.dtype, gamma, 1)
    zero = np.zeros((1, 1), z.dtype)
    grad = np.empty_like(theta)
    data = Data(zero, z.dtype, zero)
    loss_gradient(net, data, None, 0, 1, theta, grad, 1.0, scratch)
    return network.intercepts(grad)[0]


def density(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


# phi and phi', from NumPy and SciPy.
FORMULAS = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (special.expit, lambda z: special.expit(z) * special.expit(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0)),
    "leaky_relu": (
        lambda z: np.where(z < 0, 0.01 * z, z),
        lambda z: np.where(z > 0, 1, 0.01),
    ),
    "gelu": (lambda z: z * special.ndtr(z), lambda z: special.ndtr(z) + z * density(z)),
    "silu": (
        lambda z: z * special.expit(z),
        lambda z: special.expit(z) * (1 + z * special.expit(-z)),
    ),
}


def wide_range(dtype):
    """Numbers of both signs: dense around 0, to ±1e3, tiny, subnormal and zero."""
    limits = np.finfo(dtype)
    rng = np.random.default_rng(0)
    size = np.concatenate(
        [
            *(rng.uniform(0, high, 5000) for high in (1, 10, 40, 1e3)),
            np.exp(rng.uniform(np.log(limits.tiny), 0, 5000)),
            limits.smallest_subnormal * 2.0 ** np.arange(0, 20, 4),
            [0, limits.tiny, 1, 700, 708, 709, 710, 1e3, 1e4],
        ]
    )
    return np.concatenate([size, -size]).astype(dtype)


@PRECISIONS
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_exact_to_a_few_units_in_the_last_place(name, dtype):
    z = wide_range(dtype)
    wide = z.astype(float)
    expected = FORMULAS[name][0](wide)
    # erfc at a rounded argument: a relative error of z^2 eps in the far tail
    ulps = 6 + (wide**2 if name == "gelu" else 0)
    # e^-z stops at the smallest normal number; silu multiplies that by z
    floor = np.finfo(dtype).tiny * np.maximum(1, np.abs(wide))
    bound = ulps * np.finfo(dtype).eps * np.abs(expected) + floor
    assert (np.abs(activation_at(name, z) - expected) <= bound).all()


@PRECISIONS
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_exact_to_a_few_units_in_the_last_place(name, dtype):
    z = wide_range(dtype)
    z = z[np.abs(z) >= np.finfo(dtype).tiny]  # the sign decides, not a lost bit
    wide = z.astype(float)
    expected = FORMULAS[name][1](wide)
    # Absolute: the slopes of logistic and tanh follow from values near 1, and silu's
    # from 1 plus z times what is left to 1.
    bound = 6 + (np.minimum(np.abs(wide), 40) if name == "silu" else 0)
    bound = bound * np.finfo(dtype).eps
    assert (np.abs(slope_at(name, z) - expected) <= bound).all()


@PRECISIONS
@pytest.mark.parametrize(("name", "slope"), [("relu", 0), ("leaky_relu", 0.01)])
def test_slope_of_rectifiers_at_zero_is_the_one_on_the_left(name, slope, dtype):
    assert_allclose(slope_at(name, np.zeros(1, dtype)), slope, rtol=1e-7)


@PRECISIONS
@pytest.mark.parametrize(
    ("name", "at_minus_inf", "at_inf"),
    [
        ("identity", -np.inf, np.inf),
        ("logistic", 0, 1),
        ("tanh", -1, 1),
        ("relu", 0, np.inf),
        ("leaky_relu", -np.inf, np.inf),
        ("gelu", 0, np.inf),
        ("silu", 0, np.inf),
    ],
)
def test_activations_at_infinity_are_their_limits(name, at_minus_inf, at_inf, dtype):
    z = np.array([-np.inf, np.inf, np.finfo(dtype).min], dtype)
    values = activation_at(name, z)
    assert_allclose(values[:2], [at_minus_inf, at_inf], atol=1e-30)
    if np.isfinite(at_minus_inf):
        assert_allclose(values[2], at_minus_inf, atol=1e-30)


@PRECISIONS
@pytest.mark.parametrize("name", ["logistic", "tanh", "relu", "gelu", "silu"])
def test_slopes_at_infinity_are_their_limits(name, dtype):
    z = np.array([-np.inf, np.inf, *np.finfo(dtype).max * np.array([-1, 1])], dtype)
    limits = [0, float(name not in ("logistic", "tanh"))] * 2
    slopes = [slope_at(name, z[[i]])[0] for i in range(4)]
    assert_allclose(slopes, limits, atol=1e-30)


@PRECISIONS
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_nan_are_nan(name, dtype):
    z = np.array([1.0, np.nan, -1.0, np.nan], dtype)
    assert_array_equal(np.isnan(activation_at(name, z)), np.isnan(z))


@PRECISIONS
def test_exponential_is_exact_over_its_whole_range(dtype):
    low, high = (-87, 88) if dtype == np.float32 else (-708, 709)
    f = np.random.default_rng(0).uniform(low, high, 20000).astype(dtype)
    f = np.concatenate([f, np.array([low, high, 0, -0.0], dtype)])
    _, exp = loss_at(REGRESSION_LOSSES["poisson"], np.zeros(f.size), f, dtype)
    assert_allclose(exp, np.exp(f.astype(float)), rtol=4 * np.finfo(dtype).eps)


@PRECISIONS
def test_logarithm_is_exact(dtype):
    binary, eps = CLASSIFICATION_LOSSES["binary"], np.finfo(dtype).eps
    for f in np.linspace(-40, 40, 401).astype(dtype):
        value, _ = loss_at(binary, [0], [f], dtype)
        expected = np.logaddexp(0, float(f))
        assert_allclose(value, expected, rtol=3 * eps, atol=2 * eps)


@PRECISIONS
def test_softmax_is_exact(dtype):
    f = 10 * np.random.default_rng(0).normal(size=100).astype(dtype)
    value, derivative = loss_at(CLASSIFICATION_LOSSES["multiclass"], [7], f, dtype)
    wide = f.astype(float)
    expected = special.softmax(wide)
    expected[7] -= 1
    # rounding f - max(f) costs |f| eps
    rtol = 100 * np.finfo(dtype).eps
    assert_allclose(derivative, expected, rtol=rtol)
    assert_allclose(value, special.logsumexp(wide) - wide[7], rtol=rtol)


# The same data in another form -------------------------------------------------------


def csr(X):
    """CSR matrix with the index types of the core; an explicit zero among the data."""
    X = sparse.csr_matrix(X)
    out = sparse.csr_matrix(X.shape, dtype=X.dtype)
    out.data = X.data
    out.indices, out.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int64)
    return out


ROWS = {
    "all": (None, None),
    "permuted": (np.random.default_rng(1).permutation(N_ROWS), None),
    "repeated": (np.array([4, 4, 0, 8, 4, 1]), None),
    "part": (np.random.default_rng(2).permutation(N_ROWS), (2, 7)),
    "range": (None, (3, 8)),
}


def over_rows(test):
    params = pytest.mark.parametrize(("rows", "bounds"), ROWS.values(), ids=ROWS)
    return params(test)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_float32_agrees_with_float64(loss, hidden):
    case = case_away_from_kinks(loss, "silu", hidden)
    value, grad = case.value_grad(dtype=np.float32)
    expected_value, expected_grad = case.value_grad()
    assert grad.dtype == np.float32
    assert_allclose(value, expected_value, rtol=1e-5)
    assert_close_as_a_whole(grad, expected_grad, 1e-5)


@over_rows
@pytest.mark.parametrize("is_sparse", [False, True])
def test_float32_rows_under_float64_parameters_equal_their_conversion(
    is_sparse, rows, bounds
):
    case = Case("squared_error", hidden=(4, 3))
    as_given = csr if is_sparse else np.ascontiguousarray
    narrow = case.X.astype(np.float32)
    options = dict(rows=rows, bounds=bounds, capacity=4)
    value, grad = case.value_grad(X=as_given(narrow), **options)
    expected = case.value_grad(X=as_given(narrow.astype(float)), **options)
    assert value == expected[0]
    assert_array_equal(grad, expected[1])


@PRECISIONS
@over_rows
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("capacity", [N_ROWS, 4])
def test_csr_rows_equal_dense_rows(hidden, rows, bounds, capacity, dtype):
    case = Case("multiclass", hidden=hidden)
    case.X[np.random.default_rng(3).random(case.X.shape) < 0.5] = 0
    case.X[2] = 0  # an empty row
    options = dict(rows=rows, bounds=bounds, capacity=capacity, dtype=dtype)
    value, grad = case.value_grad(X=csr(case.X.astype(dtype)), **options)
    expected_value, expected_grad = case.value_grad(**options)
    eps = np.finfo(dtype).eps
    assert_allclose(value, expected_value, rtol=20 * eps)
    assert_close_as_a_whole(grad, expected_grad, 20 * eps)


@over_rows
@pytest.mark.parametrize("capacity", [1, 2, 4, 8])
def test_blocks_of_rows_equal_one_block(rows, bounds, capacity):
    case = Case("multilabel", hidden=(4, 3))
    value, grad = case.value_grad(rows=rows, bounds=bounds, capacity=capacity)
    expected_value, expected_grad = case.value_grad(rows=rows, bounds=bounds)
    assert_allclose(value, expected_value, rtol=1e-14)
    assert_close_as_a_whole(grad, expected_grad, 1e-14)


@over_rows
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_select_what_indexing_selects(rows, bounds, weighted):
    case, chosen = Case("poisson"), Case("poisson")
    order = np.arange(N_ROWS) if rows is None else rows
    order = order[slice(*(bounds or (0, N_ROWS)))]
    chosen.X, chosen.y, chosen.s = case.X[order], case.y[order], case.s[order]
    value, grad = case.value_grad(rows=rows, bounds=bounds, weighted=weighted)
    expected_value, expected_grad = chosen.value_grad(weighted=weighted)
    assert_allclose(value, expected_value, rtol=1e-14)
    assert_close_as_a_whole(grad, expected_grad, 1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_integer_weight_equals_repeating_the_row(loss):
    case, repeated = Case(loss), Case(loss)
    times = np.arange(N_ROWS) % 4  # some rows are left out
    case.s = times.astype(float)
    repeated.X, repeated.y = (np.repeat(a, times, axis=0) for a in (case.X, case.y))
    value, grad = case.value_grad()
    expected_value, expected_grad = repeated.value_grad(weighted=False)
    assert_allclose(value, expected_value, rtol=1e-13)
    assert_close_as_a_whole(grad, expected_grad, 1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_one_equal_no_weights(loss):
    case = Case(loss)
    case.s[:] = 1
    value, grad = case.value_grad()
    expected_value, expected_grad = case.value_grad(weighted=False)
    assert_allclose(value, expected_value, rtol=1e-14)
    assert_close_as_a_whole(grad, expected_grad, 1e-14)


@PRECISIONS
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_raw_predictions_equal_the_formula(name, is_sparse, dtype):
    case = Case("squared_error", name, (4, 3))
    A, theta = case.X.astype(dtype), case.theta.astype(dtype)
    X = csr(A) if is_sparse else A
    coefs, intercepts = case.network.coefs(theta), case.network.intercepts(theta)
    for W, b in zip(coefs[:-1], intercepts[:-1]):
        A = FORMULAS[name][0](A.astype(float) @ W + b)
    expected = A @ coefs[-1] + intercepts[-1]
    actual = cases.raw_predictions(case.network, X, theta)
    assert actual.dtype == dtype
    assert_close_as_a_whole(actual, expected, 10 * np.finfo(dtype).eps)


# Rows, inputs, hidden units, outputs: the tiles and panels of the core's own matrix
# products and their remainders, few columns, vectors, what is copied, and what goes to
# BLAS.
SHAPES = [
    *itertools.product((1, 5, 6, 23), (1, 3, 64), (1, 7, 17), (1, 2, 33)),
    (130, 130, 130, 130),
    (9, 256, 40, 8),
    (9, 257, 40, 8),
    (5, 20, 300, 15),
    (50, 20, 100, 10),
    (13, 8, 48, 12),
    (300, 2, 2, 1),
    (91, 300, 530, 30),
    (1050, 20, 521, 3),
]


@PRECISIONS
@pytest.mark.parametrize("blocks", [1, 3])
def test_matrix_products_of_all_shapes_equal_those_of_numpy(blocks, dtype):
    rng = np.random.default_rng(0)
    for n, *units in SHAPES:
        network = Network(tuple(units), "identity")
        X, y = rng.normal(size=(n, units[0])), np.zeros((n, units[-1]))
        theta = rng.normal(size=network.n_parameters) / max(units)
        (U, V), (a, b) = network.coefs(theta), network.intercepts(theta)
        delta = (X @ U + a) @ V + b
        dU, dV = X.T @ (delta @ V.T), (X @ U + a).T @ delta
        expected = network.pack(
            [dU, dV], [(delta @ V.T).sum(axis=0), delta.sum(axis=0)], float
        )
        loss = REGRESSION_LOSSES["squared_error"]
        net, scratch = cases.compile_network(
            network, -(-n // blocks), dtype, loss, units[-1]
        )
        data = Data(X.astype(dtype), np.dtype(dtype), y.astype(dtype))
        grad = np.empty(theta.size, dtype)
        args = (net, data, None, 0, n, theta.astype(dtype), grad, 1.0, scratch)
        total, rtol = loss_gradient(*args), 100 * np.finfo(dtype).eps
        assert_allclose(total, (delta**2).sum() / 2, rtol=rtol)
        assert_close_as_a_whole(grad, expected, rtol)


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 3])
def test_matrix_products_equal_those_of_numpy_on_older_processors(level):
    """AVX2, and SSE2, which leaves large products to BLAS."""
    test = "test_matrix_products_of_all_shapes_equal_those_of_numpy"
    command = [sys.executable, "-m", "pytest", "-q", f"{__file__}::{test}"]
    environment = {**os.environ, "SKREG_ISA_LEVEL": str(level)}
    assert subprocess.run(command, env=environment).returncode == 0


@PRECISIONS
@pytest.mark.parametrize("n_rows", [3, 17, 40])
@pytest.mark.parametrize("units", [(7, 1), (50, 1), (20, 32, 1), (33, 17, 7, 2)])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_a_prediction_does_not_depend_on_its_place(activation, units, n_rows, dtype):
    rng = np.random.default_rng(0)
    network = Network(units, activation)
    theta = rng.normal(size=network.n_parameters).astype(dtype)
    X, order = (
        rng.normal(size=(n_rows, units[0])).astype(dtype),
        rng.permutation(n_rows),
    )
    expected = cases.raw_predictions(network, X, theta)[order]
    assert_array_equal(cases.raw_predictions(network, X[order], theta), expected)


@PRECISIONS
@pytest.mark.parametrize("units", [(20, 1), (3, 1), (20, 33, 1), (20, 10)])
def test_an_overflow_stays_in_its_row(units, dtype):
    network = Network(units, "identity")
    theta = np.ones(network.n_parameters, dtype)
    X = np.ones((11, units[0]), dtype)
    expected = cases.raw_predictions(network, X, theta)
    for row in range(len(X)):
        Z = X.copy()
        Z[row] = np.finfo(dtype).max
        actual = cases.raw_predictions(network, Z, theta)
        assert np.isinf(actual[row]).all()
        others = np.arange(len(X)) != row
        assert_array_equal(actual[others], expected[others])


@pytest.mark.parametrize("capacity", [1, 4, N_ROWS, 100])
def test_raw_predictions_do_not_depend_on_the_blocks(capacity):
    case = Case("multiclass", hidden=(4, 3))
    net, scratch = cases.compile_network(case.network, capacity, np.dtype(float))
    out = np.full((N_ROWS, 3), np.nan)
    raw_predictions(net, Data(case.X, np.dtype(float)), case.theta, out, scratch)
    assert_allclose(
        out, cases.raw_predictions(case.network, case.X, case.theta), rtol=1e-13
    )


def test_inputs_may_be_read_only():
    case = Case("squared_error")
    expected = case.value_grad()
    for array in (case.X, case.y, case.s, case.theta):
        array.flags.writeable = False
    data = Data(case.X, np.dtype(float), case.y, case.s)
    net, scratch = cases.compile_network(
        case.network, N_ROWS, np.dtype(float), case.loss, 2
    )
    grad = np.empty(case.theta.size)
    rows = np.arange(N_ROWS)
    rows.flags.writeable = False
    args = (net, data, rows, 0, N_ROWS, case.theta, grad, 1.0, scratch)
    assert_allclose(loss_gradient(*args), expected[0], rtol=1e-14)
    assert_close_as_a_whole(grad, expected[1], 1e-14)


# What does not fit together raises ---------------------------------------------------


def with_room(array):
    """The same array between rows of its own, so that an overrun harms nobody."""
    n = len(array)
    return np.concatenate([array, array, array])[n : 2 * n]


def sound_arguments(dtype=np.float64):
    """Arguments of `loss_gradient` by name, each in the middle of a larger array."""
    case, dtype = Case("squared_error"), np.dtype(dtype)
    net, scratch = cases.compile_network(case.network, N_ROWS, dtype, case.loss, 2)
    X, y, theta = (with_room(a.astype(dtype)) for a in (case.X, case.y, case.theta))
    return case, {
        "net": net,
        "data": Data(X, dtype, y),
        "rows": with_room(np.arange(N_ROWS)),
        "start": 0,
        "stop": N_ROWS,
        "theta": theta,
        "grad": with_room(theta),
        "scale": 1.0,
        "scratch": with_room(scratch),
    }


def test_sound_arguments_pass():
    case, arguments = sound_arguments()
    loss_gradient(*arguments.values())
    assert_allclose(arguments["grad"], case.value_grad(weighted=False)[1], rtol=1e-13)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("theta", lambda a: a[:-1]),
        ("theta", lambda a: np.append(a, 0.0)),
        ("scratch", lambda a: a[:-1]),
        ("grad", lambda a: a[:-1]),
        ("grad", lambda a: a[:0]),
        ("stop", lambda stop: stop + 1),
        ("start", lambda start: -1),
        ("rows", lambda a: a[:-1]),
        ("rows", lambda a: a.astype(np.int32)),
    ],
)
def test_wrong_sizes_raise(name, change):
    _, arguments = sound_arguments()
    if name in ("start", "stop"):
        arguments["rows"] = None
    arguments[name] = change(arguments[name])
    with pytest.raises(ValueError):
        loss_gradient(*arguments.values())


def test_wrong_number_of_features_raises():
    case, arguments = sound_arguments()
    arguments["data"] = Data(case.X[:, :2].copy(), np.dtype(float), case.y)
    with pytest.raises(ValueError, match="number of features"):
        loss_gradient(*arguments.values())


@pytest.mark.parametrize("name", ["theta", "grad", "scratch"])
def test_arrays_of_mixed_precision_raise(name):
    _, arguments = sound_arguments()
    arguments[name] = np.zeros_like(arguments[name], np.float32)
    with pytest.raises((TypeError, ValueError)):
        loss_gradient(*arguments.values())


def test_data_of_another_precision_than_theta_raises():
    _, arguments = sound_arguments()
    arguments["data"] = sound_arguments(np.float32)[1]["data"]
    with pytest.raises(TypeError, match="one dtype"):
        loss_gradient(*arguments.values())


@pytest.mark.parametrize(
    "change",
    [
        lambda X, y, s: (X.astype(np.int64), y, s),
        lambda X, y, s: (X.astype(np.int32), y, s),
        lambda X, y, s: (X, y.astype(np.float32), s),
        lambda X, y, s: (X, y.astype(np.int64), s),
        lambda X, y, s: (X, y, s.astype(np.float32)),
        lambda X, y, s: (np.asfortranarray(X), y, s),
        lambda X, y, s: (X[:, ::2], y, s),
        lambda X, y, s: (X, np.asfortranarray(y), s),
        lambda X, y, s: (X, y, np.repeat(s, 2)[::2]),
    ],
)
def test_data_of_wrong_type_or_order_raise(change):
    case = Case("squared_error")
    X, y, s = change(case.X, case.y, case.s)
    with pytest.raises(TypeError):
        Data(X, np.dtype(float), y, s)


def test_rows_of_more_precision_than_the_parameters_raise():
    with pytest.raises(TypeError, match="more precision"):
        Data(np.zeros((2, 2)), np.dtype(np.float32))


@pytest.mark.parametrize(
    "change",
    [lambda X, y, s: (X, y[:-1], s), lambda X, y, s: (X, y, s[:-1])],
)
def test_data_of_different_lengths_raise(change):
    case = Case("squared_error")
    X, y, s = change(case.X, case.y, case.s)
    with pytest.raises(ValueError):
        Data(X, np.dtype(float), y, s)


@pytest.mark.parametrize("name", ["indices", "indptr"])
def test_csr_of_other_index_types_raises(name):
    X = csr(np.eye(3))
    wrong = np.int64 if name == "indices" else np.int32
    setattr(X, name, getattr(X, name).astype(wrong))
    with pytest.raises(TypeError, match="int32 indices and int64 indptr"):
        Data(X, np.dtype(float))


@pytest.mark.parametrize("shape", [(N_ROWS - 1, 2), (N_ROWS, 1), (N_ROWS, 3)])
def test_raw_predictions_into_an_array_of_the_wrong_shape_raise(shape):
    case = Case("squared_error")
    net, scratch = cases.compile_network(case.network, N_ROWS, np.dtype(float))
    out = np.empty(100)[: shape[0] * shape[1]].reshape(shape)
    with pytest.raises(ValueError):
        raw_predictions(net, Data(case.X, np.dtype(float)), case.theta, out, scratch)


def test_a_network_needs_room_for_one_row():
    # In a process of its own: a division by zero in C ends it.
    code = (
        "import numpy as np; from skreg._network import Network; "
        "from skreg._engines._compiled import predict_raw; "
        "out = predict_raw(Network((2, 1), 'relu'), np.ones(3), np.ones((0, 2))); "
        "assert out.shape == (0, 1)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_sizes_count_weights_then_intercepts():
    net = Net((3, 4, 2), 2, 2, 0.0, 8, 2)
    assert (net.n_weights, net.n_parameters, net.capacity) == (20, 26, 8)


# Products and numbers of all sizes ----------------------------------------------------


@PRECISIONS
@pytest.mark.parametrize("units", [(300, 70, 1), (5, 131, 33, 2), (17, 16, 200, 3)])
@pytest.mark.parametrize("n", [1, 7, 41, 150])
def test_products_of_any_size(units, n, dtype):
    rng = np.random.default_rng(n)
    network = Network(units, "relu")
    X, y = rng.normal(size=(n, units[0])), rng.normal(size=(n, units[-1]))
    params = [rng.normal(size=shape) / shape[0] ** 0.5 for shape in network.shapes]
    params += [rng.normal(size=size) for size in units[1:]]
    theta = np.concatenate([p.ravel() for p in params]).astype(dtype)
    net, scratch = cases.compile_network(
        network, n, np.dtype(dtype), REGRESSION_LOSSES["squared_error"], units[-1]
    )
    data = Data(X.astype(dtype), np.dtype(dtype), y.astype(dtype))
    grad = np.full_like(theta, np.nan)
    total = loss_gradient(net, data, None, 0, n, theta, grad, 1.0, scratch)
    value, expected = naive.loss_and_gradient(
        params, X, y, np.ones(n), activation="relu", loss="squared_error"
    )
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    assert_allclose(total, value, rtol=rtol)
    assert_close_as_a_whole(grad, np.concatenate([g.ravel() for g in expected]), rtol)


def test_training_makes_no_denormal_numbers():
    # Adam's moments of a unit that died decay by a constant factor in every step.
    model = RegMLPClassifier((8,), beta_2=0.9)
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    model.partial_fit(X, X[:, 0] > 0, classes=[False, True])
    model.intercepts_[0][:4] = -100.0
    for _ in range(1500):
        model.partial_fit(X, X[:, 0] > 0)
    tiny = np.finfo(np.float32).tiny
    moments = model.fitted_.state.moments
    assert set(moments) == {"first", "second"}
    for moment in moments.values():
        assert (moment == 0).any()
        assert not ((moment != 0) & (np.abs(moment) < tiny)).any()
    assert np.float32(tiny) / 2 > 0  # and the thread that trained counts them again


# Threads ------------------------------------------------------------------------------

WIDE = [(80, 200, 60, 5), (300, 100, 1), (33, 500, 1, 7), (700, 40), (90, 110, 70, 2)]
THREAD_PENALTIES = {
    "none": (None, "coupled"),
    "ridge": (L2(), "decoupled"),
    "lasso": (L1(), "proximal"),
    "group": (GroupLasso(), "proximal"),
    "group_before": (SparseGroupLasso(0.5), "decoupled"),
    "concave": (MCP(), "proximal"),
}


def threaded_results(units, method, penalty, dtype, is_sparse, n_threads):
    """Everything that the core computes for a wide network, as bytes."""
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    activation = ACTIVATIONS[1 + len(units) * units[1] % (len(ACTIVATIONS) - 1)]
    network = Network(units, activation)
    X = rng.normal(size=(800, units[0])).astype(dtype)
    X[rng.random(X.shape) < 0.5] = 0
    y = rng.normal(size=(800, units[-1])).astype(dtype)
    data = Data(csr(X) if is_sparse else X, dtype, y, rng.random(800).astype(dtype))
    kind, mode = THREAD_PENALTIES[penalty]
    blocks = zip(network.slices[: network.n_layers], network.shapes)
    terms = [Term(kind, 1e-3, mode, *block) for block in blocks if kind is not None]
    code, hyper = METHODS[method].code, (0.9, 0.9, 0.99, 1e-6)
    penalties = PenaltySum(terms, network.slices)
    assert not penalties.others
    rule = penalties.rule(code, hyper)
    theta = network.initial_theta(rng, dtype)
    net, scratch = cases.compile_network(
        network, 350, dtype, REGRESSION_LOSSES["huber"], units[-1]
    )
    grad, first, second = (np.zeros_like(theta) for _ in range(3))
    order, out = rng.permutation(800), np.empty((800, units[-1]), dtype)
    run = (net, data, order, 0, 800)
    rates = np.full(2, 1e-3)
    arrays = (theta, grad, first, second, scratch)
    sums = [train(*run, 400, 1.0, rule, rates, 0, *arrays, n_threads=n_threads)]
    sums += [loss_sum(net, data, theta, scratch, n_threads=n_threads)]
    sums += [loss_gradient(*run, theta, grad, 0.5, scratch, n_threads=n_threads)]
    raw_predictions(net, data, theta, out, scratch, n_threads=n_threads)
    assert np.isfinite(theta).all() and np.isfinite(grad).all()
    return [a.tobytes() for a in (theta, grad, first, second, out)] + sums


@PRECISIONS
@pytest.mark.parametrize("units", WIDE, ids=str)
@pytest.mark.parametrize(
    ("method", "penalty", "is_sparse"),
    [
        ("adam", "none", False),
        ("rmsprop", "ridge", True),
        ("sgd", "lasso", False),
        ("adam", "group", True),
        ("momentum", "group_before", False),
        ("nesterov", "concave", True),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(
    units, method, penalty, is_sparse, dtype
):
    one, *more = (
        threaded_results(units, method, penalty, dtype, is_sparse, n)
        for n in (1, 2, 3, 4, 8)
    )
    assert all(results == one for results in more)


# Malformed input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("indices", 3, 10**7, r"indices must be in \[0, 5\)"),
        ("indices", 0, 5, r"indices must be in \[0, 5\)"),
        ("indices", -1, -1, r"indices must be in \[0, 5\)"),
        ("indptr", 0, 1, "start with 0"),
        ("indptr", 0, -1, "start with 0"),
        ("indptr", 4, 10**12, "must not decrease"),
        ("indptr", 9, -(2**62), "must not decrease"),
        ("indptr", -1, 10**12, "beyond the"),
    ],
)
@PRECISIONS
def test_malformed_csr_raises(name, place, value, message, dtype):
    X = csr(sparse.random(20, 5, 0.5, "csr", random_state=0).astype(dtype))
    Data(X, np.dtype(dtype))
    getattr(X, name)[place] = value
    with pytest.raises(ValueError, match=message):
        Data(X, np.dtype(dtype))


def test_csr_of_wrong_length_raises():
    X = csr(np.eye(3))
    X.indptr = X.indptr[:-1].copy()
    with pytest.raises(ValueError, match=r"needs 4 entries of indptr\. Got 3"):
        Data(X, np.dtype(float))


@pytest.mark.parametrize("index", [5, -1, 2**32 + 1])
def test_indices_of_64_bits_are_checked_before_they_are_cast(index):
    X = sparse.random(20, 5, 0.5, "csr", random_state=0)
    X.indices = X.indices.astype(np.int64)
    X.indices[3] = index
    with pytest.raises(ValueError, match=r"indices must be in \[0, 5\)"):
        engine_matrix(X, np.float64)


@pytest.mark.parametrize("row", [N_ROWS, -1, 2**62])
def test_rows_outside_of_the_data_raise(row):
    _, arguments = sound_arguments()
    arguments["rows"] = arguments["rows"].copy()
    arguments["rows"][4] = row
    with pytest.raises(ValueError, match=r"rows must be in \[0, 9\)"):
        loss_gradient(*arguments.values())
