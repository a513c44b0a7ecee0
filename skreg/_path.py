"""Paths: networks along a grid of lambda, each started from the one before."""

import copy
import warnings
from dataclasses import dataclass, replace
from itertools import chain
from numbers import Integral, Real

import numpy as np
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skreg import _prune
from skreg._base import _NON_FINITE, BaseRegMLP
from skreg._network import Network
from skreg._solvers._deterministic import Deterministic
from skreg._solvers._result import Result, Status
from skreg._solvers._stopping import Monitor
from skreg._threads import single_blas_thread

# Objectives that differ by less than this share count as equal.
_EQUAL = 1e-6
# A fit on a path with hidden layers ends early, since what is left to be gained at one
# lambda is gained at the next: where J falls by less than this share in 10 iterations
# (the second share for the fit on which all others build), or at a looser tolerance
# (factor; upper limit; violation of the optimality conditions as a share of lambda).
_FLAT, _FLAT_FIRST = 3e-4, 2e-4
_LOOSER, _LOOSEST, _LAMBDA_SHARE = 30.0, 3e-3, 0.3
# On one smooth branch of minima two neighbors exceed each other equally, each at the
# lambda of the other. The way back starts from those that exceed the network by less
# than this share of what it exceeds them by.
_SAME_BRANCH = 0.7
# Between two neighbors all networks with a unit less are tried where these are so few,
# and down to one where they are many. They are better if they are so by this share.
_FEW_UNITS, _WORTH_IT = 3, 3e-3
_MAX_EXTENSION = 20
_WRONG_GRID = (
    "reg_lambdas must be an int >= 2 or a sequence of finite floats >= 0. Got {!r}."
)


@dataclass
class RegMLPPath:
    """Networks along a grid of lambda, in the order in which they were fitted.

    With hidden layers lambda rises, without them it falls. All arrays have one entry
    per lambda.

    Parameters
    ----------
    reg_lambdas : ndarray
        The grid.
    coefs, intercepts : list of list of ndarray
        ``coefs[k]`` and ``intercepts[k]`` are those of the network at
        ``reg_lambdas[k]``, layer by layer.
    objective, data_loss, penalty : ndarray
        J and its two terms, the second one including lambda.
    n_nonzero : ndarray of int
        Weights that are not 0.
    n_features, n_units : ndarray of int
        Inputs, and units of hidden layers, that lie on a path of non-zero weights from
        an input to an output.
    n_iter : ndarray of int
        Iterations or epochs spent, those of restarts and the way back included.

    See Also
    --------
    reg_mlp_path : Returns it.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPRegressor, reg_mlp_path
    >>> X, y = load_diabetes(return_X_y=True)
    >>> lasso = RegMLPRegressor((), penalty="l1", solver="lbfgs")
    >>> path = reg_mlp_path(scale(X), scale(y), estimator=lasso, reg_lambdas=4)
    >>> path.reg_lambdas.round(4).tolist(), path.n_features.tolist()
    ([0.5865, 0.0586, 0.0059, 0.0006], [0, 5, 8, 10])
    """

    reg_lambdas: np.ndarray
    coefs: list
    intercepts: list
    objective: np.ndarray
    data_loss: np.ndarray
    penalty: np.ndarray
    n_nonzero: np.ndarray
    n_features: np.ndarray
    n_units: np.ndarray
    n_iter: np.ndarray


