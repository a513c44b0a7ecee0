"""Spreads of inputs and targets, the units of the data."""

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

_ENTRIES_PER_PASS = 2**18  # of X, held in float64 at once


def weighted_moments(X, share):
    """Mean and standard deviation of the columns of X.

    Two passes over X, in batches: the second one is taken about the mean of the first,
    and of numbers near 1, so that neither a large mean nor an extreme unit costs
    digits.

    Parameters
    ----------
    X : ndarray of shape (n, p) or CSR
    share : ndarray of shape (n,)
        Weights of the rows, of sum 1.

    Returns
    -------
    mean, spread : ndarray of float64, shape (p,)
    """
    n, p = X.shape
    batches = list(gen_batches(n, max(1, _ENTRIES_PER_PASS // p)))
    mean, size = np.zeros(p), np.zeros(p)
    for batch in batches:
        mean += X[batch].T @ share[batch]
        for extreme in (X[batch].max(axis=0), -X[batch].min(axis=0)):
            extreme = extreme.toarray()[0] if sparse.issparse(extreme) else extreme
            np.maximum(size, extreme, out=size)
    unit = np.where(size > 0, size, 1.0)
    center = mean / unit
    first, second = np.zeros(p), np.zeros(p)
    for batch in batches:
        for total, part in zip(
            (first, second), _deviations(X[batch], share[batch], center, unit)
        ):
            total += part
    spread = np.sqrt(np.maximum(second - first * first, 0.0))
    return (center + first) * unit, spread * unit


def _deviations(X, share, center, unit):
    """Weighted sums of x / unit - center over the rows, and of its square."""
    if not sparse.issparse(X):
        deviations = X / unit
        deviations -= center
        first = share @ deviations
        deviations *= deviations
        return first, share @ deviations
    X = X.tocsr(copy=True)
    X.sum_duplicates()
    columns, p = X.indices, len(unit)
    of_entry = np.repeat(share, np.diff(X.indptr))
    missing = share.sum() - np.bincount(columns, of_entry, p)  # entries of 0
    deviations = X.data / unit[columns] - center[columns]
    first = np.bincount(columns, of_entry * deviations, p) - missing * center
    second = np.bincount(columns, of_entry * deviations**2, p) + missing * center**2
    return first, second


def target_spread(loss, targets, null_prediction, weights):
    """Typical standard deviation of the targets: the root of their mean variance.

    Parameters
    ----------
    loss : Loss
        Where its predictions have an own unit, the spread is 1.
    targets : ndarray of shape (n, n_targets)
    null_prediction : ndarray of shape (n_outputs,)
        Their mean.
    weights : ndarray of shape (n,) or None

    Returns
    -------
    float
    """
    if loss.out_activation != "identity":
        return 1.0
    deviations = targets - null_prediction
    size = float(np.abs(deviations).max()) or 1.0  # whose squares may overflow
    variances = np.average((deviations / size) ** 2, axis=0, weights=weights)
    return size * float(np.sqrt(variances.mean()))


@np.errstate(over="ignore", invalid="ignore")
def losses_of_outputs(loss, targets, raw, weights):
    """Mean loss of each output; see `DataTerm.losses_of_outputs`."""
    raw = np.broadcast_to(raw, targets.shape)
    return np.average(loss.per_output(targets, raw), axis=0, weights=weights)


def losses_of_constants(loss, targets, null_prediction, weights):
    """Those of two constants; see `DataTerm.losses_of_constants`."""
    constants = null_prediction, np.zeros_like(null_prediction)
    losses = [losses_of_outputs(loss, targets, f, weights) for f in constants]
    return np.array(losses)


def pooled_spread(shares, means, spreads):
    """Standard deviation of all rows, from those of parts of the rows.

    The variance is the mean variance within parts plus that of their means.

    Parameters
    ----------
    shares : array-like of shape (n_parts,)
        Weights of the parts, of sum 1.
    means, spreads : array-like of shape (n_parts, p)

    Returns
    -------
    ndarray of shape (p,)
    """
    shares, means = np.asarray(shares)[:, np.newaxis], np.asarray(means)
    deviations = np.hypot(spreads, means - np.sum(shares * means, axis=0))
    size = deviations.max(axis=0)
    unit = np.where(size > 0, size, 1.0)  # squares may overflow
    return unit * np.sqrt(np.sum(shares * (deviations / unit) ** 2, axis=0))
