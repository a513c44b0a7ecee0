"""Approximate leave-one-out: what a network would predict of a row without that row.

At a local minimum with support A (what is not 0, and intercepts without a penalty), one
Newton step that takes away row i, of weight w_i = s_i / sum(s), moves its prediction by

    w_i (I - w_i M_i L_i)^-1 M_i r_i,   M_i = D_i H^-1 D_i^T,

with D_i its derivative in A, r_i and L_i gradient and Hessian of its loss in the
prediction, and H the Hessian of J in A; where that is not positive definite, of its
data term the Gauss-Newton part alone, sum_i w_i D_i^T L_i D_i, which overrates what a
row moves. The penalty keeps the size that it has on all rows. For squared error without
hidden layers and a support that stays, it is exact with lambda times n / (n - 1). See
Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via
approximate leave-one-out cross-validation", J. R. Stat. Soc. B 82(4), 2020.

All of it is computed in the solver's variables, in which the units of X and y do not
matter: steps of differences, what is added to H, and rounding are the same in any.
"""

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from skreg import _validation as validation
from skreg._cv._crossval import Scores
from skreg._engines import _device
from skreg._network import Network
from skreg._solvers._deterministic import Deterministic

# The step is right as long as the network has few degrees of freedom per row. More
# weights than these have too many of them for any data that this is fast enough for.
_MOST_FREEDOM, _MOST_WEIGHTS = 1 / 3, 3000
# What a row leaves to others of its prediction: where a unit is on for this row alone,
# that is the ridge below, and its step is noise divided by it.
_LEAST_ROOM = 1e-3
_MOST_PREDICTIONS = 100_000  # each with its derivative, which may take 2.4 GB together
# Of the solver's variables, in which activations bend over lengths of about 1.
_STEP = 1e-5  # of central differences
_RIDGE = 1e-10  # of the largest entry of H: intercepts can have flat directions


def check_leave_one_out(search, training):
    """Raise a ValueError where a search has no approximate leave-one-out.

    Parameters
    ----------
    search : RegMLPClassifierCV or RegMLPRegressorCV
    training : Training
        Of one candidate.
    """
    is_auto = isinstance(search.param_grid, str)
    needs = {
        "scoring": (search.scoring == "loss", "'loss', the one score of a single row,"),
        "refit": (not isinstance(search.refit, str), "True or False"),
        "param_grid": (not is_auto, "no 'auto', which has smooth penalties,"),
        "max_features": (search.max_features is None, "None"),
        "adaptive": (not np.any(search.adaptive), "0, as pilots have seen all rows,"),
        "early_stopping": (training.validate is None, "False"),
        "solver": (isinstance(training.solver, Deterministic), "'lbfgs'"),
    }
    for name, (is_allowed, allowed) in needs.items():
        if not is_allowed:
            allowed = f"{allowed} with cv='loo'"
            raise validation.parameter_error(search, name, allowed)
    problem, n_outputs = training.problem, training.task.n_outputs
    if problem.data.n_rows * n_outputs > _MOST_PREDICTIONS:
        raise ValueError(
            f"cv='loo' is for at most {_MOST_PREDICTIONS} rows times outputs, where a "
            f"row can move a network. Got {problem.data.n_rows} x {n_outputs}: give "
            "'cv' a number of folds."
        )
    for penalty, shape in zip(problem.penalties, problem.network.shapes):
        is_sparse = penalty is not None and not penalty.is_smooth
        if not is_sparse or penalty.form(1.0, shape) is None:
            raise ValueError(
                "cv='loo' needs few weights that are not 0, and so a penalty of every "
                "layer that makes zeros: 'l1', 'elasticnet', 'group_lasso', "
                f"'sparse_group_lasso', MCP or SCAD. Got {penalty!r}."
            )


