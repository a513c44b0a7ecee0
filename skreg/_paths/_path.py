"""Paths as users see them: networks along a grid of lambda."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skreg import _validation as validation
from skreg._base import BaseRegMLP, check_network
from skreg._callbacks import Report, with_callbacks
from skreg._fitted import Fitted, as_estimator
from skreg._judgement import (
    is_null_model,
    judge,
    warn_of_constant_targets,
    warn_of_verdicts,
)
from skreg._numbers import as_strength, strength_text
from skreg._paths._walk import Walk
from skreg._prune import count_alive
from skreg._repr import html_table, picture
from skreg._solvers._stopping import is_due
from skreg._threads import single_blas_thread
from skreg._training import NON_FINITE
from skreg._typing import Array, Matrix
from skreg._warnings import warn


@dataclass(frozen=True, eq=False, repr=False)
class RegMLPPath(Sequence):
    """Networks along a grid of lambda, in the order in which they were fitted.

    With hidden layers lambda rises, without them it falls. ``path[k]`` is the k-th
    network as a fitted estimator, a slice is a path. All arrays have one entry per
    lambda.

    Parameters
    ----------
    reg_lambdas : ndarray of shape (n_lambdas,) or (n_lambdas, n_layers)
        The grid.
    objective, data_loss, penalty : ndarray
        J and its two terms, the second one including lambda.
    n_iter : ndarray of int
        Iterations or epochs spent, those of restarts and the way back included.
    estimator : RegMLPClassifier or RegMLPRegressor
        Gives class and parameters of the networks.
    networks : tuple of Fitted
        Their fitted values.

    Attributes
    ----------
    coefs, intercepts : list of list of ndarray
        ``coefs[k]`` and ``intercepts[k]`` are those of the network at
        ``reg_lambdas[k]``, layer by layer.
    n_nonzero : ndarray of int
        Weights that are not 0.
    n_features, n_units : ndarray of int
        Inputs, and units of hidden layers, that lie on a path of non-zero weights from
        an input to an output.

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
    >>> path = reg_mlp_path(lasso, scale(X), scale(y), reg_lambdas=4)
    >>> path
    RegMLPPath of 4 networks, reg_lambdas from 0.586 to 0.000586
    >>> path.n_features.tolist()
    [0, 5, 8, 10]
    >>> path[1].score(scale(X), scale(y)) > 0.4
    True
    """

    reg_lambdas: np.ndarray
    objective: np.ndarray
    data_loss: np.ndarray
    penalty: np.ndarray
    n_iter: np.ndarray
    estimator: BaseRegMLP
    networks: tuple[Fitted, ...]

    def __len__(self) -> int:
        return len(self.networks)

    @overload
    def __getitem__(self, k: int) -> BaseRegMLP: ...
    @overload
    def __getitem__(self, k: slice) -> "RegMLPPath": ...
    def __getitem__(self, k):
        if isinstance(k, slice):
            arrays = (
                self.reg_lambdas,
                self.objective,
                self.data_loss,
                self.penalty,
                self.n_iter,
            )
            return RegMLPPath(*(a[k] for a in arrays), self.estimator, self.networks[k])
        lam = as_strength(self.reg_lambdas[k])
        return as_estimator(self.estimator, self.networks[k], reg_lambda=lam)

    def __getstate__(self):
        # Files hold no private class.
        return {**vars(self), "networks": [f.to_plain() for f in self.networks]}

    def __setstate__(self, state):
        networks = tuple(Fitted.from_plain(plain) for plain in state["networks"])
        vars(self).update({**state, "networks": networks})

    def __repr__(self):
        ends = ""
        if len(self):
            first, last = map(strength_text, self.reg_lambdas[[0, -1]])
            ends = f", reg_lambdas from {first} to {last}"
        return f"RegMLPPath of {len(self)} networks{ends}"

    @property
    def coefs(self) -> list[list[Array]]:
        """Weight matrices of each network."""
        return [network.coefs for network in self.networks]

    @property
    def intercepts(self) -> list[list[Array]]:
        """Intercepts of each network."""
        return [network.intercepts for network in self.networks]

    @property
    def n_nonzero(self) -> Array:
        """Weights that are not 0."""
        return np.array([network.n_nonzero for network in self.networks])

    @property
    def n_features(self) -> Array:
        """Inputs in use."""
        return np.array([network.selected.sum() for network in self.networks])

    @property
    def n_units(self) -> Array:
        """Units of hidden layers in use."""
        return np.array([network.n_units for network in self.networks])

    def to_frame(self) -> Any:
        """The path as a table.

        Returns
        -------
        pandas.DataFrame
            One row per lambda; columns reg_lambda, objective, data_loss, penalty,
            n_features, n_units, n_nonzero and n_iter.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "RegMLPPath.to_frame needs pandas: pip install pandas."
            ) from error
        return pd.DataFrame(self._columns())

    def _columns(self):
        return {
            "reg_lambda": [as_strength(lam) for lam in self.reg_lambdas],
            "objective": self.objective,
            "data_loss": self.data_loss,
            "penalty": self.penalty,
            "n_features": self.n_features,
            "n_units": self.n_units,
            "n_nonzero": self.n_nonzero,
            "n_iter": self.n_iter,
        }

    def _repr_html_(self):
        """Picture of the inputs' weights and table of `to_frame`, for notebooks."""
        columns = self._columns()
        rows = ([strength_text(v, 6) for v in row] for row in zip(*columns.values()))
        is_drawn = len(self) > 1 and self.reg_lambdas.ndim == 1
        shown = picture(self) if is_drawn else ""
        return f"<p>{self!r}</p>{shown}{html_table(columns, rows)}"


