"""The walk along a grid of lambda: warm starts, the way back, bridges, settling."""

from dataclasses import dataclass, replace

import numpy as np

from skreg import _prune
from skreg import _validation as validation
from skreg._cold import solve_cold
from skreg._coordinates import degree
from skreg._grid import Grid, automatic_ends, linear_twin, null_theta
from skreg._numbers import as_strength
from skreg._solvers._deterministic import Deterministic
from skreg._solvers._result import Result, Status
from skreg._solvers._stopping import Monitor

# Objectives that differ by less than this share count as equal.
_EQUAL = 1e-6
# A fit on a path with hidden layers ends early, since what is left to be gained at one
# lambda is gained at the next: where J falls by less than this share in 10 iterations
# (the second share for the fit on which all others build), or at a looser tolerance
# (factor; upper limit; violation of the optimality conditions as a share of lambda).
_FLAT, _FLAT_FIRST = 3e-4, 2e-4
# A first fit that has gained no more than this share over the null model lies on a
# plateau, where an early end would empty the path: it goes on to the end.
_PLATEAU = 0.02
_LOOSER, _LOOSEST, _LAMBDA_SHARE = 30.0, 3e-3, 0.3
# On one smooth branch of minima two neighbors exceed each other equally, each at the
# lambda of the other. The way back starts from those that exceed the network by less
# than this share of what it exceeds them by.
_SAME_BRANCH = 0.7
# Between two neighbors all networks with a unit less are tried where these are so few,
# and down to one where they are many. They are better if they are so by this share.
_FEW_UNITS, _WORTH_IT = 3, 3e-3