def reg_mlp_path(
    X,
    y,
    *,
    estimator,
    reg_lambdas=50,
    eps=1e-3,
    sample_weight=None,
    max_features=None,
    max_units=None,
    n_init=1,
):
    """Fit networks along a grid of lambda, each started from the one before.

    Networks with hidden layers go from dense to sparse. (A network of zeros is
    stationary for every lambda, so a path from the sparse end would never leave it.)
    Without hidden layers, the problem of the lasso, the path starts where all weights
    are 0 and goes from sparse to dense.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Inputs.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    estimator : RegMLPClassifier or RegMLPRegressor
        The network, not changed. Its solver fits it; "lbfgs" is recommended. Its
        `reg_lambda` is not used: all layers have the lambda of the grid.
    reg_lambdas : int or array-like of float >= 0, default=50
        The grid. An int is the number of values, evenly spaced on a log scale from
        ``eps * lambda_ref`` to ``lambda_ref``. See Notes.
    eps : float in (0, 1), default=1e-3
        Length of the automatic grid.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights, not all 0.
    max_features, max_units : int, default=None
        Stop where at most so many inputs, or units of hidden layers, are left: the last
        network is the least regularized one found with so few.
    n_init : int, default=1
        Cold starts at the first lambda, of which the best one is kept. Only for
        networks with hidden layers.

    Returns
    -------
    RegMLPPath
        Networks, objectives and sparsity along the grid.

    Raises
    ------
    ValueError
        Names the parameter or the data at fault and what is allowed.

    See Also
    --------
    RegMLPClassifierCV, RegMLPRegressorCV : Choose lambda by cross-validation.

    Notes
    -----
    lambda_ref is the smallest lambda at which all weights are 0 in the generalized
    linear model of the same loss and (first) penalty. For L2, where there is none, it
    is the largest singular value of the gradient there, above which zero is a local
    minimum of a network with one hidden layer and slope 1; without hidden layers, 10
    times the largest curvature of the data term. With hidden layers, an automatic grid
    ends where all penalized weights are 0 or the objective reaches that of the null
    model (weights 0, optimal intercepts), before or, by the same ratio and in at most
    20 more steps, after lambda_ref.

    An objective with hidden layers has many local minima. If the solver is "lbfgs",
    networks that are worse than the null model are replaced by it. On the way back,
    networks are fitted again from their sparser neighbors where these seem to belong to
    a lower branch of minima, and the better ones stay. Where neighbors differ by two
    hidden units or more, networks in between are tried. In the end, no network is
    worse, at its own lambda, than another one of the path (but the last one, where
    `max_features` or `max_units` rule the better one out). So the objective rises with
    lambda, and the penalty divided by lambda falls (not of MCP and SCAD, whose values
    are not linear in lambda). Fits end where the objective falls
    by less than 0.03 % in 10 iterations (0.02 % for the first), or at up to 30 times
    `tol`: the next fit goes on where one stops.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPRegressor
    >>> from skreg import reg_mlp_path
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = RegMLPRegressor(
    ...     (10,), activation="tanh", penalty="group_lasso", solver="lbfgs",
    ...     max_iter=1000, random_state=0
    ... )
    >>> path = reg_mlp_path(
    ...     scale(X), scale(y), estimator=network, reg_lambdas=10, max_features=4
    ... )
    >>> int(path.n_features[0]), int(path.n_features[-1]) <= 4
    (10, True)
    >>> [W.shape for W in path.coefs[-1]]
    [(10, 10), (10, 1)]
    """
    if not isinstance(estimator, BaseRegMLP):
        raise ValueError(
            "estimator must be a RegMLPClassifier or a RegMLPRegressor, got "
            f"{type(estimator).__name__}."
        )
    _check_integer("n_init", n_init)
    if not (isinstance(eps, Real) and 0 < eps < 1):
        raise ValueError(f"eps must be a float in (0, 1). Got {eps!r}.")
    with single_blas_thread():
        estimator = clone(estimator)
        training = estimator._prepare(X, y, sample_weight)
        stop = _stop_rule(training.problem.network, max_features, max_units)
        walk = Walk(estimator, training)
        fits = walk.run(walk.grid(reg_lambdas, eps), n_init, stop)
    if not all(np.isfinite(fit.theta).all() for fit in fits):
        raise ValueError(_NON_FINITE)
    if stop is not None and not stop(fits[-1].coefs(training.problem.network)):
        warnings.warn(
            "The grid ends before max_features or max_units is reached. Extend "
            "'reg_lambdas'.",
            UserWarning,
            stacklevel=2,
        )
    warn_unconverged(*walk.count, estimator, stacklevel=3)
    return as_path(fits, training)


