"""Layout of the parameters, initial weights and predictions of a `Network`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skreg._engines._compiled import block_rows
from skreg._network import ACTIVATIONS, Network
from tests.cases import raw_predictions

NETWORK = Network((3, 4, 2), "tanh")
COEFS = [np.arange(12.0).reshape(3, 4), np.arange(12.0, 20.0).reshape(4, 2)]
INTERCEPTS = [np.arange(20.0, 24.0), np.arange(24.0, 26.0)]


def test_sizes_of_a_network():
    assert NETWORK.n_layers == 2
    assert NETWORK.shapes == ((3, 4), (4, 2))
    assert NETWORK.n_weights == 20
    assert NETWORK.n_parameters == 26


def test_sizes_of_a_linear_model():
    linear = Network((5, 1), "relu")
    assert (linear.n_layers, linear.n_weights, linear.n_parameters) == (1, 5, 6)
    assert linear.shapes == ((5, 1),)


def test_theta_holds_all_weights_then_all_intercepts_without_gaps():
    assert NETWORK.slices == (slice(0, 12), slice(12, 20), slice(20, 24), slice(24, 26))
    assert_array_equal(NETWORK.pack(COEFS, INTERCEPTS, float), np.arange(26.0))


def test_coefs_and_intercepts_are_views_of_theta():
    theta = np.arange(26.0)
    parts = NETWORK.coefs(theta) + NETWORK.intercepts(theta)
    for part, expected in zip(parts, COEFS + INTERCEPTS, strict=True):
        assert_array_equal(part, expected)
        assert np.shares_memory(part, theta)
    parts[0][1, 2] = -1
    parts[3][1] = -2
    assert (theta[6], theta[25]) == (-1, -2)


def test_pack_copies():
    theta = NETWORK.pack(COEFS, INTERCEPTS, np.float64)
    theta[:] = 0
    assert COEFS[0][0, 1] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pack_and_unpack_round_trip_in_each_precision(dtype):
    theta = np.random.default_rng(0).normal(size=26).astype(dtype)
    packed = NETWORK.pack(NETWORK.coefs(theta), NETWORK.intercepts(theta), dtype)
    assert packed.dtype == dtype
    assert_array_equal(packed, theta)


def test_pack_takes_nested_lists_and_fortran_order():
    coefs = [np.asfortranarray(COEFS[0]), COEFS[1].tolist()]
    intercepts = [b.tolist() for b in INTERCEPTS]
    assert_array_equal(NETWORK.pack(coefs, intercepts, float), np.arange(26.0))


@pytest.mark.parametrize(
    ("coefs", "intercepts"),
    [
        ([COEFS[0].T, COEFS[1]], INTERCEPTS),
        (COEFS[:1], INTERCEPTS),
        ([*COEFS, np.ones((2, 2))], INTERCEPTS),
        ([COEFS[0], COEFS[1].ravel()], INTERCEPTS),
        (COEFS, INTERCEPTS[::-1]),
        (COEFS, INTERCEPTS[:1]),
        (COEFS, [*INTERCEPTS, np.ones(2)]),
        (COEFS, [np.ones((4, 2)), INTERCEPTS[1]]),
    ],
)
def test_pack_refuses_other_shapes(coefs, intercepts):
    with pytest.raises(ValueError, match=r"shapes .* but this network needs"):
        NETWORK.pack(coefs, intercepts, float)


def test_pack_error_shows_the_shapes_that_differ():
    with pytest.raises(ValueError, match=r"\(5,\).*\(4,\)"):
        NETWORK.pack(COEFS, [np.ones(5), INTERCEPTS[1]], float)


# Initial weights ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(4,), (5, 2)])
def test_initial_weights_are_those_of_scikit_learn(hidden, activation, dtype):
    X = np.random.default_rng(0).normal(size=(6, 3)).astype(dtype)
    model = MLPRegressor(
        hidden_layer_sizes=hidden,
        activation=activation,
        solver="sgd",
        learning_rate_init=1e-300,  # the weights stay where they started
        random_state=7,
    ).partial_fit(X, X[:, :2])
    network = Network((3, *hidden, 2), activation)
    theta = network.initial_theta(np.random.RandomState(7), dtype)
    assert theta.dtype == dtype
    for W, expected in zip(network.coefs(theta), model.coefs_, strict=True):
        assert_array_equal(W, expected)
    for b, expected in zip(network.intercepts(theta), model.intercepts_, strict=True):
        assert_array_equal(b, expected)


def test_initial_weights_of_a_classifier_are_those_of_scikit_learn():
    X, y = np.eye(3), np.arange(3)
    model = MLPClassifier(
        (4,), solver="sgd", learning_rate_init=1e-300, random_state=0
    ).partial_fit(X, y, classes=y)
    network = Network((3, 4, 3), "relu")
    theta = network.initial_theta(np.random.RandomState(0), float)
    assert_array_equal(network.coefs(theta)[1], model.coefs_[1])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_weights_fill_the_interval_of_glorot(activation):
    network = Network((200, 100), activation)
    theta = network.initial_theta(np.random.RandomState(0), float)
    bound = np.sqrt((2 if activation == "logistic" else 6) / 300)
    assert 0.99 * bound < np.abs(theta).max() <= bound
    assert_allclose(theta.std(), bound / np.sqrt(3), rtol=0.02)


# Predictions -------------------------------------------------------------------------


def test_raw_predictions_are_the_output_layer_before_its_activation():
    theta = np.random.default_rng(0).normal(size=26)
    X = np.random.default_rng(1).normal(size=(7, 3))
    (W_1, W_2), (b_1, b_2) = NETWORK.coefs(theta), NETWORK.intercepts(theta)
    expected = np.tanh(X @ W_1 + b_1) @ W_2 + b_2
    assert_allclose(raw_predictions(NETWORK, X, theta), expected, rtol=1e-13)


def test_order_of_the_activations_matches_the_codes_of_the_core():
    z = np.array([[-1.5], [0.5], [2.0]])
    at_z = [-1.5, 0.5, 2.0] * np.ones(3)
    expected = {
        "identity": at_z,
        "logistic": expit(at_z),
        "tanh": np.tanh(at_z),
        "relu": [0, 0.5, 2],
        "leaky_relu": [-0.015, 0.5, 2],
        "gelu": [-0.10021080, 0.34573123, 1.95449974],
        "silu": at_z * expit(at_z),
    }
    assert tuple(expected) == ACTIVATIONS
    for name, values in expected.items():
        raw = raw_predictions(Network((1, 1, 1), name), z, np.array([1.0, 1, 0, 0]))
        assert_allclose(raw[:, 0], values, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_raw_predictions_have_the_precision_of_theta(dtype):
    raw = raw_predictions(NETWORK, np.ones((5, 3), np.float32), np.ones(26, dtype))
    assert raw.dtype == dtype
    assert raw.shape == (5, 2)


def test_large_inputs_are_predicted_in_blocks_with_the_same_result():
    network = Network((1000, 1000, 1), "relu")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1100, 1000)).astype(np.float32)
    theta = network.initial_theta(np.random.RandomState(0), np.float32)
    assert block_rows(network, 1100) < 1100
    blocks = raw_predictions(network, X, theta)
    assert_allclose(raw_predictions(network, X[:64], theta), blocks[:64], atol=1e-4)
    assert_allclose(raw_predictions(network, X[-9:], theta), blocks[-9:], atol=1e-4)


@pytest.mark.parametrize("units", [(3, 1), (784, 256, 10), (10**6, 1)])
def test_blocks_bound_the_memory_of_a_pass(units):
    network = Network(units, "relu")
    for n_rows in (1, 100, 10**9):
        rows = block_rows(network, n_rows)
        assert 1 <= rows <= n_rows
        assert rows == n_rows or rows * sum(units) <= max(2**18, 64 * sum(units))
