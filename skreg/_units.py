"""Standard units: inputs centered and scaled, targets scaled, and the way back."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

# A spread below this share of the largest entry is rounding: of the sums of squares of
# sparse columns, which are not centered, only half of the digits are left.
_CONSTANT, _CONSTANT_SPARSE = 1e-12, 1e-6
# Standardized values are rounded to multiples of this, so that the rounding of other
# units, which training would amplify, does not reach it.
_RESOLUTION = 2.0**-26


@dataclass(frozen=True, eq=False)
class Units:
    """Mean and scale of each input and output.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_features,)
        Of the inputs; the mean is 0 for sparse ones.
    y_mean, y_scale : ndarray of shape (n_outputs,)
        Of the targets; 0 and 1 where the loss does not allow to change them.
    """

    mean: np.ndarray
    scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray

    @classmethod
    def of(cls, task, rows):
        """Units of rows by their weights; those of weight 0 do not count."""
        s = rows.sample_weight
        s = np.ones(rows.X.shape[0]) if s is None else s
        mean, scale = _moments(rows.X, s / s.sum())
        k = task.n_outputs
        y_mean, y_scale = np.zeros(k), np.ones(k)
        if task.classes is None:
            found = _moments(rows.targets, s / s.sum())
            if task.loss.name != "huber" and task.loss.out_activation == "identity":
                y_mean, y_scale = found
            elif task.loss.name == "huber":  # its threshold is in units of y
                y_mean = found[0]
            elif (found[0] > 0).all():
                y_scale = found[0]
        return cls(mean, scale, y_mean, y_scale)

    def standardized(self, task, rows):
        """The rows in these units, in the precision that they have."""
        if sparse.issparse(rows.X):
            data = _rounded(rows.X.data / self.scale[rows.X.indices], rows.X.dtype)
            X = sparse.csr_matrix(rows.X.shape, dtype=rows.X.dtype)
            X.data, X.indices, X.indptr = data, rows.X.indices, rows.X.indptr
        else:
            X = _rounded((rows.X - self.mean) / self.scale, rows.X.dtype)
        if task.classes is not None:
            return replace(rows, X=X)
        targets = _rounded((rows.targets - self.y_mean) / self.y_scale, np.float64)
        return replace(rows, X=X, targets=targets, y=targets.reshape(rows.y.shape))

    def restored(self, fitted):
        """The network of standardized rows as one of the rows as they are."""
        inputs = slice(None) if fitted.inputs is None else fitted.inputs
        mean, scale = self.mean[inputs], self.scale[inputs]
        coefs = [W.astype(np.float64) for W in fitted.coefs]
        intercepts = [b.astype(np.float64) for b in fitted.intercepts]
        coefs[0] = coefs[0] / scale[:, None]
        intercepts[0] = intercepts[0] - mean @ coefs[0]
        if fitted.task.loss.out_activation == "exp":
            intercepts[-1] = intercepts[-1] + np.log(self.y_scale)
        else:
            coefs[-1] = coefs[-1] * self.y_scale
            intercepts[-1] = intercepts[-1] * self.y_scale + self.y_mean
        return replace(
            fitted,
            coefs=[W.astype(fitted.dtype) for W in coefs],
            intercepts=[b.astype(fitted.dtype) for b in intercepts],
        )


def _rounded(values, dtype):
    return (np.round(values / _RESOLUTION) * _RESOLUTION).astype(dtype)


def _moments(A, s):
    """Weighted mean and standard deviation of columns, whatever their units.

    The mean of sparse columns is returned as 0, as they are not centered; the scale of
    constant ones is their size.
    """
    is_sparse = sparse.issparse(A)
    rows = s > 0
    A, s = A[rows], s[rows]
    if is_sparse:
        size = abs(A).max(axis=0).toarray().ravel().astype(np.float64)
    else:
        size = np.abs(A).max(axis=0).astype(np.float64)
    size[size == 0] = 1.0
    if is_sparse:
        Z = A @ sparse.diags_array(1.0 / size)
        mean = Z.T @ s
        deviation = np.sqrt(np.maximum(Z.power(2).T @ s - mean**2, 0.0))
        constant = deviation <= _CONSTANT_SPARSE
        mean = np.zeros_like(mean)
    else:
        Z = A / size
        mean = s @ Z
        deviation = np.sqrt(s @ (Z - mean) ** 2)
        constant = deviation <= _CONSTANT
        if A.dtype == np.float32:
            constant = deviation <= np.finfo(np.float32).eps
    deviation[constant] = 1.0
    return mean * size, deviation * size
