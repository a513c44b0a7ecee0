"""Penalties against brute force, optimality conditions and identities."""

import doctest
import pickle
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime, minimize
from sklearn.base import clone

from skreg import RegMLPRegressor, _penalty, penalties
from skreg._penalty import check_methods
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

SHAPE = (6, 3)
LABELS = ["a", "b", "a", "c", "b", "b"]
LAM = 0.4

SMOOTH = [L2(), ElasticNet(l1_ratio=0.0)]
SEPARABLE_CONVEX = [L1(), *SMOOTH, ElasticNet(l1_ratio=0.3), ElasticNet(l1_ratio=1.0)]
FOLDED = [
    MCP(),
    MCP(gamma=0.7),
    MCP(saturation=0.8),
    SCAD(),
    SCAD(a=2.1),
    SCAD(saturation=2.0),
    SCAD(saturation=0.1),
]
GROUPS = [
    GroupLasso(),
    GroupLasso(by="units"),
    GroupLasso(weighted=False),
    GroupLasso(groups=LABELS),
    GroupLasso(by="units", groups=[7, -2, 7], weighted=False),
]
SPARSE_GROUPS = [
    SparseGroupLasso(),
    SparseGroupLasso(l1_ratio=0.0),
    SparseGroupLasso(l1_ratio=1.0),
    SparseGroupLasso(l1_ratio=0.2, groups=LABELS, weighted=False),
    SparseGroupLasso(l1_ratio=0.8, by="units"),
]
CONVEX = SEPARABLE_CONVEX + GROUPS + SPARSE_GROUPS
SEPARABLE = SEPARABLE_CONVEX + FOLDED
ALL = CONVEX + FOLDED


def over(table, name="penalty"):
    ids = [" ".join(repr(row).split()) for row in table]
    return pytest.mark.parametrize(name, table, ids=ids)


