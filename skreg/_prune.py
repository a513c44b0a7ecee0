"""What a sparse network still uses, and the small network that is left of it.

A unit is alive if a path of non-zero weights leads from an input through it to an
output. All others are dead: what no output reads has no effect, and what no input
reaches is constant. An input is used if such a path starts at it. Hence either some
input is used and each layer has a unit alive, or none is and the network is constant.
"""

from itertools import pairwise

import numpy as np

from skreg._engines._compiled import predict_raw
from skreg._network import Network


def fed_units(coefs):
    """Boolean masks of all inputs, and of the units of each layer that they reach."""
    fed = [np.ones(coefs[0].shape[0], dtype=bool)]
    for W in coefs:
        fed.append((W[fed[-1]] != 0).any(axis=0))
    return fed


def alive_units(coefs):
    """Boolean masks of the used inputs and of the alive units of each later layer."""
    fed = fed_units(coefs)
    read = [np.ones(coefs[-1].shape[1], dtype=bool)]
    for W in reversed(coefs):
        read.append((W[:, read[-1]] != 0).any(axis=1))
    return [f & r for f, r in zip(fed, reversed(read))]


def count_alive(coefs):
    """Numbers of inputs and of hidden units on a path from an input to an output."""
    alive = alive_units(coefs)
    return alive[0].sum(), sum(mask.sum() for mask in alive[1:-1])


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
    return predict_raw(network, theta, np.zeros((1, 1)))[0]
