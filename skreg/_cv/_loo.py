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
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from skreg import _validation as validation
from skreg._cv._crossval import Scores
from skreg._engines import _device
from skreg._matrix import engine_matrix
from skreg._solvers._deterministic import Deterministic

# The step is right as long as the network has few degrees of freedom per row. More
# weights than these have too many of them for any data that this is fast enough for.
_MOST_FREEDOM, _MOST_WEIGHTS = 1 / 3, 3000
_MOST_PREDICTIONS = 100_000  # each with its derivative, which may take 2.4 GB together
_STEP = 1e-5  # of central differences, in units of a parameter
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
        too many degrees of freedom.
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
        None where the network has too many degrees of freedom.
    """
    problem = training.problem
    loss, theta = training.task.loss, fitted.theta().astype(np.float64)
    active = theta != 0
    if not problem.penalize_intercepts:
        active[problem.network.n_weights :] = True
    active = np.flatnonzero(active)
    if len(active) > _MOST_WEIGHTS:
        return None
    X = engine_matrix(rows.columns(training.inputs), np.float64)
    predict = _device.predictor("cpu", problem.network, X)
    data = _device.data_term("cpu", X, *rows.encoded(training.task), np.float64)

    def slope(theta):
        return data.value_grad(problem.network, theta)[1][active]

    raw, steps = predict(theta), _steps(problem.network, theta)
    if len(active) == 0:  # nothing can move
        return raw
    D = _derivative(predict, theta, active, steps)
    gradient, curvature = _of_loss(loss, rows.targets, raw)
    w = _shares(rows)[:, np.newaxis, np.newaxis]
    of_penalty = _penalty_curvature(problem, theta, lam, active)
    exact = _derivative(slope, theta, active, steps)
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
    eye = np.eye(raw.shape[1])
    change = np.linalg.solve(eye - w * M @ curvature, w * M @ gradient[..., np.newaxis])
    return raw + change[..., 0]


def _shares(rows):
    """Weights of the rows that add up to 1."""
    n, s = len(rows.targets), rows.weights
    return np.full(n, 1 / n) if s is None else s / s.sum(dtype=np.float64)


def _steps(network, theta):
    """Steps of differences, in units of each parameter or its matrix or vector."""
    steps = np.empty(len(theta))
    for part in network.slices:
        size = np.sqrt(np.mean(theta[part] ** 2)) or 1.0
        steps[part] = _STEP * np.maximum(np.abs(theta[part]), size)
    return steps


def _derivative(function, theta, active, steps):
    """Central differences of an array in some parameters, which are its last axis."""
    columns = []
    for k in active:
        shift = np.zeros_like(theta)
        shift[k] = steps[k]
        change = function(theta + shift) - function(theta - shift)
        columns.append(change / (2 * steps[k]))
    return np.stack(columns, axis=-1)


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
    lam = np.broadcast_to(lam, problem.network.n_layers)
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
