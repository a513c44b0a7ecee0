"""Proximal L-BFGS: deterministic minimization of F = f + h, f smooth, h with a prox.

Method
------
a. The prox-gradient step z = prox_{γh}(x − γ∇f(x)) tells which entries will be zero,
   and R(x) = (x − z) / γ how far x is from being optimal [1]_.
b. Entries that are zero in z go to zero. On the others, J, L-BFGS [7]_ solves R = 0
   from pairs s = Δx, y = ΔR restricted to J [2]_. What passes a kink of h on the way
   stays at zero, as in OWL-QN [3]_.
c. A line search along this arc asks for decrease of F itself, measured against the
   prediction of proximal Newton methods [4]_. If it fails, x moves to z, with γ so
   small that F decreases. Nothing is asked of f across kinks of its own, so that ReLU
   networks work; line searches on the forward-backward envelope [1]_ [5]_ break there.
d. γ follows the curvature along the last step [6]_.

Without h this is L-BFGS with backtracking: R = ∇f, and J is everything. Where no pair
tells more, it may take longer steps than is usual [9]_: networks are flat there.

References
----------
.. [1] Stella, Themelis, Sopasakis and Patrinos (2017), CDC: PANOC.
.. [2] Pas, Schuller and Patrinos (2022), ECC: alpaqa, structured PANOC.
.. [3] Andrew and Gao (2007), ICML: OWL-QN.
.. [4] Lee, Sun and Saunders (2014), SIAM J. Optim. 24(3): proximal Newton methods.
.. [5] De Marchi and Themelis (2022), J. Optim. Theory Appl. 194: PANOC+.
.. [6] Barzilai and Borwein (1988), IMA J. Numer. Anal. 8(1).
.. [7] Nocedal and Wright (2006), Numerical Optimization, algorithm 7.4: two loops.
.. [8] Beck (2017), First-Order Methods in Optimization, theorem 10.9.
.. [9] Dai, Al-Baali and Yang (2015), NAO-III: a positive Barzilai-Borwein-like step.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import ClassVar, Protocol

import numpy as np

from skreg._core import LBFGSMemory
from skreg._solvers._result import Result, Status
from skreg._solvers._stopping import EPS, OBJECTIVE_ROUNDING


@dataclass(frozen=True)
class Settings:
    """Of steps; `Stopping` says when they end.

    Parameters
    ----------
    sufficient : float
        Share of the predicted decrease that a step must bring.
    trials : int
        Of a line search.
    least_cosine : float
        Of s and y, for the memory to use them.
    probe : float
        Relative length of the finite difference that yields the first γ.
    strict : float
        Relative length of the prox step that measures optimality.
    least_move : float
        Relative length of γ∇f that is more than rounding.
    """

    sufficient: float = 1e-4
    trials: int = 10
    least_cosine: float = 1e-10
    probe: float = 1e-6
    strict: float = 1e-5
    least_move: float = 1e4 * EPS


class CompositeObjective(Protocol):
    """F = f + h, as the solver sees it; theta is a flat vector of float64.

    Attributes
    ----------
    is_nonsmooth : bool
        Whether h is there. If not, the solver uses `smooth_value_grad` alone.
    penalized : ndarray of bool
        The entries of theta on which h acts.
    """

    is_nonsmooth: bool
    penalized: np.ndarray

    def smooth_value_grad(self, theta):
        """Return f and its gradient, perhaps in a buffer that the next call reuses."""

    def nonsmooth_value(self, theta):
        """Return h, which is inf outside of constraints."""

    def prox(self, theta, step):
        """Return the minimizer z of ‖z − theta‖² / (2 step) + h(z)."""

    def cross(self, theta, candidate):
        """Return the candidate with zeros for what passed a kink on the way from theta.

        Where h is a constraint, return its projection.
        """


@dataclass(slots=True)
class _Point:
    """An evaluated point; without gradient if F is not finite there."""

    theta: np.ndarray
    value: float = inf
    nonsmooth: float = inf
    grad: np.ndarray | None = None
    steepest: float = 0.0  # largest entry of the gradient


class _Run:
    """State of one minimization.

    Attributes
    ----------
    point : _Point
        Last accepted iterate.
    values, residuals : list of float
        F, and the largest entry of R in units of `scale`, at the start and after each
        iteration.
    lowest : float
        The least F.
    scale : float
        Unit of violations of optimality.
    n_fun : int
        Evaluations of f.
    """

    settings: ClassVar[Settings] = Settings()

    def __init__(self, objective, theta0, scale, n_pairs, is_longer):
        self.objective = objective
        self.memory = LBFGSMemory(
            theta0.size, n_pairs, self.settings.least_cosine, is_longer
        )
        self.n_fun = 0
        if objective.is_nonsmooth:
            self.free = ~objective.penalized
            self.penalized = np.flatnonzero(objective.penalized)
            if objective.nonsmooth_value(theta0) == inf:
                theta0 = objective.prox(theta0, EPS)
        self.point = self.evaluate(theta0, self.nonsmooth_value(theta0))
        self.values, self.residuals = [self.point.value], []
        self.lowest = self.point.value
        self.scale = scale or self.point.steepest or 1.0

    @property
    def rounding(self):
        """What a difference of two values of F may be wrong by."""
        return OBJECTIVE_ROUNDING * abs(self.lowest)

    def nonsmooth_value(self, theta):
        objective = self.objective
        return objective.nonsmooth_value(theta) if objective.is_nonsmooth else 0.0

    def evaluate(self, theta, h):
        """Return the point at theta, where the nonsmooth part is h."""
        if not isfinite(h):
            return _Point(theta)
        self.n_fun += 1
        smooth, grad = self.objective.smooth_value_grad(theta)
        value, steepest = float(smooth) + h, float(np.abs(grad).max())
        if not (isfinite(value) and isfinite(steepest)):
            return _Point(theta)
        return _Point(theta, value, h, grad.copy(), steepest)

    def prox_gradient(self, theta, grad, step):
        """Return z, and R = (x − z) / γ without rounding where h does not act."""
        z = theta - step * grad
        if not self.objective.is_nonsmooth:
            return z, grad
        z = self.objective.prox(z, step)
        return z, np.where(self.free, grad, (theta - z) / step)

    def violation(self):
        """Return the distance of 0 from ∂F at the iterate, maximum norm, over `scale`.

        R tends to the least subgradient as γ falls, from below if h is convex [8]_. It
        is taken at a γ that is tiny, yet moves x by more than rounding.
        """
        point = self.point
        if point.grad is None:
            return inf
        if not self.objective.is_nonsmooth:
            return point.steepest / self.scale
        size = np.abs(point.theta.take(self.penalized)).max(initial=0.0)
        length = self.settings.strict * size or 1.0
        _, residual = self.prox_gradient(point.theta, point.grad, length / self.scale)
        return float(np.abs(residual).max()) / self.scale

    def first_step(self):
        """Return the γ that minimizes f along its gradient, were f quadratic."""
        theta, grad = self.point.theta, self.point.grad
        norm = float(np.linalg.norm(grad))
        if norm == 0:
            return 1.0
        length = self.settings.probe * max(float(np.linalg.norm(theta)), 1.0)
        s = -length / norm * grad
        self.n_fun += 1
        change = self.objective.smooth_value_grad(theta + s)[1] - grad
        curvature = float(s @ change)
        if not 0 < curvature < inf:
            curvature = length * norm
        return length * length / curvature

    def least_step(self):
        """Return the smallest γ for which R, where h acts, keeps some digits of ∇f."""
        theta, steepest = self.point.theta, self.point.steepest
        if self.objective.is_nonsmooth:
            theta = theta.take(self.penalized)
            steepest = float(np.abs(self.point.grad.take(self.penalized)).max())
        least = self.settings.least_move * float(np.abs(theta).max())
        return least / steepest if steepest else 0.0

    def decreases(self, value, predicted):
        """Whether F decreases by a share of the predicted change, up to rounding."""
        least = self.settings.sufficient * predicted
        return value <= self.lowest + least + self.rounding

    def direction(self, z, residual, step):
        """Return J, or None for everything, and the quasi-Newton direction on it."""
        if not self.objective.is_nonsmooth:
            support, direction = None, residual.copy()
        else:
            support = (z != 0) | self.free
            direction = np.where(support, residual, 0.0)
        self.memory.multiply(direction, support, step)
        return support, direction

    def arc(self, support, direction, t):
        """Return x − t · direction, with the zeros and constraints of h, and its h."""
        theta = self.point.theta - t * direction
        if support is None:
            return theta, 0.0
        theta = np.where(support, theta, 0.0)
        theta = self.objective.cross(self.point.theta, theta)
        h = self.objective.nonsmooth_value(theta)
        if h == inf:
            theta = self.objective.prox(theta, EPS)
            h = self.objective.nonsmooth_value(theta)
        return theta, h

    def quasi_newton_step(self, z, residual, step):
        """Return a point on the arc with sufficient decrease of F, or None.

        For the end x + d of the arc, ∇fᵀd + h(x + d) − h(x) predicts the decrease. If h
        is convex, F decreases along d whenever this is negative.
        """
        point, t = self.point, 1.0
        support, direction = self.direction(z, residual, step)
        theta, h = self.arc(support, direction, t)
        predicted = float(point.grad @ (theta - point.theta)) + h - point.nonsmooth
        if not predicted <= self.rounding:
            return None
        for _ in range(self.settings.trials):
            trial = self.evaluate(theta, h)
            if self.decreases(trial.value, t * predicted):
                return trial
            # The minimizer of the parabola through F, its slope and the trial.
            excess = trial.value - point.value - t * predicted
            minimizer = -predicted * t * t / (2 * excess) if excess > 0 else inf
            t = min(max(minimizer, t / 10), t / 2)
            theta, h = self.arc(support, direction, t)
        return None

    def prox_gradient_step(self, z, residual, step):
        """Return the point z, R and γ, halved until F decreases, or None."""
        least = max(self.least_step(), step * EPS**2)  # at 0, any step moves x
        while True:
            trial = self.evaluate(z, self.nonsmooth_value(z))
            if self.decreases(trial.value, -step * float(residual @ residual)):
                return trial, residual, step
            step /= 2
            if not least < step < inf:
                return None
            z, residual = self.prox_gradient(self.point.theta, self.point.grad, step)

    def accept(self, new, residual, step, longest):
        """Move to a new point, learn from it, and return the next γ <= longest.

        `residual` is R before the move, and `step` its γ.
        """
        s, change = new.theta - self.point.theta, new.grad - self.point.grad
        y = change
        if self.objective.is_nonsmooth:
            y = self.prox_gradient(new.theta, new.grad, step)[1] - residual
        self.memory.push(s, y)
        self.values.append(new.value)
        self.point = new
        self.lowest = min(self.lowest, new.value)
        curvature, square = float(s @ change), float(change @ change)
        noise = OBJECTIVE_ROUNDING * self.scale
        tells = curvature > 0 and square > noise * noise
        step = curvature / square if tells else inf
        return min(max(step, longest / 8), longest)

    def minimize(self, stopping, callback):
        """Iterate, and return why the iteration ended."""
        if self.point.grad is None:
            return Status.NON_FINITE
        values, step = self.values, self.first_step()
        while True:
            start = step = max(step, self.least_step())
            z, residual = self.prox_gradient(self.point.theta, self.point.grad, step)
            self.residuals.append(float(np.abs(residual).max()) / self.scale)
            end = stopping.status(values, self.residuals, self.n_fun, self.violation)
            if end is not None:
                return end
            new = self.quasi_newton_step(z, residual, step)
            if new is None:
                found = self.prox_gradient_step(z, residual, step)
                if found is None:
                    return stopping.at_a_dead_end(self.violation)
                new, residual, step = found
            if new.value == values[-1] and np.array_equal(new.theta, self.point.theta):
                return stopping.at_a_dead_end(self.violation)
            step = self.accept(new, residual, step, longest=2 * start)
            if callback and callback(
                new.theta, new.value, new.nonsmooth, len(values) - 1
            ):
                return Status.STOPPED


# Trial points may overflow.
@np.errstate(divide="ignore", over="ignore", invalid="ignore")
def prox_lbfgs(
    objective,
    theta0,
    stopping,
    *,
    scale=None,
    memory=50,
    longer=False,
    callback=None,
):
    """Minimize F = f + h with a monotone, proximal quasi-Newton method.

    Needs no constant of f and no property of h but its prox. F never increases, up to
    rounding. Entries that are zero at the solution are exactly zero in the result.

    Parameters
    ----------
    objective : CompositeObjective
    theta0 : ndarray of shape (n_parameters,)
        Start; not changed. Outside of constraints of h, their projection is the start.
    stopping : Stopping
        When to end.
    scale : float or None
        Unit of violations of optimality; None is the largest entry of the gradient of f
        at the start.
    memory : int
        Number of pairs from which the curvature is estimated. The memory needed is
        ``2 * memory`` vectors.
    longer : bool
        Whether to take longer steps than usual where no pair tells more. Saves half the
        evaluations where F is flat but bounded by a ridge; without one, theta drifts.
    callback : callable or None
        Called after each iteration with theta, F, h and the number of iterations; theta
        must not be changed. A true return value ends the iteration.

    Returns
    -------
    Result
        - status: CONVERGED, FTOL (flat), MAX_ITER (also `max_fun`), STALLED (F cannot
          be decreased: at a kink of f, or at the limits of precision), STOPPED (by the
          callback), NON_FINITE (F or its gradient at the start) or INTERRUPTED (after
          the first iteration; before it, KeyboardInterrupt is raised).
        - history: "objective", F after each iteration.
        - optimality: violation of the optimality conditions at theta, in units of the
          scale; inf for NON_FINITE.
        - state: the scale, for warm starts to which tolerances shall mean the same.
    """
    theta0 = np.array(theta0, dtype=np.float64)
    run = _Run(objective, theta0, scale, memory, longer)
    try:
        status = run.minimize(stopping, callback)
    except KeyboardInterrupt:
        if len(run.values) == 1:
            raise
        status = Status.INTERRUPTED
    return Result(
        theta=run.point.theta,
        n_iter=len(run.values) - 1,
        status=status,
        history={"objective": run.values[1:]},
        optimality=run.violation(),
        state=run.scale,
    )