def draws(n=20, scale=1.0, shape=SHAPE):
    """Weight matrices with an array of steps each, of very different sizes."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        W = scale * rng.normal(size=shape)
        W[rng.random(shape) < 0.1] = 0.0
        yield W, 10 ** rng.uniform(-2, 1, size=shape)


def groups_of(penalty, W):
    """Boolean masks of the groups, written down independently of the library."""
    axis = 0 if penalty.by == "inputs" else 1
    n = W.shape[axis]
    labels = np.arange(n) if penalty.groups is None else np.asarray(penalty.groups)
    lines = labels if axis == 1 else labels[:, None]
    return [np.broadcast_to(lines == g, W.shape) for g in sorted(set(labels.tolist()))]


def naive_value(penalty, W, lam):
    """Every penalty by its textbook formula, one weight or group after the other."""
    name = type(penalty).__name__
    if name in ("GroupLasso", "SparseGroupLasso"):
        r = getattr(penalty, "l1_ratio", 0.0)
        total = r * sum(abs(w) for w in W.flat)
        for mask in groups_of(penalty, W):
            c = mask.sum() ** 0.5 if penalty.weighted else 1.0
            total += (1 - r) * c * sum(w**2 for w in W[mask]) ** 0.5
        return lam * total
    return sum(naive_weight_value(penalty, abs(w), lam) for w in W.flat)


def naive_weight_value(penalty, x, lam):
    name = type(penalty).__name__
    if name == "MCP":
        gamma = penalty.saturation / lam if penalty.saturation else penalty.gamma
        return lam * x - x**2 / (2 * gamma) if x <= gamma * lam else lam**2 * gamma / 2
    if name == "SCAD":
        a = max(penalty.saturation / lam, 2) if penalty.saturation else penalty.a
        if x <= lam:
            return lam * x
        if x <= a * lam:
            return (2 * a * lam * x - x**2 - lam**2) / (2 * (a - 1))
        return lam**2 * (a + 1) / 2
    r = {"L1": 1.0, "L2": 0.0}.get(name, getattr(penalty, "l1_ratio", None))
    return lam * (r * x + (1 - r) / 2 * x**2)


def objective(penalty, Z, W, step, lam):
    return np.sum((Z - W) ** 2 / (2 * step)) + penalty.value(Z, lam)


# Value and gradient


@over(ALL)
def test_value_is_the_textbook_formula(penalty):
    for W, _ in draws():
        value = penalty.value(W, LAM)
        assert type(value) is float
        assert_allclose(value, naive_value(penalty, W, LAM), rtol=1e-13)


def test_values_by_hand():
    W = np.array([[3.0, -4.0], [0.0, 1.0]])
    assert L1().value(W) == 8
    assert L2().value(W) == 13
    assert ElasticNet(0.25).value(W, 2.0) == 2 * (0.25 * 8 + 0.75 * 13)
    assert GroupLasso(weighted=False).value(W) == 6
    assert_allclose(GroupLasso().value(W), 2**0.5 * 6)
    assert_allclose(GroupLasso(by="units", weighted=False).value(W), 3 + 17**0.5)
    assert_allclose(GroupLasso(groups=[0, 0]).value(W), 2 * 26**0.5)
    assert SparseGroupLasso(0.5, weighted=False).value(W, 3.0) == 3 * (4 + 3)
    assert MCP(gamma=2.0).value(W, 1.5) == 2 * 1.5**2 * 2 / 2 + (1.5 - 1 / 4)
    assert SCAD(a=3.0).value(W, 1.0) == 2 * (3 + 1) / 2 + 1


@over(ALL)
def test_gradient_by_finite_differences(penalty):
    rng = np.random.default_rng(1)
    # away from 0 and, by these very values, from the knots of MCP and SCAD
    W = rng.permutation(np.linspace(0.105, 2.105, 18)) * rng.choice([-1, 1], size=18)

    def value(w):
        return penalty.value(w.reshape(SHAPE), LAM)

    numeric = approx_fprime(W, value, 1e-7)
    assert_allclose(penalty.gradient(W.reshape(SHAPE), LAM).ravel(), numeric, atol=1e-5)


@over(ALL)
def test_gradient_is_zero_at_zero(penalty):
    W = np.zeros(SHAPE)
    assert_array_equal(penalty.gradient(W, LAM), W)
    W[0, 1] = -2.0
    zeros = penalty.gradient(W, LAM)[W == 0]
    assert_array_equal(zeros, 0)


@over(ALL)
def test_convex_penalties_lie_above_their_tangents(penalty):
    pairs = [(A, B) for (A, _), (B, _) in zip(draws(), list(draws(40))[20:])]
    pairs.append((np.full(SHAPE, LAM), np.full(SHAPE, 2.0)))
    gaps = [
        penalty.value(B, LAM)
        - penalty.value(A, LAM)
        - np.sum(penalty.gradient(A, LAM) * (B - A))
        for A, B in pairs
    ]
    assert (min(gaps) >= -1e-12) == penalty.is_convex


@over(FOLDED)
def test_folded_concave_penalties_are_flat_beyond_saturation(penalty):
    stop = penalty.ramp(LAM)[1]
    W = np.array([[stop, -2 * stop, 50.0]])
    assert_array_equal(penalty.gradient(W, LAM), 0)
    assert_allclose(penalty.value(W, LAM), 3 * penalty.value(W[:, :1], LAM))


@over([MCP(saturation=0.8), SCAD(saturation=2.0), SCAD(saturation=0.1)])
def test_saturation_is_in_units_of_the_weights(penalty):
    for lam in (1e-6, 1e-3, 0.02):
        assert penalty.ramp(lam)[1] == penalty.saturation
        same = MCP if isinstance(penalty, MCP) else SCAD
        fixed = same(penalty.saturation / lam)
        for W, step in draws(5):
            assert_allclose(penalty.prox(W, step, lam), fixed.prox(W, step, lam))
            assert_allclose(penalty.value(W, lam), fixed.value(W, lam))


def test_saturation_of_scad_never_below_twice_lam():
    assert SCAD(saturation=1.0).ramp(0.5) == (0.5, 1.0)
    assert SCAD(saturation=1.0).ramp(3.0) == (3.0, 6.0)


def test_saturated_mcp_is_linear_in_lam():
    W, _ = next(draws())
    penalty = MCP(saturation=1.5)
    assert_allclose(penalty.value(W, 7.0), 7 * penalty.value(W, 1.0))
    assert not np.isclose(MCP().value(W, 0.1), 0.1 * MCP().value(W, 1.0))


# Prox


@over(SEPARABLE)
def test_prox_beats_a_grid_for_each_weight(penalty):
    grid = np.linspace(-3, 3, 6001)
    penalties = np.array([naive_weight_value(penalty, abs(z), LAM) for z in grid])
    for step in (0.05, 0.3, 0.7, 1.0, 1.5, 2.9, 4.0, 6.0, 20.0):
        for w in np.linspace(-2.5, 2.5, 41):
            z = penalty.prox(np.array([[w]]), step, LAM)
            best = objective(penalty, z, w, step, LAM)
            brute = np.min((grid - w) ** 2 / (2 * step) + penalties)
            assert brute - 1e-3 <= best <= brute + 1e-12


@pytest.mark.parametrize("is_metric", [False, True])
@over(GROUPS + SPARSE_GROUPS)
def test_group_prox_is_a_minimum_by_derivative_free_search(penalty, is_metric):
    rng = np.random.default_rng(2)
    W, steps = next(draws())
    step = steps if is_metric else 0.6

    def function(z):
        return objective(penalty, z.reshape(SHAPE), W, step, LAM)

    z = penalty.prox(W, step, LAM).ravel()
    for scale in (1e-6, 1e-3, 0.1, 1.0):
        for _ in range(100):
            move = rng.normal(size=z.size) * rng.integers(0, 2, size=z.size)
            assert function(z) <= function(z + scale * move) + 1e-12
    assert function(z) <= minimize(function, z, method="Powell").fun + 1e-12


@over(CONVEX)
def test_prox_is_optimal(penalty):
    """The residual (W − Z)/t is a subgradient at Z: the inequality for many points."""
    others = [V for V, _ in draws(30, scale=2.0)] + [np.zeros(SHAPE)]
    for W, step in draws():
        Z = penalty.prox(W, step, LAM)
        subgradient = (W - Z) / step
        bound = penalty.value(Z, LAM)
        for V in [*others, Z + 1e-3, W, -W]:
            gap = penalty.value(V, LAM) - bound - np.sum(subgradient * (V - Z))
            assert gap >= -1e-12 * max(1, np.abs(subgradient).max())


@pytest.mark.parametrize("spread", [0, 1, 6, 12])
def test_metric_group_prox_residual(spread):
    rng = np.random.default_rng(3)
    penalty = GroupLasso(groups=np.arange(40) // 4)
    for level in (0.01, 0.3, 1.0, 3.0):
        W = rng.normal(size=(40, 5)) * 10 ** rng.uniform(-2, 2, size=(40, 1))
        step = 10 ** rng.uniform(-spread / 2, spread / 2, size=W.shape)
        Z = penalty.prox(W, step, level)
        for mask in groups_of(penalty, W):
            z, w, t, c = Z[mask], W[mask], step[mask], level * 20**0.5
            norm = np.linalg.norm(z)
            if norm == 0:
                assert np.linalg.norm(w / t) <= c
                continue
            residual = (z - w) / t + c * z / norm
            assert np.linalg.norm(residual) <= 1e-12 * max(c, np.linalg.norm(w / t))


def test_metric_group_prox_near_the_threshold():
    W = np.array([[3.0, 4.0, 12.0]])
    step = np.array([[0.1, 1.0, 7.0]])
    threshold = np.linalg.norm(W / step)
    penalty = GroupLasso(weighted=False)
    assert not penalty.prox(W, step, threshold * (1 + 1e-12)).any()
    Z = penalty.prox(W, step, threshold * (1 - 1e-12))
    assert 0 < np.linalg.norm(Z) < 1e-9


@pytest.mark.parametrize("step", [0.03, 1.0, 5.0])
@over(ALL)
def test_equal_steps_are_a_scalar_step(penalty, step):
    for W, _ in draws():
        metric = penalty.prox(W, np.full(SHAPE, step), LAM)
        assert_allclose(metric, penalty.prox(W, step, LAM), rtol=1e-13, atol=1e-15)


@over(SEPARABLE)
def test_array_step_acts_weight_by_weight(penalty):
    for W, step in draws(3):
        Z = penalty.prox(W, step, LAM)
        for i in np.ndindex(*SHAPE):
            assert_allclose(Z[i], penalty.prox(W[i], step[i], LAM), rtol=1e-14)


@over(ALL)
def test_no_lam_no_step_no_change(penalty):
    for W, step in draws():
        for same in (
            penalty.prox(W, 0.7, 0.0),
            penalty.prox(W, step, 0.0),
            penalty.prox(W, 0.0, LAM),
            penalty.prox(W, 0 * step, LAM),
            penalty.prox(W, np.zeros(SHAPE, dtype=np.float32), LAM),
        ):
            assert_array_equal(same, W)
        assert penalty.value(W, 0.0) == 0
        assert_array_equal(penalty.gradient(W, 0.0), 0)


def test_single_zero_step_keeps_its_weight():
    W = np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 3.0]])
    step = np.array([[0.0, 10.0, 1.0], [10.0, 10.0, 10.0]])
    Z = GroupLasso(weighted=False).prox(W, step, 0.9)
    assert_allclose(Z[0, 0], 1.0)
    # ‖z‖ = s with z₁ = 1 and z₂ = 2 s / (s + 9)
    s = np.linalg.norm(Z[0])
    assert_allclose(Z[0, 1], 2 * s / (s + 9))
    assert_array_equal(Z[1], 0)


def test_moreau_identity_l1():
    """w = prox(w) + t · projection of w/t on the ball of the dual norm."""
    for W, step in draws():
        dual = np.clip(W / step, -LAM, LAM)
        assert_allclose(L1().prox(W, step, LAM) + step * dual, W, rtol=1e-14)


@over(GROUPS)
def test_moreau_identity_groups(penalty):
    for W, _ in draws():
        dual = W.copy() / 0.6
        for mask in groups_of(penalty, W):
            c = LAM * (mask.sum() ** 0.5 if penalty.weighted else 1.0)
            dual[mask] *= min(1, c / np.linalg.norm(dual[mask]))
        assert_allclose(penalty.prox(W, 0.6, LAM) + 0.6 * dual, W, rtol=1e-13)


@over(CONVEX)
def test_firm_nonexpansiveness(penalty):
    """‖p(A) − p(B)‖² ≤ ⟨p(A) − p(B), A − B⟩ in the norm of the metric 1/t."""
    others = list(draws(40))[20:]
    for (A, steps), (B, _) in zip(draws(), others):
        for step in (0.6, steps):
            P = penalty.prox(A, step, LAM) - penalty.prox(B, step, LAM)
            assert np.sum(P * (A - B) / step) - np.sum(P * P / step) >= -1e-12


def test_mcp_prox_lipschitz_constant():
    w = np.linspace(-4, 4, 4001)[None]
    for step in (0.1, 1.0, 2.5):
        slope = np.diff(MCP(gamma=3.0).prox(w, step, 1.0)) / np.diff(w)
        assert_allclose(slope.max(), 1 / (1 - step / 3), rtol=1e-9)


@over([MCP(gamma=3.0), SCAD(a=4.0)])
def test_folded_concave_prox_at_its_steepest(penalty):
    """Just below the step where the prox becomes discontinuous."""
    W = np.linspace(0, 20, 2001)[None]
    for gap in (1e-3, 1e-9, 1e-15, 0.0):
        Z = penalty.prox(W, 3 * (1 - gap), 1.0)
        assert (np.diff(Z) >= 0).all()
        assert (Z <= W).all() and (Z >= 0).all()


@pytest.mark.parametrize(
    ("step", "edges", "pieces"),
    [
        (1.0, [1, 3], [lambda x: 0, lambda x: (x - 1) / (1 - 1 / 3), lambda x: x]),
        (3.0, [3], [lambda x: 0, lambda x: x]),
        (12.0, [6], [lambda x: 0, lambda x: x]),
    ],
)
def test_mcp_branches(step, edges, pieces):
    check_branches(MCP(gamma=3.0), step, edges, pieces)


@pytest.mark.parametrize(
    ("step", "edges", "pieces"),
    [
        (1.0, [1, 2, 4], [0, "soft", lambda x: (3 * x - 4) / 2, lambda x: x]),
        (3.0, [3, 4], [0, "soft", lambda x: x]),
        (4.5, [4.5, 4.75], [0, "soft", lambda x: x]),
        (20.0, [10], [0, lambda x: x]),
    ],
)
def test_scad_branches(step, edges, pieces):
    given = {0: lambda x: 0, "soft": lambda x: x - step}
    pieces = [given.get(piece, piece) for piece in pieces]
    check_branches(SCAD(a=4.0), step, edges, pieces)


def check_branches(penalty, step, edges, pieces):
    bounds = [0, *edges, 15]
    for low, high, piece in zip(bounds, bounds[1:], pieces):
        for x in np.linspace(low, high, 7)[1:-1]:
            W = np.array([[x, -x]])
            expected = [[piece(x), -piece(x)]]
            for t in (step, np.full_like(W, step)):
                assert_allclose(penalty.prox(W, t, 1.0), expected, atol=1e-14)


@over(ALL)
def test_zeros_have_no_sign(penalty):
    for W, step in draws(3):
        for t in (0.6, step):
            Z = penalty.prox(W, t, 3.0)
            assert not np.signbit(Z[(Z == 0) & (W != 0)]).any()


@over(ALL)
def test_not_a_number_is_never_hidden(penalty):
    W, step = next(draws())
    W[1, 1] = np.nan
    assert np.isnan(penalty.value(W, LAM))
    assert np.isnan(penalty.gradient(W, LAM)[1, 1])
    assert np.isnan(penalty.prox(W, 0.5, LAM)[1, 1])
    assert np.isnan(penalty.prox(W, step, LAM)[1, 1])


# Decoupled shrink


def test_shrink_formulas():
    W, _ = next(draws())

    def soft(A, t):
        return np.sign(A) * np.maximum(np.abs(A) - t, 0)

    assert_allclose(L2().shrink(W, 0.5, LAM), (1 - 0.5 * LAM) * W)
    assert_array_equal(L2().shrink(W, 1.0, 2.0), 0)
    assert_allclose(L1().shrink(W, 0.5, LAM), soft(W, 0.5 * LAM))
    expected = soft((1 - 0.5 * LAM * 0.7) * W, 0.5 * LAM * 0.3)
    assert_allclose(ElasticNet(0.3).shrink(W, 0.5, LAM), expected)


@over(GROUPS + SPARSE_GROUPS)
def test_shrink_of_groups_is_their_prox(penalty):
    W, _ = next(draws())
    assert_array_equal(penalty.shrink(W, 0.5, LAM), penalty.prox(W, 0.5, LAM))


def test_one_weight_of_size_five():
    """Step ½, λ = 1: L1 is zero after exactly 10 steps, L2 halves or takes ⅔."""
    w = {"l1": 5.0, "l2": 5.0, "prox_l2": 5.0}
    for i in range(1, 11):
        w["l1"] = L1().shrink(w["l1"], 0.5)
        w["l2"] = L2().shrink(w["l2"], 0.5)
        w["prox_l2"] = L2().prox(w["prox_l2"], 0.5)
        assert w["l1"] == 5 - i / 2
        assert w["l2"] == 5 / 2**i
    assert_allclose(w["prox_l2"], 5 * (2 / 3) ** 10)


# Smooth and nonsmooth part, crossing


@over(ALL)
def test_smooth_and_nonsmooth_part_sum_to_the_penalty(penalty):
    for W, _ in draws():
        smooth, gradient = penalty.smooth_part(W, LAM)
        part = penalty.nonsmooth_part(LAM)
        rest = part[0].value(W, part[1]) if part else 0.0
        slope = part[0].gradient(W, part[1]) if part else 0.0
        assert_allclose(smooth + rest, penalty.value(W, LAM), rtol=1e-13)
        assert_allclose(gradient + slope, penalty.gradient(W, LAM), atol=1e-14)
        assert (part is None) == penalty.is_smooth
        if part:
            assert part[0].nonsmooth_part(part[1]) == part
            assert part[0].is_convex


@over(ALL)
def test_smooth_part_has_a_continuous_gradient(penalty):
    """Also across zero and across the knots, where the penalty itself has kinks."""
    w = np.linspace(-2, 2, 40001)
    W = np.zeros((w.size, 1))
    W[:, 0] = w
    free = clone(penalty)
    if isinstance(free, GroupLasso):
        free.groups = None
    gradient = free.smooth_part(W, LAM)[1][:, 0]
    assert np.abs(np.diff(gradient)).max() < 1e-3
    values = np.array([free.smooth_part(W[i : i + 1], LAM)[0] for i in range(0, 2001)])
    slopes = np.diff(values) / np.diff(w[:2001])
    assert_allclose(slopes, gradient[:2000], atol=1e-3)


def test_nonsmooth_parts():
    assert L2().nonsmooth_part(3.0) is None
    part, lam = ElasticNet(l1_ratio=0.25).nonsmooth_part(2.0)
    assert isinstance(part, L1) and lam == 0.5
    for penalty in FOLDED:
        part, lam = penalty.nonsmooth_part(2.0)
        assert isinstance(part, L1) and lam == 2.0
    for penalty in [L1(), *GROUPS, *SPARSE_GROUPS]:
        assert penalty.nonsmooth_part(2.0) == (penalty, 2.0)


def test_cross():
    W = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
    C = np.array([[2.0, 1.0, 3.0], [-2.0, 1.0, -3.0]])
    single = [[2.0, 0.0, 3.0], [0.0, 1.0, -3.0]]
    rows = [[2.0, 1.0, 3.0], [0.0, 0.0, 0.0]]
    assert_array_equal(L1().cross(W, C), single)
    assert_array_equal(ElasticNet().cross(W, C), single)
    assert_array_equal(GroupLasso().cross(W, C), rows)
    assert_array_equal(GroupLasso(groups=[1, 1]).cross(W, C), C)
    columns = [[2.0, 1.0, 3.0], [-2.0, 1.0, -3.0]]
    assert_array_equal(GroupLasso(by="units").cross(W, C), columns)
    assert_array_equal(SparseGroupLasso().cross(W, C), single)
    assert_array_equal(SparseGroupLasso(l1_ratio=0.0).cross(W, C), rows)
    assert_array_equal(SparseGroupLasso(l1_ratio=1.0).cross(W, C), single)
    assert L2().cross(W, C) is C


def test_cross_ignores_the_size_of_the_weights():
    W, C = np.full((1, 1), 1e-200), np.full((1, 1), -1e-200)
    assert L1().cross(W, C) == 0


# λ_max


@over([L1(), ElasticNet(0.3), ElasticNet(1.0), *GROUPS, *SPARSE_GROUPS, *FOLDED])
def test_lambda_max_is_where_zero_becomes_optimal(penalty):
    """One prox step from W = 0 stays there just above λ_max, and not just below."""
    for G, _ in draws():
        lam = penalty.lambda_max(G)
        step = 0.01 * lam  # small: MCP and SCAD have a local minimum there
        assert not penalty.prox(-step * G, step, lam * (1 + 1e-9)).any()
        assert penalty.prox(-step * G, step, lam * (1 - 1e-3)).any()


def test_lambda_max_of_smooth_penalties():
    G = np.ones(SHAPE)
    for penalty in SMOOTH:
        assert penalty.lambda_max(G) == np.inf
        assert penalty.lambda_max(0 * G) == 0


@over(ALL)
def test_lambda_max_without_a_gradient(penalty):
    assert penalty.lambda_max(np.zeros(SHAPE)) == 0


# Precision, predicates, parameters


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over(ALL)
def test_precision_is_kept(penalty, dtype):
    penalty = clone(penalty)
    for name, number in penalty.get_params().items():
        if isinstance(number, float):  # as a grid of NumPy numbers would set it
            penalty.set_params(**{name: np.float64(number)})
    lam, scalar = np.float64(LAM), np.float64(0.5)
    for W, step in draws(3):
        W32 = W.astype(dtype)
        arrays = {
            "gradient": penalty.gradient(W32, lam),
            "prox": penalty.prox(W32, scalar, lam),
            "metric prox": penalty.prox(W32, step, lam),
            "smooth part": penalty.smooth_part(W32, lam)[1],
            "cross": penalty.cross(W32, W32[::-1]),
        }
        if penalty.has_shrink:
            arrays["shrink"] = penalty.shrink(W32, scalar, lam)
        for name, array in arrays.items():
            assert array.dtype == dtype, name
            assert array.shape == SHAPE, name
        assert_allclose(arrays["prox"], penalty.prox(W, 0.5, LAM), atol=1e-6)
        assert_allclose(arrays["metric prox"], penalty.prox(W, step, LAM), atol=1e-6)
        assert_allclose(penalty.value(W32, lam), penalty.value(W, LAM), rtol=1e-6)


@over(ALL)
def test_arguments_are_not_modified(penalty):
    W, step = next(draws())
    W.flags.writeable = step.flags.writeable = False
    penalty.value(W, LAM)
    penalty.gradient(W, LAM)
    penalty.prox(W, step, LAM)
    penalty.prox(np.asfortranarray(W), step, LAM)
    penalty.cross(W, W[::-1])


@over(ALL)
def test_integers_are_weights_too(penalty):
    W = np.arange(18).reshape(SHAPE) - 9
    for step in (0.5, np.full(SHAPE, 0.5)):
        floating = penalty.prox(W.astype(float), step, LAM)
        assert_array_equal(penalty.prox(W, step, LAM), floating)


@over(ALL)
def test_predicates(penalty):
    assert penalty.is_smooth == (penalty in SMOOTH)
    assert penalty.is_convex == (penalty in CONVEX)
    assert penalty.is_separable == (penalty in SEPARABLE)
    assert penalty.has_shrink == (penalty not in FOLDED)
    assert penalty.has_metric_prox
    assert penalty.has_gradient
    assert penalty.is_convex or not penalty.is_smooth


@over(ALL)
def test_clone_repr_pickle(penalty):
    W, _ = next(draws())
    copies = [clone(penalty), pickle.loads(pickle.dumps(penalty)), eval(repr(penalty))]
    for copy in copies:
        assert type(copy) is type(penalty)
        assert copy.get_params() == penalty.get_params()
        assert copy.value(W, LAM) == penalty.value(W, LAM)
    before = dict(vars(penalty))
    penalty.prox(W, 0.5, LAM)
    assert vars(penalty) == before


@over(ALL)
def test_valid_parameters_pass(penalty):
    penalty.validate()
    penalty.validate(SHAPE)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (ElasticNet(l1_ratio=1.1), r"'l1_ratio' .* ElasticNet .* \[0, 1\]. Got 1.1"),
        (ElasticNet(l1_ratio=np.nan), "'l1_ratio' .* Got nan"),
        (ElasticNet(l1_ratio="half"), "'l1_ratio' .* Got 'half'"),
        (ElasticNet(l1_ratio=True), "'l1_ratio' .* Got True"),
        (SparseGroupLasso(l1_ratio=-0.1), "'l1_ratio' .* SparseGroupLasso .* Got -0.1"),
        (SparseGroupLasso(by="rows"), "'by' .* SparseGroupLasso .* Got 'rows'"),
        (GroupLasso(by="rows"), "'by' .* GroupLasso .*'inputs' or 'units'. Got 'rows'"),
        (GroupLasso(by=np.array(["inputs", "units"])), "'by' .* Got array"),
        (GroupLasso(weighted="yes"), "'weighted' .* True or False. Got 'yes'"),
        (GroupLasso(groups=[[0, 1], [2, 3]]), "'groups' .* 1-d array"),
        (GroupLasso(groups=[[0, 1], [2]]), "'groups' .* 1-d array"),
        (GroupLasso(groups=[0.5, 1.0]), "'groups' .* 1-d array .* Got"),
        (GroupLasso(groups=["a", None]), "'groups' .* Got"),
        (GroupLasso(groups="abcdef"), "'groups' .* Got 'abcdef'"),
        (MCP(gamma=0), "'gamma' .* MCP .* > 0. Got 0"),
        (MCP(gamma=np.inf), "'gamma' .* Got inf"),
        (MCP(gamma=10**400), "'gamma' .* MCP .* > 0. Got 1000"),
        (MCP(gamma=Fraction(7, 2)), "'gamma' .* MCP .* > 0. Got Fraction"),
        (SCAD(a=np.ma.masked), "'a' .* SCAD .* > 2. Got masked"),
        (MCP(saturation=-1.0), "'saturation' .* MCP .* > 0. Got -1.0"),
        (SCAD(a=2), "'a' .* SCAD .* > 2. Got 2"),
        (SCAD(saturation=0), "'saturation' .* SCAD .* Got 0"),
    ],
    ids=repr,
)
def test_invalid_parameters_are_named(penalty, message):
    with pytest.raises(ValueError, match=message):
        penalty.validate()


def test_groups_must_fit_the_matrix():
    for penalty in (GroupLasso(groups=[0, 0, 1]), SparseGroupLasso(groups=[0, 0, 1])):
        penalty.validate()
        penalty.validate((3, 6))
        with pytest.raises(ValueError, match=r"'groups' .* 6 rows\. Got 3 labels"):
            penalty.validate(SHAPE)
        with pytest.raises(ValueError, match=r"'groups' .* 6 rows\. Got 3 labels"):
            penalty.prox(np.ones(SHAPE), 0.1)
    with pytest.raises(ValueError, match=r"'groups' .* 3 columns\. Got 6 labels"):
        GroupLasso(by="units", groups=LABELS).validate(SHAPE)


@pytest.mark.parametrize("make", [list, tuple, np.asarray, "series"])
def test_kinds_of_group_labels(make):
    if make == "series":
        make = pytest.importorskip("pandas").Series
    W, _ = next(draws())
    numbers = [{"a": 5, "b": -1, "c": 0}[label] for label in LABELS]
    expected = GroupLasso(groups=LABELS).prox(W, 0.5, LAM)
    for labels in (LABELS, numbers):
        penalty = GroupLasso(groups=make(labels))
        penalty.validate(SHAPE)
        assert_array_equal(penalty.prox(W, 0.5, LAM), expected)
        assert_array_equal(clone(penalty).prox(W, 0.5, LAM), expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", L1()),
        ("l2", L2()),
        ("elasticnet", ElasticNet(l1_ratio=0.3)),
        ("group_lasso", GroupLasso()),
        ("sparse_group_lasso", SparseGroupLasso(l1_ratio=0.3)),
    ],
)
def test_check_penalty_resolves_names(name, expected):
    penalty = check_penalty(name, l1_ratio=0.3)
    assert type(penalty) is type(expected)
    assert penalty.get_params() == expected.get_params()


def test_check_penalty_returns_what_it_need_not_resolve():
    penalty = MCP(gamma=5.0)
    assert check_penalty(penalty) is penalty
    assert check_penalty(None) is None


@pytest.mark.parametrize("bad", ["l3", "L1", 1.0, L1, ["l1"]], ids=repr)
def test_check_penalty_names_the_choices(bad):
    with pytest.raises(ValueError, match=r"'penalty' .* one of 'l1', .* instance"):
        check_penalty(bad)


# Weights of any size


@over(ALL)
@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e155, 1e200, 1e300])
@pytest.mark.parametrize("lam", [0.0, 1e-300, LAM, 1e10])
def test_no_size_of_weights_makes_a_nan_or_a_warning(penalty, size, lam):
    for W, metric in draws(3):
        W = size * W / np.abs(W).max()
        results = [penalty.value(W, lam), penalty.gradient(W, lam)]
        results += [*penalty.smooth_part(W, lam), penalty.lambda_max(W)]
        for step in (0.0, 0.1, 1e300, metric, 1e200 * metric):
            Z = penalty.prox(W, step, lam)
            results.append(Z)
            assert np.all(np.abs(Z) <= np.abs(W))
            if penalty.has_shrink:
                results.append(penalty.shrink(W, step, lam))
        assert not any(np.isnan(result).any() for result in results)


@over(ALL)
@pytest.mark.parametrize("size", [1e-310, 1.0, 1e300])
def test_no_strength_is_no_penalty_at_any_size(penalty, size):
    for W, metric in draws(3):
        W = size * W / np.abs(W).max()
        assert penalty.value(W, 0.0) == 0
        assert penalty.smooth_part(W, 0.0)[0] == 0
        assert not penalty.gradient(W, 0.0).any()
        for step in (0.5, 1e300, metric):
            assert_array_equal(penalty.prox(W, step, 0.0), W)


@over([L1(), *GROUPS, *SPARSE_GROUPS])
@pytest.mark.parametrize("exponent", [-1000, -600, 600, 1000])
def test_homogeneous_penalties_know_no_unit(penalty, exponent):
    """value(sW) = s value(W), prox(sW, λs) = s prox(W, λ): exact for powers of 2."""
    for W, metric in draws(5):
        scale = 2.0**exponent
        assert_allclose(penalty.value(scale * W, LAM), scale * penalty.value(W, LAM))
        assert_allclose(penalty.lambda_max(scale * W), scale * penalty.lambda_max(W))
        assert_allclose(penalty.gradient(scale * W, LAM), penalty.gradient(W, LAM))
        for step in (0.3, metric):
            Z = penalty.prox(scale * W, step, scale * LAM)
            assert_allclose(Z, scale * penalty.prox(W, step, LAM), rtol=1e-12)


@over(FOLDED)
@pytest.mark.parametrize("size", [1e20, 1e300])
def test_the_value_beyond_saturation_is_exact_at_any_size(penalty, size):
    assert_allclose(penalty.value([[size]], LAM), penalty.value([[1e3]], LAM))


# Factors of rows

FACTORS = [0.5, 2.0, 0.5, 1.0, 2.0, 2.0]  # the same within the groups of LABELS
WITH_FACTORS = [penalty for penalty in ALL if getattr(penalty, "by", None) != "units"]


def with_factors(penalty, factors=FACTORS):
    return clone(penalty).set_params(factors=factors)


@over(WITH_FACTORS)
@pytest.mark.parametrize("make", [list, tuple, np.array])
def test_a_factor_is_the_plain_penalty_of_an_input_in_another_unit(penalty, make):
    """Inputs x_j / c_j have weights c_j w_j."""
    c = np.array(FACTORS)[:, None]
    factored = with_factors(penalty, make(FACTORS))
    factored.validate(SHAPE)
    for W, metric in draws():
        assert_allclose(factored.value(W, LAM), penalty.value(c * W, LAM), rtol=1e-13)
        expected = c * penalty.gradient(c * W, LAM)
        assert_allclose(factored.gradient(W, LAM), expected, rtol=1e-13, atol=1e-15)
        value, gradient = penalty.smooth_part(c * W, LAM)
        assert_allclose(factored.smooth_part(W, LAM)[0], value, rtol=1e-12, atol=1e-14)
        got = factored.smooth_part(W, LAM)[1]
        assert_allclose(got, c * gradient, rtol=1e-13, atol=1e-15)
        for step in (0.3, 20.0, metric):
            expected = penalty.prox(c * W, step * c**2, LAM) / c
            assert_allclose(
                factored.prox(W, step, LAM), expected, rtol=1e-9, atol=1e-14
            )
            if penalty.has_shrink:
                expected = penalty.shrink(c * W, step * c**2, LAM) / c
                got = factored.shrink(W, step, LAM)
                assert_allclose(got, expected, rtol=1e-9, atol=1e-14)
        assert_allclose(factored.lambda_max(W), penalty.lambda_max(W / c), rtol=1e-12)


@over(WITH_FACTORS)
def test_factors_of_one_change_nothing(penalty):
    factored = with_factors(penalty, np.ones(6))
    for W, metric in draws(3):
        assert_allclose(factored.value(W, LAM), penalty.value(W, LAM), rtol=1e-14)
        for step in (0.3, metric):
            assert_array_equal(factored.prox(W, step, LAM), penalty.prox(W, step, LAM))


@over(WITH_FACTORS)
def test_rows_of_factor_zero_are_never_penalized(penalty):
    free = np.array([label == "b" for label in LABELS])
    factored = with_factors(penalty, np.where(free, 0.0, FACTORS))
    factored.validate(SHAPE)
    part = factored.nonsmooth_part(LAM)
    for W, metric in draws():
        kept = np.where(free[:, None], 0.0, W)
        assert_allclose(factored.value(W, LAM), factored.value(kept, LAM), rtol=1e-14)
        assert not factored.gradient(W, LAM)[free].any()
        assert not factored.smooth_part(W, LAM)[1][free].any()
        for step in (0.3, 1e10, metric):
            assert_array_equal(factored.prox(W, step, LAM)[free], W[free])
            if penalty.has_shrink:
                assert_array_equal(factored.shrink(W, step, LAM)[free], W[free])
        if part is not None:
            assert_array_equal(part[0].cross(W, -W)[free], -W[free])
        assert factored.lambda_max(W) == factored.lambda_max(kept)
    everything = with_factors(penalty, np.zeros(6))
    assert everything.value(W, 1e300) == 0
    assert_array_equal(everything.prox(W, 0.5, LAM), W)
    assert everything.lambda_max(W) == 0


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (L1([1.0, -1.0]), r"'factors' .* L1 .* >= 0, one for each row. Got \[1.0, -1"),
        (L2([1.0, np.inf]), "'factors' .* L2"),
        (ElasticNet(factors=[np.nan]), "'factors' .* ElasticNet"),
        (MCP(factors="ab"), "'factors' .* Got 'ab'"),
        (SCAD(factors=2.0), "'factors' .* Got 2.0"),
        (L1([[1.0], [2.0]]), "'factors' .* sequence"),
        (L1([True, False]), "'factors' .* sequence"),
        (GroupLasso(by="units", factors=[1.0]), "'factors' .* None with by='units'"),
        (
            SparseGroupLasso(groups=["a", "b", "a"], factors=[1, 2, 3]),
            "'factors' .* same for all rows of one group, here 'a'",
        ),
    ],
    ids=repr,
)
def test_invalid_factors_are_named(penalty, message):
    with pytest.raises(ValueError, match=message):
        penalty.validate()


@over(WITH_FACTORS)
def test_factors_must_fit_the_matrix(penalty):
    with pytest.raises(ValueError, match=r"'factors' .* each row \(here 4\)"):
        with_factors(penalty).set_params(
            **{"groups": None} if "groups" in vars(penalty) else {}
        ).validate((4, 2))


@over(WITH_FACTORS)
def test_factors_are_of_one_matrix(penalty):
    other = penalties.without_groups(with_factors(penalty))
    assert other.factors is None
    assert other.get_params().keys() == penalty.get_params().keys()


# Penalties as data


def value_of_form(form, W):
    """Value of a `Form`, weight by weight and group by group."""
    n_in, n_out = W.shape
    l1, l2 = (np.broadcast_to(a, (n_in, 1)).ravel() for a in (form.l1, form.l2))
    total = 0.0
    for i, k in np.ndindex(n_in, n_out):
        w = abs(W[i, k])
        if form.ramp is None:
            total += l1[i] * w + l2[i] / 2 * w**2
            continue
        start, stop = (np.broadcast_to(a, (n_in, 1))[i, 0] for a in form.ramp)
        # The area under a slope that is l1 to start and falls linearly to 0 at stop.
        total += l1[i] * min(w, start)
        if w > start:
            end = min(w, stop)
            slope = l1[i] * (stop - end) / (stop - start)
            total += (end - start) * (l1[i] + slope) / 2
    if form.groups is not None:
        lines = W if form.groups.axis == 0 else W.T
        for g, kappa in enumerate(form.groups.kappa):
            total += kappa * np.linalg.norm(lines[form.groups.index == g])
    return total


def prox_of_form(form, W, step):
    Z = np.sign(W) * np.maximum(np.abs(W) - step * form.l1, 0) / (1 + step * form.l2)
    if form.groups is None:
        return Z
    lines = Z if form.groups.axis == 0 else Z.T
    for g, kappa in enumerate(form.groups.kappa):
        norm = np.linalg.norm(lines[form.groups.index == g])
        lines[form.groups.index == g] *= max(0, 1 - step * kappa / max(norm, 1e-300))
    return Z


FORMS = ALL + [with_factors(penalty) for penalty in WITH_FACTORS]


@over(FORMS)
def test_form_is_the_penalty_as_data(penalty):
    for W, _ in draws(5):
        form = penalty.form(LAM, SHAPE)
        assert_allclose(value_of_form(form, W), penalty.value(W, LAM), rtol=1e-12)
        if form.ramp is None:
            expected = penalty.prox(W, 0.3, LAM)
            assert_allclose(prox_of_form(form, W, 0.3), expected, atol=1e-13)
        else:
            assert form.groups is None
            assert np.all(form.l2 == 0)


@over(FORMS)
def test_form_without_strength_is_nothing(penalty):
    form = penalty.form(0.0, SHAPE)
    assert np.all(form.l1 == 0)
    assert np.all(form.l2 == 0)
    assert form.groups is None or not form.groups.kappa.any()


def test_form_has_plain_floats():
    for penalty in (
        ElasticNet(np.float16(0.3)),
        SparseGroupLasso(np.float32(0.3)),
        MCP(3),
    ):
        form = penalty.form(np.float32(0.5), SHAPE)
        assert {type(x) for x in (form.l1, form.l2, *(form.ramp or ()))} == {float}
    assert ElasticNet(np.float32(0.3)).form(1.0, SHAPE).l1 == float(np.float32(0.3))


@pytest.mark.parametrize("factors", [None, [1e-200, 0.0, 1e200]])
@pytest.mark.parametrize("lam", [5e-324, 1e-50, 0.1, 1e50])
@pytest.mark.parametrize(
    "make",
    [
        lambda factors: MCP(5e-324, factors=factors),
        lambda factors: MCP(1e300, factors=factors),
        lambda factors: MCP(saturation=5e-324, factors=factors),
        lambda factors: SCAD(factors=factors),
        lambda factors: SCAD(saturation=1e300, factors=factors),
    ],
)
def test_a_ramp_has_a_length_in_float32(make, lam, factors):
    """Where it had none, networks of float32 or of tiny gamma divided 0 by 0."""
    start, stop = make(factors).form(lam, (3, 2)).ramp
    start, stop = np.float32(start), np.float32(stop)
    assert np.isfinite(stop).all() and (stop > start).all()


def test_form_of_a_subclass_is_none():
    class Preset(L1):
        pass

    assert Preset().form(LAM, SHAPE) is None
    assert Box().form(LAM, SHAPE) is None


# A penalty of one's own


class Box(Penalty):
    """Weights in [−bound, bound]: nothing but value and prox."""

    is_convex = is_separable = has_metric_prox = True

    def __init__(self, bound=1.0):
        self.bound = bound

    def value(self, W, lam=1.0):
        return 0.0 if np.max(np.abs(W)) <= self.bound else np.inf

    def prox(self, W, step, lam=1.0):
        return np.clip(W, -self.bound, self.bound)


def test_own_penalty_needs_value_and_prox_only():
    W, _ = next(draws())
    box = clone(Box(bound=0.5))
    box.validate(SHAPE)
    assert not (box.is_smooth or box.has_gradient or box.has_shrink)
    assert box.nonsmooth_part(LAM) == (box, LAM)
    value, gradient = box.smooth_part(W, LAM)
    assert value == 0
    assert_array_equal(gradient, np.zeros(SHAPE))
    assert box.cross(W, -W).shape == SHAPE
    assert check_penalty(box) is box


def test_own_smooth_penalty_joins_the_data_term():
    class Quartic(Box):
        is_smooth = True

        def value(self, W, lam=1.0):
            return lam * float(np.sum(W**4))

        def gradient(self, W, lam=1.0):
            return 4 * lam * W**3

    W, _ = next(draws())
    assert Quartic().nonsmooth_part(LAM) is None
    value, gradient = Quartic().smooth_part(W, LAM)
    assert value == Quartic().value(W, LAM)
    assert_array_equal(gradient, Quartic().gradient(W, LAM))
    assert Quartic().has_gradient


BAD_RESULTS = {
    "one row": lambda W, *_: W[:1],
    "transposed": lambda W, *_: W.T,
    "flat": lambda W, *_: W.ravel(),
    "a number": lambda W, *_: 0.0,
    "a column": lambda W, *_: W[:, :1],
    "a list": lambda W, *_: W.tolist(),
    "nothing": lambda W, *_: None,
    "text": lambda W, *_: W.astype(str),
    "complex": lambda W, *_: 1j * W,
    "flags": lambda W, *_: W > 0,
    "positive ones": lambda W, *_: W[W > 0],
}


def own_penalty(**methods):
    return type("Own", (Box,), {"has_metric_prox": True, **methods})()


@pytest.mark.parametrize("method", ["prox", "gradient", "shrink"])
@pytest.mark.parametrize("result", BAD_RESULTS)
def test_results_of_another_shape_or_type_are_named(method, result):
    take_step = {"gradient": lambda self, W, lam: BAD_RESULTS[result](W)}
    bad = take_step.get(method, lambda self, W, step, lam: BAD_RESULTS[result](W))
    with pytest.raises(ValueError, match=rf"Own\.{method} must return an array .*6, 3"):
        check_methods(own_penalty(**{method: bad}), SHAPE)


@pytest.mark.parametrize(
    "bad", [np.ones(3), [1.0], None, "1", 1j, True, np.ones((1, 1))]
)
def test_values_that_are_no_number_are_named(bad):
    with pytest.raises(ValueError, match=r"Own\.value must return a float. Got"):
        check_methods(own_penalty(value=lambda self, W, lam: bad), SHAPE)


@pytest.mark.parametrize("good", [1, 1.0, np.float32(1), np.array(1.0), np.inf])
def test_numbers_are_values(good):
    check_methods(own_penalty(value=lambda self, W, lam: good), SHAPE)


def test_a_prox_that_breaks_with_a_metric_is_named():
    def prox(self, W, step, lam):
        return W if np.ndim(step) == 0 else step[0]

    with pytest.raises(ValueError, match=r"Own\.prox"):
        check_methods(own_penalty(prox=prox), SHAPE)
    check_methods(own_penalty(prox=prox, has_metric_prox=False), SHAPE)


def test_methods_must_take_the_strength():
    with pytest.raises(
        TypeError, match=r"Own\.prox must take \(W, step, lam\).*\(W, step"
    ):
        check_methods(own_penalty(prox=lambda self, W, step: W), SHAPE)
    with pytest.raises(TypeError, match=r"Own\.value must take \(W, lam\)"):
        check_methods(own_penalty(value=lambda self, W: 0.0), SHAPE)


def test_weights_must_not_be_modified():
    def prox(self, W, step, lam):
        W *= 0.5
        return W

    with pytest.raises(ValueError, match=r"Own\.prox must not modify W"):
        check_methods(own_penalty(prox=prox), SHAPE)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_fit_names_what_is_wrong_with_a_penalty(solver):
    X = np.random.default_rng(0).normal(size=(20, 4))
    network = RegMLPRegressor(3, solver=solver, max_iter=2)
    network.set_params(penalty=own_penalty(prox=lambda self, W, step, lam: W[0]))
    with pytest.raises(ValueError, match=r"Own\.prox must return an array .* \(4, 3\)"):
        network.fit(X, X[:, 0])


def test_missing_methods_are_named():
    W = np.ones(SHAPE)
    with pytest.raises(NotImplementedError, match="Box does not define 'gradient'"):
        Box().gradient(W)
    with pytest.raises(NotImplementedError, match="Box does not define 'lambda_max'"):
        Box().lambda_max(W)
    for penalty in FOLDED:
        with pytest.raises(NotImplementedError, match="does not define 'shrink'"):
            penalty.shrink(W, 0.1)
    for method in ("value", "prox"):
        with pytest.raises(NotImplementedError, match=f"Penalty .* {method!r}"):
            getattr(Penalty(), method)(W, 0.1)


@pytest.mark.parametrize("module", [penalties, _penalty], ids=lambda m: m.__name__)
def test_docstring_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 5
    assert result.failed == 0