def leave_one_out(training, rows, path):
    """`Scores` of each row: minus its loss without it, at each lambda of a path.

    Parameters
    ----------
    training : Training
        On all rows.
    rows : Rows
        These.
    path : Path

    Returns
    -------
    list of Scores
        One entry per row. Losses are multiplied by the weights of rows, so that their
        mean is the weighted one. Networks are those of all rows. NaN where there are
        too many degrees of freedom, in all or for a row.
    """
    n, loss = len(rows.targets), training.task.loss
    raws = np.full((len(path.networks), n, training.task.n_outputs), np.nan)
    test = np.full((len(path.networks), n), np.nan)
    for k, (network, lam) in enumerate(zip(path.networks, path.reg_lambdas)):
        raw = None if path.has_diverged[k] else _left_out(training, rows, network, lam)
        if raw is not None:
            raws[k] = raw
            test[k] = -loss.per_row(rows.targets, raw) * _shares(rows) * n
    nothing = np.zeros(len(path.networks))
    shared = -path.data_loss, path.networks, path.has_diverged
    counts = [path.count] + [0 * path.count] * (n - 1)
    return [
        Scores(
            path.reg_lambdas,
            test[:, i],
            *shared,
            counts[i],
            nothing,
            nothing,
            raws[:, i],
        )
        for i in range(n)
    ]


def _left_out(training, rows, fitted, lam):
    """Raw predictions of each row by the network without that row.

    Parameters
    ----------
    training : Training
        On all rows.
    rows : Rows
        These.
    fitted : Fitted
        Network at lambda.
    lam : float, or sequence of float with one per layer

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs), or None
        None where the network has too many degrees of freedom, in all or for a row.
    """
    problem, loss = training.problem, training.task.loss
    theta = fitted.theta().astype(np.float64)
    lam = np.broadcast_to(np.asarray(lam, dtype=float), problem.network.n_layers)
    active = theta != 0
    if not problem.penalize_intercepts:
        active[problem.network.n_weights :] = True
    active = np.flatnonzero(active)
    if len(active) > _MOST_WEIGHTS:
        return None
    here = _Surroundings(training, rows, theta, active, problem.coordinates(lam))
    raw = here.predict(here.theta)
    if len(active) == 0:  # nothing can move
        return raw + here.shift
    D, exact = here.derivative(here.predict), here.derivative(here.slope)
    gradient, curvature = _of_loss(loss, here.targets, raw)
    w = _shares(rows)[:, np.newaxis, np.newaxis]
    of_penalty = _penalty_curvature(problem, theta, lam, active)
    of_penalty *= np.outer(here.scale, here.scale)
    factor = _factor((exact + exact.T) / 2 + of_penalty)
    if factor is None:
        gauss_newton = np.einsum("nka,nkb->ab", w * D, curvature @ D, optimize=True)
        factor = _factor(gauss_newton + of_penalty)
    if factor is None:  # as can be with penalties that are not convex
        return None
    columns = cho_solve(factor, D.reshape(-1, len(active)).T)
    M = D @ columns.T.reshape(D.shape).transpose(0, 2, 1)
    if np.sum(w * M * curvature) > _MOST_FREEDOM * np.count_nonzero(w):
        return None
    room = np.eye(raw.shape[1]) - w * M @ curvature
    if np.linalg.svd(room, compute_uv=False).min() < _LEAST_ROOM:
        return None
    change = np.linalg.solve(room, w * M @ gradient[..., np.newaxis])
    return raw + change[..., 0] + here.shift


