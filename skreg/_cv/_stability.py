"""Stability selection: the inputs that networks on half of the rows keep selecting."""

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import check_random_state

from skreg import _validation as validation
from skreg._base import BaseRegMLP, check_network
from skreg._cv._crossval import in_parallel
from skreg._numbers import as_float
from skreg._paths._grid import Grid
from skreg._paths._path import as_path, warn_unconverged
from skreg._paths._walk import Walk
from skreg._rows import Rows, read_weights, read_X_y
from skreg._task import task_of
from skreg._threads import single_blas_thread
from skreg._training import NON_FINITE, prepare
from skreg._typing import Array, Matrix, RandomState
from skreg._warnings import warn


@dataclass(frozen=True, eq=False, repr=False)
class StabilitySelection:
    """How often networks on half of the rows select each input, along lambda.

    Parameters
    ----------
    reg_lambdas : ndarray of shape (n_lambdas,)
        The grid, increasing.
    frequencies : ndarray of shape (n_lambdas, n_features)
        Share of the halves whose network at this lambda uses the input.
    n_selected : ndarray of shape (n_lambdas,)
        q: mean over the halves of the number of penalized inputs that are selected at
        this lambda or any larger one. It falls with lambda.
    is_penalized : ndarray of bool, shape (n_features,)
        Inputs among which to select: all but those whose factor is 0.
    threshold : float
        Share of the halves above which an input is stable.
    max_false : float
        Bound on the expected number of false inputs, which decides how far lambda goes
        down.
    feature_names : ndarray of str, default=None
        Names of the inputs, where X had some.

    Attributes
    ----------
    bounds : ndarray of shape (n_lambdas,)
        Bound on the expected number of false inputs if lambda went down to this one:
        ``n_selected ** 2 / ((2 * threshold - 1) * p)`` for p penalized inputs.
    reg_lambda_ : float
        Least lambda whose bound is at most `max_false`; NaN where there is none.
    expected_false_ : float
        The bound there; 0 where there is no such lambda.
    max_frequencies_ : ndarray of shape (n_features,)
        Largest frequency of each input at `reg_lambda_` and above.
    selected_features_ : ndarray of bool, shape (n_features,)
        Inputs whose `max_frequencies_` is at least `threshold`, and those that are not
        penalized.

    See Also
    --------
    stability_selection : Returns it.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPRegressor, stability_selection
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> lasso = RegMLPRegressor((), penalty="l1", solver="lbfgs")
    >>> result = stability_selection(
    ...     lasso, scale(X), scale(y), n_pairs=20, random_state=0
    ... )
    >>> result
    StabilitySelection of 2 of 10 inputs, threshold 0.9, expected_false <= 1
    >>> X.columns[result.selected_features_].tolist()
    ['bmi', 's5']
    >>> int(result.at(max_false=2.0).selected_features_.sum())
    3
    """

    reg_lambdas: Array
    frequencies: Array
    n_selected: Array
    is_penalized: Array
    threshold: float
    max_false: float
    feature_names: Array | None = None

    @property
    def bounds(self) -> Array:
        """Bound on the expected number of false inputs for each least lambda."""
        n_inputs = max(1, self.is_penalized.sum())
        return self.n_selected**2 / ((2 * self.threshold - 1) * n_inputs)

    @property
    def _range(self) -> Array:
        """Mask of the lambdas at which inputs may be selected."""
        return self.bounds <= self.max_false

    @property
    def reg_lambda_(self) -> float:
        """Least lambda whose bound is at most `max_false`."""
        values = self.reg_lambdas[self._range]
        return float(values[0]) if len(values) else float("nan")

    @property
    def expected_false_(self) -> float:
        """Bound on the expected number of false inputs among those selected."""
        return float(self.bounds[self._range].max(initial=0.0))

    @property
    def max_frequencies_(self) -> Array:
        """Largest frequency of each input in the range of lambda."""
        return self.frequencies[self._range].max(axis=0, initial=0.0)

    @property
    def selected_features_(self) -> Array:
        """Mask of the stable inputs, and of those that are not penalized."""
        return (self.max_frequencies_ >= self.threshold) | ~self.is_penalized

    def at(
        self, *, threshold: float | None = None, max_false: float | None = None
    ) -> "StabilitySelection":
        """Return the selection by another rule; nothing is fitted again.

        Parameters
        ----------
        threshold : float in (0.5, 1], default=None
            None keeps it.
        max_false : float > 0, default=None
            None keeps it.

        Returns
        -------
        StabilitySelection
            With the same frequencies.

        Raises
        ------
        ValueError
            Names the parameter and what is allowed.
        """
        threshold = self.threshold if threshold is None else threshold
        max_false = self.max_false if max_false is None else max_false
        return replace(self, **_check_rule(threshold, max_false))

    def to_frame(self) -> Any:
        """The selection as a table.

        Returns
        -------
        pandas.DataFrame
            One row per input, the name of the input as index (its number, where it has
            no name), columns frequency (`max_frequencies_`) and selected.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "StabilitySelection.to_frame needs pandas: pip install pandas."
            ) from error
        columns = {
            "frequency": self.max_frequencies_,
            "selected": self.selected_features_,
        }
        return pd.DataFrame(columns, index=self.feature_names)

    def __repr__(self):
        selected = self.selected_features_
        return (
            f"StabilitySelection of {selected.sum()} of {len(selected)} inputs, "
            f"threshold {self.threshold:g}, expected_false <= {self.max_false:g}"
        )


def stability_selection(
    estimator: BaseRegMLP,
    X: Matrix,
    y: Matrix,
    *,
    reg_lambdas: int | ArrayLike = 30,
    eps: float = 0.03,
    n_pairs: int = 50,
    threshold: float = 0.9,
    max_false: float = 1.0,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> StabilitySelection:
    """Select the inputs that networks on half of the rows keep selecting.

    A path of networks is fitted to each of ``2 * n_pairs`` random halves of the rows.
    Inputs are selected that are in use in at least a share `threshold` of them at one
    lambda, where lambda goes down only as far as the number of inputs selected by
    chance stays below `max_false`.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        The network, not changed, with a penalty that sets inputs to 0: "group_lasso",
        "l1", ... Its `reg_lambda` is not used.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Inputs.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    reg_lambdas : int or array-like of float >= 0, default=30
        The grid, the same for all halves, as in `reg_mlp_path`; an automatic one is
        that of all rows with twice its upper end, as halves are noisier.
    eps : float in (0, 1), default=0.03
        Length of the automatic grid: its smallest lambda as a share of lambda_ref.
    n_pairs : int >= 1, default=50
        Random splits of the rows into two halves, both of which are used.
    threshold : float in (0.5, 1], default=0.9
        Share of the halves from which on an input is selected.
    max_false : float > 0, default=1.0
        Bound on the expected number of inputs that are selected by chance.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights, not all 0. Rows of weight 0 are left out.
    n_jobs : int, default=None
        Threads that share the halves. The results do not depend on it.
    random_state : int, RandomState or None, default=None
        Draws the halves, and the seed of the networks where the estimator has no int as
        its own; all of them have the same seed.

    Returns
    -------
    StabilitySelection
        Frequencies per lambda and input, and what they select.

    Raises
    ------
    ValueError
        Names the parameter or the data at fault and what is allowed.

    See Also
    --------
    RegMLPClassifierCV, RegMLPRegressorCV : Choose lambda for the best predictions,
        which usually keeps more inputs than are needed.

    Notes
    -----
    The method is that of Meinshausen and Bühlmann [1]_, with the complementary pairs of
    Shah and Samworth [2]_. A half selects, on average, q of the p penalized inputs at
    the least lambda or any larger one. The expected number of selected inputs whose
    probability to be in use in a half is below average, q / p, is at most
    ``q^2 / ((2 * threshold - 1) * p)`` ([2]_, theorem 1 with theta = q / p). These are
    the false ones, where false inputs are exchangeable and not more likely to be in use
    than true ones ([1]_, theorem 1). q is estimated from the halves themselves.

    The rule is strict: with p inputs, q is about
    ``sqrt((2 * threshold - 1) * p * max_false)``, and as many inputs at most can be
    selected in each half. Where there are more true inputs than that, raise
    `max_false`, for which `StabilitySelection.at` needs no new fits.

    References
    ----------
    .. [1] N. Meinshausen and P. Bühlmann, "Stability selection", J. R. Stat. Soc. B
       72(4), 2010.
    .. [2] R. D. Shah and R. J. Samworth, "Variable selection with error control:
       another look at stability selection", J. R. Stat. Soc. B 75(1), 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from skreg import RegMLPRegressor, stability_selection
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 20))  # of which the first three are needed
    >>> y = np.tanh(X[:, 0] + X[:, 1]) + X[:, 2] + 0.3 * rng.normal(size=300)
    >>> network = RegMLPRegressor(
    ...     (5,), activation="tanh", penalty="group_lasso", solver="lbfgs",
    ...     max_iter=500, random_state=0
    ... )
    >>> result = stability_selection(
    ...     network, X, y, reg_lambdas=10, n_pairs=10, random_state=0
    ... )
    >>> np.flatnonzero(result.selected_features_).tolist()
    [0, 1, 2]
    """
    rule = _check_rule(threshold, max_false)
    _check_arguments(estimator, eps, n_pairs, n_jobs)
    rng = _generator(random_state)
    with single_blas_thread():
        network = _with_seed(estimator, rng)
        validation.check_parameters(network)
        X, y, header = read_X_y(network, X, y)
        weights = read_weights(sample_weight, X.shape[0])
        task = task_of(network, y, weights)
        rows = Rows.of(task, X, y, weights)
        if weights is not None:
            rows = rows.take(np.flatnonzero(weights > 0))
        walk = Walk(prepare(network, task, rows, header))
        is_penalized = _penalized_inputs(estimator, walk.problem)
        grid = _grid_of_halves(walk, reg_lambdas, eps)
        given = network, task, rows, header, grid
        halves = _halves(rows, n_pairs, rng)
        done = in_parallel(n_jobs, [(_masks, *given, half) for half in halves])
    counts = [walk.count, *(count for _, count in done)]
    n_unconverged, n_fits = np.sum(counts, axis=0)
    warn_unconverged(n_unconverged, n_fits, network)
    result = _summary(grid, [masks for masks, _ in done], is_penalized, header, rule)
    if not result._range.any():
        warn(
            "Halves select too many inputs at every lambda of the grid to keep "
            f"max_false={max_false!r}: no input is selected. Extend 'reg_lambdas' "
            "upwards, or raise 'max_false'."
        )
    return result


def _grid_of_halves(walk, reg_lambdas, eps):
    """The grid of `reg_lambdas`; an automatic one reaches twice as far as all rows do.

    Where no input tells the target, the gradients of halves are larger by sqrt(2).
    """
    reg_lambdas = validation.check_reg_lambdas(reg_lambdas)
    validation.check_order("stability_selection", reg_lambdas)
    grid = walk.grid(reg_lambdas, eps)
    if not validation.is_integer(reg_lambdas):
        return grid
    values = grid.values
    if grid.ratio:  # its upper end depends on the data
        values = np.array([fit.lam for fit in walk.run(grid)])
    start, end = values[[0, -1]] * ((2.0, 1.0) if walk.is_linear else (1.0, 2.0))
    return Grid(np.geomspace(start, end, len(values)))


def _summary(grid, masks, is_penalized, header, rule):
    """What masks of shape (n_lambdas, n_features), one per half, amount to."""
    masks, order = np.array(masks), np.argsort(grid.values)
    masks = masks[:, order]
    so_far = np.logical_or.accumulate(masks[:, ::-1], axis=1)[:, ::-1]
    return StabilitySelection(
        reg_lambdas=grid.values[order],
        frequencies=masks.mean(axis=0),
        n_selected=so_far[:, :, is_penalized].sum(axis=2).mean(axis=0),
        is_penalized=is_penalized,
        feature_names=header.names,
        **rule,
    )


def _halves(rows, n_pairs, rng):
    """Two disjoint halves of the rows for each pair; of an odd number, one is left."""
    n_rows = len(rows.targets)
    if n_rows < 4:
        raise ValueError(f"X has {n_rows} rows with a weight, but halves need 4.")
    for _ in range(n_pairs):
        order, half = rng.permutation(n_rows), n_rows // 2
        yield from (np.sort(order[:half]), np.sort(order[half : 2 * half]))


def _masks(network, task, rows, header, grid, half):
    """Inputs in use along the path on a half, (n_lambdas, n_features); its count."""
    rows, task = rows.take(half).balanced(task)
    walk = Walk(prepare(network, task, rows, header))
    fits = walk.run(grid)
    if not all(np.isfinite(fit.theta).all() for fit in fits):
        raise ValueError(NON_FINITE)
    path = as_path(network, fits, walk.training)
    return [fitted.selected for fitted in path.networks], walk.count


def _penalized_inputs(estimator, problem):
    """Mask of the inputs among which the penalty of the first layer selects."""
    first = problem.penalties[0]
    if first is None or first.is_smooth or getattr(first, "by", "inputs") == "units":
        raise ValueError(
            f"penalty={estimator.penalty!r} sets no input to 0: there is nothing to "
            "select. Use 'group_lasso', 'l1' or another penalty with exact zeros."
        )
    factors = getattr(first, "factors", None)
    if factors is None:
        return np.ones(problem.network.units[0], bool)
    return np.asarray(factors, dtype=np.float64) > 0


def _with_seed(estimator, rng):
    """A copy of the estimator with a seed that all networks share."""
    network = clone(estimator)
    if not isinstance(estimator.random_state, Integral):
        source = rng if estimator.random_state is None else estimator.random_state
        network.set_params(random_state=source.randint(np.iinfo(np.int32).max))
    return network


def _generator(random_state):
    try:
        return check_random_state(random_state)
    except ValueError:
        raise ValueError(
            "'random_state' must be an int in [0, 2**32), a RandomState or None. Got "
            f"{random_state!r}."
        ) from None


def _check_rule(threshold, max_false):
    """The rule as a dictionary of floats."""
    rule = {"threshold": as_float(threshold), "max_false": as_float(max_false)}
    if not 0.5 < rule["threshold"] <= 1:
        raise ValueError(f"'threshold' must be a float in (0.5, 1]. Got {threshold!r}.")
    if not 0 < rule["max_false"] < np.inf:
        raise ValueError(f"'max_false' must be a finite float > 0. Got {max_false!r}.")
    return rule


def _check_arguments(estimator, eps, n_pairs, n_jobs):
    check_network(estimator)
    validation.check_value("eps", eps, validation.EPS)
    validation.check_value("n_pairs", n_pairs, validation.COUNT)
    validation.check_value("n_jobs", n_jobs, validation.N_JOBS)
