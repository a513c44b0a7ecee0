"""Losses: what the data term of the objective is made of.

A loss works on raw predictions f, the output layer before its activation. The compiled
core evaluates it (``_core/losses.hpp``); a `Loss` names it for the core, knows the
output activation that turns f into a prediction, and adds what does not depend on f.
`Loss.per_row` evaluates it in NumPy, for comparisons and for scorers of one's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax, xlogy

__all__ = ["CLASSIFICATION_LOSSES", "REGRESSION_LOSSES", "Loss", "regression_loss"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """A pointwise loss l(y, f) in raw-prediction space.

    Attributes
    ----------
    name : str
        Name of the loss.
    code : int
        Its code in the compiled core.
    out_activation : {"identity", "logistic", "softmax", "exp"}
        Inverse link: the function that maps f to a prediction.
    pointwise : callable or None
        Maps y and f of shape (n, k), and `param`, to the part of l(y, f) that depends
        on f, of shape (n, k); None for several classes, whose f belong together.
    is_smooth : bool, default=True
        Whether l is continuously differentiable in f.
    param : float, default=0.0
        Threshold of "huber" in units of y, quantile level of "quantile".
    constant : callable, default=None
        Maps y of shape (n, k) to the part of l(y, f) that does not depend on f. None
        is 0.
    lowest : float, default=-inf
        Lower bound of y.
    lowest_included : bool, default=True
        Whether y may be equal to it.

    Examples
    --------
    >>> import numpy as np
    >>> from skreg.losses import regression_loss
    >>> poisson = regression_loss("poisson")
    >>> poisson.predict(np.array([0.0, 1.0])).round(3)
    array([1.   , 2.718])
    >>> y, raw = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    >>> poisson.per_row(y, raw).round(3)
    array([0.   , 0.105])
    """

    name: str
    code: int
    out_activation: str
    pointwise: Callable | None
    is_smooth: bool = True
    param: float = 0.0
    constant: Callable | None = None
    lowest: float = -np.inf
    lowest_included: bool = True

    def predict(self, raw: Array) -> Array:
        """Apply the output activation to raw predictions of shape (n, k).

        A mean exp(f) beyond all floats is the largest one: the loss of "gamma" is
        finite there, and scorers refuse infinite predictions.

        Parameters
        ----------
        raw : ndarray of shape (n, k)
            Raw predictions f.

        Returns
        -------
        ndarray of shape (n, k)
            Predictions.
        """
        if self.out_activation == "logistic":
            return expit(raw)
        if self.out_activation == "softmax":
            return softmax(raw, axis=1)
        if self.out_activation == "exp":
            with np.errstate(over="ignore"):
                mean = np.exp(raw)
            return np.minimum(mean, np.finfo(mean.dtype).max)
        return raw

    def mean_constant(self, y: Array, sample_weight: Array | None) -> float:
        """Weighted mean over samples of the part of the loss without f.

        Parameters
        ----------
        y : ndarray of shape (n, k)
            Targets.
        sample_weight : ndarray of shape (n,) or None
            Weights with a positive sum.

        Returns
        -------
        float
            0 where the loss has no such part.
        """
        if self.constant is None:
            return 0.0
        per_sample = self.constant(y.astype(np.float64)).sum(axis=1)
        return float(np.average(per_sample, weights=sample_weight))

    def per_row(self, y: Array, raw: Array) -> Array:
        """Loss of each row, with the part that does not depend on f.

        Parameters
        ----------
        y : ndarray of shape (n, k)
            Targets; class indices of shape (n, 1) for several classes.
        raw : ndarray of shape (n, n_outputs)
            Raw predictions f.

        Returns
        -------
        ndarray of shape (n,), float64
            Summed over outputs.
        """
        if self.pointwise is None:
            y, f = np.asarray(y, np.float64), np.asarray(raw, np.float64)
            rows = np.arange(len(f))
            return logsumexp(f, axis=1) - f[rows, y[:, 0].astype(int)]
        return self.per_output(y, raw).sum(axis=1)

    def per_output(self, y: Array, raw: Array) -> Array:
        """Loss of each row and output; not for several classes, which belong together.

        Parameters
        ----------
        y, raw : ndarray of shape (n, k)
            Targets, and raw predictions f.

        Returns
        -------
        ndarray of shape (n, k), float64
            The terms of `per_row`.
        """
        assert self.pointwise is not None
        y, f = np.asarray(y, np.float64), np.asarray(raw, np.float64)
        with np.errstate(over="ignore"):
            values = self.pointwise(y, f, self.param)
        return values if self.constant is None else values + self.constant(y)

    def link(self, mean: Array) -> Array:
        """Raw prediction of a constant prediction, finite in any case.

        Parameters
        ----------
        mean : ndarray of shape (k,)
            A prediction, such as the mean target or the shares of the classes.

        Returns
        -------
        ndarray of shape (k,)
            In raw-prediction space.
        """
        tiny = np.finfo(np.float64).eps
        if self.out_activation == "identity":
            return mean
        log = np.log(np.maximum(mean, tiny))
        if self.out_activation == "logistic":
            return log - np.log(np.maximum(1.0 - mean, tiny))
        return log - log.mean() if self.out_activation == "softmax" else log

    def curvature(self, raw: Array) -> float:
        """Mean second derivative in f, at raw predictions that are those of the mean.

        That of the canonical link: 1, the variance of a label or of a count; also 1 for
        "gamma", whose deviance has no unit, and for the losses with linear ends.

        Parameters
        ----------
        raw : ndarray of shape (k,)
            Raw prediction of the mean, as `link` returns it.

        Returns
        -------
        float
            Averaged over the k outputs.
        """
        mean = self.predict(np.atleast_2d(raw))
        if self.out_activation in ("logistic", "softmax"):
            return float(np.mean(mean * (1.0 - mean)))
        return float(np.mean(mean)) if self.name == "poisson" else 1.0

    def check_targets(self, y: Array, name: str = "y") -> None:
        """Check that targets are in the range of the loss.

        Parameters
        ----------
        y : ndarray of shape (n,) or (n, k)
            Targets.
        name : str, default="y"
            What to call them in the message.

        Raises
        ------
        ValueError
            Where y is below its lower bound, or equal to one that is not included.
        """
        low = y.min()
        if low < self.lowest or (low == self.lowest and not self.lowest_included):
            sign = ">=" if self.lowest_included else ">"
            raise ValueError(
                f"Some values of {name} are out of the valid range of loss="
                f"{self.name!r}: {name} must be {sign} {self.lowest:g}, got a minimum "
                f"of {low:g}."
            )


# l(y, f, param) without the part that does not depend on f; formulas are below.


def _log_loss(y, f, _):
    return np.logaddexp(0.0, f) - y * f


def _squared_error(y, f, _):
    return (y - f) ** 2 / 2


def _absolute_error(y, f, _):
    return np.abs(y - f)


def _huber(y, f, threshold):
    d = np.abs(y - f)
    return np.where(d <= threshold, d * d / 2, threshold * (d - threshold / 2))


def _pinball(y, f, q):
    return np.maximum(q * (y - f), (q - 1) * (y - f))


def _poisson(y, f, _):
    return np.exp(f) - y * f


def _gamma(y, f, _):
    return f + y * np.exp(-f)


# log(1 + e^f) - y f per label, y in {0, 1}; for multilabel, summed over labels.
_BINARY = Loss("log_loss", 0, "logistic", _log_loss)

CLASSIFICATION_LOSSES = {
    "binary": _BINARY,
    "multiclass": Loss("log_loss", 1, "softmax", None),
    "multilabel-indicator": _BINARY,
}

# Half deviances, as in scikit-learn's GLMs: (y - f)^2 / 2; for Poisson,
# y log(y/mu) - y + mu, and for Gamma, y/mu - 1 - log(y/mu), with mu = e^f. See
# McCullagh & Nelder, Generalized Linear Models (1989), section 2.3.
REGRESSION_LOSSES = {
    "squared_error": Loss("squared_error", 2, "identity", _squared_error),
    "absolute_error": Loss(
        "absolute_error", 3, "identity", _absolute_error, is_smooth=False
    ),
    # Huber (1964): quadratic up to the threshold, linear beyond.
    "huber": Loss("huber", 4, "identity", _huber, param=1.0),
    # Koenker & Bassett (1978).
    "quantile": Loss("quantile", 5, "identity", _pinball, is_smooth=False),
    "poisson": Loss(
        "poisson",
        6,
        "exp",
        _poisson,
        constant=lambda y: xlogy(y, y) - y,
        lowest=0.0,
    ),
    "gamma": Loss(
        "gamma",
        7,
        "exp",
        _gamma,
        constant=lambda y: -1.0 - np.log(y),
        lowest=0.0,
        lowest_included=False,
    ),
}


def regression_loss(name: str, quantile: float = 0.5) -> Loss:
    """Loss of a regressor by name; `quantile` is used by "quantile" alone.

    Parameters
    ----------
    name : str
        One of `REGRESSION_LOSSES`.
    quantile : float, default=0.5
        Level in [0, 1].

    Returns
    -------
    Loss
        As estimators use it.

    Raises
    ------
    KeyError
        If there is no loss of this name.

    Examples
    --------
    >>> from skreg.losses import regression_loss
    >>> regression_loss("quantile", quantile=0.9).param
    0.9
    """
    loss = REGRESSION_LOSSES[name]
    if name != "quantile":
        return loss
    return replace(loss, param=float(quantile))
