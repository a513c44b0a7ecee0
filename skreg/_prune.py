"""What a sparse network still uses, and the small network that is left of it.

A unit is alive if a path of non-zero weights leads from an input through it to an
output. All others are dead: what no output reads has no effect, and what no input
reaches is constant. An input is used if such a path starts at it. Hence either some
input is used and each layer has a unit alive, or none is and the network is constant.
"""

import copy
from itertools import pairwise

import numpy as np
from scipy import sparse

from skreg._network import Network
from skreg._validation import core_matrix


def alive_units(coefs):
    """Boolean masks of the used inputs and of the alive units of each later layer."""
    fed = [np.ones(coefs[0].shape[0], dtype=bool)]
    for W in coefs:
        fed.append((W[fed[-1]] != 0).any(axis=0))
    read = [np.ones(coefs[-1].shape[1], dtype=bool)]
    for W in reversed(coefs):
        read.append((W[:, read[-1]] != 0).any(axis=1))
    return [f & r for f, r in zip(fed, reversed(read))]


def prune(coefs, intercepts, activation):
    """Remove unused inputs and dead units; the function computed stays the same.

    A network that is constant keeps its first input and one unit per hidden layer, with
    zero weights: the number of layers never changes.

    Parameters
    ----------
    coefs, intercepts : list of ndarray
        Of each layer.
    activation : str
        Of the hidden layers.

    Returns
    -------
    inputs : ndarray of intp
        Inputs that are kept, in their order.
    coefs, intercepts : list of ndarray
        Of the smaller network, in the same precision.
    """
    alive = alive_units(coefs)
    kept = [_never_empty(mask) for mask in alive[:-1]]
    kept.append(np.arange(coefs[-1].shape[1]))
    small_coefs, small_intercepts = [], []
    for layer, (rows, columns) in enumerate(pairwise(kept)):
        W = coefs[layer][np.ix_(rows, columns)]
        b = _folded_intercepts(coefs, intercepts, activation, layer, alive[layer])
        small_coefs.append(W if alive[layer].any() else np.zeros_like(W))
        small_intercepts.append(b[columns].astype(W.dtype))
    return kept[0], small_coefs, small_intercepts


def _never_empty(mask):
    return np.flatnonzero(mask) if mask.any() else np.array([0])


def _folded_intercepts(coefs, intercepts, activation, layer, alive):
    """Intercepts of a layer, plus what the dead units below it contribute.

    It is what the layer receives at X = 0 from the dead units alone: a constant, since
    those that an input reaches are read by no unit that is kept. At X = 0 the first
    matrix plays no part, and one zero input stands for all.
    """
    n_units = len(intercepts[0])
    up_to = [np.zeros((1, n_units)), *coefs[1 : layer + 1]]
    if layer > 0:
        up_to[layer] = np.where(alive[:, None], 0.0, coefs[layer])
    network = Network((1, *(W.shape[1] for W in up_to)), activation)
    theta = network.pack(up_to, intercepts[: layer + 1], np.float64)
    return network.raw_predictions(np.zeros((1, 1)), theta)[0]


def take_inputs(X, used):
    """Return the columns `used` of X as the core reads them; None stands for all."""
    if used is None:
        return X
    if sparse.issparse(X):
        return core_matrix(X[:, used], X.dtype)
    return X.take(used, axis=1)


def per_feature(estimator, values):
    """One value per feature of X from one per row of the first matrix; 0 elsewhere."""
    used = estimator._used_features
    if used is None:
        return values
    out = np.zeros(estimator.n_features_in_, dtype=values.dtype)
    out[used] = values
    return out


def selected_features(estimator):
    """Mask of the features of X that the fitted network uses."""
    return per_feature(estimator, alive_units(estimator.coefs_)[0])


def feature_importances(estimator):
    """Norm of the weights that lead from each feature of X to an alive unit."""
    first = estimator.coefs_[0]
    alive = alive_units(estimator.coefs_)[1]
    return per_feature(estimator, np.linalg.norm(first[:, alive], axis=1))


def support(estimator):
    """Features of X that the fitted network uses, as `_used_features` holds them.

    Raises
    ------
    ValueError
        If there is none.
    """
    mask = selected_features(estimator)
    if not mask.any():
        raise ValueError(
            "No input is left: the fitted network is constant. Lower 'reg_lambda' and "
            "fit again, before a refit on the support."
        )
    return None if mask.all() else np.flatnonzero(mask)


def compact(estimator):
    """Copy of a fitted estimator with the pruned network; see `BaseRegMLP.compact`."""
    inputs, coefs, intercepts = prune(
        estimator.coefs_, estimator.intercepts_, estimator.activation
    )
    small = copy.deepcopy(estimator)
    small.hidden_layer_sizes = tuple(W.shape[1] for W in coefs[:-1])
    small.coefs_, small.intercepts_ = coefs, intercepts
    if len(inputs) < estimator.coefs_[0].shape[0]:
        used = estimator._used_features
        small._used_features = inputs if used is None else used[inputs]
    small._solver_state = None  # its vectors belong to the weights that were there
    return small
