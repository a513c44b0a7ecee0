"""Problems and networks on the compiled engine, as the tests need them."""

import numpy as np

from skreg._engines._compiled import CompiledRows, _compile, predict_raw
from skreg._problem import Problem


def make_problem(
    X,
    y,
    sample_weight,
    network,
    loss,
    penalties,
    penalize_intercepts=False,
    dtype=np.float64,
    rows=None,
):
    """Problem over rows in memory."""
    data = CompiledRows(X, y, sample_weight, loss, network.units[-1], dtype, rows)
    return Problem(data, network, penalties, penalize_intercepts)


def compile_network(network, capacity, dtype, loss=None, n_targets=1):
    """(Net, scratch) for passes of at most `capacity` rows."""
    return _compile(network, capacity, dtype, loss, n_targets)


def raw_predictions(network, X, theta):
    """Output layer of a network before its activation."""
    return predict_raw(network, theta, X)