def reg_mlp_path(
    estimator: BaseRegMLP,
    X: Matrix,
    y: Matrix,
    *,
    reg_lambdas: int | ArrayLike = 50,
    eps: float = 1e-3,
    sample_weight: ArrayLike | None = None,
    max_features: int | None = None,
    max_units: int | None = None,
    n_init: int = 1,
    start: str = "warm",
    verbose: bool | int = False,
) -> RegMLPPath:
    """Fit networks along a grid of lambda, each started from the one before.

    Networks with hidden layers go from dense to sparse. (A network of zeros is
    stationary for every lambda, so a path from the sparse end would never leave it.)
    Without hidden layers, the problem of the lasso, the path starts where all weights
    are 0 and goes from sparse to dense.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        The network, not changed. Its solver fits it; "lbfgs" is recommended. Its
        `reg_lambda` is not used: all layers have the lambda of the grid.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Inputs.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    reg_lambdas : int or array-like of float >= 0, default=50
        The grid. An int is the number of values, evenly spaced on a log scale from
        ``eps * lambda_ref`` to ``lambda_ref``. See Notes. With ``start="cold"`` also a
        table of shape (n_lambdas, n_layers), strengths layer by layer, whose order is
        kept.
    eps : float in (0, 1), default=1e-3
        Length of the automatic grid: its smallest lambda as a share of lambda_ref.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights, not all 0.
    max_features, max_units : int >= 1, default=None
        Stop where at most this many inputs, or units of hidden layers, are left: the
        last network is the least regularized one found with no more. None: no limit.
    n_init : int >= 1, default=1
        Cold starts at the first lambda, of which the best one is kept. Only for
        networks with hidden layers.
    start : {"warm", "cold"}, default="warm"
        Whether each network starts from the one before, or all from the same initial
        weights, as single fits would. On a device, cold starts train together. Then an
        automatic grid is not extended, and what the notes say of the way back and of
        early ends does not apply.
    verbose : bool or int, default=False
        1 prints lines of the 1st to 10th lambda, then of the 20th, 30th, ...; 2 a line
        per lambda.

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
    Callbacks of the estimator see one fit with a task per lambda, in the order of the
    first way along the grid, and can end it.

    lambda_ref is the smallest lambda at which all weights are 0 in the generalized
    linear model of the same loss and (first) penalty. For L2, where there is none, it
    is the largest singular value of the gradient there, above which zero is a local
    minimum of a network with one hidden layer and slope 1; without hidden layers, 10
    times the largest curvature of the data term. With L layers, the product of L
    weights has the unit of one, u = (spread of y) / (spread of X), and lambda_ref is
    multiplied by u^(1 - q / L), q = 1 for norms and 2 for squares. Where the activation
    saturates, one lambda for all layers is stronger in some of them than in others,
    unless u is 1; the grid then reaches as much further down. With hidden layers, an
    automatic grid ends where all penalized weights are 0 or the objective reaches that
    of the null model (weights 0, optimal intercepts), before or, by the same ratio and
    in at most 20 more steps, after lambda_ref.

    An objective with hidden layers has many local minima. If the solver is "lbfgs",
    networks that are worse than the null model are replaced by it. On the way back,
    networks are fitted again from their sparser neighbors where these seem to belong to
    a lower branch of minima, and the better ones stay. Where neighbors differ by two
    hidden units or more, networks in between are tried. In the end, no network is
    worse, at its own lambda, than another one of the path (but the last one, where
    `max_features` or `max_units` rule the better one out). So the objective rises with
    lambda, and the penalty divided by lambda falls (not of MCP and SCAD, whose values
    are not linear in lambda). Fits end as single ones do, or where the objective falls
    by less than 0.04 % in 10 iterations: the next fit goes on where one stops.

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
    ...     network, scale(X), scale(y), reg_lambdas=10, max_features=4
    ... )
    >>> int(path.n_features[0]), int(path.n_features[-1]) <= 4
    (10, True)
    >>> [W.shape for W in path.coefs[-1]]
    [(10, 10), (10, 1)]
    """
    check_network(estimator, may_be_on_cluster=True)
    validation.check_value("n_init", n_init, validation.COUNT)
    validation.check_value("eps", eps, validation.EPS)
    validation.check_value("start", start, validation.START)
    if start == "cold" and n_init > 1:
        raise ValueError(f"n_init={n_init!r} needs start='warm'. Got start='cold'.")
    validation.check_value("verbose", verbose, validation.VERBOSE)
    estimator = clone(estimator)
    limits = {"max_features": max_features, "max_units": max_units}
    with single_blas_thread():
        training, walk, fits, stop = _walk(
            estimator,
            X,
            y,
            sample_weight,
            reg_lambdas=reg_lambdas,
            eps=eps,
            n_init=n_init,
            limits=limits,
            verbose=verbose,
            start=start,
        )
    if not all(np.isfinite([*fit.theta, fit.data_loss]).all() for fit in fits):
        raise ValueError(NON_FINITE)
    if stop is not None and not stop(fits[-1].coefs(training.problem.network)):
        warn(
            "The grid ends before max_features or max_units is reached. Extend "
            "'reg_lambdas'."
        )
    warn_of_constant_targets(training)
    n_unconverged, n_fits = walk.count
    warn_unconverged(n_unconverged, n_fits, estimator)
    path = as_path(estimator, fits, training)
    if all(is_null_model(training.problem, fitted) for fitted in path.networks):
        warn(
            f"Every network of the path predicts a constant: reg_lambdas from "
            f"{path.reg_lambdas.min():.3g} on leave no weights between inputs and "
            "outputs. Extend 'reg_lambdas' to smaller values, or scale the data, "
            "unless X tells nothing of y.",
            ConvergenceWarning,
        )
    else:
        verdicts = [judge(training, fit.theta, fit.data_loss) for fit in fits]
        warn_of_verdicts(verdicts, "of the path", estimator)
    return path