def count_alive(coefs):
    """Numbers of inputs and of hidden units on a path from an input to an output."""
    alive = _prune.alive_units(coefs)
    return alive[0].sum(), sum(mask.sum() for mask in alive[1:-1])


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
    """

    def __init__(self, training, tell=None):
        self.training = training
        self._tell = tell or (lambda fit: False)
        self.problem = training.problem
        self.is_linear = self.problem.network.n_layers == 1
        # Objectives can be compared: each is one of a local minimum of J.
        self.is_exact = (
            isinstance(training.solver, Deterministic) and training.validate is None
        )
        self._full_solver = self._solver = self._first_solver = training.solver
        if self.is_exact and not self.is_linear:
            tol = training.solver.tol
            looser = max(tol, min(_LOOSER * tol, _LOOSEST))
            self._solver = replace(training.solver, tol=looser, ftol=_FLAT)
            self._first_solver = replace(self._solver, ftol=_FLAT_FIRST)
        self.n_fits = self.n_unconverged = 0
        self._scale, self._penalties = None, {}
        # lambda in the solver's units has this power of that of a weight.
        penalties = [p for p in self.problem.penalties if p is not None]
        self._degree = min(map(degree, penalties), default=1)
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
            self._solver = self._first_solver = self._full_solver
        fits = self._from_dense_to_sparse(grid, n_init, stop)
        if self.is_exact:
            self._return(fits)
            self._bridge(fits, stop)
            self._settle(fits, stop)
        if stop is not None:  # the way back may have emptied earlier networks as well
            few = [stop(self._coefs(fit)) for fit in fits]
            fits = fits[: few.index(True) + 1] if any(few) else fits
        return fits

    def run_cold(self, grid, stop=None):
        """Return a list of fits, each from the start of the training; see `_cold`."""
        [solved], fits = solve_cold([self.training], grid.values), []
        for lam, (result, monitor) in zip(grid.values, solved):
            fit = self._fit_of(as_strength(lam), result, monitor)
            is_few = stop is not None and stop(self._coefs(fit))
            if self.is_linear and fits and stop is not None and not is_few:
                break
            fits.append(fit)
            if self._tell(fit) or (is_few and not self.is_linear):
                break
        return fits

    def _from_sparse_to_dense(self, grid, stop):
        fits, theta = [], self._null_theta
        for lam in grid:
            fit = self._solve(lam, theta)
            if fits and stop is not None and not stop(self._coefs(fit)):
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
            fit = self._solve(lam, theta) if fits else self._best_start(lam, n_init)
            if theta is None or np.isfinite(fit.theta).all():
                theta = fit.theta
            null_objective = self._null_loss + self._penalty(self._null_theta, lam)
            is_null = self._is_zero(fit.theta)
            # Without a minimum of J, only where the grid is to end.
            if self.is_exact or lam >= grid.values[-1]:
                least = _EQUAL * abs(null_objective)
                is_null |= fit.objective >= null_objective - least
            if self.is_exact and null_objective < fit.objective:
                fit = self._null(lam, fit.n_iter)
            fits.append(fit)
            if self._tell(fit):
                break
            if stop is not None and stop(self._coefs(fit)):
                break
            if grid.ratio and is_null:
                break
        return fits

    def _best_start(self, lam, n_init):
        training, network = self.training, self.problem.network
        per_layer = self._per_layer(lam)
        starts = [training.start(per_layer)]
        for _ in range(n_init - 1):
            theta = network.initial_theta(training.rng, training.dtype)
            theta = theta.astype(self.problem.dtype, copy=False)
            starts.append(self._first_solver.start(self.problem, theta, per_layer))
        fits = [self._solve(lam, theta, self._first_solver) for theta in starts]
        best = min(fits, key=lambda fit: (np.isnan(fit.objective), fit.objective))
        n_iter = sum(fit.n_iter for fit in fits)
        if self.is_exact and self._first_solver is not self._full_solver:
            if best.objective >= (1 - _PLATEAU) * self._null_loss:
                best = self._solve(lam, best.theta, self._full_solver)
                n_iter += best.n_iter
        best.n_iter = n_iter
        return best

    def refine(self, fit):
        """Continue a fit with the tolerance of the estimator, if that differs."""
        if self._solver is self._full_solver:
            return fit
        new = self._solve(fit.lam, fit.theta, self._full_solver)
        parts = [r for r in (fit.result, new.result) if r.n_iter] or [new.result]
        history = {
            k: [v for r in parts for v in r.history[k]] for k in new.result.history
        }
        n_iter = sum(r.n_iter for r in parts)
        return replace(new, result=replace(new.result, n_iter=n_iter, history=history))

    def _return(self, fits):
        """Fit networks again from their sparser neighbors; keep the better ones."""
        for k in reversed(range(len(fits) - 1)):
            sparser, fit = fits[k + 1], fits[k]
            if self._is_zero(sparser.theta):
                continue
            excess = self._objective(sparser, fit.lam) - fit.objective
            excess_there = self._objective(fit, sparser.lam) - sparser.objective
            if excess >= _SAME_BRANCH * excess_there:
                continue
            new = self._solve(fit.lam, sparser.theta)
            better = fit if fit.objective <= new.objective else new
            better.n_iter = fit.n_iter + new.n_iter
            fits[k] = better

    def _bridge(self, fits, stop):
        """Look for networks between neighbors that differ by two units or more.

        There the way from dense to sparse has passed over a branch of minima with a
        number of units in between. One of its networks may be found from the denser
        neighbor without one of the units whose loss raises the objective least.
        """
        for k in range(len(fits) - 1):
            for _ in range(self._n_units(fits[k])):
                if self._n_units(fits[k]) < self._n_units(fits[k + 1]) + 2:
                    break
                starts = self._with_a_unit_less(fits[k])
                if not any(self._spread(fits, k, theta, stop) for theta in starts):
                    break

    def _n_units(self, fit):
        return count_alive(self._coefs(fit))[1]

    def _with_a_unit_less(self, fit):
        alive, smaller = _prune.alive_units(self._coefs(fit)), []
        for layer, mask in enumerate(alive[1:-1]):
            for unit in np.flatnonzero(mask):
                theta = fit.theta.copy()
                coefs = self.problem.network.coefs(theta)
                coefs[layer][:, unit] = coefs[layer + 1][unit] = 0.0
                smaller.append(theta)
        lam = self._per_layer(fit.lam)
        smaller.sort(key=lambda theta: self.problem.value(theta, lam))
        return smaller[: max(1, _FEW_UNITS**2 // len(smaller))]

    def _spread(self, fits, k, theta, stop):
        """Fit from theta at the k-th lambda, and on from there as long as it pays.

        Returns whether any network has become better.
        """
        start, found = self._solve(fits[k].lam, theta), False
        for direction in (range(k, -1, -1), range(k + 1, len(fits))):
            new = start
            for j in direction:
                if j != k:
                    new = self._solve(fits[j].lam, new.theta)
                old = fits[j]
                old.n_iter += new.n_iter
                least = _WORTH_IT * abs(old.objective)
                is_better = new.objective < old.objective - least
                if not (is_better and self._may_replace(old, new, fits, stop)):
                    break
                new.n_iter = old.n_iter
                fits[j], found = new, True
        return found

    def _may_replace(self, old, new, fits, stop):
        """Whether a path that stops at its last network would still do so."""
        if stop is None or old is not fits[-1] or not stop(self._coefs(old)):
            return True
        return stop(self._coefs(new))

    def _settle(self, fits, stop):
        """Let no network be worse, at its own lambda, than another one of the path."""
        for k, fit in enumerate(fits):
            at_lam = [self._objective(other, fit.lam) for other in fits]
            if np.isnan(at_lam).all():
                continue
            best = int(np.nanargmin(at_lam))
            if not at_lam[best] < fit.objective:
                continue
            new = self._adopt(fits[best], fit.lam)
            new.n_iter = fit.n_iter
            if self._may_replace(fit, new, fits, stop):
                fits[k] = new

    def _adopt(self, fit, lam):
        result = replace(fit.result, n_iter=0, history={})
        return self._record(lam, fit.theta, result, fit.monitor)

    def _objective(self, fit, lam):
        return fit.data_loss + self._penalty(fit.theta, lam)

    def _penalty(self, theta, lam):
        if lam not in self._penalties:  # all networks are compared at each lambda
            self._penalties[lam] = self.problem.penalty(self._per_layer(lam))
        return self._penalties[lam].value(theta)

    def _per_layer(self, lam):
        return np.broadcast_to(lam, self.problem.network.n_layers).astype(float)

    def _coefs(self, fit):
        return self.problem.network.coefs(fit.theta)

    def _is_zero(self, theta):
        return not any(theta[s].any() for _, _, s, _ in self.problem.blocks())

    def _solve(self, lam, theta, solver=None):
        training, monitor = self.training, self.training.monitor()
        solver, scale = solver or self._solver, self._scale
        if solver is not self._full_solver and scale and lam > 0 and solver.tol > 0:
            lam_of_solver = lam * self.problem.coordinates().weight_unit ** self._degree
            scale = min(scale, _LAMBDA_SHARE * lam_of_solver / solver.tol)
        result = solver.solve(
            self.problem, self._per_layer(lam), theta, training.rng, monitor, scale
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
        return self._record(lam, theta, result, monitor)

    def _null(self, lam, n_iter):
        """The network of zeros, with optimal intercepts."""
        result = Result(self._null_theta, 0, Status.CONVERGED, state=self._scale)
        fit = self._record(lam, self._null_theta, result, self.training.monitor())
        fit.n_iter = n_iter
        return fit

    def _record(self, lam, theta, result, monitor):
        data_loss, penalty = self.problem.data_value(theta), self._penalty(theta, lam)
        if not result.history.get("data_loss"):
            values = {"data_loss": [data_loss], "penalty": [penalty]}
            result.history = {"validation_scores": [], **result.history, **values}
        return _Fit(lam, theta, data_loss, penalty, result, monitor, result.n_iter)
