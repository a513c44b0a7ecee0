"""Proximal L-BFGS: deterministic minimization of F = f + h, f smooth, h with a prox.

Method
------
a. The prox-gradient step z = prox_{γh}(x − γ∇f(x)) says which entries are to be zero
   at the solution, and R(x) = (x − z) / γ how far x is from it [1]_.
b. Entries that are zero in z are set to zero. On the others, J, R is smooth, and L-BFGS
   solves R = 0 with pairs s = Δx, y = ΔR restricted to J [2]_. Entries or groups which
   passed a kink of h on the way become zero, too.
c. The candidate is accepted if F itself decreases, by the line search of proximal
   Newton methods [3]_; else the prox-gradient step is taken, which always decreases F
   for small γ. Nothing is asked of f across its own kinks, so that ReLU networks work,
   where line searches on the forward-backward envelope [1]_, [4]_ do not.
d. γ follows the curvature along the last step [5]_.

Without h this is L-BFGS: R = ∇f, J is everything, a line search on f.

References
----------
.. [1] Stella, Themelis, Sopasakis and Patrinos (2017), CDC: PANOC.
.. [2] Pas, Schuller and Patrinos (2022), CDC: structured PANOC (alpaqa).
.. [3] Lee, Sun and Saunders (2014), SIAM J. Optim. 24(3): proximal Newton methods.
.. [4] De Marchi and Themelis (2022), IEEE CDC: PANOC+.
.. [5] Barzilai and Borwein (1988), IMA J. Numer. Anal. 8(1).
.. [6] Nocedal and Wright (2006), Numerical Optimization, algorithm 7.4: two-loop form.
.. [7] Byrd, Nocedal and Schnabel (1994), Math. Program. 63: compact form of L-BFGS.
.. [8] Beck (2017), First-Order Methods in Optimization, theorem 10.9.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Protocol

import numpy as np
from scipy.linalg.blas import dtrsv

from skreg._solvers._result import Result, Status

_EPS = np.finfo(np.float64).eps
_SUFFICIENT = 1e-4  # share of the predicted decrease that a step must bring
_TRIALS = 5  # of the line search, before the prox-gradient step is taken
_ROUNDING = 10 * _EPS  # relative error of F
_CURVATURE = 1e-10  # least cosine between s and y
_PROBE = 1e-6  # relative length of the finite difference that starts γ
_STRICT = 1e-5  # relative length of the prox step that measures optimality
_LEAST_MOVE = 1e4 * _EPS  # of γ∇f relative to x, below which x − γ∇f is rounding


class CompositeObjective(Protocol):
    """F = f + h, as the solver sees it; theta is a flat float64 vector.

    Attributes
    ----------
    has_kink : bool
        Whether h is there; without it only f is ever called.
    penalized : ndarray of bool
        The entries on which h acts.
    """

    has_kink: bool
    penalized: np.ndarray

    def smooth_value(self, theta):
        """Return f(theta)."""

    def smooth_value_grad(self, theta):
        """Return f(theta) and its gradient, perhaps in a buffer that is reused."""

    def kink_value(self, theta):
        """Return h(theta); inf outside a constraint set."""

    def kink_prox(self, theta, step):
        """Return the minimizer z of ‖z − theta‖² / (2 step) + h(z)."""

    def kink_cross(self, theta, candidate):
        """Return the candidate with zeros for what passed a kink since theta."""


class LBFGSMemory:
    """Inverse Hessian from the last pairs (s, y), restricted to an index set J.

    The two-loop recursion [6]_ costs 4 passes in Python per pair. Its compact form
    [7]_ needs products of all pairs with one vector, and small triangular systems:

        H = τI + [S, τY] [[R⁻ᵀ (D + τYᵀY) R⁻¹, −R⁻ᵀ], [−R⁻¹, 0]] [S, τY]ᵀ

    with R the upper triangle of SᵀY, D its diagonal, τ = s·y / y·y of the last pair.
    Restricted to J, all inner products run over J. Those between pairs are kept, and
    change only by the indices that enter or leave J.

    Parameters
    ----------
    n_parameters : int
    n_pairs : int
        Number of pairs to remember.
    """

    def __init__(self, n_parameters, n_pairs):
        # Row 2i holds an s, row 2i + 1 its y; the oldest pair is overwritten.
        self._pairs = np.empty((2 * n_pairs, n_parameters))
        # Rows i from oldest to newest; the inner products below are in this order.
        self._order = np.arange(0)
        self._sy = np.zeros((n_pairs, n_pairs))
        self._yy = np.zeros((n_pairs, n_pairs))
        self._ss = np.empty(n_pairs)
        self._support = np.ones(n_parameters, dtype=bool)
        self._restricted = False

    def __len__(self):
        return len(self._order)

    def restrict(self, support):
        """Make J the indices where `support`, a bool array, is True."""
        changed = np.flatnonzero(support != self._support)
        self._support, self._restricted = support, True
        k = len(self)
        if changed.size == 0 or k == 0:
            return
        total = self._sy[:k, :k], self._yy[:k, :k], self._ss[:k]
        if 2 * changed.size < np.count_nonzero(support):
            entered = support[changed]
            self._accumulate(total, changed[entered], np.add)
            self._accumulate(total, changed[~entered], np.subtract)
        else:
            for products in total:
                products[:] = 0.0
            self._accumulate(total, np.flatnonzero(support), np.add)

    def _accumulate(self, total, columns, operation):
        """Add to (or subtract from) the inner products their part over some columns."""
        if columns.size == 0:
            return
        part = self._pairs[: 2 * len(self)].take(columns, axis=1)
        S, Y = part[::2][self._order], part[1::2][self._order]
        for products, term in zip(
            total, (S @ Y.T, Y @ Y.T, np.einsum("ij,ij->i", S, S))
        ):
            operation(products, term, out=products)

    def push(self, s, y):
        """Remember a pair; arrays over all parameters, not only J."""
        k = len(self)
        if k < len(self._ss):
            row, self._order = k, np.arange(k + 1)
        else:
            row, k = self._order[0], k - 1
            self._order = np.roll(self._order, -1)
            self._sy[:-1, :-1] = self._sy[1:, 1:]
            self._yy[:-1, :-1] = self._yy[1:, 1:]
            self._ss[:-1] = self._ss[1:]
        self._pairs[2 * row], self._pairs[2 * row + 1] = s, y
        if self._restricted:
            s, y = s * self._support, y * self._support
        self._sy[: k + 1, k], self._yy[: k + 1, k] = self._products(y)
        self._yy[k, :k] = self._yy[:k, k]
        self._ss[k] = s @ s

    def _products(self, vector):
        """Sᵀv and Yᵀv, from oldest to newest."""
        products = self._pairs[: 2 * len(self)] @ vector
        return products.reshape(-1, 2)[self._order].T

    def multiply(self, q, default):
        """Return H q, to be used on J only, for q that is zero outside J.

        Without pairs of positive curvature H is the identity times `default`.
        """
        k = len(self)
        sy, yy, order = self._sy[:k, :k], self._yy[:k, :k], self._order
        d = sy.diagonal()
        usable = d > _CURVATURE * np.sqrt(self._ss[:k] * yy.diagonal())
        chosen = slice(None)
        if not usable.all():
            chosen = np.flatnonzero(usable)
            sy, yy = sy[np.ix_(chosen, chosen)], yy[np.ix_(chosen, chosen)]
            d, order = sy.diagonal(), order[chosen]
        if d.size == 0:
            return default * q
        sq, yq = self._products(q)
        tau = d[-1] / yy[-1, -1]
        # BLAS reads the transpose of a row-major matrix: R is its lower triangle.
        u = dtrsv(sy.T, sq[chosen], lower=1, trans=1)
        v = dtrsv(sy.T, d * u + tau * (yy @ u - yq[chosen]), lower=1)
        weights = np.zeros((k, 2))
        weights[order, 0], weights[order, 1] = v, -tau * u
        return tau * q + weights.ravel() @ self._pairs[: 2 * k]


@dataclass(slots=True)
class _Point:
    """An evaluated point: F, h, ∇f and its largest entry."""

    theta: np.ndarray
    value: float
    kink: float
    grad: np.ndarray | None = None
    slope: float = inf


class _Run:
    """State of one minimization.

    Attributes
    ----------
    point : _Point
        Last accepted iterate.
    values : list of float
        F at the start and after each iteration.
    n_fun : int
        Evaluations of f, with or without gradient.
    """

    def __init__(self, objective, theta0, scale, n_pairs):
        self.objective = objective
        self.n_fun = 0
        theta0 = np.array(theta0, dtype=np.float64)
        if objective.has_kink:
            self.free = ~objective.penalized
            if self._kink(theta0) == inf:
                theta0 = objective.kink_prox(theta0, _EPS)
        self.point = self._evaluate(theta0)
        self.values = [self.point.value]
        self.lowest = self.point.value
        self.scale = scale or self.point.slope or 1.0
        self.memory = LBFGSMemory(theta0.size, n_pairs)

    def _kink(self, theta):
        return self.objective.kink_value(theta) if self.objective.has_kink else 0.0

    def _evaluate(self, theta, kink=None):
        """Return the point at theta; its value is inf where anything overflows."""
        kink = self._kink(theta) if kink is None else kink
        if not isfinite(kink):
            return _Point(theta, inf, kink)
        self.n_fun += 1
        smooth, grad = self.objective.smooth_value_grad(theta)
        slope = float(np.abs(grad).max())
        value = float(smooth) + kink
        if not (isfinite(value) and isfinite(slope)):
            return _Point(theta, inf, kink)
        return _Point(theta, value, kink, grad.copy(), slope)

    def _value(self, theta):
        """Return F by a forward pass; inf where it overflows."""
        kink = self._kink(theta)
        if not isfinite(kink):
            return inf
        self.n_fun += 1
        value = float(self.objective.smooth_value(theta)) + kink
        return value if isfinite(value) else inf

    def _prox_gradient(self, point, step):
        """Return z and R = (x − z) / γ, without rounding where h does not act."""
        z = point.theta - step * point.grad
        if not self.objective.has_kink:
            return z, point.grad
        z = self.objective.kink_prox(z, step)
        residual = np.where(self.free, point.grad, (point.theta - z) / step)
        return z, residual

    def violation(self):
        """Return dist(0, ∂F) at the iterate, in the largest norm.

        R grows as the step falls [8]_, towards the least subgradient. So it is taken at
        a step that is tiny, yet long enough to exceed rounding.
        """
        point = self.point
        if point.grad is None:
            return inf
        if not self.objective.has_kink:
            return point.slope
        length = np.abs(point.theta[~self.free]).max(initial=0.0) or 1.0
        step = _STRICT * length / self.scale
        return float(np.abs(self._prox_gradient(point, step)[1]).max())

    def first_step(self):
        """Return 1 / L, with L the curvature of f along its gradient."""
        theta, grad = self.point.theta, self.point.grad
        norm = np.linalg.norm(grad)
        if norm == 0:
            return 1.0
        length = _PROBE * max(np.linalg.norm(theta), 1.0)
        self.n_fun += 1
        _, probe = self.objective.smooth_value_grad(theta - length / norm * grad)
        change = np.linalg.norm(probe - grad)
        return float(length / change) if 0 < change < inf else float(length / norm)

    def least_step(self):
        """Return the smallest γ at which x − γ∇f still has half of its digits."""
        slope = self.point.slope
        return _LEAST_MOVE * np.abs(self.point.theta).max() / slope if slope else 0.0

    def _decreases(self, value, predicted):
        """Whether F is lower by a share of the prediction < 0, up to rounding."""
        return value <= self.lowest + _SUFFICIENT * predicted + self._rounding()

    def _rounding(self):
        return _ROUNDING * abs(self.lowest)

    def _direction(self, z, residual, step):
        """Return J (None: everything) and the quasi-Newton direction on J."""
        if not self.objective.has_kink:
            return None, self.memory.multiply(residual, step)
        support = (z != 0) | self.free
        self.memory.restrict(support)
        return support, self.memory.multiply(np.where(support, residual, 0.0), step)

    def _arc(self, support, direction, t):
        """Return x − t · direction, bent by the zeros and constraints of h, and its h."""
        theta = self.point.theta
        candidate = theta - t * direction
        if support is None:
            return candidate, 0.0
        candidate = np.where(support, candidate, 0.0)
        candidate = self.objective.kink_cross(theta, candidate)
        kink = self._kink(candidate)
        if kink == inf:
            candidate = self.objective.kink_prox(candidate, _EPS)
            kink = self._kink(candidate)
        return candidate, kink

    def quasi_newton_step(self, z, residual, step):
        """Return a point of sufficient decrease on the arc to the candidate, or None.

        The prediction ∇f·d + h(x + d) − h(x) for the candidate x + d bounds the slope of
        F along d if h is convex.
        """
        point, t = self.point, 1.0
        support, direction = self._direction(z, residual, step)
        theta, kink = self._arc(support, direction, t)
        predicted = float(point.grad @ (theta - point.theta)) + kink - point.kink
        if not predicted <= self._rounding():
            return None
        for _ in range(_TRIALS):
            trial = self._evaluate(theta, kink)
            if self._decreases(trial.value, t * predicted):
                return trial
            # The minimizer of the parabola through F, its slope and the trial.
            excess = trial.value - point.value - t * predicted
            t = min(max(-predicted * t * t / (2 * excess), t / 10), t / 2)
            theta, kink = self._arc(support, direction, t)
        return None

    def prox_gradient_step(self, z, residual, step):
        """Return the point z, its R and γ, halved until F decreases; or None."""
        least = self.least_step()
        while not self._decreases(self._value(z), -step * float(residual @ residual)):
            step /= 2
            if not step > least:
                return None
            z, residual = self._prox_gradient(self.point, step)
        return self._evaluate(z), residual, step

    def accept(self, new, residual, step, step0):
        """Move to a new point, learn from it and return the next γ.

        R was taken at γ = step; step0 is γ at the start of the iteration.
        """
        s, change = new.theta - self.point.theta, new.grad - self.point.grad
        y = change
        if self.objective.has_kink:
            y = self._prox_gradient(new, step)[1] - residual
        self.memory.push(s, y)
        self.lowest = min(self.lowest, new.value)
        self.values.append(new.value)
        self.point = new
        curvature = float(s @ change)
        step = curvature / float(change @ change) if curvature > 0 else inf
        return min(max(step, step0 / 4), 2 * step0)

    def minimize(self, tol, ftol, ftol_window, max_iter, max_fun, callback):
        """Iterate, and return why the iteration ended."""
        if self.point.grad is None:
            return Status.NON_FINITE
        values, step = self.values, self.first_step()
        while True:
            step0 = step = max(step, self.least_step())
            z, residual = self._prox_gradient(self.point, step)
            if np.abs(residual).max() <= tol and self.violation() <= tol:
                return Status.CONVERGED
            if ftol > 0 and len(values) > ftol_window:
                if values[-1 - ftol_window] - values[-1] <= ftol * abs(values[-1]):
                    return Status.FTOL
            if len(values) > max_iter or self.n_fun >= max_fun:
                return Status.MAX_ITER
            new = self.quasi_newton_step(z, residual, step)
            if new is None:
                found = self.prox_gradient_step(z, residual, step)
                if found is None:
                    return Status.STALLED
                new, residual, step = found
            if np.array_equal(new.theta, self.point.theta):
                return Status.STALLED
            step = self.accept(new, residual, step, step0)
            if callback is not None:
                callback(self.point.theta, self.point.value, len(values) - 1)


def prox_lbfgs(
    objective,
    theta0,
    *,
    tol=1e-5,
    ftol=1e-6,
    ftol_window=10,
    max_iter=1000,
    max_fun=15000,
    scale=None,
    memory=20,
    callback=None,
):
    run = _Run(objective, theta0, scale, memory)
    try:
        status = run.minimize(
            tol * run.scale, ftol, ftol_window, max_iter, max_fun, callback
        )
    except KeyboardInterrupt:
        if len(run.values) == 1:
            raise
        status = Status.INTERRUPTED
    return Result(
        theta=run.point.theta,
        n_iter=len(run.values) - 1,
        status=status,
        history={"objective": run.values[1:]},
        optimality=run.violation() / run.scale,
        state=run.scale,
    )
