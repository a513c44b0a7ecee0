"""The objective: data term plus penalties, its invariances, and its split in two."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import approx_fprime

from skreg._engines._compiled import block_rows
from skreg._network import Network
from skreg.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, regression_loss
from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    SparseGroupLasso,
)
from tests.cases import make_problem

N_ROWS, UNITS = 12, (3, 4, 2)
NETWORK = Network(UNITS, "tanh")
LAM = np.array([0.3, 0.7])
MULTICLASS = CLASSIFICATION_LOSSES["multiclass"]

LOSSES = {
    "multiclass": MULTICLASS,
    **REGRESSION_LOSSES,
    "quantile": regression_loss("quantile", 0.8),
}

# One penalty per layer.
PENALTIES = {
    "none": (None, None),
    "l2": (L2(), L2()),
    "l1": (L1(), L1()),
    "elasticnet": (ElasticNet(0.3), ElasticNet(0.3)),
    "elasticnet as ridge": (ElasticNet(0.0), ElasticNet(0.0)),
    "elasticnet as lasso": (ElasticNet(1.0), ElasticNet(1.0)),
    "groups": (GroupLasso(), GroupLasso()),
    "units": (GroupLasso(by="units"), GroupLasso(by="units", weighted=False)),
    "labels": (GroupLasso(groups=["a", "b", "a"]), GroupLasso(groups=[0, 0, 1, 1])),
    "sparse groups": (SparseGroupLasso(0.4), SparseGroupLasso(0.4)),
    "mcp": (MCP(gamma=1.5), MCP(saturation=0.8)),
    "scad": (SCAD(a=2.5), SCAD(saturation=0.9)),
    "first layer": (L1(), None),
    "first layer as ridge": (L2(), None),
    "mixed": (GroupLasso(), L2()),
    "mixed with a concave part": (MCP(gamma=2.0), ElasticNet(0.5)),
}
NONSMOOTH = [
    name
    for name, penalties in PENALTIES.items()
    if any(p is not None and p.nonsmooth_part() is not None for p in penalties)
]


def over_penalties(names=tuple(PENALTIES)):
    return pytest.mark.parametrize("name", names)


def draw(loss="multiclass", n=N_ROWS):
    """X, y, sample weights and parameters."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, UNITS[0]))
    if loss == "multiclass":
        y = rng.integers(UNITS[-1], size=(n, 1)).astype(float)
    else:
        y = rng.exponential(size=(n, UNITS[-1])) + 0.1
    return X, y, rng.uniform(0.5, 2, n), rng.normal(size=NETWORK.n_parameters)


def make(name="mixed", loss="multiclass", data=None, **options):
    X, y, s, _ = draw(loss) if data is None else data
    return make_problem(X, y, s, NETWORK, LOSSES[loss], PENALTIES[name], **options)


def theta_at(loss="multiclass"):
    return draw(loss)[-1]


def penalty_by_hand(name, theta):
    terms = zip(PENALTIES[name], NETWORK.coefs(theta), LAM)
    return sum(p.value(W, lam) for p, W, lam in terms if p is not None)


def objective(problem, theta):
    return problem.data_value(theta) + problem.penalty_value(theta, LAM)


# Value -------------------------------------------------------------------------------


