"""The few inputs that paths of lambda leave, on which another network is fitted."""

from dataclasses import dataclass, field, replace

import numpy as np

from skreg._base import BaseRegMLP
from skreg._paths._walk import Walk
from skreg._penalty import Penalty
from skreg._prune import count_alive
from skreg._training import prepare
from skreg.penalties import GroupLasso, check_penalty

# A path of short fits, each of which goes on where the one before stops: so many values
# of lambda, down to this share of the largest, so many steps of so many rows each.
_N_LAMBDAS, _EPS, _N_STEPS, _BATCH = 33, 1e-2, 200, 100


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs that sparse networks keep, in each fold its own.

    Parameters
    ----------
    network : RegMLPClassifier or RegMLPRegressor
        Whose paths select them.
    max_features : int
    importances : dict of int to ndarray of shape (n_features,)
        Of each fold that has been looked at, from `select_inputs`.
    """

    network: BaseRegMLP
    max_features: int
    importances: dict = field(default_factory=dict)

    def with_fold(self, k, importances):
        """The same with the importances of one more fold."""
        return replace(self, importances={**self.importances, k: importances})

    def of_fold(self, k):
        """Columns of X that networks of one fold read, increasing."""
        return _agreed([self.importances[k]], self.max_features)

    @property
    def of_all(self):
        """Columns for networks of all rows; None where no fold has been looked at."""
        found = list(self.importances.values())
        return _agreed(found, self.max_features) if found else None


def select_inputs(data, network, sizes, rows):
    """Importances of the columns of X that a network needs most, for each size.

    Of the sparsest network of a path with at least as many inputs, those with the
    largest weights. The path has the penalty of the network if that removes inputs,
    else a group lasso.

    Parameters
    ----------
    data : Data
    network : RegMLPClassifier or RegMLPRegressor
        Gives hidden layers, activation, penalty and seed; not changed.
    sizes : list of int
        Numbers of columns.
    rows : ndarray of intp
        Rows to look at.

    Returns
    -------
    list of ndarray of shape (n_features,)
        For each size, in units of the largest one, positive for at most as many.
    """
    part, task = data.rows.take(rows).balanced(data.task)
    # Batches of equal size: one of a few rows, at the end of each epoch, is a step that
    # is mostly noise, and hides weak inputs.
    n_batches = -(-len(rows) // _BATCH)
    batch_size = -(-len(rows) // n_batches)
    params = network.get_params(deep=False) | {
        "penalty": _selecting(network),
        "solver": "adam",
        "batch_size": batch_size,
        "max_iter": -(-_N_STEPS // n_batches),
        "n_iter_no_change": np.inf,
        "learning_rate": "constant",
        "early_stopping": False,
        "precision": "exact",
    }
    training = prepare(type(network)(**params), task, part, data.header)
    walk = Walk(training)

    def is_sparse(coefs):
        return count_alive(coefs)[0] <= min(sizes)

    grid = walk.grid(_N_LAMBDAS, _EPS)
    fits = walk.run(grid, stop=None if walk.is_linear else is_sparse)
    networks = [training.record(fit.result, fit.monitor) for fit in fits]
    return [_of_sparsest(networks, size) for size in sizes]


def _of_sparsest(networks, size):
    """Importances in the network with the fewest inputs, but at least this many."""
    found = np.array([fitted.selected.sum() for fitted in networks])
    enough = found >= min(size, found.max())
    k = int(np.argmin(np.where(enough, found, found.max() + 1)))
    importances = networks[k].importances.astype(np.float64)
    return _largest(importances / (importances.max() or 1.0), size)


def _agreed(importances, max_features):
    """Columns of the largest mean importance, at least one."""
    kept = np.flatnonzero(_largest(np.mean(importances, axis=0), max_features))
    return kept if len(kept) else np.array([0])


def _largest(values, n):
    """The n largest values, and 0 for the others."""
    out = np.zeros_like(values)
    best = np.argsort(-values, kind="stable")[:n]
    out[best] = values[best]
    return out


def _selecting(network):
    """The penalty of a network where it removes inputs, else a group lasso."""
    penalty = network.penalty
    if isinstance(penalty, list | tuple):
        return penalty
    found = check_penalty(penalty, network.l1_ratio)
    removes = isinstance(found, Penalty) and not found.is_smooth
    is_for_inputs = getattr(found, "by", "inputs") == "inputs"
    return penalty if removes and is_for_inputs else GroupLasso()
