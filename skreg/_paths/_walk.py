"""The walk along a grid of lambda: each fit starts from the one before."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from skreg import _validation as validation
from skreg._fitted import EQUAL
from skreg._numbers import as_strength
from skreg._paths._branches import Branches
from skreg._paths._branches import Settings as BranchSettings
from skreg._paths._cold import solve_cold
from skreg._paths._grid import Grid, automatic_ends, linear_twin, null_theta
from skreg._solvers._deterministic import Deterministic
from skreg._solvers._result import Result, Status
from skreg._solvers._stopping import Monitor, PathStopping


@dataclass
class _Fit:
    """One network of a path; `n_iter` counts all that was spent at its lambda.

    `lam` is a tuple where it differs between layers, which cold starts alone can have.
    """

    lam: float | tuple
    theta: np.ndarray
    data_loss: float
    penalty: float
    result: Result
    monitor: Monitor
    n_iter: int

    @property
    def objective(self):
        return self.data_loss + self.penalty

    @property
    def has_diverged(self):
        failed = self.result.status is Status.NON_FINITE
        is_kept = self.monitor.best_theta is not None
        is_finite = np.isfinite(self.theta).all() and np.isfinite(self.data_loss)
        return (failed and not is_kept) or not is_finite

    def coefs(self, network):
        return network.coefs(self.theta)


class Walk:
    """Fits of one training set along a grid of lambda.

    Parameters
    ----------
    training : Training
    tell : callable or None
        Called with each fit on the first way along the grid; where it returns True,
        the way ends.

    Attributes
    ----------
    n_fits, n_unconverged : int
        Fits so far, and how many of them ended at a limit or diverged.
    ends : PathStopping
        When fits of the exact solver end.
    branches : BranchSettings or None
        None leaves the path as the first way along the grid has found it.
    """

    ends: ClassVar[PathStopping] = PathStopping()
    branches: ClassVar[BranchSettings | None] = BranchSettings()

    def __init__(self, training, tell=None):
        self.training = training
        self._tell = tell or (lambda fit: False)
        self.problem = training.problem
        self.is_linear = self.problem.network.n_layers == 1
        # Objectives can be compared: each is one of a local minimum of J.
        self.is_exact = (
            isinstance(training.solver, Deterministic) and training.validate is None
        )
        self._full_solver = self._solver = training.solver
        if self.is_exact and not self.is_linear:
            stopping = self.ends.of(training.solver.stopping)
            self._solver = replace(training.solver, stopping=stopping)
        self.n_fits = self.n_unconverged = 0
        self._scale, self._penalties = None, {}
        self._twin = linear_twin(self.problem)
        self._twin_theta = null_theta(self._twin)
        n_outputs = self.problem.network.units[-1]
        self._null_theta = np.zeros_like(training.theta)
        self._null_theta[-n_outputs:] = self._twin_theta[-n_outputs:]
        self._null_loss = self.problem.data_value(self._null_theta)

    @property
    def count(self):
        """(n_unconverged, n_fits)."""
        return self.n_unconverged, self.n_fits

    def grid(self, reg_lambdas, eps=1e-3):
        """The grid in the order of this path."""
        reg_lambdas = validation.check_reg_lambdas(reg_lambdas)
        if isinstance(reg_lambdas, int):
            bottom, top = automatic_ends(
                self.problem, self._twin, self._twin_theta, eps
            )
            if not 0 < bottom <= top < np.inf:
                raise ValueError(
                    "There is no automatic grid: the gradient of the data term is "
                    f"{top:.2g}. Scale X and y, or give 'reg_lambdas' as a grid."
                )
            values = np.geomspace(bottom, top, reg_lambdas)
            ratio = None
            if not self.is_linear:
                ratio = (top / bottom) ** (1 / (reg_lambdas - 1))
        else:
            values, ratio = reg_lambdas, None
        is_falling = self.is_linear and np.ndim(values) == 1
        return Grid(values[::-1] if is_falling else values, ratio)

    def run(self, grid, n_init=1, stop=None):
        """Return a list of fits along the grid."""
        if self.is_linear:
            return self._from_sparse_to_dense(grid, stop)
        if len(grid.values) == 1:  # there is no next fit to go on
            self._solver = self._full_solver
        fits = self._from_dense_to_sparse(grid, n_init, stop)
        if self.is_exact and self.branches is not None:
            Branches(self, fits, stop, self.branches).improve()
        if stop is not None:  # the way back may have emptied earlier networks as well
            few = [stop(self.coefs(fit)) for fit in fits]
            fits = fits[: few.index(True) + 1] if any(few) else fits
        return fits

    def run_cold(self, grid, stop=None):
        """Return a list of fits, each from the start of the training; see `_cold`."""
        [solved], fits = solve_cold([self.training], grid.values), []
        for lam, (result, monitor) in zip(grid.values, solved):
            fit = self._fit_of(as_strength(lam), result, monitor)
            is_few = stop is not None and stop(self.coefs(fit))
            if self.is_linear and fits and stop is not None and not is_few:
                break
            fits.append(fit)
            if self._tell(fit) or (is_few and not self.is_linear):
                break
        return fits

    def _from_sparse_to_dense(self, grid, stop):
        fits, theta = [], self._null_theta
        for lam in grid:
            fit = self.solve(lam, theta)
            if fits and stop is not None and not stop(self.coefs(fit)):
                break
            fits.append(fit)
            if self._tell(fit):
                break
            if np.isfinite(fit.theta).all():
                theta = fit.theta
        return fits

    def _from_dense_to_sparse(self, grid, n_init, stop):
        fits, theta = [], None
        for lam in grid:
            fit = self.solve(lam, theta) if fits else self._best_start(lam, n_init)
            if theta is None or np.isfinite(fit.theta).all():
                theta = fit.theta
            null_objective = self._null_loss + self._penalty(self._null_theta, lam)
            is_null = self.is_zero(fit.theta)
            # Without a minimum of J, only where the grid is to end.
            if self.is_exact or lam >= grid.values[-1]:
                least = EQUAL * abs(null_objective)
                is_null |= fit.objective >= null_objective - least
            if self.is_exact and null_objective < fit.objective:
                fit = self._null(lam, fit.n_iter)
            fits.append(fit)
            if self._tell(fit):
                break
            if stop is not None and stop(self.coefs(fit)):
                break
            if grid.ratio and is_null:
                break
        return fits

    def _best_start(self, lam, n_init):
        training, network = self.training, self.problem.network
        per_layer = self.per_layer(lam)
        starts = [training.start(per_layer)]
        for _ in range(n_init - 1):
            theta = network.initial_theta(training.rng, training.dtype)
            theta = theta.astype(self.problem.dtype, copy=False)
            starts.append(self._solver.start(self.problem, theta, per_layer))
        fits = [self.solve(lam, theta) for theta in starts]
        best = min(fits, key=lambda fit: (np.isnan(fit.objective), fit.objective))
        n_iter = sum(fit.n_iter for fit in fits)
        if self.is_exact and self._solver is not self._full_solver:
            if best.objective >= (1 - self.ends.plateau) * self._null_loss:
                best = self.solve(lam, best.theta, self._full_solver)
                n_iter += best.n_iter
        best.n_iter = n_iter
        return best

    def refine(self, fit):
        """Continue a fit with the tolerance of the estimator, if that differs."""
        if self._solver is self._full_solver:
            return fit
        new = self.solve(fit.lam, fit.theta, self._full_solver)
        parts = [r for r in (fit.result, new.result) if r.n_iter] or [new.result]
        history = {
            k: [v for r in parts for v in r.history[k]] for k in new.result.history
        }
        n_iter = sum(r.n_iter for r in parts)
        return replace(new, result=replace(new.result, n_iter=n_iter, history=history))

    def value(self, theta, lam):
        return self.problem.data_value(theta) + self._penalty(theta, lam)

    def objective(self, fit, lam):
        return fit.data_loss + self._penalty(fit.theta, lam)

    def _penalty(self, theta, lam):
        if lam not in self._penalties:  # all networks are compared at each lambda
            self._penalties[lam] = self.problem.penalty(self.per_layer(lam))
        return self._penalties[lam].value(theta)

    def per_layer(self, lam):
        return np.broadcast_to(lam, self.problem.network.n_layers).astype(float)

    def coefs(self, fit):
        return self.problem.network.coefs(fit.theta)

    def is_zero(self, theta):
        return not any(theta[s].any() for _, _, s, _ in self.problem.blocks())

    def solve(self, lam, theta, solver=None):
        training, monitor = self.training, self.training.monitor()
        result = (solver or self._solver).solve(
            self.problem,
            self.per_layer(lam),
            theta,
            training.rng,
            monitor,
            self._scale,
        )
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if isinstance(training.solver, Deterministic):
            self._scale = self._scale or result.state
        else:
            result.state = None  # as large as two networks
        return self._fit_of(lam, result, monitor)

    def _fit_of(self, lam, result, monitor):
        self.n_fits += 1
        failures = (Status.MAX_ITER, Status.NON_FINITE)
        self.n_unconverged += result.status in failures
        theta = result.theta if monitor.best_theta is None else monitor.best_theta
        return self.record(lam, theta, result, monitor)

    def _null(self, lam, n_iter):
        """The network of zeros, with optimal intercepts."""
        result = Result(self._null_theta, 0, Status.CONVERGED, state=self._scale)
        fit = self.record(lam, self._null_theta, result, self.training.monitor())
        fit.n_iter = n_iter
        return fit

    def record(self, lam, theta, result, monitor):
        data_loss, penalty = self.problem.data_value(theta), self._penalty(theta, lam)
        if not result.history.get("data_loss"):
            values = {"data_loss": [data_loss], "penalty": [penalty]}
            result.history = {"validation_scores": [], **result.history, **values}
        return _Fit(lam, theta, data_loss, penalty, result, monitor, result.n_iter)