@with_callbacks
def _walk(
    estimator, X, y, sample_weight, *, reg_lambdas, eps, n_init, limits, verbose, start
):
    """Go along the grid; return the training, the walk, its fits and the stop rule."""
    validation.check_parameters(estimator)
    given = (X, y, sample_weight)
    training = estimator._prepare(*given)
    training = replace(training, verbose=False)  # lines are of lambdas, not of epochs
    reg_lambdas = validation.check_reg_lambdas(reg_lambdas)
    stop = _stop_rule(training.problem.network, **limits)
    if stop is not None:
        validation.check_order("max_features or max_units", reg_lambdas)
    validation.check_table(training.problem, reg_lambdas, start)
    listener = _Listener(training, verbose)
    walk = Walk(training, listener)
    grid = walk.grid(reg_lambdas, eps)
    is_cold = start == "cold"
    n_tasks = None if grid.ratio and not is_cold else len(grid.values)
    listener.begin(len(grid.values), Report.of(estimator, *given, n_tasks))
    fits = walk.run_cold(grid, stop) if is_cold else walk.run(grid, n_init, stop)
    listener.end(fits[-1])
    return training, walk, fits, stop


class _Listener:
    """Is told of the networks of a path: prints lines and tells callbacks.

    Parameters
    ----------
    training : Training
    verbose : bool or int
        As `is_due` says.
    """

    def __init__(self, training, verbose):
        self._training, self._verbose = training, verbose
        self._n_told, self._n_lambdas, self._report = 0, None, None

    def begin(self, n_lambdas, report):
        """Take what is known once there is a grid; the report is None or a `Report`."""
        self._n_lambdas, self._report = n_lambdas, report

    def __call__(self, fit):
        """Tell of a fit; return whether a callback wants the path to end there."""
        self._n_told += 1
        if is_due(self._n_told, self._verbose):
            self._print(fit)
        if self._report is None:
            return False
        recorded = self._recorded(fit)
        return self._report.done("reg_lambda", recorded, reg_lambda=fit.lam)

    def end(self, fit):
        """Tell callbacks that the path has ended, with this fit as its last."""
        if self._report is not None:
            self._report.end(self._recorded(fit), reg_lambda=fit.lam)

    def _recorded(self, fit):
        return lambda: self._training.record(fit.result, fit.monitor)

    def _print(self, fit):
        coefs = fit.coefs(self._training.problem.network)
        n_features, n_units = count_alive(coefs)
        print(
            f"[reg_mlp_path] {self._n_told} of {self._n_lambdas}: "
            f"reg_lambda = {strength_text(fit.lam, 4)}, "
            f"objective = {fit.objective:.6g}, "
            f"{n_features} inputs, {n_units} units, {fit.n_iter} iterations"
        )


