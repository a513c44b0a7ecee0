"""Factors of penalties in fits: those of inputs in other units."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skreg import RegMLPRegressor
from skreg._engines._rules import PenaltySum, Term
from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    SparseGroupLasso,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, P = 120, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P))
Y = X @ RNG.normal(size=(P, 2)) + 0.1 * RNG.normal(size=(N, 2))
C = np.array([0.5, 2.0, 1.0, 3.0, 0.25])
PENALTIES = {
    "l1": L1,
    "l2": L2,
    "elasticnet": ElasticNet,
    "group": GroupLasso,
    "sparse group": SparseGroupLasso,
    "mcp": lambda **params: MCP(saturation=0.5, **params),
    "scad": lambda **params: SCAD(saturation=0.5, **params),
}
OVER = pytest.mark.parametrize("make", PENALTIES.values(), ids=PENALTIES)
STEPS = {
    f"{name}, {mode}": (make, mode)
    for name, make in PENALTIES.items()
    for mode in ("coupled", "decoupled", "proximal")
    if mode != "decoupled" or make().has_shrink
}


class Slow:
    """Mixin of a penalty that engines do not know, and whose methods they call."""

    def form(self, lam, shape):
        return None


def slow(penalty):
    kind = type(penalty)
    return type("Slow" + kind.__name__, (Slow, kind), {})(**penalty.get_params())


@OVER
@pytest.mark.parametrize("targets", [Y, Y[:, 0]], ids=["two outputs", "one output"])
def test_a_factor_is_an_input_in_another_unit(make, targets):
    shared = {"solver": "lbfgs", "reg_lambda": 0.05, "tol": 1e-10, "max_iter": 5000}
    shared |= {"random_state": 0}
    factored = RegMLPRegressor((), penalty=make(factors=C), **shared).fit(X, targets)
    plain = RegMLPRegressor((), penalty=make(), **shared).fit(X / C, targets)
    assert_allclose(factored.loss_, plain.loss_, rtol=1e-10)
    assert_allclose(factored.predict(X), plain.predict(X / C), atol=1e-7)


@pytest.mark.parametrize("make, mode", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("factors", [C, [0.0, 1.0, 2.0, 0.0, 1.0]], ids=["all", "some"])
def test_compiled_steps_are_those_of_the_methods(make, mode, solver, factors):
    penalty = make(factors=factors)
    shared = {"solver": solver, "decay_mode": mode, "reg_lambda": 0.05, "max_iter": 5}
    shared |= {"learning_rate_init": 0.05, "random_state": 0}
    for hidden in ((), (3,)):
        fast = RegMLPRegressor(hidden, penalty=penalty, **shared).fit(X, Y)
        python = RegMLPRegressor(hidden, penalty=slow(penalty), **shared).fit(X, Y)
        for W, expected in zip(fast.coefs_, python.coefs_):
            assert_allclose(W, expected, rtol=1e-9, atol=1e-12)
        assert_allclose(fast.penalty_curve_, python.penalty_curve_, rtol=1e-10)


@OVER
def test_the_core_knows_factors(make):
    term = Term(make(factors=C), 0.1, "proximal", slice(0, 2 * P), (P, 2))
    assert not PenaltySum([term], [slice(0, 2 * P)]).others


@pytest.mark.parametrize("make", [L1, GroupLasso, SparseGroupLasso])
def test_inputs_of_factor_zero_are_never_dropped(make):
    factors = np.where(np.arange(P) == 2, 0.0, 1.0)
    model = RegMLPRegressor(
        (), penalty=make(factors=factors), reg_lambda=1e3, solver="lbfgs", tol=1e-9
    ).fit(X, Y)
    assert_array_equal(model.selected_features_, factors == 0)
    design = np.c_[np.ones(N), X[:, 2]]
    expected = np.linalg.lstsq(design, Y, rcond=None)[0][1]
    assert_allclose(model.coefs_[0][2], expected, rtol=1e-5)


@OVER
def test_factors_act_on_the_first_layer_only(make):
    shared = {"reg_lambda": 1e-2, "max_iter": 3, "random_state": 0}
    one = RegMLPRegressor((4,), penalty=make(factors=C), **shared).fit(X, Y)
    two = RegMLPRegressor((4,), penalty=[make(factors=C), make()], **shared).fit(X, Y)
    for W, expected in zip(one.coefs_, two.coefs_):
        assert_array_equal(W, expected)
