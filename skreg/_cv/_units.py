"""Standard units: inputs centered and scaled, targets scaled, and the way back."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from skreg._engines._moments import weighted_moments

_CONSTANT = 1e-12  # a spread below this share of the mean is rounding
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

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is an error
    def restored(self, fitted):
        """The network of standardized rows as one of the rows as they are.

        Raises
        ------
        ValueError
            If its weights are beyond the floats of its precision.
        """
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
        coefs = [W.astype(fitted.dtype) for W in coefs]
        intercepts = [b.astype(fitted.dtype) for b in intercepts]
        if not all(np.isfinite(a).all() for a in (*coefs, *intercepts)):
            raise ValueError(
                f"Weights between X, of sizes down to {scale.min():.2g}, and y, of "
                f"sizes up to {self.y_scale.max():.2g}, are beyond {fitted.dtype}. "
                "Scale X and y."
            )
        return replace(fitted, coefs=coefs, intercepts=intercepts)


def _rounded(values, dtype):
    return (np.round(values / _RESOLUTION) * _RESOLUTION).astype(dtype)


def _moments(A, share):
    """Mean and scale of columns by weights of sum 1, whatever their units.

    The mean of sparse columns is returned as 0, as they are not centered; the scale of
    constant ones is their size.
    """
    if not share.all():
        A, share = A[share > 0], share[share > 0]
    mean, spread = weighted_moments(A, share)
    size = np.abs(mean)
    rounding = max(_CONSTANT, np.finfo(A.dtype).eps) * size
    scale = np.where(spread > rounding, spread, size)
    mean = np.zeros_like(mean) if sparse.issparse(A) else mean
    return mean, np.where(scale > 0, scale, 1.0)