def _stop_rule(network, max_features, max_units):
    """Function coefs -> whether few enough inputs or units are left; or None."""
    limits = {}
    for name, limit in (("max_features", max_features), ("max_units", max_units)):
        if limit is not None:
            validation.check_value(name, limit, validation.COUNT)
            limits[name] = limit
    if "max_units" in limits and network.n_layers == 1:
        raise ValueError("max_units needs hidden layers, got hidden_layer_sizes=().")
    if not limits:
        return None

    def stop(coefs):
        n_features, n_units = count_alive(coefs)
        return (max_features is not None and n_features <= max_features) or (
            max_units is not None and n_units <= max_units
        )

    return stop


def warn_unconverged(n_unconverged, n_fits, estimator):
    """Warn where fits of a path ended at a limit or diverged."""
    if n_unconverged:
        limits = f"max_iter={estimator.max_iter}"
        if estimator.solver == "lbfgs":
            limits += f" or max_fun={estimator.max_fun}"
        warn(
            f"{n_unconverged} of {n_fits} fits along the path stopped at {limits}, or "
            "diverged, and have not converged yet. Increase the limit, scale the data, "
            "or raise 'tol'.",
            ConvergenceWarning,
        )


def as_path(estimator, fits, training):
    """The public form of a list of fits."""
    return RegMLPPath(
        np.array([fit.lam for fit in fits]),
        np.array([fit.objective for fit in fits]),
        np.array([fit.data_loss for fit in fits]),
        np.array([fit.penalty for fit in fits]),
        np.array([fit.n_iter for fit in fits]),
        estimator,
        tuple(training.record(fit.result, fit.monitor) for fit in fits),
    )
