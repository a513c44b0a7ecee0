"""Adaptive factors of a penalty: small for inputs that a pilot network needs."""

import numpy as np
from sklearn.base import clone

from skreg import _validation as validation
from skreg._numbers import as_float
from skreg.penalties import check_penalty

# Added to the norms, in units of the largest: an input that the pilot does not use has
# the factor 1001^gamma, with which it can still come back.
_FLOOR = 1e-3
_LARGEST_EXPONENT = 20.0  # 1 or 2 are usual; of this, factors are 1e60


def exponents_of(search):
    """The exponents gamma that the `adaptive` of a cross-validation stands for.

    Parameters
    ----------
    search : RegMLPClassifierCV or RegMLPRegressorCV

    Returns
    -------
    tuple of float
        Distinct, increasing.

    Raises
    ------
    ValueError
        For anything but a number in [0, 20] or a non-empty sequence of these.
    """
    value = search.adaptive
    is_single = isinstance(value, str) or not np.iterable(value)
    values = [value] if is_single else list(value)
    exponents = sorted({as_float(value) for value in values})
    if not exponents or not all(0 <= value <= _LARGEST_EXPONENT for value in exponents):
        allowed = f"a number in [0, {_LARGEST_EXPONENT:g}] or a sequence of these"
        raise validation.parameter_error(search, "adaptive", allowed)
    return tuple(exponents)


def adaptive_factors(norms, gamma, groups=None, factors=None):
    """Factors ``((r + eps) / (1 + eps))^-gamma`` of inputs, times those of the user.

    r is the norm in units of the largest one of a penalized input, whose factor is 1,
    so that lambda keeps its meaning; eps is 1e-3.

    Parameters
    ----------
    norms : ndarray of shape (n_features,)
        Euclidean norm of the outgoing weights of each input in the pilot.
    gamma : float >= 0
    groups : array-like of shape (n_features,) or None
        Labels of inputs that share a factor, by the root of their mean squared norm.
    factors : array-like of shape (n_features,) or None
        Of the user; None for 1.

    Returns
    -------
    ndarray of float64, shape (n_features,)
        Those of the user where all norms of penalized inputs are 0.
    """
    own = np.ones(len(norms)) if factors is None else np.array(factors, dtype=float)
    if groups is not None:
        _, index = np.unique(np.asarray(groups), return_inverse=True)
        norms = np.sqrt(np.bincount(index, norms**2) / np.bincount(index))[index]
    largest = np.max(norms, initial=0.0, where=own > 0)
    if largest == 0:
        return own
    r = np.minimum(norms / largest, 1.0)  # more only where there is no penalty
    return own * ((r + _FLOOR) / (1 + _FLOOR)) ** -gamma


def with_adaptive_factors(network, weights, gamma):
    """The network with adaptive factors in the penalty of its first layer.

    Parameters
    ----------
    network : RegMLPClassifier or RegMLPRegressor
        Not changed. Its `penalty`, or the first of several, takes `factors`.
    weights : ndarray of shape (n_features, n_units)
        First weight matrix of the pilot.
    gamma : float >= 0

    Returns
    -------
    RegMLPClassifier or RegMLPRegressor

    Raises
    ------
    ValueError
        If the penalty takes no factors of inputs.
    """
    penalty = network.penalty
    is_list = isinstance(penalty, list | tuple)
    first = check_penalty(penalty[0] if is_list else penalty, network.l1_ratio)
    takes = first is not None and "factors" in first.get_params(deep=False)
    if not takes or getattr(first, "by", "inputs") == "units":
        raise ValueError(
            "The 'adaptive' parameter needs a penalty of the first layer with factors "
            "of inputs: 'l1', 'l2', 'elasticnet', 'group_lasso', "
            "'sparse_group_lasso', or an object that has the parameter 'factors', "
            f"without by='units'. Got penalty={first!r}; or set adaptive=0."
        )
    exponent = np.frexp(np.abs(weights).max(initial=0.0))[1]  # squares stay floats
    norms = np.linalg.norm(np.ldexp(weights.astype(np.float64), -exponent), axis=1)
    groups = getattr(first, "groups", None)
    factors = adaptive_factors(norms, gamma, groups, first.factors)
    first = clone(first).set_params(factors=tuple(factors.tolist()))
    return clone(network).set_params(
        penalty=[first, *penalty[1:]] if is_list else first
    )
