"""Prediction intervals from the networks of the folds: CV+.

References
----------
Barber, Candès, Ramdas and Tibshirani (2021), "Predictive inference with the
jackknife+", Annals of Statistics 49(1), section 3.
"""

import numpy as np

_BLOCK = 256  # rows of X at a time


def cv_plus(predictions, residuals, folds, level):
    """Interval that covers a new target with about the given probability.

    Parameters
    ----------
    predictions : ndarray of shape (n_folds, n_rows, n_outputs)
        For new rows, by the networks without each fold.
    residuals : ndarray of shape (n_pairs, n_outputs)
        Absolute, of rows by the networks without their fold.
    folds : ndarray of int, shape (n_pairs,)
        Fold of each residual.
    level : float
        In (0, 1). At least ``2 * level - 1`` is guaranteed for exchangeable rows.

    Returns
    -------
    lower, upper : ndarray of shape (n_rows, n_outputs)
        Infinite where there are too few residuals for the level.
    """
    n = len(residuals)
    k = int(np.ceil(level * (n + 1) - 1e-9))  # the k-th smallest of n
    if k > n:
        shape = predictions.shape[1:]
        return np.full(shape, -np.inf), np.full(shape, np.inf)
    lower, upper = [], []
    for start in range(0, predictions.shape[1], _BLOCK):
        center = predictions[folds, start : start + _BLOCK]
        spread = residuals[:, np.newaxis]
        lower.append(-np.partition(spread - center, k - 1, axis=0)[k - 1])
        upper.append(np.partition(center + spread, k - 1, axis=0)[k - 1])
    return np.concatenate(lower), np.concatenate(upper)