def _check_integer(name, value):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an int >= 1, got {value!r}.")


def _stop_rule(network, max_features, max_units):
    """Function coefs -> whether few enough inputs or units are left; or None."""
    limits = {}
    for name, limit in (("max_features", max_features), ("max_units", max_units)):
        if limit is not None:
            _check_integer(name, limit)
            limits[name] = limit
    if "max_units" in limits and network.n_layers == 1:
        raise ValueError("max_units needs hidden layers, got hidden_layer_sizes=().")
    if not limits:
        return None

    def stop(coefs):
        n_features, n_units = _count_alive(coefs)
        return (max_features is not None and n_features <= max_features) or (
            max_units is not None and n_units <= max_units
        )

    return stop


def _count_alive(coefs):
    """Numbers of inputs and of hidden units on a path from an input to an output."""
    alive = _prune.alive_units(coefs)
    return alive[0].sum(), sum(mask.sum() for mask in alive[1:-1])


def warn_unconverged(n_unconverged, n_fits, estimator, stacklevel):
    if n_unconverged:
        warnings.warn(
            f"{n_unconverged} of {n_fits} fits along the path stopped at "
            f"max_iter={estimator.max_iter} or max_fun={estimator.max_fun}, or "
            "diverged, and have not converged yet. Increase the limit, scale the data, "
            "or raise 'tol'.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )


def as_path(fits, training):
    """The public form of a list of fits."""
    network = training.problem.network
    thetas = [fit.theta.astype(training.dtype) for fit in fits]
    coefs = [network.coefs(theta) for theta in thetas]
    alive = [_count_alive(layers) for layers in coefs]
    return RegMLPPath(
        np.array([fit.lam for fit in fits]),
        coefs,
        [network.intercepts(theta) for theta in thetas],
        np.array([fit.objective for fit in fits]),
        np.array([fit.data_loss for fit in fits]),
        np.array([fit.penalty for fit in fits]),
        np.array([sum(map(np.count_nonzero, layers)) for layers in coefs]),
        np.array([n_features for n_features, _ in alive]),
        np.array([n_units for _, n_units in alive]),
        np.array([fit.n_iter for fit in fits]),
    )


# The path ----------------------------------------------------------------------------


@dataclass
class _Fit:
    """One network of a path; `n_iter` counts all that was spent at its lambda."""

    lam: float
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
        return (failed and not is_kept) or not np.isfinite(self.theta).all()

    def coefs(self, network):
        return network.coefs(self.theta)


@dataclass(frozen=True)
class Grid:
    """lambda in the order of a path, and the ratio that continues it, or None."""

    values: np.ndarray
    ratio: float | None = None

    def __iter__(self):
        more = range(1, 1 + _MAX_EXTENSION) if self.ratio else ()
        extension = (self.values[-1] * self.ratio**k for k in more)
        return map(float, chain(self.values, extension))


class Walk:
    """Fits of one training set along a grid of lambda.

    Parameters
    ----------
    estimator : BaseRegMLP
        Gives the settings.
    training : Training
        What it prepared.

    Attributes
    ----------
    n_fits, n_unconverged : int
        Fits so far, and how many of them ended at a limit or diverged.
    """

    def __init__(self, estimator, training):
        self.training = training
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
        self._make_monitor = lambda: estimator._monitor(training)
        self._scale = None
        self._twin = _linear_twin(self.problem)
        self._twin_theta = _null_theta(self._twin)
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
        if isinstance(reg_lambdas, Integral) and not isinstance(reg_lambdas, bool):
            if reg_lambdas < 2:
                raise ValueError(_WRONG_GRID.format(reg_lambdas))
            top = _reference_lambda(
                self._twin, self._twin_theta, self.training.targets, self.is_linear
            )
            values = np.geomspace(eps * top, top, reg_lambdas)
            ratio = None if self.is_linear else eps ** (-1 / (reg_lambdas - 1))
        else:
            values, ratio = _check_grid(reg_lambdas), None
        return Grid(values[::-1] if self.is_linear else values, ratio)

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

    def _from_sparse_to_dense(self, grid, stop):
        fits, theta = [], self._null_theta
        for lam in grid:
            fit = self._solve(lam, theta)
            if fits and stop is not None and not stop(self._coefs(fit)):
                break
            fits.append(fit)
            theta = self._next_start(fit, theta)
        return fits

    def _from_dense_to_sparse(self, grid, n_init, stop):
        fits, theta = [], self.training.theta
        for lam in grid:
            fit = self._solve(lam, theta) if fits else self._best_start(lam, n_init)
            theta = self._next_start(fit, theta)
            null_objective = self._null_loss + self._penalty(self._null_theta, lam)
            is_null = self._is_zero(fit.theta)
            # Without a minimum of J, only where the grid is to end.
            if self.is_exact or lam >= grid.values[-1]:
                least = _EQUAL * abs(null_objective)
                is_null |= fit.objective >= null_objective - least
            if self.is_exact and null_objective < fit.objective:
                fit = self._null(lam, fit.n_iter)
            fits.append(fit)
            if stop is not None and stop(self._coefs(fit)):
                break
            if grid.ratio and is_null:
                break
        return fits

    def _best_start(self, lam, n_init):
        network = self.problem.network
        fits = [self._solve(lam, self.training.theta, self._first_solver)]
        for _ in range(n_init - 1):
            theta = network.initial_theta(self.training.rng, self.training.dtype)
            theta = theta.astype(self.problem.dtype)
            fits.append(self._solve(lam, theta, self._first_solver))
        best = min(fits, key=lambda fit: (np.isnan(fit.objective), fit.objective))
        best.n_iter = sum(fit.n_iter for fit in fits)
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
        return _count_alive(self._coefs(fit))[1]

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
        return self.problem.penalty_value(theta, self._per_layer(lam))

    def _per_layer(self, lam):
        return np.full(self.problem.network.n_layers, float(lam))

    def _coefs(self, fit):
        return self.problem.network.coefs(fit.theta)

    def _is_zero(self, theta):
        return not any(theta[s].any() for _, _, s, _ in self.problem.blocks())

    @staticmethod
    def _next_start(fit, theta):
        return fit.theta if np.isfinite(fit.theta).all() else theta

    def _solve(self, lam, theta, solver=None):
        training, monitor = self.training, self._make_monitor()
        solver, scale = solver or self._solver, self._scale
        if solver is not self._full_solver and scale and lam > 0:
            scale = min(scale, _LAMBDA_SHARE * lam / solver.tol)
        result = solver.solve(
            self.problem, self._per_layer(lam), theta, training.rng, monitor, scale
        )
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        self.n_fits += 1
        failures = (Status.MAX_ITER, Status.NON_FINITE)
        self.n_unconverged += result.status in failures
        if isinstance(training.solver, Deterministic):
            self._scale = self._scale or result.state
        else:
            result.state = None  # as large as two networks
        theta = result.theta if monitor.best_theta is None else monitor.best_theta
        return self._record(lam, theta, result, monitor)

    def _null(self, lam, n_iter):
        """The network of zeros, with optimal intercepts."""
        result = Result(self._null_theta, 0, Status.CONVERGED, state=self._scale)
        fit = self._record(lam, self._null_theta, result, self._make_monitor())
        fit.n_iter = n_iter
        return fit

    def _record(self, lam, theta, result, monitor):
        data_loss, penalty = self.problem.data_value(theta), self._penalty(theta, lam)
        if not result.history.get("data_loss"):
            values = {"data_loss": [data_loss], "penalty": [penalty]}
            result.history = {"validation_scores": [], **result.history, **values}
        return _Fit(lam, theta, data_loss, penalty, result, monitor, result.n_iter)


def _check_grid(reg_lambdas):
    """Distinct values of a grid, in increasing order."""
    try:
        values = np.unique(np.asarray(reg_lambdas, dtype=np.float64))
    except (TypeError, ValueError):
        values = np.empty(0)
    if (
        np.ndim(reg_lambdas) != 1
        or not values.size
        or not (np.isfinite(values).all() and values[0] >= 0)
    ):
        raise ValueError(_WRONG_GRID.format(reg_lambdas))
    return values


def _linear_twin(problem):
    """The problem without hidden layers, of the first penalty that there is."""
    twin = copy.copy(problem)
    units = problem.network.units
    twin.network = Network((units[0], units[-1]), problem.network.activation)
    twin.penalties = tuple(p for p in problem.penalties if p is not None)[:1] or (None,)
    twin._net = twin._scratch = twin._penalty_sum = None
    return twin


def _null_theta(twin):
    """Parameters of the twin: weights 0, intercepts optimal then (0 if penalized)."""
    theta = np.zeros(twin.network.n_parameters, twin.dtype)
    output = twin.network.slices[-1]
    if twin.penalize_intercepts:
        return theta
    theta[output] = start = twin.null_prediction
    if twin.loss.name in ("huber", "absolute_error", "quantile"):
        unit = np.abs(twin.data_value_grad(theta)[1][output]).max() or 1.0

        def value_grad(b):
            theta[output] = b
            value, grad = twin.data_value_grad(theta)
            return value / unit, grad[output].astype(np.float64) / unit

        options = {"gtol": 1e-12, "ftol": 0.0}
        theta[output] = minimize(
            value_grad, start, jac=True, method="L-BFGS-B", options=options
        ).x
    return theta


def _reference_lambda(twin, theta, targets, is_linear):
    """Unit of the grid: lambda_max of the generalized linear model, or the like."""
    penalty, (shape,) = twin.penalties[0], twin.network.shapes
    if penalty is None:
        raise ValueError(
            "No layer is penalized, which leaves nothing to choose: set 'penalty', or "
            "give 'reg_lambdas' as a grid."
        )
    gradient = twin.data_value_grad(theta)[1].astype(np.float64)
    if _is_rounding(twin, gradient, targets):
        return 1.0
    try:
        penalty.validate(shape)
        top = max(
            penalty.lambda_max(gradient[s].reshape(block))
            for _, _, s, block in twin.blocks()
        )
    except (NotImplementedError, ValueError) as error:
        raise ValueError(
            f"There is no automatic grid for penalty={penalty!r}: give 'reg_lambdas' "
            f"as a grid. ({error})"
        ) from error
    if np.isfinite(top):
        return top
    if is_linear:  # with no curvature where a constant predicts perfectly
        return 10 * _largest_curvature(twin, theta) or 1.0
    return np.linalg.norm(gradient[: twin.network.n_weights].reshape(shape), 2)


def _is_rounding(twin, gradient, targets):
    """Whether the gradient of the null model is 0 up to rounding: nothing tells y."""
    if twin.penalize_intercepts:  # theirs is not 0
        return not gradient.any()
    X, n_weights = twin._X, twin.network.n_weights
    # As at intercepts without rounding, where their gradient is 0.
    shift = np.outer(twin.input_mean, gradient[n_weights:])
    weights = gradient[:n_weights].reshape(shift.shape) - shift
    size = max(X.max(), -X.min()) * np.abs(targets).max()
    return np.abs(weights).max() <= np.finfo(twin.dtype).eps * size


def _largest_curvature(problem, theta):
    """Largest eigenvalue of the Hessian of the data term in the weights."""
    n_weights, step = problem.network.n_weights, np.cbrt(np.finfo(theta.dtype).eps)
    direction = problem.data_value_grad(theta)[1][:n_weights]
    for _ in range(20):
        length = np.linalg.norm(direction)
        if length == 0:
            break
        shift = np.zeros_like(theta)
        shift[:n_weights] = step * direction / length
        above, below = (problem.data_value_grad(theta + s)[1] for s in (shift, -shift))
        direction = (above - below)[:n_weights] / (2 * step)
    return float(np.linalg.norm(direction))