@over_penalties()
def test_penalty_is_the_sum_over_layers(name):
    problem, theta = make(name), theta_at()
    penalty = problem.penalty_value(theta, LAM)
    assert_allclose(penalty, penalty_by_hand(name, theta), rtol=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_data_term_is_the_weighted_mean_of_the_losses_of_the_rows(loss):
    X, y, s, theta = draw(loss)
    rows = [
        make("none", loss, (X[i : i + 1], y[i : i + 1], None, theta)).data_value(theta)
        for i in range(N_ROWS)
    ]
    problem = make("none", loss)
    assert_allclose(problem.data_value(theta), np.average(rows, weights=s), rtol=1e-13)
    assert_allclose(problem.data.weight_sum, s.sum(), rtol=1e-15)


@pytest.mark.parametrize("loss", [k for k, v in LOSSES.items() if v.is_smooth])
def test_gradient_of_the_data_term_equals_finite_differences(loss):
    problem, theta = make("none", loss), theta_at(loss)
    value, grad = problem.data_value_grad(theta)
    assert_allclose(value, problem.data_value(theta), rtol=1e-14)
    differences = approx_fprime(theta, problem.data_value, 1e-7)
    assert_allclose(grad, differences, rtol=1e-5, atol=1e-6 * np.abs(grad).max())


def test_lambda_is_one_number_per_layer():
    problem, theta = make("l2"), theta_at()
    W_1, W_2 = NETWORK.coefs(theta)
    expected = 0.3 / 2 * (W_1**2).sum() + 0.7 / 2 * (W_2**2).sum()
    assert_allclose(problem.penalty_value(theta, LAM), expected, rtol=1e-15)
    assert problem.penalty_value(theta, np.zeros(2)) == 0


def test_value_does_not_change_theta():
    problem, theta = make("groups"), theta_at()
    theta.flags.writeable = False
    objective(problem, theta)
    problem.data_value_grad(theta)


# Invariance --------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("factor", [1e-200, 1e-3, 7, 1e200])
def test_objective_does_not_depend_on_the_scale_of_the_weights(loss, factor):
    X, y, s, theta = draw(loss)
    value, grad = make("mixed", loss).data_value_grad(theta)
    scaled = make("mixed", loss, (X, y, factor * s, theta))
    scaled_value, scaled_grad = scaled.data_value_grad(theta)
    assert_allclose(scaled_value, value, rtol=1e-13)
    assert_allclose(scaled_grad, grad, rtol=1e-12, atol=1e-14)
    assert_allclose(scaled.data_value(theta), value)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_scale_of_the_weights_does_not_matter_in_single_precision(factor):
    X, y, s, theta = draw()
    theta = theta.astype(np.float32)
    X = X.astype(np.float32)
    value, grad = make(data=(X, y, s, 0), dtype=np.float32).data_value_grad(theta)
    scaled = make(data=(X, y, factor * s, 0), dtype=np.float32)
    assert_allclose(scaled.data_value_grad(theta)[0], value, rtol=1e-6)
    assert_allclose(scaled.data_value_grad(theta)[1], grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_integer_weights_equal_repeated_rows(loss):
    X, y, _, theta = draw(loss)
    times = np.arange(N_ROWS) % 4
    weighted = make("mixed", loss, (X, y, times.astype(float), theta))
    order = np.repeat(np.arange(N_ROWS), times)
    repeated = make("mixed", loss, (X[order], y[order], None, theta))
    value, grad = weighted.data_value_grad(theta)
    expected_value, expected_grad = repeated.data_value_grad(theta)
    assert weighted.data.weight_sum == repeated.data.weight_sum
    assert_allclose(value, expected_value, rtol=1e-12)
    assert_allclose(grad, expected_grad, rtol=0, atol=1e-12 * np.abs(grad).max())


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_of_weight_zero_might_as_well_be_missing(loss):
    X, y, s, theta = draw(loss)
    s[5:] = 0
    value, grad = make("none", loss, (X, y, s, theta)).data_value_grad(theta)
    first = make("none", loss, (X[:5], y[:5], s[:5], theta))
    assert_allclose(value, first.data_value(theta), rtol=1e-13)
    assert_allclose(grad, first.data_value_grad(theta)[1], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_restrict_the_problem_to_a_subset(loss, weighted):
    X, y, s, theta = draw(loss)
    s = s if weighted else None
    rows = np.array([7, 2, 11, 3, 0])
    problem = make("l1", loss, (X, y, s, theta), rows=rows)
    subset = make("l1", loss, (X[rows], y[rows], s[rows] if weighted else s, theta))
    assert (problem.data.n_rows, problem.data.weight_sum) == (5, subset.data.weight_sum)
    assert_allclose(objective(problem, theta), objective(subset, theta), rtol=1e-13)
    grad, expected = problem.data_value_grad(theta)[1], subset.data_value_grad(theta)[1]
    assert_allclose(grad, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_inputs_make_the_same_problem(dtype):
    X, y, s, theta = draw()
    X[X < 0] = 0
    csr = sparse.csr_matrix(X.astype(dtype))
    csr.indptr = csr.indptr.astype(np.int64)
    value, grad = make(data=(csr, y, s, 0)).data_value_grad(theta)
    expected = make(data=(X.astype(dtype), y, s, 0)).data_value_grad(theta)
    assert_allclose(value, expected[0], rtol=1e-13)
    assert_allclose(grad, expected[1], rtol=1e-11, atol=1e-14)


def test_large_problems_are_evaluated_in_blocks_with_the_same_result():
    n, network = 40_000, Network((3, 60, 2), "relu")
    assert block_rows(network, n) < n
    X, y, s, _ = draw(n=n)
    theta = np.random.default_rng(1).normal(size=network.n_parameters)
    whole = make_problem(X, y, s, network, MULTICLASS, (None, None))
    parts = [
        make_problem(X[i], y[i], s[i], network, MULTICLASS, (None, None))
        for i in np.split(np.arange(n), 50)
    ]
    share = [part.data.weight_sum / whole.data.weight_sum for part in parts]
    grads = [part.data_value_grad(theta)[1] for part in parts]
    value, grad = whole.data_value_grad(theta)
    assert_allclose(value, np.dot(share, [p.data_value(theta) for p in parts]))
    assert_allclose(value, whole.data_value(theta), rtol=1e-13)
    assert_allclose(grad, np.dot(share, grads), rtol=1e-9, atol=1e-12)


# Penalized blocks --------------------------------------------------------------------


def test_blocks_are_the_weight_matrices_of_penalized_layers():
    blocks = list(make("first layer").blocks())
    assert blocks == [(0, PENALTIES["first layer"][0], slice(0, 12), (3, 4))]


def test_penalized_intercepts_are_blocks_of_one_row():
    blocks = list(make("mixed", penalize_intercepts=True).blocks())
    places = [(layer, s, shape) for layer, _, s, shape in blocks]
    assert places == [
        (0, slice(0, 12), (3, 4)),
        (0, slice(20, 24), (1, 4)),
        (1, slice(12, 20), (4, 2)),
        (1, slice(24, 26), (1, 2)),
    ]


def test_intercepts_are_free_unless_asked_for():
    problem, theta = make("l2"), theta_at()
    before = problem.penalty_value(theta, LAM)
    theta[NETWORK.n_weights :] *= 10
    assert problem.penalty_value(theta, LAM) == before


@over_penalties(
    ["none", "l2", "l1", "elasticnet", "groups", "sparse groups", "mcp", "scad"]
)
def test_penalized_intercepts_count_as_one_more_row(name):
    problem, theta = make(name, penalize_intercepts=True), theta_at()
    layers = zip(PENALTIES[name], NETWORK.coefs(theta), NETWORK.intercepts(theta), LAM)
    expected = sum(p.value(np.vstack([W, b]), lam) for p, W, b, lam in layers if p)
    assert_allclose(problem.penalty_value(theta, LAM), expected, rtol=1e-14)


def test_intercepts_join_no_labeled_group():
    problem, theta = make("labels", penalize_intercepts=True), theta_at()
    intercepts = sum(
        lam * np.sqrt(len(b)) * np.linalg.norm(b)
        for b, lam in zip(NETWORK.intercepts(theta), LAM)
    )
    expected = penalty_by_hand("labels", theta) + intercepts
    assert_allclose(problem.penalty_value(theta, LAM), expected, rtol=1e-14)


# The split J = smooth + nonsmooth ----------------------------------------------------

INTERCEPTS = pytest.mark.parametrize("intercepts", [False, True])


def split(name, intercepts=False, lam=LAM):
    problem = make(name, penalize_intercepts=intercepts)
    return problem, problem.composite(lam)


def smooth_value(composite):
    return lambda theta: composite.smooth_value_grad(theta)[0]


@INTERCEPTS
@over_penalties()
def test_smooth_part_plus_nonsmooth_part_is_the_objective(name, intercepts):
    problem, composite = split(name, intercepts)
    for scale in (0, 0.3, 1, 10):
        theta = scale * theta_at()
        h = composite.nonsmooth_value(theta)
        total = composite.smooth_value_grad(theta)[0] + h
        assert_allclose(total, objective(problem, theta), rtol=1e-13)
        penalty = problem.penalty_value(theta, LAM)
        assert_allclose(composite.penalty_value(theta, h), penalty, rtol=1e-13)


@INTERCEPTS
@over_penalties()
def test_gradient_of_the_smooth_part_equals_finite_differences(name, intercepts):
    composite, theta = split(name, intercepts)[1], theta_at()
    grad = composite.smooth_value_grad(theta)[1]
    differences = approx_fprime(theta, smooth_value(composite), 1e-7)
    assert_allclose(grad, differences, rtol=1e-5, atol=1e-6)


@over_penalties()
def test_smooth_part_has_a_gradient_at_zero_weights(name):
    composite, theta = split(name)[1], theta_at()
    theta[: NETWORK.n_weights] = 0
    grad = composite.smooth_value_grad(theta)[1]
    differences = approx_fprime(theta, smooth_value(composite), 1e-7)
    assert_allclose(grad, differences, rtol=1e-5, atol=1e-6)


@over_penalties()
def test_a_nonsmooth_part_is_there_where_a_penalty_has_one(name):
    composite = split(name)[1]
    assert composite.is_nonsmooth == (name in NONSMOOTH)
    for layer, penalty in enumerate(PENALTIES[name]):
        is_nonsmooth = penalty is not None and penalty.nonsmooth_part() is not None
        assert (composite.penalized[NETWORK.slices[layer]] == is_nonsmooth).all()
    assert not composite.penalized[NETWORK.n_weights :].any()


@over_penalties()
@pytest.mark.parametrize("intercepts", [False, True])
def test_a_ridge_is_there_where_all_weights_have_a_smooth_penalty(name, intercepts):
    composite = split(name, intercepts=intercepts)[1]
    assert composite.has_ridge == (name in {"l2", "elasticnet as ridge"})
    for lam in ([0.0, 0.0], [0.1, 0.0], [0.0, 0.1]):
        assert not split(name, lam=np.array(lam))[1].has_ridge


def test_penalized_entries_include_intercepts_where_asked_for():
    penalized = split("l1", intercepts=True)[1].penalized
    assert penalized.shape == (NETWORK.n_parameters,)
    assert penalized.all()


def expected_blockwise(problem, composite, theta, function):
    """Apply function(penalty, lam, slice, shape) to each part; the rest as in theta."""
    out = theta.copy()
    for layer, penalty, s, shape in problem.blocks():
        if composite.penalized[s].any():
            part, lam = penalty.nonsmooth_part(LAM[layer])
            out[s] = function(part, lam, s, shape).ravel()
    return out


@INTERCEPTS
@over_penalties()
def test_prox_acts_block_by_block_and_leaves_the_rest(name, intercepts):
    problem, composite = split(name, intercepts)
    theta, step = theta_at(), 0.4
    before = theta.copy()
    expected = expected_blockwise(
        problem,
        composite,
        theta,
        lambda part, lam, s, shape: part.prox(theta[s].reshape(shape), step, lam),
    )
    z = composite.prox(theta, step)
    assert_allclose(z, expected, rtol=1e-14)
    assert_array_equal(z == 0, expected == 0)
    assert_array_equal(theta, before)
    free = ~composite.penalized
    assert_array_equal(z[free], theta[free])


@over_penalties(NONSMOOTH)
def test_prox_minimizes_distance_plus_nonsmooth_part(name):
    composite, theta, step = split(name)[1], theta_at(), 0.4
    z = composite.prox(theta, step)

    def moreau(u):
        return ((u - theta) ** 2).sum() / (2 * step) + composite.nonsmooth_value(u)

    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-2, 1):
        for _ in range(50):
            assert moreau(z + size * rng.normal(size=z.size)) > moreau(z)


@over_penalties(NONSMOOTH)
def test_a_strong_prox_makes_exact_zeros_of_all_penalized_weights(name):
    composite, theta = split(name)[1], theta_at()
    z = composite.prox(theta, 1e3)
    assert not z[composite.penalized].any()
    assert_array_equal(z[~composite.penalized], theta[~composite.penalized])


@INTERCEPTS
@over_penalties()
def test_cross_acts_block_by_block_and_leaves_the_rest(name, intercepts):
    problem, composite = split(name, intercepts)
    theta = theta_at()
    candidate = np.random.default_rng(1).normal(size=theta.size)
    before = candidate.copy()
    expected = expected_blockwise(
        problem,
        composite,
        candidate,
        lambda part, lam, s, shape: part.cross(
            theta[s].reshape(shape), candidate[s].reshape(shape)
        ),
    )
    crossed = composite.cross(theta, candidate)
    assert_array_equal(crossed, expected)
    assert_array_equal(candidate, before)
    assert_array_equal(crossed[~composite.penalized], before[~composite.penalized])


def test_cross_stops_at_zero_where_a_sign_changes():
    composite, theta = split("first layer")[1], theta_at()
    crossed = composite.cross(theta, -theta)
    assert not crossed[:12].any()
    assert_array_equal(crossed[12:], -theta[12:])


@over_penalties(NONSMOOTH)
def test_nothing_is_nonsmooth_at_lambda_zero(name):
    composite, theta = split(name, lam=np.zeros(2))[1], theta_at()
    assert not composite.is_nonsmooth
    assert not composite.penalized.any()
    assert_array_equal(composite.cross(theta, -theta), -theta)
    assert composite.penalty_value(theta, 0.0) == 0


@over_penalties(["l1", "groups", "mcp"])
def test_a_layer_of_lambda_zero_is_free(name):
    composite, theta = split(name, lam=np.array([0.0, 0.7]))[1], theta_at()
    assert not composite.penalized[:12].any()
    assert composite.penalized[12:20].all()
    assert_array_equal(composite.cross(theta, -theta)[:12], -theta[:12])