class _Surroundings:
    """Predictions and data term near a network, as the solver sees them.

    Inputs are centered, and targets and predictions counted from the null prediction
    where the loss allows it, so that nothing is rounded by what does not vary. Inputs
    without weights are left out: dense ones take no more memory than the derivatives.

    Parameters
    ----------
    training : Training
    rows : Rows
    theta : ndarray of shape (n_parameters,)
    active : ndarray of int
        Parameters that move.
    coordinates : Coordinates

    Attributes
    ----------
    theta : ndarray
        Of the inputs that are left.
    targets : ndarray
    shift : ndarray of shape (n_outputs,) or float
        What predictions are counted from.
    scale : ndarray of shape (n_active,)
        Units of the active parameters, in which the Hessian of J is that in its unit.
    predict : callable
        Maps theta to raw predictions, counted from the shift.
    """

    def __init__(self, training, rows, theta, active, coordinates):
        network, loss = training.problem.network, training.task.loss
        first, shape = network.slices[0], network.shapes[0]
        kept = theta[first].reshape(shape).any(axis=1)
        kept[0] |= not kept.any()  # a network has inputs
        is_left = np.ones(len(theta), dtype=bool)
        is_left[first] = np.repeat(kept, shape[1])
        self._network = Network(
            (int(kept.sum()), *network.units[1:]), network.activation
        )
        self._places = (np.cumsum(is_left) - 1)[active]
        # The root, as squares of the units of y may be beyond all floats.
        self._root = np.sqrt(coordinates.objective_unit)
        self._units = coordinates.scale[active]
        self.scale = self._units / self._root
        theta, self.shift = coordinates.centered(theta), coordinates.shift
        if loss.out_activation != "identity":
            theta[network.slices[-1]] += self.shift
            self.shift = 0.0
        self.theta, self.targets = theta[is_left], rows.targets - self.shift
        X = rows.columns(training.inputs)[:, kept]
        X = X.toarray() if sparse.issparse(X) else X
        X = np.ascontiguousarray(X - coordinates.mean[kept])
        self.predict = _device.predictor("cpu", self._network, X)
        encoded = self.targets, rows.weights, loss, training.task.n_outputs
        self._data = _device.data_term("cpu", X, *encoded, np.float64)

    def slope(self, theta):
        """Gradient of the data term in the active parameters, in their units."""
        gradient = self._data.value_grad(self._network, theta)[1]
        return gradient[self._places] * self.scale

    def derivative(self, function):
        """Central differences in the active parameters, which are the last axis."""
        columns = []
        for place, unit in zip(self._places, self._units):
            shift = np.zeros_like(self.theta)
            shift[place] = _STEP * unit
            change = function(self.theta + shift) - function(self.theta - shift)
            columns.append(change / (2 * _STEP * self._root))
        return np.stack(columns, axis=-1)


def _shares(rows):
    """Weights of the rows that add up to 1."""
    n, s = len(rows.targets), rows.weights
    return np.full(n, 1 / n) if s is None else s / s.sum(dtype=np.float64)


def _factor(H):
    """Cholesky factor, or None where H is not positive definite."""
    if not np.isfinite(H).all():
        return None
    H = H + _RIDGE * H.diagonal().max() * np.eye(len(H))
    try:
        return cho_factor(H)
    except LinAlgError:
        return None


def _of_loss(loss, y, raw):
    """Gradient (n_rows, n_outputs) and Hessian of each row's loss in its prediction."""
    mean = loss.predict(raw)
    if loss.out_activation == "softmax":
        shares = mean[:, :, np.newaxis] * np.eye(mean.shape[1])
        is_class = y == np.arange(mean.shape[1])
        return mean - is_class, shares - mean[:, :, np.newaxis] * mean[:, np.newaxis]
    gradient, diagonal = mean - y, np.ones_like(raw)
    if loss.out_activation == "logistic":
        diagonal = mean * (1 - mean)
    elif loss.name == "poisson":
        diagonal = mean
    elif loss.name == "gamma":
        gradient, diagonal = 1 - y / mean, y / mean
    elif loss.name == "huber":
        diagonal = (np.abs(gradient) <= loss.param).astype(float)
        gradient = np.clip(gradient, -loss.param, loss.param)
    return gradient, diagonal[:, :, np.newaxis] * np.eye(raw.shape[1])


def _penalty_curvature(problem, theta, lam, active):
    """Hessian of the penalties in the active parameters, most of them weights not 0."""
    H = np.zeros((len(active), len(active)))
    for layer, penalty, where, shape in problem.blocks():
        form = penalty.form(float(lam[layer]), shape)
        inside = (where.start <= active) & (active < where.stop) & (theta[active] != 0)
        at = np.flatnonzero(inside)
        entries = active[at] - where.start
        w = theta[active[at]]

        def of_entries(values, shape=shape, entries=entries):
            return np.broadcast_to(values, shape).ravel()[entries]

        slope = of_entries(form.l2).astype(float)
        if form.ramp is not None:
            start, stop = map(of_entries, form.ramp)
            is_on_ramp = (np.abs(w) > start) & (np.abs(w) < stop)
            slope = slope - is_on_ramp * of_entries(form.l1) / (stop - start)
        H[at, at] += slope
        if form.groups is None:
            continue
        index = form.groups.index
        index = of_entries(index[:, None] if form.groups.axis == 0 else index)
        for group in np.unique(index):
            rows, v = at[index == group], w[index == group]
            norm = np.linalg.norm(v)
            block = np.eye(len(v)) - np.outer(v, v) / norm**2
            H[np.ix_(rows, rows)] += form.groups.kappa[group] / norm * block
    return H
