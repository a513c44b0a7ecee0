"""Pictures of penalties themselves, without data."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from skreg._drawing import (
    GRAY,
    RED,
    SKY,
    AxesLike,
    Display,
    add_legend,
    check,
    check_option,
    check_shape,
    curve_style,
    is_finite_from_zero,
)
from skreg._engines._compiled import CompiledRows
from skreg._network import Network
from skreg._numbers import as_float
from skreg._optimizers import Optimizer
from skreg._problem import Problem
from skreg._solvers._decay import STOCHASTIC_SOLVERS, resolve_decay_mode
from skreg._solvers._stochastic import Stochastic
from skreg._solvers._stopping import Monitor
from skreg._typing import Labels
from skreg.losses import regression_loss
from skreg.penalties import Penalty, check_penalty

_PENALTIES = ("l1", "l2", "elasticnet")


def _is_positive(number):
    return 0 < as_float(number) < np.inf


def _check_penalties(penalties, shape):
    """Return the penalties as objects that fit a matrix of the shape."""
    is_ok = isinstance(penalties, list | tuple) and penalties and None not in penalties
    check("penalties", penalties, lambda _: is_ok, "a list of str or Penalty")
    penalties = [check_penalty(penalty) for penalty in penalties]
    for penalty in penalties:
        penalty.validate(shape)
    return penalties


def _penalty_names(penalties):
    """Names of the classes, with the parameters where one class occurs twice."""
    names = [type(penalty).__name__ for penalty in penalties]
    return names if len(set(names)) == len(names) else [*map(repr, penalties)]


class PenaltyDisplay(Display):
    """Value, derivative and prox of penalties, as functions of one weight.

    Parameters
    ----------
    weights : array-like of shape (n_points,)
        The weight w.
    values, derivatives, proxes : array-like of shape (n_penalties, n_points)
        The three functions; NaN where one is not defined.
    names : sequence of str of length n_penalties
        Names of the penalties.

    Examples
    --------
    >>> from skreg.displays import PenaltyDisplay
    >>> display = PenaltyDisplay.from_penalties(["l1", "l2"])
    >>> display.proxes[:, -1]  # of w = 4
    array([3., 2.])
    """

    _n_panels = 3

    def __init__(
        self,
        weights: ArrayLike,
        values: ArrayLike,
        derivatives: ArrayLike,
        proxes: ArrayLike,
        names: Labels,
    ) -> None:
        self.weights = check_shape("weights", weights, (None,))
        self.names = list(names)
        shape = (len(self.names), len(self.weights))
        self.values = check_shape("values", values, shape)
        self.derivatives = check_shape("derivatives", derivatives, shape)
        self.proxes = check_shape("proxes", proxes, shape)

    @classmethod
    def from_penalties(
        cls,
        penalties: Sequence[str | Penalty] = _PENALTIES,
        *,
        reg_lambda: float = 1.0,
        step: float = 1.0,
        others: Sequence[float] = (),
        ax: AxesLike = None,
    ) -> Self:
        """Compute and draw the three functions.

        Parameters
        ----------
        penalties : sequence of str or Penalty, default=("l1", "l2", "elasticnet")
            As the `penalty` of the estimators.
        reg_lambda, step : float, default=1.0
            λ, and the step of the prox. The weight runs from -4λ to 4λ.
        others : sequence of float, default=()
            Other weights of the same row, held fixed: they matter to penalties of
            groups. The value drawn is the excess over that at w = 0.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.
        """
        for name, number in {"reg_lambda": reg_lambda, "step": step}.items():
            check(name, number, _is_positive, "a finite float > 0")
        weights = 4 * reg_lambda * np.linspace(-1, 1, 401)
        rows = [np.array([[w, *others]]) for w in weights]
        origin = np.array([[0.0, *others]])
        checked = _check_penalties(penalties, origin.shape)
        values, derivatives, proxes = [], [], []
        for p in checked:
            at_origin = p.value(origin, reg_lambda)
            values.append([p.value(row, reg_lambda) - at_origin for row in rows])
            slopes = [np.nan] * len(rows)
            if p.has_gradient:
                slopes = [p.gradient(row, reg_lambda)[0, 0] for row in rows]
            derivatives.append(slopes)
            proxes.append([p.prox(row, step, reg_lambda)[0, 0] for row in rows])
        names = _penalty_names(checked)
        return cls(weights, values, derivatives, proxes, names).plot(ax)

    def _draw(self, axes):
        for panel, name in zip(axes, ("penalty", "derivative", "prox")):
            panel.axhline(0, color="0.8", lw=0.8, zorder=0)
            panel.axvline(0, color="0.8", lw=0.8, zorder=0)
            panel.set(xlabel="weight w", ylabel=name)
        curves = zip(self.names, self.values, self.derivatives, self.proxes)
        for k, (name, *functions) in enumerate(curves):
            for panel, function in zip(axes, functions):
                curve = _with_gaps(self.weights, function)
                panel.plot(*curve, label=name, **curve_style(k))
        style = {"color": GRAY, "lw": 0.8, "zorder": 0, "label": "prox = w"}
        axes[2].plot(self.weights, self.weights, **style)
        add_legend(axes[2])


def _with_gaps(x, y):
    """Interrupt the curve where it jumps, lest a jump look like a steep line."""
    largest = np.nanmax(np.abs(y), initial=0.0)
    jumps = np.flatnonzero(np.abs(np.diff(y)) > 0.05 * largest) + 1
    return np.insert(x, jumps, np.nan), np.insert(y, jumps, np.nan)


class ShrinkageDisplay(Display):
    """One weight without data under each penalty and decay mode, step by step.

    The attribute `zero_steps`, of shape (n_penalties, 3), holds the step from which on
    the weight is exactly 0, NaN where there is none.

    Parameters
    ----------
    weights : array-like of shape (n_penalties, 3, n_steps + 1)
        The weight from the start on; NaN where a combination has no meaning.
        The modes, which are the curves: coupled, decoupled, proximal.
    penalties : sequence of str of length n_penalties
        Names of the penalties, which are the panels.

    Examples
    --------
    With plain SGD, w = 5, η = 0.5 and λ = 1, L1 is exactly 0 after 10 steps in every
    mode, and L2 never.

    >>> from skreg.displays import ShrinkageDisplay
    >>> display = ShrinkageDisplay.from_penalties(["l1", "l2"])
    >>> display.zero_steps
    array([[10., 10., 10.],
           [nan, nan, nan]])
    >>> display.weights[1, 0, :4]  # L2, coupled
    array([5.   , 2.5  , 1.25 , 0.625])
    """

    modes = ("coupled", "decoupled", "proximal")

    def __init__(self, weights: ArrayLike, penalties: Labels) -> None:
        self.penalties = list(penalties)
        self.weights = check_shape("weights", weights, (len(self.penalties), 3, None))
        ends_in_zeros = np.logical_and.accumulate(self.weights[..., ::-1] == 0, axis=2)
        n_zeros = ends_in_zeros.sum(axis=2)
        self.zero_steps = np.where(n_zeros, self.weights.shape[2] - n_zeros, np.nan)

    @classmethod
    def from_penalties(
        cls,
        penalties: Sequence[str | Penalty] = _PENALTIES,
        *,
        weight: float = 5.0,
        reg_lambda: float = 1.0,
        learning_rate: float = 0.5,
        n_steps: int = 12,
        solver: str = "sgd",
        momentum: float = 0.0,
        ax: AxesLike = None,
    ) -> Self:
        """Compute the steps with the solvers of the estimators, and draw them.

        Parameters
        ----------
        penalties : sequence of str or Penalty, default=("l1", "l2", "elasticnet")
            As the `penalty` of the estimators.
        weight, reg_lambda, learning_rate : float, default=5.0, 1.0 and 0.5
            The weight at the start, λ and η.
        n_steps : int, default=12
            Number of steps.
        solver, momentum : {"sgd", "rmsprop", "adam"} and float, default="sgd" and 0.0
            The optimizer; "sgd" with momentum is the heavy ball, not Nesterov's.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.
        """
        checked = _check_penalties(penalties, (1, 1))
        for name, value, is_allowed, allowed in (
            ("weight", weight, lambda w: np.isfinite(as_float(w)), "a finite float"),
            ("reg_lambda", reg_lambda, is_finite_from_zero, "a finite float >= 0"),
            ("learning_rate", learning_rate, _is_positive, "a finite float > 0"),
            ("n_steps", n_steps, lambda n: len(range(n)) > 0, "an int >= 1"),
            ("momentum", momentum, lambda x: 0 <= x < 1, "a float in [0, 1)"),
        ):
            check(name, value, is_allowed, allowed)
        check_option("solver", solver, STOCHASTIC_SOLVERS)
        settings = (weight, reg_lambda, n_steps, solver)
        rates = {"learning_rate_init": learning_rate, "momentum": momentum}
        weights = [
            [_trajectory(penalty, mode, *settings, **rates) for mode in cls.modes]
            for penalty in checked
        ]
        return cls(weights, _penalty_names(checked)).plot(ax)

    @property
    def _n_panels(self):
        return len(self.penalties)

    def _draw(self, axes):
        axes = np.atleast_1d(axes)
        # Curves that coincide stay visible: each is thinner than those below it.
        styles = list(zip(self.modes, (SKY, RED, "black"), (6.0, 3.75, 1.5)))
        panels = zip(axes, self.penalties, self.weights, self.zero_steps)
        for panel, name, curves, zero_steps in panels:
            panel.axhline(0, color="0.8", lw=0.8, zorder=0)
            for (mode, color, width), curve, zero in zip(styles, curves, zero_steps):
                panel.plot(curve, color=color, lw=width, label=mode)
                style = {"mec": color, "mfc": "none", "ms": 4 + 2 * width}
                panel.plot(zero, 0, "o", clip_on=False, **style)
            panel.set(title=name, xlabel="step")
            panel.locator_params(axis="x", integer=True)
        axes[0].set_ylabel("weight")
        style = {"mec": GRAY, "mfc": "none", "label": "0 from here on"}
        axes[-1].plot([], [], "o", ms=9, **style)
        add_legend(axes[-1])


def _trajectory(penalty, mode, weight, lam, n_steps, solver, **rates):
    """Weight of a linear model after each step on one sample x = 0, y = 0."""
    try:
        resolve_decay_mode(mode, penalty, solver)
    except ValueError:
        return np.full(n_steps + 1, np.nan)
    network, loss = Network((1, 1), "identity"), regression_loss("squared_error")
    zero = np.zeros((1, 1))
    problem = Problem(CompiledRows(zero, zero, None, loss, 1), network, (penalty,))
    rate = rates.pop("learning_rate_init")
    optimizer = Optimizer.of(solver, nesterovs_momentum=False, **rates)
    one_step = Stochastic(
        solver, optimizer, (mode,), batch_size=1, max_iter=1, learning_rate_init=rate
    )
    theta, state, path = np.array([float(weight), 0.0]), None, [weight]
    for _ in range(n_steps):
        monitor = Monitor(0.0, np.inf)
        result = one_step.solve(problem, np.array([lam]), theta, None, monitor, state)
        theta, state = result.theta, result.state
        path.append(theta[0])
    return np.array(path)
